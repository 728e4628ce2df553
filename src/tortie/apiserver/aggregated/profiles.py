"""Profiles, which nobody stores: one for each namespace and service account, and the one that allows everything.

In: the namespaces and service accounts that the backend mirrors. Out: records of a collection that is only read
(spec/resources.md 4.1). Its revisions are made here, since two histories flow together in it.
"""

from typing import Any

import msgspec

from tortie.apiserver.memory import Memory
from tortie.apiserver.records import Collection, Event, Key, Object, Record
from tortie.model import convert, dataplane
from tortie.model.catalog import NAMESPACES, PROFILES, SERVICE_ACCOUNTS
from tortie.model.convert.profiles import DEFAULT_ALLOW
from tortie.model.names import namespace_profile, reversed_uid, service_account_profile

COLLECTION = f"{PROFILES.group}/{PROFILES.plural}"
_SOURCES = {"/namespaces": NAMESPACES, "/serviceaccounts": SERVICE_ACCOUNTS}
_ALLOW = [{"action": "Allow"}]


def profile_of(collection: str, obj: Object) -> Object:
    """The Profile of a namespace or service account."""
    resource: Any = _SOURCES[collection]
    typed = msgspec.convert(obj, resource.type)
    meta = obj["metadata"]
    if collection == "/namespaces":
        name, update = namespace_profile(meta["name"]), convert.namespace_to_profile(typed)
        spec: Object = {"ingress": _ALLOW, "egress": _ALLOW}
    else:
        name = service_account_profile(meta["namespace"], meta["name"])
        update, spec = convert.service_account_to_profile(typed), {}
    assert isinstance(update.value, dataplane.Profile)
    spec["labelsToApply"] = dict(update.value.labels)
    return _profile(name, spec, uid=reversed_uid(meta["uid"]), created=meta.get("creationTimestamp"))


def _profile(name: str, spec: Object, *, uid: str = "", created: str | None = None) -> Object:
    meta: Object = {"name": name}
    if uid:
        meta["uid"] = uid
    if created:
        meta["creationTimestamp"] = created
    return {"apiVersion": PROFILES.api_version, "kind": PROFILES.kind, "metadata": meta, "spec": spec}


def serve(memory: Memory) -> None:
    """Fills the collection from what is mirrored now, and keeps it so."""
    collection = memory.collection(COLLECTION)
    place = _Derived(memory, collection)
    place.change("", _profile(DEFAULT_ALLOW, {"ingress": _ALLOW, "egress": _ALLOW}), ("", DEFAULT_ALLOW))
    for name in _SOURCES:
        for record in memory.collection(name).select(None):
            place.change(name, record.decode(), None)
    memory.on_event.append(place.listen)


class _Derived:
    def __init__(self, memory: Memory, collection: Collection) -> None:
        self.memory = memory
        self.collection = collection

    def listen(self, source: Collection, event: Event) -> None:
        if source.name not in _SOURCES:
            return
        if event.new is not None:
            self.change(source.name, event.new.decode(), None)
        elif event.old is not None:
            gone = profile_of(source.name, event.old.decode())
            self.show(("", gone["metadata"]["name"]), None)

    def change(self, source: str, obj: Object, key: Key | None) -> None:
        profile = obj if key is not None else profile_of(source, obj)
        key = key or ("", profile["metadata"]["name"])
        before = self.collection.get(key)
        if before is not None:
            old = before.decode()
            old["metadata"].pop("resourceVersion", None)
            if old == profile:
                return
        self.show(key, profile)

    def show(self, key: Key, profile: Object | None) -> None:
        before = self.collection.get(key)
        if before is None and profile is None:
            return
        revision = self.memory.revision + 1
        after: Record | None = None
        if profile is not None:
            profile["metadata"]["resourceVersion"] = str(revision)
            after = self.collection.record(key, revision, msgspec.json.encode(profile), profile)
        self.memory.show(self.collection, Event(revision, key, before, after, self.memory.clock()))
