"""One lab for all lab tests of a run, made by the first that needs it and removed at the end.

TORTIE_TEST_LAB=NAME makes the tests use a running lab of that name instead, and leave it running.
"""

import os
from collections.abc import Iterator

import pytest
from lab_client import Lab, open_lab, tortie
from tools import free_port, new_kubectl

NAME = "test"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    given = os.environ.get("TORTIE_TEST_LAB")
    if given:
        running = open_lab(given, str(new_kubectl()))
        yield running
        running.close()
        return
    tortie("lab", "down", "--name", NAME, "--quiet")
    tortie("lab", "up", "--name", NAME, "--no-demo", "--quiet", "--api-port", str(free_port()))
    running = open_lab(NAME, str(new_kubectl()))
    yield running
    running.close()
    tortie("lab", "down", "--name", NAME, "--quiet")
