"""exec, attach, logs, port-forward and cp through the API server with the newest kubectl, against real containers.

What pods do by themselves is in test_kubelet_pods; framing alone in test_kubelet_spdy.
"""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubelet_world import NODE_IP, World, pod, wait_for, world_in

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("kl")) as world:
        ticks = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done"
        script = f"echo first; sleep 0.3; echo oops >&2; sleep 0.3; trap 'exit 0' TERM; {ticks}"
        second = {"name": "second", "image": "busybox", "command": ["sh", "-c", "echo from second; sleep 1000"]}
        main = pod("shell", ["sh", "-c", script], image="busybox:1.36")
        main["spec"]["containers"].append(second)
        world.apply(main, pod("web", image="nginx:1.25"), pod("echo", image="tortie/echo"))
        for name in ("shell", "web", "echo"):
            world.wait_phase(name, "Running")
        yield world


def test_exec_gives_the_output_and_the_exit_code_of_the_command(world: World) -> None:
    done = world.kubectl("exec", "shell", "-c", "main", "--", "sh", "-c", "hostname; echo bad >&2; exit 7", check=False)
    assert (done.stdout, done.returncode) == ("shell\n", 7)
    assert "bad\n" in done.stderr
    assert "exit code 7" in done.stderr


def test_exec_reaches_the_container_that_was_named(world: World) -> None:
    assert world.kubectl("exec", "shell", "-c", "second", "--", "cat", "/proc/1/cmdline").stdout != ""
    done = world.kubectl("exec", "shell", "-c", "nosuch", "--", "true", check=False)
    assert done.returncode != 0
    assert "nosuch" in done.stderr


def test_exec_of_a_program_that_is_not_there_says_so(world: World) -> None:
    done = world.kubectl("exec", "web", "--", "no-such-program", check=False)
    assert done.returncode == 127
    assert 'exec: "no-such-program": executable file not found in $PATH' in done.stderr


def test_exec_sends_standard_input_and_its_end(world: World) -> None:
    done = world.kubectl("exec", "-i", "web", "--", "sh", "-c", "wc -c; echo done", stdin="x" * 300_000)
    assert done.stdout.split() == ["300000", "done"]


def test_exec_passes_large_output_whole(world: World) -> None:
    done = world.kubectl("exec", "web", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' y")
    assert done.stdout == "y" * 3_000_000


def test_exec_with_a_terminal_knows_its_size_and_echoes(world: World) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    process = subprocess.Popen(
        world.kubectl_command("exec", "-it", "web", "--", "sh"),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={"HOME": "/tmp", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    os.close(theirs)
    seen = b""

    def read_until(pattern: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 15
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    seen += os.read(ours, 4096)
                except OSError:
                    break

    os.write(ours, b"stty size; tty; echo mark$((40+2))\n")
    read_until(b"mark42")
    assert b"31 97" in seen
    assert b"/dev/pts/0" in seen
    os.write(ours, b"exit 5\n")
    assert process.wait(10) == 5
    os.close(ours)


def test_a_command_ends_when_its_client_goes_away(world: World) -> None:
    process = subprocess.Popen(
        world.kubectl_command("exec", "web", "--", "sleep", "4321"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def sleeping() -> bool:
        return "sleep 4321" in world.run_in_node("ps", "axwwo", "args")

    wait_for(sleeping, "the command runs")
    process.kill()
    process.wait()
    wait_for(lambda: not sleeping(), "the command has ended")


def test_logs_can_be_read_by_container_tail_and_time(world: World) -> None:
    wait_for(lambda: "tick 5" in world.logs("shell", "-c", "main"), "five ticks")
    text = world.logs("shell", "-c", "main")
    assert text.startswith("first\noops\ntick 1\n")
    assert world.logs("shell", "-c", "second") == "from second\n"
    assert len(world.logs("shell", "-c", "main", "--tail=3").splitlines()) == 3
    stamped = world.logs("shell", "-c", "main", "--timestamps", "--tail=1")
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z tick \d+\n$", stamped)
    assert "first" not in world.logs("shell", "-c", "main", "--since=1s")
    assert world.logs("shell", "-c", "main", "--limit-bytes=5") == "first"


def test_logs_can_be_followed(world: World) -> None:
    process = subprocess.Popen(
        world.kubectl_command("logs", "-f", "--tail=1", "shell", "-c", "main"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    numbers = [int(process.stdout.readline().split()[1]) for _ in range(4)]
    process.kill()
    process.wait()
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_following_ends_with_the_container(world: World) -> None:
    world.apply(pod("short", ["sh", "-c", "sleep 1; echo last words"], restartPolicy="Never"))
    wait_for(lambda: (world.get("pod", "short") or {}).get("status", {}).get("containerStatuses"), "it exists")
    wait_for(lambda: world.kubectl("logs", "short", check=False).returncode == 0, "logs can be read")
    assert world.kubectl("logs", "-f", "short", timeout=20).stdout == "last words\n"


def test_port_forward_carries_connections_into_the_pod(world: World) -> None:
    process = subprocess.Popen(
        world.kubectl_command("port-forward", "pod/web", "18080:80"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert "Forwarding from 127.0.0.1:18080 -> 80" in process.stdout.readline()
        fetch = ["curl", "-s", "--max-time", "10", "http://127.0.0.1:18080/"]
        enter = world.kubectl_command()[:3]
        pages = [subprocess.Popen([*enter, *fetch], stdout=subprocess.PIPE, text=True) for _ in range(8)]
        for page in pages:
            text, _ = page.communicate(timeout=20)
            assert "Welcome to nginx!" in text
    finally:
        process.kill()
        process.wait()
    assert "GET / HTTP/1.1" in world.logs("web")


def test_port_forward_to_a_closed_port_reports_it_and_goes_on(world: World) -> None:
    process = subprocess.Popen(
        world.kubectl_command("port-forward", "pod/web", "18081:81", "18082:80"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    enter = world.kubectl_command()[:3]
    try:
        for _ in range(4):
            if "18082" in process.stdout.readline():
                break
        closed = subprocess.run([*enter, "curl", "-s", "--max-time", "5", "http://127.0.0.1:18081/"])
        assert closed.returncode != 0
        assert "connection refused" in process.stderr.readline()
    finally:
        process.kill()
        process.wait()


def test_files_can_be_copied_into_a_pod_and_out_of_it(world: World, tmp_path: Path) -> None:
    source = tmp_path / "page.html"
    source.write_text("<p>copied</p>\n" * 5000)
    world.kubectl("cp", str(source), "web:/usr/share/nginx/html/page.html")
    world.kubectl("cp", "web:/usr/share/nginx/html/page.html", str(tmp_path / "back.html"))
    assert (tmp_path / "back.html").read_text() == source.read_text()
    done = world.kubectl("exec", "web", "--", "curl", "-s", "http://localhost/page.html")
    assert done.stdout == source.read_text()


def test_kubectl_run_attaches_to_what_it_started(world: World) -> None:
    override = '{"spec":{"nodeName":"node-a"}}'
    done = world.kubectl(
        *(
            "run",
            "once",
            "-i",
            "--rm",
            "--restart=Never",
            "--image=busybox",
            f"--overrides={override}",
            "--quiet",
            "--",
        ),
        *("sh", "-c", "read line; echo got $line"),
        stdin="hello\n",
    )
    assert "got hello" in done.stdout
    assert world.get("pod", "once") is None


def test_run_with_a_terminal_attaches_and_removes_the_pod_afterwards(world: World) -> None:
    ours, theirs = pty.openpty()
    override = '{"spec":{"nodeName":"node-a"}}'
    process = subprocess.Popen(
        world.kubectl_command(
            *("run", "term", "-it", "--rm", "--restart=Never", "--image=busybox", f"--overrides={override}", "--", "sh")
        ),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={"HOME": "/tmp", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    os.close(theirs)
    seen = b""

    def read_until(pattern: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 20
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    seen += os.read(ours, 4096)
                except OSError:
                    return

    wait_for(lambda: (world.get("pod", "term") or {}).get("status", {}).get("phase") == "Running", "it runs")
    os.write(ours, b"\n")
    read_until(b"# ")
    os.write(ours, b"echo here-$((2*21)); exit\n")
    read_until(b"here-42")
    read_until(b'pod "term" deleted')
    process.wait(20)
    os.close(ours)
    assert world.get("pod", "term") is None


def test_debug_adds_a_container_to_a_running_pod(world: World) -> None:
    world.kubectl("debug", "web", "--image=busybox", "-c", "helper", "--", "sh", "-c", "hostname; ip -4 -o a show eth0")

    def output() -> str:
        return world.kubectl("logs", "web", "-c", "helper", check=False).stdout

    address = world.get("pod", "web")["status"]["podIP"]  # type: ignore[index]
    assert f"inet {address}/32" in wait_for(lambda: "inet" in output() and output(), "the helper ran")

    def ended() -> bool:
        statuses = world.get("pod", "web")["status"].get("ephemeralContainerStatuses", [])  # type: ignore[index]
        return bool(statuses and statuses[0]["state"].get("terminated"))

    wait_for(ended, "its end is reported")
    assert world.get("pod", "web")["status"]["phase"] == "Running"  # type: ignore[index]


def test_attach_shows_the_output_of_the_running_command(world: World) -> None:
    process = subprocess.Popen(
        world.kubectl_command("attach", "shell", "-c", "main", "--quiet"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.kill()
    process.wait()
    assert re.match(r"tick \d+", line)


def test_the_kubelet_refuses_clients_without_the_api_servers_certificate(world: World) -> None:
    enter = world.kubectl_command()[:3]
    without = subprocess.run(
        [*enter, "curl", "-sk", "--max-time", "5", f"https://{NODE_IP}:10250/pods"], capture_output=True
    )
    assert without.returncode != 0
    folder = world.base / "node-client"
    folder.mkdir()
    from tortie.apiserver import pki

    authority = pki.load_authority(world.base / "api/pki/ca.crt", world.base / "api/pki/ca.key")
    pair = pki.issue_client_certificate(authority, "system:node:node-b", ["system:nodes"])
    (folder / "c.crt").write_bytes(pair.certificate)
    (folder / "c.key").write_bytes(pair.key)

    def ask(certificate: Path, key: Path) -> str:
        command = [
            "curl",
            "-sk",
            "--max-time",
            "5",
            "--cert",
            str(certificate),
            "--key",
            str(key),
            "-w",
            "%{http_code}",
        ]
        url = f"https://{NODE_IP}:10250/healthz"
        return subprocess.run([*enter, *command, url], capture_output=True, text=True).stdout

    assert ask(folder / "c.crt", folder / "c.key").endswith("403")
    api = world.base / "api/pki/apiserver-kubelet-client"
    assert ask(api.with_suffix(".crt"), api.with_suffix(".key")) == "ok200"


def test_the_echo_program_answers_on_tcp_and_udp(world: World) -> None:
    address = world.get("pod", "echo")["status"]["podIP"]  # type: ignore[index]
    script = (
        "import socket,sys\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        " s = socket.socket(socket.AF_INET, kind); s.settimeout(5); s.connect((sys.argv[1], 7)); s.send(b'ping')\n"
        " print(s.recv(10).decode())\n"
    )
    assert world.run_in_node("python3", "-c", script, address).split() == ["ping", "ping"]


def test_debians_old_kubectl_executes_forwards_and_copies_over_spdy(world: World, tmp_path: Path) -> None:
    done = world.kubectl("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3", old=True, check=False)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert "err\n" in done.stderr
    done = world.kubectl("exec", "-i", "web", "--", "wc", "-c", stdin="z" * 200_000, old=True)
    assert done.stdout.strip() == "200000"
    source = tmp_path / "old.txt"
    source.write_text("old\n" * 1000)
    world.kubectl("cp", str(source), "web:/tmp/old.txt", old=True)
    assert world.kubectl("exec", "web", "--", "cat", "/tmp/old.txt").stdout == source.read_text()
    process = subprocess.Popen(
        world.kubectl_command("port-forward", "pod/web", "18090:80", old=True), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert "18090 -> 80" in process.stdout.readline()
        enter = world.kubectl_command()[:3]
        page = subprocess.run(
            [*enter, "curl", "-s", "--max-time", "10", "http://127.0.0.1:18090/"], capture_output=True
        )
        assert b"Welcome to nginx!" in page.stdout
    finally:
        process.kill()
        process.wait()
    done = world.kubectl("exec", "nosuch", "--", "true", old=True, check=False)
    assert 'pods "nosuch" not found' in done.stderr
