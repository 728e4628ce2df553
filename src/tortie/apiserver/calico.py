"""The kinds of projectcalico.org/v3, served natively.

In: `tortie.model.catalog` for names, `tortie.model.schema` for schemas and columns, `tortie.model.admission` for
defaults and rules. Out: `Kind`s whose hooks call those, and the built-in tiers for bootstrap. Rules that need other
objects (a policy's tier, a tier that still has policies) read the store.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tortie.apiserver import errors, jsonpath, tiers
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks, Kind, Subresource, Table
from tortie.apiserver.objects import text, timestamp
from tortie.apiserver.schema import dsl
from tortie.apiserver.schema.node import from_openapi
from tortie.model import admission, catalog, schema
from tortie.model.resource import Resource
from tortie.model.serving import ServingMode

Object = dict[str, Any]
Prepare = Callable[[Call, Object, Object | None], None]

TIERED = frozenset(r.plural for r in catalog.POLICIES)
BUILT_IN_TIERS: tuple[Object, ...] = (
    {"metadata": {"name": "kube-admin"}, "spec": {"order": 1000, "defaultAction": "Pass"}},
    {"metadata": {"name": "default"}, "spec": {"order": 1_000_000, "defaultAction": "Deny"}},
    {"metadata": {"name": "kube-baseline"}, "spec": {"order": 10_000_000, "defaultAction": "Pass"}},
)


def _cause(error: admission.FieldError) -> Cause:
    return errors.cause_from_word(error.type, error.path, error.value, error.message)


def _collection(resource: Resource[Any]) -> str:
    return f"{resource.group}/{resource.plural}"


def lister(call: Call) -> Any:
    """Reads the other objects that a rule of a kind needs, from the store."""

    def listed(resource: Resource[Any]) -> Iterable[Object]:
        if resource.plural in call.others:
            yield from call.others[resource.plural]
            return
        for record in call.store.collection(_collection(resource)).select(None):
            yield record.decode()

    return listed


def prepared(resource: Resource[Any], *, mode: ServingMode = ServingMode.NATIVE) -> Prepare:
    """The hook that gives an object its defaults and raises StatusError 422 for what is wrong with it."""

    def prepare(call: Call, obj: Object, old: Object | None) -> None:
        result = admission.admit(resource, obj, old, mode=mode)
        if result.unknown_fields:
            from tortie.apiserver.writes import complain

            complain(call, list(result.unknown_fields), [])
        admitted = result.object
        obj.clear()
        obj.update(admitted)
        causes = [_cause(e) for e in result.errors]
        if not causes:
            others = lister(call)
            now = timestamp(call.context.now())
            admission.server_fields(resource, obj, old, others, user=call.user.name, now=now, mode=mode)
            causes = [_cause(e) for e in admission.cross_check(resource, obj, others, old=old, mode=mode)]
        if causes:
            raise errors.invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), causes)

    return prepare


def deletable(resource: Resource[Any]) -> Callable[[Call, Object], None]:
    """The hook that refuses to delete what must stay."""

    def check_delete(call: Call, obj: Object) -> None:
        found = list(admission.check_delete(resource, obj, lister(call)))
        if found:
            raise errors.forbidden(
                resource.group, resource.plural, obj["metadata"]["name"], "; ".join(e.message for e in found)
            )

    return check_delete


def _hooks(resource: Resource[Any]) -> Hooks:
    return Hooks(
        prepare=prepared(resource),
        check_delete=deletable(resource),
        authorize=_authorize_write if resource.plural in TIERED else None,
    )


async def _authorize_write(call: Call, new: Object | None, old: Object | None) -> None:
    """Each write counts as what it does to the policy, as the webhook of real clusters sees it."""
    verb = "create" if old is None else "delete" if new is None else "update"
    await tiers.check_write(call, tiers.ask_here, verb, new, old)


def _columns(resource: Resource[Any]) -> Table:
    declared: Iterable[Mapping[str, Any]] = schema.printer_columns(resource)
    return jsonpath.table(declared)


def kinds(*, native: bool = True) -> Iterator[Kind]:
    """Every Calico kind unless another server has them, and those of other groups that are admitted in the same way."""
    for resource in (*(catalog.CALICO if native else ()), *catalog.UPSTREAM):
        yield kind(resource, hooks=_hooks(resource), table=_columns(resource), short_names=resource.short_names)


def kind(
    resource: Resource[Any], *, hooks: Hooks, table: Table | None, short_names: Sequence[str], **more: Any
) -> Kind:
    """A kind as the registry wants it."""
    facts = resource.facts
    write = ("get", "patch", "update")
    return Kind(
        group=resource.group,
        version=resource.version,
        kind=resource.kind,
        plural=resource.plural,
        namespaced=resource.namespaced,
        schema=from_openapi(schema.openapi_schema(resource), metadata=dsl.types()["ObjectMeta"], top=True),
        singular=resource.singular or resource.kind.lower(),
        short_names=tuple(short_names),
        categories=resource.categories,
        subresources={"status": Subresource("status", resource.kind, write)} if facts.status else {},
        selectable={field: text(*field.split(".")) for field in facts.selectable},
        table=table,
        hooks=hooks,
        custom=True,
        has_status=facts.status,
        verbs=facts.verbs,
        unconditional_update=False,
        **more,
    )
