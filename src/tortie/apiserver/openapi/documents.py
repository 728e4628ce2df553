"""Whole OpenAPI documents, cached until the registry changes.

In: the registry. Out: encoded bytes with their hashes: /openapi/v2 as JSON or gnostic protobuf, /openapi/v3 and one
document for each group and version. kubectl reads from them how to explain, validate, patch and dry-run.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from tortie.apiserver.kinds import Kind, Subresource
from tortie.apiserver.openapi import gnostic
from tortie.apiserver.openapi.definitions import Writer, gvk, kind_name
from tortie.apiserver.registry import GroupVersion, Registry

if TYPE_CHECKING:
    from tortie.apiserver.proxying.aggregator import Aggregator

Object = dict[str, Any]
_CONSUMED = ["application/json", "application/yaml"]
_VERBS = {"get": "get", "list": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_ACTIONS = {"get": "get", "list": "list", "create": "post", "update": "put", "patch": "patch", "delete": "delete",
            "deletecollection": "deletecollection"}  # fmt: skip
_QUERY = {
    "dryRun": "All: check the request and store nothing.",
    "fieldManager": "Who is changing the object, as managedFields will name it.",
    "fieldValidation": "What unknown and repeated fields cause: Ignore, Warn or Strict.",
    "force": "Server-side apply: take over fields that others own.",
}


def patch_types(kind: Kind) -> list[str]:
    """The media types of PATCH bodies."""
    types = ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
    return types if kind.custom else [*types[:2], "application/strategic-merge-patch+json", types[2]]


def _paths(kind: Kind) -> Iterable[tuple[str, list[tuple[str, str]], Subresource | None]]:
    """(path, [(verb, HTTP method)], subresource) of every path of a kind."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    collection: list[tuple[str, str]] = [(v, _VERBS[v]) for v in ("list", "create") if v in kind.verbs]
    if "deletecollection" in kind.verbs:
        collection.append(("deletecollection", "delete"))
    yield base, collection, None
    if kind.namespaced and "list" in kind.verbs:
        yield f"{root}/{kind.plural}", [("list", "get")], None
    if kind.stored:
        yield (
            f"{base}/{{name}}",
            [(v, _VERBS[v]) for v in ("get", "update", "patch", "delete") if v in kind.verbs],
            None,
        )
    for sub in kind.subresources.values():
        verbs: list[tuple[str, str]] = [(v, _VERBS[v]) for v in ("get", "update", "patch", "create") if v in sub.verbs]
        yield f"{base}/{{name}}/{sub.name}", verbs, sub


def _operation(kind: Kind, verb: str, sub: Subresource | None, version: int, prefix: str) -> Object:
    shown = gvk(kind)
    if sub is not None and sub.kind != kind.kind:
        shown = {"group": sub.group or kind.group, "version": sub.version or kind.version, "kind": sub.kind}
    scope = "Namespaced" if kind.namespaced else ""
    part = f"{sub.name.capitalize()}" if sub else ""
    group = (kind.group.partition(".")[0] or "core").capitalize()
    operation: Object = {
        "operationId": f"{verb}{group}{kind.version.capitalize()}{scope}{kind.kind}{part}",
        "tags": [f"{group.lower()}_{kind.version}"],
        "x-kubernetes-action": _ACTIONS[verb],
        "x-kubernetes-group-version-kind": shown,
    }
    names = []
    if verb in {"create", "update", "patch"}:
        names = ["dryRun", "fieldManager", "fieldValidation"]
        if verb == "patch":
            names.append("force")
    elif verb in {"delete", "deletecollection"}:
        names = ["dryRun"]
    reference = {"$ref": prefix + kind_name(kind)}
    if version == 3:
        operation["parameters"] = [
            {"name": name, "in": "query", "description": _QUERY[name],
             "schema": {"type": "boolean" if name == "force" else "string", "uniqueItems": True}}
            for name in names
        ]  # fmt: skip
        if verb == "patch":
            operation["requestBody"] = {
                "required": True,
                "content": {t: {"schema": {"type": "object"}} for t in patch_types(kind)},
            }
        elif verb in {"create", "update"}:
            operation["requestBody"] = {"required": True, "content": {"*/*": {"schema": reference}}}
        operation["responses"] = {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}}
    else:
        operation["parameters"] = [
            {
                "name": name,
                "in": "query",
                "description": _QUERY[name],
                "type": "boolean" if name == "force" else "string",
            }
            for name in names
        ]
        operation["consumes"] = patch_types(kind) if verb == "patch" else ["*/*"]
        operation["produces"] = _CONSUMED
        operation["responses"] = {"200": {"description": "OK"}}
    return operation


def _add_paths(paths: Object, kind: Kind, version: int, prefix: str) -> None:
    for path, verbs, sub in _paths(kind):
        item = paths.setdefault(path, {})
        for verb, method in verbs:
            item[method] = _operation(kind, verb, sub, version, prefix)


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
    for name in ("DeleteOptions",):
        writer.builtin(name)


def version3(gv: GroupVersion, server_version: str) -> Object:
    """The document of one group and version."""
    writer = Writer(3)
    kinds = [gv.kinds[p] for p in sorted(gv.kinds)]
    _add_kinds(writer, kinds)
    paths: Object = {}
    for kind in kinds:
        _add_paths(paths, kind, 3, writer.prefix)
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
        _add_paths(paths, kind, 2, writer.prefix)
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
