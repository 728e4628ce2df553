"""What a URL asks for: the verb and the resource, or a non-resource path.

In: method, path and query of an HTTP request. Out: `RequestInfo`, which authorization and dispatch read. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """is_resource False: only `verb` (lower-case method) and `path` mean something."""

    is_resource: bool
    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""  # what follows a connect subresource, such as a proxy path


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Reads /api/v1/… and /apis/G/V/… paths, the old /watch/ prefix included."""
    parts = [p for p in path.split("/") if p]
    other = RequestInfo(False, method.lower(), path)
    if len(parts) < 3:
        return other
    if parts[0] == "api":
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return other
    watching = False
    if parts[0] == "watch" and len(parts) > 1:
        watching, parts = True, parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and not (len(parts) == 3 and parts[2] in _NAMESPACE_SUBRESOURCES):
        namespace, parts = parts[1], parts[2:]
    elif parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
    plural = parts[0]
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    rest = "/".join(parts[3:])
    verb = _VERBS.get(method, "")
    if method in {"GET", "HEAD"}:
        if watching or query.get("watch") in {"1", "true"}:
            verb = "watch"
        else:
            verb = "get" if name else "list"
    elif method == "DELETE":
        verb = "delete" if name else "deletecollection"
    if verb == "watch" and not name:
        for term in query.get("fieldSelector", "").split(","):
            key, _, value = term.partition("=")
            if key == "metadata.name":
                name = value.lstrip("=")
    elif verb == "list":
        for term in query.get("fieldSelector", "").split(","):
            key, _, value = term.partition("=")
            if key == "metadata.name":
                return RequestInfo(True, verb, path, group, version, namespace, plural, value.lstrip("="), "", rest)
    return RequestInfo(True, verb, path, group, version, namespace, plural, name, subresource, rest)
