"""Whom the server believes: the ConfigMap that the API server in front publishes for its extension servers.

In: kube-system/extension-apiserver-authentication, through `kube.Client`. Out: a `Trust`; a change of its data ends the
process, which starts again with the new one (spec/apiserver-controllers-clis.md 1.2).
"""

from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509

from tortie.apiserver import requestheader
from tortie.apiserver.requestheader import CONFIG_MAP, Trust
from tortie.kube.cache import Cache
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.model.catalog import CONFIG_MAPS
from tortie.service.run import Fatal

NAMESPACE, NAME = CONFIG_MAP


def authorities(pem: str) -> list[x509.Certificate]:
    """The certificates of a bundle. Raises ValueError."""
    return x509.load_pem_x509_certificates(pem.encode()) if pem.strip() else []


async def load(client: Client) -> tuple[Trust, dict[str, Any]]:
    """The trust, and the data that it was read from. Raises Fatal: without it nobody can be told from anybody."""
    try:
        found = await client.get(CONFIG_MAPS, NAME, NAMESPACE)
        data = dict(found.get("data") or {})
        trust = requestheader.read(data)
        for pem in (trust.authority, trust.client_authority):
            authorities(pem)
    except (ApiError, ValueError) as error:
        raise Fatal(f"cannot use ConfigMap {NAMESPACE}/{NAME}: {error}") from None
    return trust, data


def follow(client: Client, data: Mapping[str, Any], changed: Callable[[str], None]) -> Cache[dict[str, Any]]:
    """A cache to run; `changed` is told, with a reason, when the data is no longer the one that was loaded."""
    seen: set[str] = set()

    def on_event(_change: str, _old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        seen.add(NAME)
        if new is None:
            changed("was deleted")
        elif dict(new.get("data") or {}) != data:
            changed("has changed")

    def on_status(status: str) -> None:
        if status == "synced" and not seen:
            changed("was deleted")

    return Cache(
        client,
        CONFIG_MAPS,
        namespace=NAMESPACE,
        field_selector=f"metadata.name={NAME}",
        on_event=on_event,
        on_status=on_status,
    )
