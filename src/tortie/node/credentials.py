"""Keeps the kubeconfig of the CNI plugin's executables fresh: a token that lives a day, renewed well before it ends.

For the node services. In: a client that may request tokens of one service account. Out: a file that root alone may read
(spec/cni-ipam-node.md 3.8). Tortie's own executables talk to the agent and need none; other tools that expect it do.
"""

import asyncio
import base64
import json
import os
import random
import time
from datetime import datetime
from pathlib import Path

from tortie.kube.client import Client
from tortie.kube.config import ClusterConfig
from tortie.kube.errors import ApiError
from tortie.service.log import get_logger

_log = get_logger("node.credentials")

_LIFE_SECONDS = 24 * 3600
_MIN_WAIT = 5.0


async def keep_fresh(client: Client, *, path: Path, namespace: str, override: float = 0.0) -> None:
    """Writes and renews the file for ever. override: seconds between renewals, 0 for the usual rule."""
    account = os.environ.get("CALICO_CNI_SERVICE_ACCOUNT", "") or "calico-cni-plugin"
    failures = 0
    while True:
        try:
            token, expires = await _request(client, namespace, account)
            _write(path, kubeconfig(client.config, token))
        except (ApiError, OSError) as e:
            failures += 1
            if failures in (1, 10, 100):
                _log.warning("no token for the CNI plugin's kubeconfig", account=account, reason=str(e))
            await asyncio.sleep(min(600.0, _MIN_WAIT * 2 ** min(failures, 7)))
            continue
        failures = 0
        await asyncio.sleep(override or next_renewal(expires - time.time(), random.random()))  # noqa: S311 - only spreads load


def next_renewal(remaining: float, chance: float) -> float:
    """A quarter of the token's remaining life, and up to as much again by chance, at least five seconds."""
    return max(_MIN_WAIT, remaining / 4 * (1 + chance))


def kubeconfig(config: ClusterConfig, token: str) -> str:
    """JSON, which is YAML too."""
    cluster: dict[str, object] = {"server": config.server}
    if config.insecure:
        cluster["insecure-skip-tls-verify"] = True
    elif config.ca is not None:
        pem = config.ca if isinstance(config.ca, bytes) else config.ca.read_bytes()
        cluster["certificate-authority-data"] = base64.b64encode(pem).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": "calico", "user": {"token": token}}],
            "contexts": [{"name": "calico-context", "context": {"cluster": "local", "user": "calico"}}],
            "current-context": "calico-context",
        },
        indent=1,
    )


async def _request(client: Client, namespace: str, account: str) -> tuple[str, float]:
    """The token and when it ends, in seconds since 1970."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _LIFE_SECONDS},
    }
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    status = json.loads(await client.raw("POST", path, body=body))["status"]
    expires = datetime.fromisoformat(status["expirationTimestamp"].replace("Z", "+00:00")).timestamp()
    return status["token"], expires


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
