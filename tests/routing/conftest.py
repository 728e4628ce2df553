"""Fixtures of the routing tests."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lan import BirdNode, lan_in


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Callable[[int], list[BirdNode]]]:
    """lan(n) makes n hosts on one bridge."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with lan_in(tmp_path) as make:
        yield make
