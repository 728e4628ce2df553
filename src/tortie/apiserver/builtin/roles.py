"""RBAC objects in writes: escalation checks, and ClusterRoles that are gathered from others.

In: roles and bindings being written. Out: a 403 for what would escalate; after a ClusterRole changed, the rules of
every aggregated ClusterRole that its labels concern.
"""

from typing import Any

from tortie.apiserver.builtin import plain
from tortie.apiserver.builtin.workloads import matches
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.errors import StatusError
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]
AGGREGATION = "clusterrole-aggregation"
_COLLECTION = f"{plain.RBAC}/clusterroles"


def _prepare_role(call: Call, obj: Object, old: Object | None) -> None:
    call.context.authorizer.check_role(call, obj, old)


def _prepare_binding(call: Call, obj: Object, old: Object | None) -> None:
    call.context.authorizer.check_binding(call, obj, old)


async def _committed(call: Call, obj: Object, old: Object | None) -> None:
    if call.user is SYSTEM and call.manager == AGGREGATION:
        return
    await aggregate(call.context)


def _gathered(context: Context, role: Object, seen: frozenset[str] = frozenset()) -> list[Object]:
    """The rules of every role that the selectors choose; roles that choose one another end the walk."""
    name = role["metadata"]["name"]
    seen |= {name}
    rules: list[Object] = []
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
    for record in context.store.collection(_COLLECTION).select(None):
        if record.key[1] in seen or not any(matches(s, record.labels) for s in selectors):
            continue
        other = record.decode()
        found = _gathered(context, other, seen) if other.get("aggregationRule") else other.get("rules") or []
        rules += [r for r in found if r not in rules]
    return rules


async def aggregate(context: Context) -> None:
    """Brings every aggregated ClusterRole's rules up to date."""
    from tortie.apiserver import writes

    kind = context.registry.find(plain.RBAC, "v1", "clusterroles")
    assert kind is not None

    def change(role: Object) -> Object:
        role["rules"] = _gathered(context, role)
        return role

    for record in list(context.store.collection(_COLLECTION).select(None)):
        if b'"aggregationRule"' not in record.data:
            continue
        role = record.decode()
        if not role.get("aggregationRule") or _gathered(context, role) == role.get("rules"):
            continue
        info = RequestInfo(True, "update", "", plain.RBAC, "v1", "", "clusterroles", record.key[1])
        try:
            await writes.update(Call(context, SYSTEM, info, kind, {}, AGGREGATION), change)
        except StatusError as error:
            if error.reason != "NotFound":
                raise


ROLE = Hooks(default=plain.ROLE.default, prepare=_prepare_role, validate=plain.ROLE.validate)
CLUSTER_ROLE = Hooks(
    default=plain.ROLE.default, prepare=_prepare_role, validate=plain.ROLE.validate, committed=_committed
)
BINDING = Hooks(default=plain.BINDING.default, prepare=_prepare_binding, validate=plain.BINDING.validate)
