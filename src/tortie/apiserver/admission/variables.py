"""What expressions of admission can read: the variables' static types, and the values that JSON does not have.

In: a request's attributes and the server's authorizer. Out: types for compiling; `Authorizer` for checks such as
`authorizer.group('').resource('pods').check('create').allowed()`; `Variables`, whose members are computed when read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tortie.apiserver import cel
from tortie.apiserver.admission.attributes import Attributes as Admitted
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.context import User
from tortie.apiserver.rbac import Attributes

_STRINGS = cel.map_of(cel.STRING, cel.STRING)


def _object(kind: str, /, **fields: Type) -> Type:
    return cel.object_of(f"kubernetes.{kind}", fields)


_KIND = _object("GroupVersionKind", group=cel.STRING, version=cel.STRING, kind=cel.STRING)
_RESOURCE = _object("GroupVersionResource", group=cel.STRING, version=cel.STRING, resource=cel.STRING)
REQUEST = _object(
    "AdmissionRequest",
    uid=cel.STRING,
    kind=_KIND,
    resource=_RESOURCE,
    subResource=cel.STRING,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=cel.STRING,
    name=cel.STRING,
    namespace=cel.STRING,
    operation=cel.STRING,
    userInfo=_object(
        "UserInfo",
        username=cel.STRING,
        uid=cel.STRING,
        groups=cel.list_of(cel.STRING),
        extra=cel.map_of(cel.STRING, cel.list_of(cel.STRING)),
    ),
    dryRun=cel.BOOL,
    options=DYN,
)
NAMESPACE = _object(
    "Namespace",
    apiVersion=cel.STRING,
    kind=cel.STRING,
    metadata=_object(
        "NamespaceMetadata",
        name=cel.STRING,
        generateName=cel.STRING,
        namespace=cel.STRING,
        uid=cel.STRING,
        labels=_STRINGS,
        annotations=_STRINGS,
        creationTimestamp=DYN,
        deletionTimestamp=DYN,
        deletionGracePeriodSeconds=cel.INT,
        generation=cel.INT,
        resourceVersion=cel.STRING,
        finalizers=cel.list_of(cel.STRING),
        ownerReferences=DYN,
    ),
    spec=_object("NamespaceSpec", finalizers=cel.list_of(cel.STRING)),
    status=_object("NamespaceStatus", phase=cel.STRING, conditions=DYN),
)


class Variables(dict[str, Any]):
    """The composited variables of a policy; a function as a member is called when the member is first read."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return value() if callable(value) else value


def once(make: Callable[[], Any]) -> Callable[[], Any]:
    """A function that is called once; its result, or its CelError, is kept."""
    kept: list[tuple[Any, cel.CelError | None]] = []

    def get() -> Any:
        if not kept:
            try:
                kept.append((make(), None))
            except cel.CelError as error:
                kept.append((None, error))
        value, failure = kept[0]
        if failure is not None:
            raise failure
        return value

    return get


class Decides(Protocol):
    """The part of the server's authorizer that expressions may use."""

    def allowed(self, user: User, wanted: Attributes) -> bool: ...


def _text(method: str, arguments: list[Any], count: int = 1) -> list[str]:
    if len(arguments) != count or not all(isinstance(a, str) for a in arguments):
        raise cel.CelError(f"no such overload: {method} takes {count} string{'s' if count > 1 else ''}")
    return arguments


def _unknown(value: "cel.Receiver", method: str) -> cel.CelError:
    return cel.CelError(f"no such overload: {value.cel_type} has no method or field {method}")


class _Host:
    """A value without fields."""

    cel_type = ""

    def cel_call(self, method: str, arguments: list[Any]) -> Any:
        raise _unknown(self, method)

    def cel_field(self, name: str) -> Any:
        raise _unknown(self, name)


class Authorizer(_Host):
    """`authorizer`: asks what the user of the request, or a service account, may do. resource: of the request."""

    cel_type = "kubernetes.authorization.Authorizer"

    def __init__(self, decides: Decides, user: User, resource: Attributes) -> None:
        self._decides, self._user, self._resource = decides, user, resource

    def cel_call(self, method: str, arguments: list[Any]) -> Any:
        match method:
            case "group":
                return _Group(self._decides, self._user, _text(method, arguments)[0])
            case "path":
                (path,) = _text(method, arguments)
                if not path:
                    raise cel.CelError("path must not be empty")
                return _Check(self._decides, self._user, Attributes("", path=path))
            case "serviceAccount":
                namespace, name = _text(method, arguments, 2)
                return Authorizer(self._decides, service_account(namespace, name), self._resource)
        raise _unknown(self, method)

    def cel_field(self, name: str) -> Any:
        if name == "requestResource":
            return _Check(self._decides, self._user, self._resource)
        raise _unknown(self, name)


def authorizer_of(decides: Decides, attributes: Admitted) -> Authorizer:
    """The authorizer for the user of a request."""
    place = attributes.place
    namespace = attributes.namespace if attributes.namespaced else ""
    resource = Attributes("", place.group, place.plural, attributes.subresource, attributes.name, namespace)
    return Authorizer(decides, attributes.user, resource)


def service_account(namespace: str, name: str) -> User:
    """A service account as the user it is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


class _Group(_Host):
    cel_type = "kubernetes.authorization.GroupCheck"

    def __init__(self, decides: Decides, user: User, group: str) -> None:
        self._decides, self._user, self._group = decides, user, group

    def cel_call(self, method: str, arguments: list[Any]) -> Any:
        if method != "resource":
            raise _unknown(self, method)
        (plural,) = _text(method, arguments)
        return _Check(self._decides, self._user, Attributes("", self._group, plural))


class _Check(_Host):
    """A question that lacks its verb, on a resource or a path."""

    def __init__(self, decides: Decides, user: User, wanted: Attributes) -> None:
        self._decides, self._user, self._wanted = decides, user, wanted

    @property
    def cel_type(self) -> str:  # type: ignore[override] # depends on value
        return f"kubernetes.authorization.{'Path' if self._wanted.path else 'Resource'}Check"

    def cel_call(self, method: str, arguments: list[Any]) -> Any:
        if method == "check":
            (verb,) = _text(method, arguments)
            return _Decision(self._decides.allowed(self._user, replace(self._wanted, verb=verb)))
        if self._wanted.path or method not in {"subresource", "namespace", "name", "fieldSelector", "labelSelector"}:
            raise _unknown(self, method)
        (value,) = _text(method, arguments)
        if method in {"fieldSelector", "labelSelector"}:
            return self  # RBAC takes no notice of selectors
        changed: Mapping[str, str] = {method: value}
        return _Check(self._decides, self._user, replace(self._wanted, **changed))


@dataclass(frozen=True, slots=True)
class _Decision:
    allowed: bool

    @property
    def cel_type(self) -> str:
        return "kubernetes.authorization.Decision"

    def cel_call(self, method: str, arguments: list[Any]) -> Any:
        match method:
            case "allowed" if not arguments:
                return self.allowed
            case "errored" if not arguments:
                return False
            case "reason" | "error" if not arguments:
                return ""
        raise _unknown(self, method)

    def cel_field(self, name: str) -> Any:
        raise _unknown(self, name)
