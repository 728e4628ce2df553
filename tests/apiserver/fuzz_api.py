"""Fuzzes a running API server with its own OpenAPI documents, by schemathesis.

`make fuzz-api` runs it for FUZZ_MINUTES (10); test_apiserver_fuzz runs it for seconds with a fixed seed. In: a started
`ApiServer`. Out: the exit code of schemathesis, whose report names every answer of 500 and above, every answer that
took longer than five seconds, and the request that led there. What a request does to the cluster is in fuzz_hooks.
"""

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from apiserver_http import Http  # noqa: E402 - beside this program
from tools import ApiServer, api_server_in  # noqa: E402 - beside this program

HERE = Path(__file__).parent
SLOWEST = "5"  # seconds that any answer may take
EXAMPLES = 4  # cases of one operation before the next has its turn
_COMPLAINT = "unexpected error for"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the code and report of schemathesis, how often each answer came, what the server's log says."""

    code: int
    report: str
    answers: dict[str, int]
    unexpected: bool


def documents(client: Http, seed: int, *, wanted: Sequence[str], parts: int) -> list[dict[str, Any]]:
    """The server's OpenAPI version 3 documents (all, or those of some groups and versions), shuffled into parts.

    schemathesis goes through the operations of a document in an order of its own and may not come to the last ones;
    in small documents it does.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for name, entry in client.ok("GET", "/openapi/v3")["paths"].items():
        if wanted and name not in wanted:
            continue
        part = client.ok("GET", entry["serverRelativeURL"])
        paths |= part["paths"]
        schemas |= part["components"]["schemas"]
    order = sorted(paths)
    random.Random(seed).shuffle(order)
    return [
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "1"},
            "paths": {path: paths[path] for path in order[number::parts]},
            "components": {"schemas": schemas},
        }
        for number in range(parts)
    ]


def fuzz(server: ApiServer, *, seconds: int, seed: int, wanted: Sequence[str] = (), parts: int = 1) -> Outcome:
    """Runs schemathesis against the server as its administrator.

    Each part of the API gets its share of the time: half for random cases, half for the coverage phase, which goes
    through every parameter and field of the part in order.
    """
    client = Http(server)
    client("POST", "/api/v1/namespaces", {"metadata": {"name": "fuzz"}})
    code, reports, answers = 0, [], Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        user = yaml.safe_load(server.kubeconfig.read_text())["users"][0]["user"]
        for name, data in (("crt", "client-certificate-data"), ("key", "client-key-data")):
            (folder / name).touch(0o600)
            (folder / name).write_bytes(base64.b64decode(user[data]))
        share = max(1, seconds // (2 * parts))
        for document in documents(client, seed, wanted=wanted, parts=parts):
            (folder / "openapi.json").write_text(json.dumps(document))
            for phase in ("fuzzing", "coverage"):
                done = _run(folder, server.url, f"--max-time={share}", f"--seed={seed}", f"--phases={phase}")
                code = code or done.returncode
                reports.append(done.stdout + done.stderr)
                answers.update(json.loads((folder / "answers.json").read_text()))
    log = (server.data_dir / "apiserver.log").read_text()
    return Outcome(code, "\n".join(reports), dict(answers), _COMPLAINT in log)


def _run(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    answers = folder / "answers.json"
    answers.write_text("{}")
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--no-color", "run", "openapi.json", f"--url={url}",
        "--request-cert=crt", "--request-cert-key=key", "--tls-verify=false", "--checks=not_a_server_error",
        f"--max-response-time={SLOWEST}", "--request-timeout=30", "--suppress-health-check=all", "--no-shrink",
        "--continue-on-failure", "--generation-database=none", "--warnings=off", f"--max-examples={EXAMPLES}", *options,
    ]  # fmt: skip
    steering = {"SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(HERE), "FUZZ_ANSWERS": str(answers)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, **steering}, check=False
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="a group and version such as apis/apps/v1")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, api_server_in(Path(folder) / "data") as server:
        seconds = int(asked.minutes * 60)
        outcome = fuzz(server, seconds=seconds, seed=asked.seed, wanted=asked.only, parts=max(1, seconds // 60))
        print(outcome.report)
        print("answers:", ", ".join(f"{what}: {count}" for what, count in sorted(outcome.answers.items())))
        if outcome.unexpected:
            print((server.data_dir / "apiserver.log").read_text()[-50_000:])
        alive = Http(server)("GET", "/readyz").status == 200
    print(f"the server is {'alive' if alive else 'DEAD'}; unexpected errors in its log: {outcome.unexpected}")
    return outcome.code or int(outcome.unexpected or not alive)


if __name__ == "__main__":
    sys.exit(main())
