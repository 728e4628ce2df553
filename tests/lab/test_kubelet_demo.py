"""The demo's manifests and programs: every image exists, every call leads to a service, every policy is valid.

The demo in a running cluster, policies included, is shown in the lab tests.
"""

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

import tortie
from tortie.lab.images import catalog, layer
from tortie.lab.images.programs import http_server, nginx
from tortie.lab.images.programs.call import call
from tortie.lab.images.programs.http_server import Request, Response
from tortie.model import admission
from tortie.model.catalog import CALICO

DEMO = Path(tortie.__file__).parent / "lab" / "demo"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_every_deployment_has_an_image_a_service_and_calls_that_lead_somewhere() -> None:
    found = documents(DEMO / "shop.yaml")
    services = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in found if d["kind"] == "Service"}
    deployments = [d for d in found if d["kind"] == "Deployment"]
    assert len(deployments) == 5
    for deployment in deployments:
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        assert (namespace, name) in services
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert catalog.resolve(container["image"]).command == (name,)
        calls = next(entry["value"] for entry in container["env"] if entry["name"] == "CALLS").split()
        for url in calls:
            host, port = re.fullmatch(r"http://([a-z.]+)(?::(\d+))?/\w*", url).groups()  # type: ignore[union-attr]
            outside = host in ("example.com", "example.org")
            where = (host.split(".")[1], host.split(".")[0]) if "." in host else (namespace, host)
            assert outside or (where in services and port == "8080"), url


@pytest.mark.parametrize("path", sorted((DEMO / "try").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_policy_to_try_is_valid(path: Path) -> None:
    kinds = {resource.kind: resource for resource in CALICO}
    for document in documents(path):
        if document["kind"] in kinds and document["apiVersion"] == "projectcalico.org/v3":
            verdict = admission.admit(kinds[document["kind"]], document, None)
            assert (list(verdict.errors), list(verdict.unknown_fields)) == ([], [])


def test_every_image_starts_a_program_that_the_layer_holds(tmp_path: Path) -> None:
    layers = layer.build(tmp_path)
    layer.build(tmp_path)  # again, as at the next start of a kubelet
    for image in catalog.IMAGES:
        program = (image.entrypoint or image.command)[0]
        if program.startswith(sys.prefix):
            assert Path(program).exists(), "containers see the environment that this program runs in"
        elif program.startswith("/"):
            path = layers.root / program.lstrip("/")
            if path.is_symlink():
                path = layers.root / path.readlink()
            assert (layers.usr / path.relative_to(layers.root / "usr")).stat().st_mode & 0o111, program
    users = (layers.root / "etc/passwd").read_text()
    assert "root:x:0:0" in users
    assert not (layers.root / "etc/shadow").exists()


@pytest.fixture
def web() -> Any:
    """A server of the programs' own kind: /echo gives the body back, /moved leads to /, /slow never answers."""
    stop = threading.Event()

    def page(request: Request) -> Response:
        if request.path == "/slow":
            stop.wait(20)
        if request.path == "/moved":
            return Response("", 302, Location="/")
        if request.path == "/echo":
            return Response(request.body, kind=request.headers.get("content-type", "none"))
        if request.path == "/missing":
            return Response("not here\n", 404)
        return Response(f"{request.method} {request.target} {request.headers.get('x-test', '-')}\n")

    server = http_server.listen(0)
    thread = threading.Thread(target=http_server.serve, args=(0, page), kwargs={"server": server}, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    stop.set()


def run_program(name: str, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    source = str(Path(tortie.__file__).parent.parent)
    code = f"import sys; sys.path.insert(0, {source!r}); from tortie.lab.images.programs.{name} import main; main()"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *arguments], input=stdin, capture_output=True, timeout=20
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_curl_speaks_as_curl_does(web: int) -> None:
    url = f"http://127.0.0.1:{web}"
    assert run_program("curl", "-s", f"{url}/a?b=c") == (0, "GET /a?b=c -\n", "")
    assert run_program("curl", "-sS", "-H", "X-Test: yes", url)[1] == "GET / yes\n"
    assert run_program("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}\\n", url)[1] == "200 8\n"
    assert run_program("curl", "-s", "-d", "x=1", f"{url}/echo")[1] == "x=1"
    assert run_program("curl", "-s", "-L", f"{url}/moved")[1] == "GET / -\n"
    assert run_program("curl", "-sI", url)[1].startswith("HTTP/1.1 200 OK\r\n")
    assert run_program("curl", "-sf", f"{url}/missing")[0] == 22
    status, _, errors = run_program("curl", "-sS", "--max-time", "0.5", f"{url}/slow")
    assert (status, errors) == (28, "curl: (28) Operation timed out\n")
    status, _, errors = run_program("curl", "http://127.0.0.1:1/")
    assert status == 7
    assert "Failed to connect to 127.0.0.1 port 1" in errors
    assert run_program("curl", "-s", "http://no-such-host.invalid/")[0] == 6
    assert run_program("curl", "--nonsense", url)[0] == 2


def test_wget_speaks_as_busybox_does(web: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{web}"
    assert run_program("wget", "-qO-", f"{url}/x") == (0, "GET /x -\n", "")
    assert run_program("wget", "-q", "-O", str(tmp_path / "page"), url)[0] == 0
    assert (tmp_path / "page").read_text() == "GET / -\n"
    assert run_program("wget", "-q", "--spider", url)[0] == 0
    assert "server returned error: HTTP/1.1 404 Not Found" in run_program("wget", "-qO-", f"{url}/missing")[2]
    assert run_program("wget", "-qO-", "-T", "1", f"{url}/slow")[::2] == (1, "wget: download timed out\n")
    assert "can't connect to remote host" in run_program("wget", "-q", "http://127.0.0.1:1/")[2]
    assert "bad address 'no-such-host.invalid'" in run_program("wget", "-q", "http://no-such-host.invalid/")[2]


def test_nc_scans_and_carries_bytes(web: int) -> None:
    status, _, errors = run_program("nc", "-zv", "-w", "2", "127.0.0.1", str(web))
    assert (status, "succeeded!" in errors) == (0, True)
    status, _, errors = run_program("nc", "-zv", "-w", "2", "127.0.0.1", "1")
    assert (status, "Connection refused" in errors) == (1, True)
    request = b"GET /nc HTTP/1.0\r\n\r\n"
    assert "GET /nc" in run_program("nc", "127.0.0.1", str(web), stdin=request)[1]


def test_agnhost_connect_names_the_outcome_in_one_word(web: int) -> None:
    assert run_program("agnhost", "connect", "--timeout=2s", f"127.0.0.1:{web}") == (0, "", "")
    assert run_program("agnhost", "connect", "127.0.0.1:1") == (1, "", "REFUSED\n")
    assert run_program("agnhost", "connect", "no-such-host.invalid:80") == (1, "", "DNS\n")
    assert run_program("agnhost", "nonsense")[0] == 1


def test_the_client_prints_one_line_for_each_result(web: int) -> None:
    status, out, _ = run_program("client", "--count", "1", f"http://127.0.0.1:{web}/", "tcp://127.0.0.1:1")
    lines = out.splitlines()
    assert status == 1
    assert re.fullmatch(r"\d\d:\d\d:\d\d ok http://127.0.0.1:\d+/ HTTP 200 [\d.]+ms", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d FAIL tcp://127.0.0.1:1 connection refused [\d.]+ms", lines[1])


def test_a_call_tells_silence_from_refusal(web: int) -> None:
    assert call(f"http://127.0.0.1:{web}/slow", timeout=0.3).kind == "timeout"
    assert call("tcp://127.0.0.1:1").kind == "refused"
    assert call(f"http://127.0.0.1:{web}/missing").kind == "status"
    with pytest.raises(ValueError, match="names no port"):
        call("tcp://127.0.0.1")


def test_nginx_reads_the_plain_parts_of_its_configuration() -> None:
    text = """
    user nginx; # who
    events { worker_connections 1024; }
    http { server { listen 8080; listen [::]:8080; root /srv/www; index start.html;
      location / { return 200 'hello "world"\\n'; } }
      server { listen 127.0.0.1:81 default_server; return 301 http://x/; } }
    """
    first, second = nginx.parse(text)
    assert (first.ports, first.root, first.index) == ([8080], "/srv/www", ["start.html"])
    assert first.answer == (200, 'hello "world"\n')
    assert (second.ports, second.answer) == ([81], (301, "http://x/"))
