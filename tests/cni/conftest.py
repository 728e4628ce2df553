"""A node with API server and agent, shared by the tests of a module."""

from collections.abc import Iterator

import pytest
from cni_harness import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("cni"))
    try:
        made.start()
        yield made
    finally:
        made.close()
