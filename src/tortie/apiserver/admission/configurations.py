"""The webhooks of all stored configurations, ready to be asked.

In: Mutating- and ValidatingWebhookConfiguration objects, read again after each change of them. Out: `Webhook`s in the
order of their calls: by name of the configuration, then as listed in it.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tortie.apiserver.admission.matching import GROUP
from tortie.apiserver.context import Context
from tortie.apiserver.records import Collection, Event

Object = dict[str, Any]
Phase = Literal["mutating", "validating"]
COLLECTIONS: Mapping[Phase, str] = {
    "mutating": f"{GROUP}/mutatingwebhookconfigurations",
    "validating": f"{GROUP}/validatingwebhookconfigurations",
}


@dataclass(frozen=True, slots=True)
class ServiceReference:
    """A Service of this cluster, the port it is asked on, and the path."""

    namespace: str
    name: str
    port: int
    path: str

    @property
    def server_name(self) -> str:
        return f"{self.name}.{self.namespace}.svc"


@dataclass(frozen=True, slots=True)
class Reach:
    """How a webhook is reached. ca: PEM, empty for the system's authorities. seconds: what one call may take."""

    url: str
    service: ServiceReference | None
    ca: bytes
    seconds: int

    @property
    def target(self) -> str:
        """The URL as messages show it."""
        if self.service is None:
            return self.url
        return f"https://{self.service.server_name}:{self.service.port}{self.service.path}"


def reach(client: Mapping[str, Any], seconds: int) -> Reach:
    """Reads a clientConfig."""
    service = client.get("service")
    return Reach(
        url=str(client.get("url") or ""),
        service=None
        if not service
        else ServiceReference(
            str(service.get("namespace", "")),
            str(service.get("name", "")),
            int(service.get("port") or 443),
            str(service.get("path") or "/"),
        ),
        ca=base64.b64decode(client.get("caBundle") or ""),
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook. index: its place in its configuration."""

    configuration: str
    index: int
    name: str
    reach: Reach
    rules: tuple[Mapping[str, Any], ...]
    fail: bool
    equivalent: bool
    namespace_selector: Object
    object_selector: Object
    conditions: tuple[tuple[str, str], ...]
    dry_runnable: bool
    reinvoke: bool
    versions: tuple[str, ...] = field(default=("v1",))


def read(configuration: Object) -> list[Webhook]:
    """The webhooks of one configuration that has its defaults."""
    found = []
    for index, entry in enumerate(configuration.get("webhooks") or ()):
        found.append(
            Webhook(
                configuration=configuration["metadata"]["name"],
                index=index,
                name=str(entry.get("name", "")),
                reach=reach(entry.get("clientConfig") or {}, int(entry.get("timeoutSeconds") or 10)),
                rules=tuple(entry.get("rules") or ()),
                fail=entry.get("failurePolicy", "Fail") != "Ignore",
                equivalent=entry.get("matchPolicy", "Equivalent") != "Exact",
                namespace_selector=entry.get("namespaceSelector") or {},
                object_selector=entry.get("objectSelector") or {},
                conditions=tuple(
                    (str(c.get("name", "")), str(c.get("expression", ""))) for c in entry.get("matchConditions") or ()
                ),
                dry_runnable=entry.get("sideEffects") in {"None", "NoneOnDryRun"},
                reinvoke=entry.get("reinvocationPolicy") == "IfNeeded",
                versions=tuple(entry.get("admissionReviewVersions") or ("v1",)),
            )
        )
    return found


class Configurations:
    """The webhooks of each phase; read from the store when first asked for after a change."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[Phase, tuple[Webhook, ...]] = {}
        context.store.on_event.append(self._forget)

    def _forget(self, collection: Collection, _event: Event) -> None:
        for phase, name in COLLECTIONS.items():
            if collection.name == name:
                self._known.pop(phase, None)

    def webhooks(self, phase: Phase) -> tuple[Webhook, ...]:
        """In calling order."""
        known = self._known.get(phase)
        if known is None:
            records = self._context.store.collection(COLLECTIONS[phase]).select(None)
            known = tuple(webhook for record in records for webhook in read(record.decode()))
            self._known[phase] = known
        return known
