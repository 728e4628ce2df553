"""Fixtures that several rooms share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tools import ApiServer, api_server_in


@pytest.fixture
def api_server(tmp_path: Path) -> Iterator[ApiServer]:
    """A fresh `tortie apiserver` on a free loopback port: .url, .kubeconfig, .kubectl(...)."""
    with api_server_in(tmp_path / "apiserver") as server:
        yield server


@pytest.fixture(scope="module")
def shared_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One `tortie apiserver` for all tests of a module that keep out of each other's way."""
    with api_server_in(tmp_path_factory.mktemp("apiserver")) as server:
        yield server
