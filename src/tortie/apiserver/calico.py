"""The kinds of projectcalico.org/v3, served natively.

In: `tortie.model.catalog` for names, `tortie.model.schema` for schemas and columns, `tortie.model.admission` for
defaults and rules. Out: `Kind`s whose hooks call those, and the built-in tiers for bootstrap. Rules that need other
objects (a policy's tier, a tier that still has policies) read the store.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tortie.apiserver import errors, jsonpath, tiers
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks, Kind, Subresource, Table
from tortie.apiserver.objects import text, timestamp
from tortie.apiserver.schema import dsl
from tortie.apiserver.schema.node import Node, from_openapi
from tortie.model import admission, catalog, schema
from tortie.model.resource import Resource

Object = dict[str, Any]

_TIERED = frozenset(r.plural for r in catalog.POLICIES)
BUILT_IN_TIERS: tuple[Object, ...] = (
    {"metadata": {"name": "kube-admin"}, "spec": {"order": 1000, "defaultAction": "Pass"}},
    {"metadata": {"name": "default"}, "spec": {"order": 1_000_000, "defaultAction": "Deny"}},
    {"metadata": {"name": "kube-baseline"}, "spec": {"order": 10_000_000, "defaultAction": "Pass"}},
)


def _cause(error: admission.FieldError) -> Cause:
    return errors.cause_from_word(error.type, error.path, error.value, error.message)


def _collection(resource: Resource[Any]) -> str:
    return f"{resource.group}/{resource.plural}"


def _lister(call: Call) -> Any:
    def lister(resource: Resource[Any]) -> Iterable[Object]:
        for record in call.store.collection(_collection(resource)).select(None):
            yield record.decode()

    return lister


def _hooks(resource: Resource[Any]) -> Hooks:
    tiered = resource.plural in _TIERED

    def prepare(call: Call, obj: Object, old: Object | None) -> None:
        if tiered:
            name = obj["metadata"].get("name", "")
            tiers.check(call, tiers.tier_of(obj if old is None else old), name)
            if old is not None and tiers.tier_of(old) != tiers.tier_of(obj):
                tiers.check(call, tiers.tier_of(obj), name)
        result = admission.admit(resource, obj, old)
        if result.unknown_fields:
            from tortie.apiserver.writes import complain

            complain(call, list(result.unknown_fields), [])
        admitted = result.object
        obj.clear()
        obj.update(admitted)
        causes = [_cause(e) for e in result.errors]
        if not causes:
            lister = _lister(call)
            admission.server_fields(resource, obj, old, lister, user=call.user.name, now=timestamp(call.context.now()))
            causes = [_cause(e) for e in admission.cross_check(resource, obj, lister, old=old)]
        if causes:
            raise errors.invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), causes)

    def check_delete(call: Call, obj: Object) -> None:
        if tiered:
            tiers.check(call, tiers.tier_of(obj), obj["metadata"]["name"])
        found = list(admission.check_delete(resource, obj, _lister(call)))
        if found:
            raise errors.forbidden(
                resource.group, resource.plural, obj["metadata"]["name"], "; ".join(e.message for e in found)
            )

    return Hooks(prepare=prepare, check_delete=check_delete)


def _columns(resource: Resource[Any]) -> Table:
    declared: Iterable[Mapping[str, Any]] = schema.printer_columns(resource)
    return jsonpath.table(declared)


def kinds(*, native: bool = True) -> Iterator[Kind]:
    """Every Calico kind unless another server has them, and those of other groups that are admitted in the same way."""
    meta = dsl.types()["ObjectMeta"]
    for resource in (*(catalog.CALICO if native else ()), *catalog.UPSTREAM):
        node: Node = from_openapi(schema.openapi_schema(resource), metadata=meta, top=True)
        facts = resource.facts
        write = ("get", "patch", "update")
        yield Kind(
            group=resource.group,
            version=resource.version,
            kind=resource.kind,
            plural=resource.plural,
            namespaced=resource.namespaced,
            schema=node,
            singular=resource.singular or resource.kind.lower(),
            short_names=resource.short_names,
            categories=resource.categories,
            subresources={"status": Subresource("status", resource.kind, write)} if facts.status else {},
            selectable={field: text(*field.split(".")) for field in facts.selectable},
            table=_columns(resource),
            hooks=_hooks(resource),
            custom=True,
            has_status=facts.status,
            verbs=facts.verbs,
            unconditional_update=False,
        )
