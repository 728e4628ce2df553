"""Custom kinds: CustomResourceDefinitions turned into served resources.

In: stored definitions. Out: `Kind`s in the registry, one for each served version; when a definition goes, its objects
go first and then the kinds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tortie.apiserver import deletes, jsonpath, writes
from tortie.apiserver.admission.configurations import reach
from tortie.apiserver.builtin.definitions import COLLECTION, FINALIZER
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.errors import Cause, StatusError
from tortie.apiserver.kinds import Conversion, Hooks, Kind, Subresource
from tortie.apiserver.objects import get, text
from tortie.apiserver.records import Collection, Event
from tortie.apiserver.requests import RequestInfo
from tortie.apiserver.schema import dsl
from tortie.apiserver.schema.default import apply_defaults, has_defaults
from tortie.apiserver.schema.node import Node, from_openapi, has_rules
from tortie.apiserver.schema.validate import validate

if TYPE_CHECKING:
    from tortie.apiserver.schema.rules import Rules

if TYPE_CHECKING:
    from tortie.apiserver.schema.rules import Rules

Object = dict[str, Any]
_WRITE = ("get", "patch", "update")
_CONVERSION_SECONDS = 30


def serve_all(context: Context) -> None:
    """Serves every stored definition, at start."""
    for record in context.store.collection(COLLECTION).select(None):
        serve(context, record.decode())


async def resume(context: Context) -> None:
    """Finishes deletions that a stop interrupted."""
    for record in list(context.store.collection(COLLECTION).select(None)):
        obj = record.decode()
        if obj["metadata"].get("deletionTimestamp"):
            await clean_up(context, obj)


def _established(obj: Object) -> bool:
    return any(
        c.get("type") == "Established" and c.get("status") == "True" for c in get(obj, "status", "conditions") or ()
    )


_BLOCKING = frozenset(
    [f"FieldValue{word}" for word in ("NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid")]
)
"""Mistakes after which rules are not asked: an object of a wrong shape would only make them fail, or cost too much."""
_UNCHECKED = Cause(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


def _hooks(schema: Node) -> Hooks:
    def default(obj: Object) -> None:
        for key, below in schema.properties.items():
            if key not in {"metadata", "apiVersion", "kind"}:
                apply_defaults(Node(type="object", properties={key: below}), obj)

    bare = Node(
        type="object",
        properties={k: v for k, v in schema.properties.items() if k not in {"metadata", "apiVersion", "kind"}},
        required=tuple(r for r in schema.required if r not in {"metadata", "apiVersion", "kind"}),
        values=schema.values,
        preserve=schema.preserve,
        checks=schema.checks,
    )
    ruled = has_rules(schema)
    rules: list[Rules | None] = []  # compiled at the first write, since most definitions see none after a start

    def check(obj: Object, old: Object | None) -> list[Cause]:
        body = {k: v for k, v in obj.items() if k not in {"metadata", "apiVersion", "kind"}}
        if old is None:
            causes = validate(bare, body, "")
        else:
            before = {k: v for k, v in old.items() if k not in {"metadata", "apiVersion", "kind"}}
            causes = validate(bare, body, "", before)
        if not ruled:
            return causes
        if any(cause.reason in _BLOCKING for cause in causes):
            return [*causes, _UNCHECKED]
        from tortie.apiserver.schema import rules as compiled  # late: most servers never meet an expression

        if not rules:
            rules.append(compiled.compile_rules(schema))
        return causes if rules[0] is None else causes + compiled.check(rules[0], obj, old)

    return Hooks(default=default if has_defaults(schema) else lambda _obj: None, validate=check)


def _conversion(context: Context, obj: Object, schemas: Mapping[str, Node]) -> Conversion | None:
    """How objects get into another version, if a webhook is to do it."""
    spec = obj["spec"]
    declared = spec.get("conversion") or {}
    if declared.get("strategy") != "Webhook" or len(spec["versions"]) < 2:
        return None
    from tortie.apiserver.conversion_webhook import WebhookConverter  # late: few definitions have one

    storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
    return WebhookConverter(
        lambda: context.admission.webhooks.client if context.admission is not None else None,
        reach((declared.get("webhook") or {}).get("clientConfig") or {}, _CONVERSION_SECONDS),
        kind=spec["names"]["kind"],
        storage=f"{spec['group']}/{storage}",
        schemas=schemas,
    )


def _kinds(context: Context, obj: Object) -> list[tuple[Kind, int]]:
    spec = obj["spec"]
    names = spec["names"]
    versions = [v for v in spec["versions"] if v.get("served")]
    storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
    schemas = {f"{spec['group']}/{v['name']}": _schema(v) for v in spec["versions"]}
    conversion = _conversion(context, obj, schemas)
    found = []
    for rank, version in enumerate(sorted(versions, key=lambda v: _version_rank(v["name"]))):
        schema = schemas[f"{spec['group']}/{version['name']}"]
        subresources: dict[str, Subresource] = {}
        declared = version.get("subresources") or {}
        if declared.get("status") is not None:
            subresources["status"] = Subresource("status", names["kind"], _WRITE)
        scale = declared.get("scale")
        if scale:
            subresources["scale"] = Subresource("scale", "Scale", _WRITE, "autoscaling", "v1")
        group = spec["group"]

        def stored(tree: Object, group: str = group) -> Object:
            return {**tree, "apiVersion": f"{group}/{storage}"}

        def shown(tree: Object, schema: Node = schema, api: str = f"{group}/{version['name']}") -> Object:
            tree["apiVersion"] = api
            for key, below in schema.properties.items():
                if key not in {"metadata", "apiVersion", "kind"}:
                    apply_defaults(Node(type="object", properties={key: below}), tree)
            return tree

        kind = Kind(
            group=group,
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            namespaced=spec["scope"] == "Namespaced",
            schema=schema,
            singular=names.get("singular", ""),
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=subresources,
            selectable={
                f["jsonPath"].lstrip("."): text(*f["jsonPath"].strip(".").split("."))
                for f in version.get("selectableFields") or ()
            },
            table=jsonpath.table(version.get("additionalPrinterColumns") or ()),
            hooks=_hooks(schema),
            custom=True,
            has_status="status" in subresources,
            unconditional_update=False,
            convert_in=stored,
            convert_out=shown if has_defaults(schema) else None,
            conversion=conversion,
            warning=_deprecation(group, version, names) if version.get("deprecated") else "",
            scale={
                "spec": scale.get("specReplicasPath", ""),
                "status": scale.get("statusReplicasPath", ""),
                "selector": scale.get("labelSelectorPath", ""),
            }
            if scale
            else None,
        )
        found.append((kind, len(versions) - rank))
    return found


def _schema(version: Object) -> Node:
    source = get(version, "schema", "openAPIV3Schema") or {"type": "object"}
    return from_openapi(source, metadata=dsl.types()["ObjectMeta"], top=True)


def _deprecation(group: str, version: Object, names: Object) -> str:
    return version.get("deprecationWarning") or f"{group}/{version['name']} {names['kind']} is deprecated"


def _version_rank(name: str) -> tuple[int, int, int, str]:
    """v2 before v1 before v1beta2 before v1alpha1 before anything else."""
    import re

    match = re.match(r"^v(\d+)(?:(alpha|beta)(\d+))?$", name)
    if match is None:
        return (3, 0, 0, name)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), name)


def serve(context: Context, obj: Object) -> None:
    """Brings the registry in line with a definition. Kinds that the server has natively stay as they are."""
    registry, spec = context.registry, obj["spec"]
    group, plural = spec["group"], spec["names"]["plural"]
    kinds = _kinds(context, obj) if _established(obj) else []
    served = {kind.version for kind, _ in kinds}
    for version in [v for g, v in registry.versions if g == group]:
        have = registry.find(group, version, plural)
        if have is not None and have.definition and version not in served:
            registry.remove(group, version, plural)
    for kind, priority in kinds:
        have = registry.find(group, kind.version, plural)
        if have is not None and not have.definition:
            continue
        kind.definition = obj["metadata"]["name"]
        if obj["metadata"].get("deletionTimestamp"):
            kind.verbs = tuple(v for v in kind.verbs if v != "create")
        registry.add(kind, version_priority=priority)
        collection = context.store.collection(kind.collection)
        if priority == len(kinds):
            context.store.reindex(collection, kind.fields)


def withdraw(context: Context, obj: Object) -> None:
    """Stops serving a definition's kinds."""
    spec = obj["spec"]
    group, plural = spec["group"], spec["names"]["plural"]
    for version in [v for g, v in list(context.registry.versions) if g == group]:
        kind = context.registry.find(group, version, plural)
        if kind is not None and kind.definition == obj["metadata"]["name"]:
            context.registry.remove(group, version, plural)
            context.store.drop_collection(kind.collection)


def watch_empty(context: Context) -> None:
    """Finishes a definition's deletion when the last of its objects, held back by finalizers, goes."""

    def listen(collection: Collection, event: Event) -> None:
        if event.new is not None or collection.records:
            return
        for kind in context.registry.kinds():
            if kind.collection == collection.name and kind.definition:
                obj = context.read(COLLECTION, "", kind.definition)
                if obj is not None and obj["metadata"].get("deletionTimestamp"):
                    context.spawn(clean_up(context, obj), f"clean up {kind.definition}")
                return

    context.store.on_event.append(listen)


async def clean_up(context: Context, obj: Object) -> None:
    """Deletes the objects of a definition that is being deleted, then lets it go."""
    spec = obj["spec"]
    group, plural = spec["group"], spec["names"]["plural"]
    kind = next((k for k in context.registry.kinds() if k.group == group and k.plural == plural and k.definition), None)
    if kind is not None:
        info = RequestInfo(True, "deletecollection", "", group, kind.version, "", plural)
        call = Call(context, SYSTEM, info, kind, {}, "apiextensions")
        records = list(context.store.collection(kind.collection).select(None))
        await deletes.delete_collection(call, records, deletes.Options())
        if context.store.collection(kind.collection).records:
            return  # finalizers hold some back: `watch_empty` comes back here when the last one goes
    definition_kind = context.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert definition_kind is not None
    info = RequestInfo(
        True, "update", "", "apiextensions.k8s.io", "v1", "", "customresourcedefinitions", obj["metadata"]["name"]
    )

    def release(current: Object) -> Object:
        meta = current["metadata"]
        meta["finalizers"] = [f for f in meta.get("finalizers") or () if f != FINALIZER]
        return current

    try:
        await writes.update(Call(context, SYSTEM, info, definition_kind, {}, "apiextensions"), release)
    except StatusError as error:
        if error.reason != "NotFound":
            raise
    if context.record(COLLECTION, "", obj["metadata"]["name"]) is None:
        withdraw(context, obj)
