"""Opens connections without a pause from inside a pod's namespace until stdin closes; counts what happened.

In: a JSON object as the first argument, lists `allowed` and `denied` of [host, port]. Out: at the end one
JSON object: how many allowed connections were made, which failed and how, how many denied attempts were made, and
which of them succeeded. Each allowed connection sends a line and must get it back.
"""

import json
import select
import socket
import sys
import threading
import time

PATIENCE = 5.0
PAUSE = 0.01
LINE = b"steady\n"


def main() -> None:
    wanted = json.loads(sys.argv[1])
    stop = threading.Event()
    counts = {"allowed": 0, "failed": [], "denied": 0, "succeeded": [], "slowest": 0.0}
    lock = threading.Lock()
    threads = [
        threading.Thread(target=_allowed, args=(host, port, stop, counts, lock)) for host, port in wanted["allowed"]
    ] + [threading.Thread(target=_denied, args=(host, port, stop, counts, lock)) for host, port in wanted["denied"]]
    for thread in threads:
        thread.start()
    print("started", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


def _allowed(host: str, port: int, stop: threading.Event, counts: dict, lock: threading.Lock) -> None:
    while not stop.is_set():
        started = time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=PATIENCE) as connection:
                connection.sendall(LINE)
                answer = connection.recv(len(LINE))
            problem = "" if answer == LINE else f"got {answer!r}"
        except OSError as error:
            problem = str(error)
        with lock:
            counts["slowest"] = max(counts["slowest"], time.monotonic() - started)
            if problem:
                counts["failed"].append(f"{host}:{port} {problem}")
            else:
                counts["allowed"] += 1
        stop.wait(PAUSE)


def _denied(host: str, port: int, stop: threading.Event, counts: dict, lock: threading.Lock) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while not stop.is_set():
        # Short-lived attempts, many of them: a leak of a few milliseconds must be seen.
        attempts = [socket.socket(family, socket.SOCK_STREAM) for _ in range(8)]
        poll = select.poll()
        for attempt in attempts:
            attempt.setblocking(False)
            attempt.connect_ex((host, port))
            poll.register(attempt, select.POLLOUT)
            stop.wait(PAUSE)
        poll.poll(100)
        leaked = [a for a in attempts if a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and _connected(a)]
        with lock:
            counts["denied"] += len(attempts)
            counts["succeeded"] += [f"{host}:{port}" for _ in leaked]
        for attempt in attempts:
            attempt.close()


def _connected(attempt: socket.socket) -> bool:
    try:
        attempt.getpeername()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
