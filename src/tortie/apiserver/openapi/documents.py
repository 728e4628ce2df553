"""Whole OpenAPI documents, cached until the registry changes.

In: the registry. Out: encoded bytes with their hashes: /openapi/v2 as JSON or gnostic protobuf, /openapi/v3 and one
document for each group and version. kubectl reads from them how to explain, validate, patch and dry-run.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from tortie.apiserver.kinds import Kind
from tortie.apiserver.openapi import gnostic
from tortie.apiserver.openapi.definitions import META, Writer, gvk
from tortie.apiserver.openapi.operations import add_paths
from tortie.apiserver.registry import GroupVersion, Registry

if TYPE_CHECKING:
    from tortie.apiserver.proxying.aggregator import Aggregator

Object = dict[str, Any]


def _add_kinds(writer: Writer, kinds: Iterable[Kind]) -> None:
    marks: dict[str, list[Object]] = {}
    for kind in kinds:
        if kind.custom:
            writer.custom(kind)
        else:
            marks.setdefault(kind.schema.ref, []).append(gvk(kind))
            writer.builtin(kind.schema.ref, marks[kind.schema.ref])
        if "list" in kind.verbs:
            writer.list_of(kind)
        for sub in kind.subresources.values():
            if sub.kind in {"Scale", "Eviction", "Binding", "TokenRequest"}:
                writer.builtin(
                    sub.kind,
                    [{"group": sub.group or kind.group, "version": sub.version or kind.version, "kind": sub.kind}],
                )
    for name in ("DeleteOptions", "Status"):
        writer.builtin(name)
    writer.definitions[f"{META}.Patch"] = {
        "description": "A merge patch, or a strategic one: an object with what is to be changed.",
        "type": "object",
    }


def version3(gv: GroupVersion, server_version: str) -> Object:
    """The document of one group and version."""
    writer = Writer(3)
    kinds = [gv.kinds[p] for p in sorted(gv.kinds)]
    _add_kinds(writer, kinds)
    paths: Object = {}
    for kind in kinds:
        add_paths(paths, kind, writer)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {"schemas": dict(sorted(writer.definitions.items()))},
    }


def version2(registry: Registry, server_version: str) -> Object:
    """The document of everything."""
    writer = Writer(2)
    kinds = [gv.kinds[p] for _, versions in registry.groups() for gv in versions for p in sorted(gv.kinds)]
    _add_kinds(writer, kinds)
    paths: Object = {}
    for kind in kinds:
        add_paths(paths, kind, writer)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(writer.definitions.items())),
    }


class Documents:
    """Documents of one server; each is made when first asked for and kept compressed."""

    def __init__(self, registry: Registry, server_version: str, aggregator: "Aggregator | None" = None) -> None:
        self.registry = registry
        self.server_version = server_version
        self.aggregator = aggregator
        self._generation = (-1, -1)
        self._kept: dict[str, tuple[bytes, str]] = {}

    def _get(self, name: str, make: Callable[[], bytes]) -> tuple[bytes, str]:
        generation = (self.registry.generation, self.aggregator.generation if self.aggregator else 0)
        if self._generation != generation:
            self._kept.clear()
            self._generation = generation
        found = self._kept.get(name)
        if found is None:
            body = make()
            found = self._kept[name] = (gzip.compress(body, 4), hashlib.sha512(body).hexdigest().upper())
        return found

    def v2_json(self) -> tuple[bytes, str]:
        """/openapi/v2 as JSON, compressed, and its hash."""
        return self._get("v2", lambda: msgspec.json.encode(self._version2()))

    def v2_protobuf(self) -> tuple[bytes, str]:
        """/openapi/v2 as gnostic protobuf, compressed, and its hash."""
        return self._get("v2pb", lambda: gnostic.document(self._version2()))

    def _version2(self) -> Object:
        tree = version2(self.registry, self.server_version)
        return self.aggregator.openapi_v2(tree) if self.aggregator else tree

    def v3(self, group: str, version: str) -> tuple[bytes, str] | None:
        """The document of a group and version, compressed, and its hash."""
        gv = self.registry.versions.get((group, version))
        if gv is None:
            return None
        return self._get(f"{group}/{version}", lambda: msgspec.json.encode(version3(gv, self.server_version)))

    def v3_index(self) -> Object:
        """The body of /openapi/v3."""
        paths: Object = {}
        for (group, version), _ in sorted(self.registry.versions.items()):
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            found = self.v3(group, version)
            assert found is not None
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={found[1]}"}
        for name, tag in (self.aggregator.openapi_v3() if self.aggregator else {}).items():
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={tag}"}
        return {"paths": dict(sorted(paths.items()))}
