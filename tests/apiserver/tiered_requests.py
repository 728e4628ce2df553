"""The requests of the matrix of rights by tier, and the policies and users that they are about.

For the matrix tests. In: a server, and grants of `tiered_oracle`. Out: codes, and the names of what was shown.
"""

import json
import os
import ssl
from contextlib import suppress
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlencode

from aggregated_world import V3, tier
from apiserver_http import MERGE, Http
from tiered_oracle import GRANTS, KINDS, TIERS, Grant

LONG = bool(os.environ.get("TORTIE_LONG"))
PLURALS = tuple(KINDS) if LONG else ("networkpolicies",)
NAMESPACES = ("mx-a", "mx-b")
RBAC = "rbac.authorization.k8s.io"
NAMES = {"default": ("d", "default.d"), "mx-net": ("p", "mx-net.p"), "mx-dev": ("q", "mx-dev.q")}
"""tier: a policy with a bare name, and one with the old form."""
MOVES = (("mx-net", "mx-dev"), ("mx-dev", "mx-net"), ("default", "mx-net"))
HAS_EVERY_TIER = (*TIERS, "kube-admin", "kube-baseline")


class Session:
    """One user on one kept connection. admin: headers that make the same connection the administrator's."""

    def __init__(self, port: int, tls: ssl.SSLContext, headers: dict[str, str], admin: dict[str, str]) -> None:
        self.port = port
        self.tls = tls
        self.connection = self.connect()
        self.headers = headers
        self.admin = admin

    def connect(self) -> HTTPSConnection:
        return HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=30)

    def __call__(self, method: str, path: str, body: Any = None, content: str = "", **query: Any) -> tuple[int, Any]:
        headers = {**self.headers, **({"Content-Type": content or "application/json"} if body is not None else {})}
        data = json.dumps(body).encode() if body is not None else None
        self.connection.request(method, path + ("?" + urlencode(query) if query else ""), data, headers)
        answer = self.connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw.startswith(b"{") else None


def path_of(plural: str, namespace: str, name: str = "") -> str:
    where = f"{V3}/namespaces/{namespace}" if KINDS[plural] else V3
    return f"{where}/{plural}/{name}".rstrip("/")


def policy(name: str, in_tier: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"mx": "1"}}, "spec": {"tier": in_tier, "selector": "all()"}}


def places_of(plural: str, grant: Grant) -> tuple[str, ...]:
    """The namespaces to ask about."""
    if not KINDS[plural]:
        return ("",)
    return NAMESPACES if LONG or any(right.namespace for right in grant.rights) else NAMESPACES[:1]


def user(grant: str, plural: str) -> str:
    return f"{grant}.{plural}"


def populate(http: Http) -> None:
    """Tiers, namespaces, policies, and a user for each grant and kind."""
    for name in TIERS[1:]:
        http.ok("POST", f"{V3}/tiers", tier(name))
    for namespace in NAMESPACES:
        http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for plural in PLURALS:
        for namespace in NAMESPACES if KINDS[plural] else ("",):
            for in_tier, names in NAMES.items():
                for name in names:
                    http.ok("POST", path_of(plural, namespace), policy(name, in_tier))
        for name, grant in GRANTS.items():
            give(http, user(name, plural), grant, plural)


def give(http: Http, who: str, grant: Grant, plural: str) -> None:
    by_namespace: dict[str, list[dict[str, Any]]] = {}
    for namespace, rule in grant.rules(plural):
        by_namespace.setdefault(namespace, []).append(rule)
    for namespace, rules in by_namespace.items():
        base = f"/apis/{RBAC}/v1" + (f"/namespaces/{namespace}" if namespace else "")
        kind, roles, bindings = (
            ("Role", "roles", "rolebindings") if namespace else ("ClusterRole", "clusterroles", "clusterrolebindings")
        )
        http.ok("POST", f"{base}/{roles}", {"metadata": {"name": who}, "rules": rules})
        reference = {"apiGroup": RBAC, "kind": kind, "name": who}
        subjects = [{"apiGroup": RBAC, "kind": "User", "name": who}]
        binding = {"metadata": {"name": who}, "roleRef": reference, "subjects": subjects}
        http.ok("POST", f"{base}/{bindings}", binding)


def one(ask: Session, verb: str, plural: str, namespace: str, name: str, in_tier: str) -> int:
    path = path_of(plural, namespace, name)
    dry = {"dryRun": "All"}
    match verb:
        case "get":
            return ask("GET", path)[0]
        case "create":
            return ask("POST", path_of(plural, namespace), policy(name, in_tier), **dry)[0]
        case "update":
            changed = {**policy(name, in_tier), "spec": {"tier": in_tier, "selector": "all()", "order": 77}}
            changed["metadata"]["resourceVersion"] = version(ask, path)
            return ask("PUT", path, changed, **dry)[0]
        case "patch":
            return patch(ask, plural, namespace, name, {"spec": {"order": 77}})
        case _:
            return ask("DELETE", path, **dry)[0]


VERSIONS: dict[tuple[int, str], str] = {}


def version(ask: Session, path: str) -> str:
    """The stored state of a policy, which no test changes; read once as the administrator."""
    place = (ask.port, path)
    if place not in VERSIONS:
        found = Session(ask.port, ask.tls, ask.admin, ask.admin)("GET", path)[1]
        VERSIONS[place] = found["metadata"]["resourceVersion"]
    return VERSIONS[place]


def patch(ask: Session, plural: str, namespace: str, name: str, change: dict[str, Any]) -> int:
    return ask("PATCH", path_of(plural, namespace, name), change, MERGE, dryRun="All")[0]


def where_to(plural: str, namespace: str) -> str:
    return path_of(plural, namespace) if namespace or not KINDS[plural] else f"{V3}/{plural}"


def query_of(selectors: tuple[str, str]) -> dict[str, str]:
    return {k: v for k, v in zip(("labelSelector", "fieldSelector"), selectors, strict=True) if v}


def watched(ask: Session, where: str, selectors: tuple[str, str], expected: Any) -> Any:
    """The policies that a watch begins with: those that are expected and what comes with them; or its refusal."""
    connection = ask.connect()
    try:
        query = urlencode({"watch": "1", "resourceVersion": "0", **query_of(selectors)})
        connection.request("GET", f"{where}?{query}", headers=ask.headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return answer.status
        items: list[dict[str, Any]] = []
        while isinstance(expected, set) and not marked(items) >= expected:
            items.append(json.loads(answer.readline())["object"])  # an end, or ten seconds of silence, is an error
        assert connection.sock is not None
        connection.sock.settimeout(0.03)
        with suppress(TimeoutError):
            for line in iter(answer.readline, b""):
                items.append(json.loads(line)["object"])
        return marked(items)
    finally:
        connection.close()


def marked(items: list[dict[str, Any]]) -> set[tuple[str, str]]:
    metas = [item["metadata"] for item in items]
    return {(m.get("namespace", ""), m["name"]) for m in metas if m.get("labels", {}).get("mx")}


def many(ask: Session, verb: str, plural: str, namespace: str, selectors: tuple[str, str]) -> Any:
    where = where_to(plural, namespace)
    query = query_of(selectors)
    code, found = ask("GET", where, **query) if verb == "list" else ask("DELETE", where, dryRun="All", **query)
    return marked(found["items"]) if code == 200 else code
