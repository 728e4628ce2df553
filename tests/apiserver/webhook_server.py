"""A TLS webhook server for tests of admission, in a thread of the test: what it answers is the test's to say.

In: a function from the path and the AdmissionReview to an answer. Out: URLs, the CA that vouches for them, and every
review that came in.
"""

import base64
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Review = dict[str, Any]
Answer = Callable[[str, Review], Any]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_pair(folder: Path, names: list[str], *, expired: bool = False) -> tuple[bytes, Path]:
    """The PEM of a new CA, and a file with a certificate that it signed for the names, and its key."""
    now = datetime.datetime.now(datetime.UTC)
    end = now - datetime.timedelta(days=1) if expired else now + datetime.timedelta(days=1)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: str, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name("webhook-ca"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(end)
        )

    ca = (
        builder("webhook-ca", ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    leaf = (
        builder(names[0], key.public_key())
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    file = folder / f"{names[0]}-{now.timestamp()}.pem"
    file.write_bytes(
        leaf.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ca.public_bytes(serialization.Encoding.PEM), file


def allow(review: Review, **more: Any) -> Review:
    """A positive answer."""
    response = {"uid": review["request"]["uid"], "allowed": True, **more}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def deny(review: Review, **status: Any) -> Review:
    """A negative answer."""
    answer = allow(review, **({"status": status} if status else {}))
    answer["response"]["allowed"] = False
    return answer


def patch(review: Review, *operations: Any) -> Review:
    """A positive answer with a JSON patch."""
    data = base64.b64encode(json.dumps(operations).encode()).decode()
    return allow(review, patchType="JSONPatch", patch=data)


class Raw:
    """An answer that is not a review: status, headers and body as they go out."""

    def __init__(self, status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}


class WebhookServer:
    """answer: path -> function; a path without one is answered with `allow`."""

    def __init__(self, folder: Path, names: list[str] | None = None, *, expired: bool = False) -> None:
        self.ca, file = make_pair(folder, names or ["127.0.0.1", "localhost"], expired=expired)
        self.answers: dict[str, Answer] = {}
        self.reviews: list[tuple[str, Review]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                review = json.loads(body)
                outer.reviews.append((path, {**review, "query": query, "host": self.headers.get("Host", "")}))
                answer = outer.answers.get(path, lambda _path, r: allow(r))(path, review)
                raw = answer if isinstance(answer, Raw) else Raw(body=json.dumps(answer).encode())
                try:
                    self.send_response(raw.status)
                    for key, value in {"Content-Type": "application/json", **raw.headers}.items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(raw.body)))
                    self.end_headers()
                    self.wfile.write(raw.body)
                except OSError:
                    return  # the API server has hung up

            def log_message(self, *_: Any) -> None:
                return

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                return  # refused handshakes are part of the tests

        self._server = Quiet(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def seen(self, path: str) -> list[Review]:
        """The requests that came to a path."""
        return [review["request"] for where, review in self.reviews if where == path]

    def client(self, path: str) -> dict[str, Any]:
        """The clientConfig that leads to a path."""
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": base64.b64encode(self.ca).decode()}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextmanager
def webhook_server(folder: Path, **options: Any) -> Iterator[WebhookServer]:
    server = WebhookServer(folder, **options)
    try:
        yield server
    finally:
        server.close()
