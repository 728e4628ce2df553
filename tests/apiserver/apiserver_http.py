"""A plain HTTP client for tests of the API server: what is on the wire, nothing hidden.

In: a running `ApiServer`. Out: status codes, headers and decoded bodies; watches as iterators of events.
"""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from tools import ApiServer

JSON = "application/json"


@dataclass(slots=True)
class Answer:
    """One answer."""

    status: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Http:
    """Requests as the administrator, or with a token, or as nobody."""

    def __init__(self, server: ApiServer, *, token: str = "", anonymous: bool = False, certificate: Any = None) -> None:
        self.server = server
        self.token = token
        config = yaml.safe_load(server.kubeconfig.read_text())
        ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=ca)
        if certificate is not None or not (token or anonymous):
            user = config["users"][0]["user"]
            pair = certificate or (
                base64.b64decode(user["client-certificate-data"]),
                base64.b64decode(user["client-key-data"]),
            )
            files = [Path(server.data_dir) / f"test-client-{id(self)}.{suffix}" for suffix in ("crt", "key")]
            for file, data in zip(files, pair, strict=True):
                file.write_bytes(data)
            self.tls.load_cert_chain(*files)
            for file in files:
                file.unlink()

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.server.port, context=self.tls, timeout=timeout)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        content: str = JSON,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        sent = dict(headers or {})
        data: bytes | None = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = content
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        connection = self._connect(timeout)
        try:
            connection.request(method, path + ("?" + urlencode(query) if query else ""), data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The decoded body of a request that must succeed."""
        answer = self(method, path, body, **options)
        assert answer.status < 300, answer.data.decode()
        return answer.json

    @contextmanager
    def watch(self, path: str, timeout: float = 10, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of a watch; reading one blocks up to `timeout` seconds."""
        headers = query.pop("headers", {})
        connection = self._connect(timeout)
        try:
            connection.request("GET", f"{path}?{urlencode({'watch': '1', **query})}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise AssertionError(f"{answer.status}: {answer.read().decode()}")
            yield (json.loads(line) for line in iter(answer.readline, b""))
        finally:
            connection.close()


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", **({"labels": labels} if labels else {})},
        "data": data,
    }


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "agnhost", "ports": [{"containerPort": 80}]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": containers, **spec},
    }


MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
