"""The executables `calico` and `calico-ipam`: hand a CNI call to the node agent and print its answer.

Started by kubelet for every pod, so it imports only C modules of the interpreter and starts in about the time Python
itself needs. In: CNI environment variables, standard input, the name it was started by; the pod's network namespace is
opened here, where its path means what the caller meant, and passed as a descriptor. Out: the agent's answer and exit
code. While the agent restarts the call waits; after that the error is code 11, which means: try again later.

`tortie cni install` copies this file, with a first line that names the interpreter; it must stay free of other imports.
For tests, TORTIE_CNI_SOCKET and TORTIE_CNI_WAIT (seconds) in the environment replace the constants below.
"""

import _socket
import posix
import sys
import time

SOCKET = "/var/run/calico/cni.sock"
VERSION = "0.0.0"
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
WAIT_SECONDS = 10.0
ANSWER_SECONDS = 150.0
PASSED = (b"CNI_", b"FELIX_INTERFACEPREFIX", b"KUBERNETES_NODE_NAME", b"PATH")


def read_all(descriptor: int) -> bytes:
    chunks = []
    while chunk := posix.read(descriptor, 65536):
        chunks.append(chunk)
    return b"".join(chunks)


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[posix.write(descriptor, data) :]


def refuse(code: int, text: str, details: str = "") -> None:
    quoted = [part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for part in (text, details)]
    write_all(1, f'{{"cniVersion":"1.0.0","code":{code},"msg":"{quoted[0]}","details":"{quoted[1]}"}}\n'.encode())
    posix._exit(1)


def exchange(path: str, header: bytes, body: bytes, netns: int | None) -> bytes:
    """One attempt: the whole answer, or OSError if the agent is not there or goes away."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(ANSWER_SECONDS)
    connection.connect(path)
    rights = [] if netns is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, sys.byteorder))]
    connection.sendmsg([header], rights)
    connection.sendall(body)
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.close()
    if len(answer) < 12 or len(answer) != 12 + sum(int.from_bytes(answer[at : at + 4], "big") for at in (4, 8)):
        raise OSError(104, "the agent ended the connection before it had answered")
    return answer


def main() -> None:
    environment = posix.environ
    name = sys.argv[0].rpartition("/")[2]
    arguments = sys.argv[1:]
    command = environment.get(b"CNI_COMMAND", b"")
    if arguments == ["-v"]:
        write_all(1, VERSION.encode() + b"\n")
        posix._exit(0)
    if not arguments and not command:
        write_all(2, f"Tortie CNI plugin {name} {VERSION}; CNI protocol versions {', '.join(VERSIONS)}\n".encode())
        posix._exit(0)
    if command == b"VERSION":
        listed = '","'.join(VERSIONS)
        write_all(1, f'{{"cniVersion":"{VERSIONS[-1]}","supportedVersions":["{listed}"]}}\n'.encode())
        posix._exit(0)
    passed = b"\0".join(key + b"=" + value for key, value in environment.items() if key.startswith(PASSED))
    parts = ["\0".join([name, *arguments]).encode(), passed, read_all(0)]
    netns = None
    if path := environment.get(b"CNI_NETNS"):
        try:  # noqa: SIM105  # contextlib costs start-up time
            netns = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            pass  # it has vanished, which the agent understands from the missing descriptor
    address = environment.get(b"TORTIE_CNI_SOCKET", b"").decode() or SOCKET
    wait = float(environment.get(b"TORTIE_CNI_WAIT", b"") or WAIT_SECONDS)
    deadline = time.monotonic() + wait
    pause = 0.01
    attempt = 0
    while True:
        header = b"tcni" + attempt.to_bytes(4, "big") + b"".join(len(part).to_bytes(4, "big") for part in parts)
        try:
            answer = exchange(address, header, b"".join(parts), netns)
            break
        except TimeoutError:
            refuse(11, "the CNI agent did not answer in time", f"{address}: no answer in {ANSWER_SECONDS:.0f} s")
        except OSError as error:
            if error.errno not in (2, 11, 32, 103, 104, 111):  # absent, busy, broken, aborted, reset, refused
                refuse(11, "cannot reach the CNI agent", f"{address}: {error}")
            if time.monotonic() >= deadline:
                refuse(11, "the CNI agent is not running; try again later", f"{address}: {error}; waited {wait:.0f} s")
            # An attempt that the agent had accepted may have left something behind: the next one says so.
            attempt += error.errno in (32, 103, 104)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
    out = int.from_bytes(answer[4:8], "big")
    write_all(1, answer[12 : 12 + out])
    write_all(2, answer[12 + out :])
    posix._exit(int.from_bytes(answer[:4], "big"))


if __name__ == "__main__":
    main()
