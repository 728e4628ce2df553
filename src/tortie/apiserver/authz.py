"""What a user may do: RBAC over the stored roles and bindings, and who may act as another.

In: users and requests. Out: nothing, or a 403 in Kubernetes' words. The bindings are indexed by subject once and
rebuilt when a role or binding changes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tortie.apiserver import errors, requestheader
from tortie.apiserver.context import ANONYMOUS, Call, Context, User
from tortie.apiserver.errors import StatusError
from tortie.apiserver.paths import OPEN_PATHS
from tortie.apiserver.rbac import Attributes, Rule, allows, missing, text
from tortie.apiserver.records import Collection, Event
from tortie.apiserver.requests import RequestInfo

Object = dict[str, Any]
MASTERS = "system:masters"
GROUP = "rbac.authorization.k8s.io"
_ALWAYS = frozenset({*OPEN_PATHS, "/healthz/ping", "/livez/ping", "/readyz/ping"})
_Subject = tuple[str, str, str]  # kind, namespace, name
_Grant = tuple[str | None, str, str]  # namespace of a RoleBinding or None, kind of the role, name of the role


class Authorizer:
    """Decides for one server."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._grants: dict[_Subject, list[_Grant]] = {}
        self._rules: dict[tuple[str, str, str], tuple[Rule, ...]] = {}
        self._stale = True
        context.store.on_event.append(self._listen)

    def _listen(self, collection: Collection, _event: Event) -> None:
        if collection.name.startswith(GROUP):
            self._stale = True

    def _rebuild(self) -> None:
        self._grants.clear()
        self._rules.clear()
        for plural in ("clusterrolebindings", "rolebindings"):
            for record in self.context.store.collection(f"{GROUP}/{plural}").select(None):
                binding = record.decode()
                role = binding.get("roleRef") or {}
                namespace = record.key[0] if plural == "rolebindings" else None
                grant = (namespace, str(role.get("kind")), str(role.get("name")))
                for subject in binding.get("subjects") or ():
                    kind = str(subject.get("kind"))
                    place = str(subject.get("namespace", "")) if kind == "ServiceAccount" else ""
                    self._grants.setdefault((kind, place, str(subject.get("name"))), []).append(grant)
        self._stale = False

    def _role_rules(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...]:
        place = (kind, namespace if kind == "Role" else "", name)
        found = self._rules.get(place)
        if found is None:
            plural = "roles" if kind == "Role" else "clusterroles"
            role = self.context.read(f"{GROUP}/{plural}", place[1], name)
            found = self._rules[place] = tuple((role or {}).get("rules") or ())
        return found

    def _subjects(self, user: User) -> Iterable[_Subject]:
        yield ("User", "", user.name)
        if user.name.startswith("system:serviceaccount:"):
            parts = user.name.split(":")
            if len(parts) == 4:
                yield ("ServiceAccount", parts[2], parts[3])
        for group in user.groups:
            yield ("Group", "", group)

    def rules(self, user: User, namespace: str) -> Iterable[Rule]:
        """Every rule that holds for the user in a namespace ("": cluster-wide only)."""
        if self._stale:
            self._rebuild()
        for subject in self._subjects(user):
            for place, kind, name in self._grants.get(subject, ()):
                if place is None:
                    yield from self._role_rules(kind, "", name)
                elif place == namespace and namespace:
                    yield from self._role_rules(kind, place, name)

    def allowed(self, user: User, wanted: Attributes) -> bool:
        """Whether the user may do it."""
        if MASTERS in user.groups:
            return True
        return any(allows(rule, wanted) for rule in self.rules(user, wanted.namespace))

    async def check(self, user: User, info: RequestInfo) -> None:
        """Raises StatusError 403 unless the request is allowed."""
        if not info.is_resource:
            path = info.path.rstrip("/") or "/"
            if path in _ALWAYS:
                return
            if not self.allowed(user, Attributes(info.verb, path=path)):
                raise StatusError(
                    403, "Forbidden", f'forbidden: User "{user.name}" cannot {info.verb} path "{path}"', details={}
                )
            return
        wanted = attributes(info)
        if not self.allowed(user, wanted):
            raise refusal(user, wanted)

    # Escalation ------------------------------------------------------------------------------------------------------

    def check_role(self, call: Call, role: Object, old: Object | None) -> None:
        """A role may be written only by who has all its rights already, or may escalate."""
        keys = ("rules", "aggregationRule")
        if MASTERS in call.user.groups or (old is not None and all(old.get(k) == role.get(k) for k in keys)):
            return
        plural = call.kind.plural
        namespace, name = role["metadata"].get("namespace", ""), role["metadata"].get("name", "")
        if self.allowed(call.user, Attributes("escalate", GROUP, plural, "", name, namespace)):
            return
        wanted = list(role.get("rules") or ())
        if role.get("aggregationRule") and (old is None or old.get("aggregationRule") != role["aggregationRule"]):
            wanted.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
            wanted.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
        self._refuse_escalation(call, name, missing(self.rules(call.user, namespace), wanted))

    def check_binding(self, call: Call, binding: Object, old: Object | None) -> None:
        """A role may be bound only by who has all its rights already, or may bind it."""
        if MASTERS in call.user.groups:
            return
        if old is not None and old.get("subjects") == binding.get("subjects"):
            return
        role = binding.get("roleRef") or {}
        kind, role_name = str(role.get("kind")), str(role.get("name"))
        namespace, name = binding["metadata"].get("namespace", ""), binding["metadata"].get("name", "")
        plural = "roles" if kind == "Role" else "clusterroles"
        if self.allowed(call.user, Attributes("bind", GROUP, plural, "", role_name, namespace)):
            return
        if self._stale:
            self._rebuild()
        wanted = self._role_rules(kind, namespace, role_name)
        if (
            not wanted
            and self.context.record(f"{GROUP}/{plural}", namespace if kind == "Role" else "", role_name) is None
        ):
            raise errors.not_found(GROUP, plural, role_name)
        self._refuse_escalation(call, name, missing(self.rules(call.user, namespace), wanted))

    def _refuse_escalation(self, call: Call, name: str, lacking: list[Rule]) -> None:
        if not lacking:
            return
        groups = ", ".join(f'"{g}"' for g in call.user.groups)
        shown = "\n".join(text(rule) for rule in lacking[:20])
        raise errors.forbidden(
            GROUP,
            call.kind.plural,
            name,
            f'user "{call.user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            + shown,
        )

    # Impersonation ---------------------------------------------------------------------------------------------------

    def impersonate(self, user: User, headers: Mapping[str, Any]) -> User:
        """The user that the Impersonate- headers ask for. Raises StatusError 403."""
        name = headers.get("Impersonate-User", "")
        groups = tuple(headers.getall("Impersonate-Group", ())) if hasattr(headers, "getall") else ()
        extra: dict[str, tuple[str, ...]] = {}
        for key in {k.lower() for k in headers}:
            if key.startswith("impersonate-extra-"):
                values = tuple(headers.getall(key)) if hasattr(headers, "getall") else (headers[key],)
                place = requestheader.unescape(key[len("impersonate-extra-") :])
                extra[place] = extra.get(place, ()) + values
        uid = headers.get("Impersonate-Uid", "")
        try:
            requestheader.check(name, uid, *groups, *extra, *(v for values in extra.values() for v in values))
        except requestheader.HeaderError as problem:
            raise errors.bad_request(f"impersonation: {problem}") from None
        if not name:
            if groups or extra or uid:
                raise errors.internal("impersonation needs the header Impersonate-User beside the others")
            return user
        account = name.split(":") if name.startswith("system:serviceaccount:") else []
        if len(account) == 4:
            self._must(user, Attributes("impersonate", "", "serviceaccounts", "", account[3], account[2]))
            if not groups:
                groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[2]}")
        else:
            self._must(user, Attributes("impersonate", "", "users", "", name))
        for group in groups:
            if not (len(account) == 4 and group.startswith("system:serviceaccounts")):
                self._must(user, Attributes("impersonate", "", "groups", "", group))
        if uid:
            self._must(user, Attributes("impersonate", "authentication.k8s.io", "uids", "", uid))
        for key, values in extra.items():
            for value in values:
                self._must(user, Attributes("impersonate", "authentication.k8s.io", "userextras", key, value))
        if name != ANONYMOUS.name and "system:authenticated" not in groups:
            groups = (*groups, "system:authenticated")
        return User(name, groups, uid, extra)

    def _must(self, user: User, wanted: Attributes) -> None:
        if not self.allowed(user, wanted):
            raise refusal(user, wanted)


def attributes(info: RequestInfo) -> Attributes:
    """What a resource request wants to do."""
    return Attributes(info.verb, info.group, info.plural, info.subresource, info.name, info.namespace)


def refusal(user: User, wanted: Attributes) -> StatusError:
    """The 403 that names user, verb, resource, group and scope."""
    scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    return errors.forbidden(
        wanted.group,
        wanted.resource,
        wanted.name,
        f'User "{user.name}" cannot {wanted.verb} resource "{wanted.full_resource}" in API group "{wanted.group}" '
        + scope,
    )
