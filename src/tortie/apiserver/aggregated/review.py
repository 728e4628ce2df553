"""AuthenticationReview and AuthorizationReview: who the caller is, and what a user may do where.

In: calls that create a review. Out: the review with its status. Rights are computed from the roles and bindings that
the backend mirrors, by the same RBAC as the embedded server's (spec/apiserver-controllers-clis.md 1.8).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.calico import TIERED
from tortie.apiserver.context import Call, User
from tortie.apiserver.kinds import Object
from tortie.apiserver.rbac import Attributes, Rule, allows
from tortie.model.catalog import (
    AUTHENTICATION_REVIEWS,
    CALICO_GROUP,
    MANAGED_CLUSTERS,
    TIERS,
    UI_SETTINGS,
    UI_SETTINGS_GROUPS,
)
from tortie.model.resource import Resource

VERBS = ("get", "list", "update", "create", "patch", "delete", "deletecollection", "watch")
_NAMED = {
    ("", "namespaces"): "namespace",
    (CALICO_GROUP, TIERS.plural): "tier",
    (CALICO_GROUP, MANAGED_CLUSTERS.plural): "managedCluster",
}
"""Resources whose names are listed: each is a place where something may be allowed."""
Scopes = Callable[[str, str], Awaitable[bool]]
"""(group, plural) -> whether the resource is namespaced. Raises StatusError 422 if there is none."""


def answers(resource: Resource[Any], scopes: Scopes) -> Callable[[Call, Object], Awaitable[Object]]:
    """The hook that answers reviews of one kind."""
    if resource is AUTHENTICATION_REVIEWS:
        return _authentication

    async def review(call: Call, obj: Object) -> Object:
        spec = obj.get("spec") or {}
        user = call.user
        if spec.get("user"):
            extra = {k: tuple(v) for k, v in (spec.get("extra") or {}).items()}
            user = User(str(spec["user"]), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""), extra)
        asked: dict[tuple[str, str], list[str]] = {}
        for item in spec.get("resourceAttributes") or ():
            for plural in item.get("resources") or ():
                verbs = asked.setdefault((item.get("apiGroup", ""), plural), [])
                verbs += [verb for verb in item.get("verbs") or () if verb not in verbs]
        rights = _Rights(call, user)
        found = []
        for (group, plural), verbs in asked.items():
            namespaced = await scopes(group, plural)
            entries = [_entry(rights, verb, group, plural, namespaced=namespaced) for verb in verbs]
            found.append({"apiGroup": group, "resource": plural, "verbs": entries})
        obj["status"] = {"authorizedResourceVerbs": found}
        return obj

    return review


async def _authentication(call: Call, obj: Object) -> Object:
    user = call.user
    status: Object = {"name": user.name, "groups": list(user.groups)}
    if user.uid:
        status["uid"] = user.uid
    if user.extra:
        status["extra"] = {key: list(values) for key, values in user.extra.items()}
    obj["status"] = status
    return obj


class _Rights:
    """One user's rights, and the places that they may be for."""

    def __init__(self, call: Call, user: User) -> None:
        self._call = call
        self._user = user
        self._rules: dict[str, list[Rule]] = {}

    def names(self, collection: str) -> list[str]:
        return [record.key[1] for record in self._call.store.collection(collection).select(None)]

    @property
    def namespaces(self) -> list[str]:
        return self.names("/namespaces")

    def allowed(self, wanted: Attributes) -> bool:
        if "system:masters" in self._user.groups:
            return True
        rules = self._rules.get(wanted.namespace)
        if rules is None:
            rules = list(self._call.context.authorizer.rules(self._user, wanted.namespace))
            self._rules[wanted.namespace] = rules
        return any(allows(rule, wanted) for rule in rules)


def _entry(rights: _Rights, verb: str, group: str, plural: str, *, namespaced: bool) -> Object:
    if verb not in VERBS:
        cause = errors.not_supported("spec.resourceAttributes.verbs", verb, VERBS)
        raise errors.invalid(CALICO_GROUP, "AuthorizationReview", "", [cause])
    entry: Object = {"verb": verb}
    places = list(_places(rights, verb, group, plural, namespaced=namespaced))
    if places:
        entry["resourceGroups"] = places
    return entry


def _places(rights: _Rights, verb: str, group: str, plural: str, *, namespaced: bool) -> Iterator[Object]:
    if group == CALICO_GROUP and plural in TIERED:
        for tier in rights.names(f"{CALICO_GROUP}/{TIERS.plural}"):
            if rights.allowed(Attributes("get", CALICO_GROUP, TIERS.plural, "", tier)):
                wanted = Attributes(verb, CALICO_GROUP, f"tier.{plural}", "", f"{tier}.*")
                yield from _where(rights, wanted, {"tier": tier}, namespaced=namespaced)
        return
    if group == CALICO_GROUP and plural == UI_SETTINGS.plural:
        for name in rights.names(f"{CALICO_GROUP}/{UI_SETTINGS_GROUPS.plural}"):
            if rights.allowed(Attributes(verb, CALICO_GROUP, UI_SETTINGS_GROUPS.plural, "data", name)):
                yield {"uiSettingsGroup": name}
        return
    field = _NAMED.get((group, plural))
    everywhere = rights.allowed(Attributes(verb, group, plural))
    if field is not None and (verb == "get" or (verb == "watch" and not everywhere)):
        for name in rights.names(f"{group}/{plural}"):
            if everywhere or rights.allowed(_named(verb, group, plural, name)):
                yield {field: name}
        return
    yield from _where(rights, Attributes(verb, group, plural), {}, namespaced=namespaced)


def _named(verb: str, group: str, plural: str, name: str) -> Attributes:
    return Attributes(verb, group, plural, "", name, name if plural == "namespaces" else "")


def _where(rights: _Rights, wanted: Attributes, place: Object, *, namespaced: bool) -> Iterable[Object]:
    """The whole cluster, else the namespaces."""
    if rights.allowed(wanted):
        yield place
        return
    if not namespaced:
        return
    for namespace in rights.namespaces:
        there = Attributes(wanted.verb, wanted.group, wanted.resource, wanted.subresource, wanted.name, namespace)
        if rights.allowed(there):
            yield {**place, "namespace": namespace}
