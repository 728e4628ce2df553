"""Fixtures of the API servers' tests, and helpers whose assertions are shown in full."""

from collections.abc import Iterator

import pytest
from aggregated_world import World, world_in

pytest.register_assert_rewrite("storage_contract")


@pytest.fixture(scope="session")
def aggregated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One embedded API server with the aggregated one behind it, for tests that keep out of each other's way."""
    with world_in(tmp_path_factory.mktemp("aggregated")) as world:
        yield world
