"""Health as the kubelet and an operator see it."""

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from tortie.service.health import HealthAggregator, serve
from tortie.service.metrics import StatisticsCollector


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_reporter_is_live_but_not_ready_until_it_says_so() -> None:
    health = HealthAggregator(clock=Clock())
    assert health.live and health.ready, "without reporters there is nothing to complain about"
    health.register("loop", timeout=10)
    assert health.live and not health.ready
    health.report("loop")
    assert health.ready


def test_silence_past_the_deadline_is_death_exactly_then() -> None:
    clock = Clock()
    health = HealthAggregator(clock=clock)
    health.register("loop", timeout=10)
    health.report("loop")
    clock.now = 10.0
    assert health.live
    clock.now = 10.1
    assert not health.live and not health.ready
    assert "timed out" in health.table()
    health.report("loop")
    assert health.live


def test_reporters_may_speak_of_one_aspect_only() -> None:
    health = HealthAggregator(clock=Clock())
    health.register("startup", timeout=None, liveness=False)
    health.report("startup", live=False, ready=False)
    assert health.live and not health.ready


def test_deadlines_can_be_changed_while_running() -> None:
    clock = Clock()
    health = HealthAggregator(clock=clock)
    health.register("loop", timeout=10)
    health.set_timeouts({"loop": 100, "unknown": 1})
    clock.now = 50
    assert health.live
    health.set_timeouts({"loop": 0})
    clock.now = 5000
    assert health.live


def test_an_unregistered_reporter_is_a_bug() -> None:
    with pytest.raises(KeyError):
        HealthAggregator().report("who")


async def test_the_server_answers_503_with_the_table_until_ready() -> None:
    health = HealthAggregator()
    health.register("CalculationGraph", timeout=30)
    registry = CollectorRegistry()
    collector = StatisticsCollector()
    collector.add("tortie_cache", lambda: {"objects": 3, "lists_total": 1}, resource="pods")
    collector.add("tortie_cache", lambda: {"objects": 4, "lists_total": 2}, resource="nodes")
    collector.register(registry)
    server = await serve(health, "127.0.0.1", 0, registry=registry)
    base = f"http://127.0.0.1:{server.port}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/liveness") as response:
            assert response.status == 200
        async with session.get(f"{base}/readiness") as response:
            assert response.status == 503
            assert "CalculationGraph" in await response.text()
        health.report("CalculationGraph")
        async with session.get(f"{base}/readiness") as response:
            assert response.status == 200
        async with session.get(f"{base}/metrics") as response:
            text = await response.text()
            assert 'tortie_cache_objects{resource="pods"} 3.0' in text
            assert 'tortie_cache_lists_total{resource="nodes"} 2.0' in text
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        await serve(health, "127.0.0.1", server.port)
    await server.close()
