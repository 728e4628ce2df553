"""schemathesis against the server's own OpenAPI documents: a short run with a fixed seed over some groups.

TORTIE_LONG=1 makes it ten minutes over all, which is what `make fuzz-api` does. Nonsense of our own, by kind, is in
test_apiserver_nonsense; hostile bytes are in test_apiserver_hostile.
"""

import os

import pytest
from apiserver_http import Http
from fuzz_api import fuzz
from tools import ApiServer

SOME = ("apis/networking.k8s.io/v1", "apis/coordination.k8s.io/v1")
LONG = bool(os.environ.get("TORTIE_LONG"))


@pytest.mark.timeout(900 if LONG else 180)
def test_a_fuzzer_of_its_openapi_documents_finds_no_server_error(api_server: ApiServer) -> None:
    if LONG:
        outcome = fuzz(api_server, seconds=600, seed=1, parts=10)
    else:
        outcome = fuzz(api_server, seconds=12, seed=1, wanted=SOME)
    assert outcome.code == 0, outcome.report
    assert not outcome.unexpected, (api_server.data_dir / "apiserver.log").read_text()[-20_000:]
    codes = {what.split()[1] for what in outcome.answers}
    assert {"200", "201"} <= codes, outcome.answers  # it got beyond what is refused at once
    assert Http(api_server)("GET", "/readyz").status == 200
