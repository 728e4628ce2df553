"""Metrics from `statistics()`: a part keeps plain numbers, Prometheus reads them when it asks.

In: functions that return a mapping of name to number, from any room. Out: gauges and counters for /metrics.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

Numbers = Mapping[str, float]
Labels = tuple[tuple[str, str], ...]


class StatisticsCollector:
    """Walks registered statistics at scrape time. Names ending in `_total` become counters, others gauges."""

    def __init__(self) -> None:
        self._sources: list[tuple[str, Labels, Callable[[], Numbers]]] = []

    def add(self, prefix: str, statistics: Callable[[], Numbers], **labels: str) -> None:
        """prefix: put before each name with an underscore. labels: constant labels of this source."""
        self._sources.append((prefix, tuple(sorted(labels.items())), statistics))

    def collect(self) -> Iterable["Metric"]:
        """For prometheus-client: current values, one family per metric name."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for prefix, labels, statistics in self._sources:
            for name, value in statistics().items():
                full = f"{prefix}_{name}"
                family = families.get(full)
                if family is None:
                    make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                    family = families[full] = make(full, full.replace("_", " "), labels=[key for key, _ in labels])
                family.add_metric([value_ for _, value_ in labels], value)
        return families.values()

    def register(self, registry: "CollectorRegistry | None" = None) -> None:
        """Makes the sources visible in a registry (the default one unless given)."""
        from prometheus_client import REGISTRY

        (registry if registry is not None else REGISTRY).register(self)
