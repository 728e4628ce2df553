"""Rights by tier on running servers: verbs × tiers × old and new names × selectors × each kind of grant.

The expected answers are those of `tiered_oracle`. The aggregated server judges every verb; in native mode the embedded
server and the webhook for real clusters judge creations, updates and deletions. Everything that writes is a dry run,
so that each question is asked of the same policies. By default one kind of policy is asked about, and a second
namespace only where a grant names one; TORTIE_LONG=1 asks about everything.
"""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlencode

import pytest
from aggregated_world import V3, World, tier
from apiserver_http import MERGE, Http
from tiered_oracle import CONTRADICTION, GRANTS, KINDS, SELECTORS, TIERS, Grant, scope
from tools import ApiServer, api_server_in

LONG = bool(os.environ.get("TORTIE_LONG"))
PLURALS = tuple(KINDS) if LONG else ("networkpolicies",)
NAMESPACES = ("mx-a", "mx-b")
RBAC = "rbac.authorization.k8s.io"
NAMES = {"default": ("d", "default.d"), "mx-net": ("p", "mx-net.p"), "mx-dev": ("q", "mx-dev.q")}
"""tier: a policy with a bare name, and one with the old form."""
MOVES = (("mx-net", "mx-dev"), ("mx-dev", "mx-net"), ("default", "mx-net"))
HAS_EVERY_TIER = (*TIERS, "kube-admin", "kube-baseline")


class Session:
    """One user on one kept connection."""

    def __init__(self, server: ApiServer, tls: ssl.SSLContext, headers: dict[str, str]) -> None:
        self.connection = HTTPSConnection("127.0.0.1", server.port, context=tls, timeout=30)
        self.headers = headers

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


@pytest.fixture(scope="module")
def matrix(aggregated: World) -> World:
    populate(aggregated.admin)
    return aggregated


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server_in(tmp_path_factory.mktemp("native")) as server:
        populate(Http(server))
        yield server


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS)
def test_the_aggregated_server_judges_requests_on_one_policy(matrix: World, plural: str, name: str) -> None:
    grant, ask = GRANTS[name], aggregated_session(matrix, name, plural)
    wrong = []
    for namespace in places_of(plural, grant):
        for in_tier, policies in NAMES.items():
            for policy_name in policies:
                for verb, wanted in (("get", 200), ("update", 200), ("patch", 200), ("delete", 200), ("create", 201)):
                    expected = wanted if grant.allows(verb, in_tier, policy_name, namespace) else 403
                    if verb == "create" and expected == 201:
                        expected = 409  # it is there; who may not create is not told
                    got = one(ask, verb, plural, namespace, policy_name, in_tier)
                    if got != expected:
                        wrong.append((verb, namespace, in_tier, policy_name, got, expected))
                made = f"{policy_name}x"
                expected = 201 if grant.allows("create", in_tier, made, namespace) else 403
                got = one(ask, "create", plural, namespace, made, in_tier)
                if got != expected:
                    wrong.append(("create", namespace, in_tier, made, got, expected))
        for old, new in MOVES:
            moved = NAMES[old][0]
            may = all(grant.allows("patch", t, moved, namespace) for t in (old, new))
            got = patch(ask, plural, namespace, moved, {"spec": {"tier": new}})
            if got != (200 if may else 403):
                wrong.append(("move", namespace, old, new, got, may))
        for method in ("GET", "DELETE"):  # what is not there is not found, whatever its tier would have been
            got = ask(method, path_of(plural, namespace, "mx-net.absent"))[0]
            if got != (404 if grant.outer else 403):
                wrong.append((method, namespace, "absent", got))
    assert not wrong


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS)
def test_the_aggregated_server_judges_requests_on_collections(matrix: World, plural: str, name: str) -> None:
    grant, ask = GRANTS[name], aggregated_session(matrix, name, plural)
    wrong = []
    for namespace in dict.fromkeys((*places_of(plural, grant), "")):
        for selectors in SELECTORS:
            for verb in ("list", "watch", "deletecollection"):
                if verb == "deletecollection" and not namespace and KINDS[plural]:
                    continue
                expected = scope(grant, verb, selectors, namespace, HAS_EVERY_TIER)
                shown: Any = expected
                if isinstance(expected, set):
                    places = [namespace] if namespace or not KINDS[plural] else list(NAMESPACES)
                    tiers = () if selectors == CONTRADICTION else expected
                    shown = {(p, n) for p in places for t in tiers for n in NAMES.get(t, ())}
                if verb == "watch":
                    got = watched(ask, where_to(plural, namespace), selectors, shown)
                else:
                    got = many(ask, verb, plural, namespace, selectors)
                if got != shown:
                    wrong.append((verb, namespace, selectors, got, shown))
    assert not wrong


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
            changed["metadata"]["resourceVersion"] = ask.headers.get("rv", "") or version(ask, path)
            return ask("PUT", path, changed, **dry)[0]
        case "patch":
            return patch(ask, plural, namespace, name, {"spec": {"order": 77}})
        case _:
            return ask("DELETE", path, **dry)[0]


VERSIONS: dict[tuple[int, str], str] = {}


def version(ask: Session, path: str) -> str:
    """The stored state of a policy, which no test changes; read once as the administrator."""
    place = (ask.connection.port, path)
    if place not in VERSIONS:
        found = Session(_SERVERS[place[0]], _TLS[place[0]], _ADMIN[place[0]])("GET", path)[1]
        VERSIONS[place] = found["metadata"]["resourceVersion"]
    return VERSIONS[place]


def patch(ask: Session, plural: str, namespace: str, name: str, change: dict[str, Any]) -> int:
    return ask("PATCH", path_of(plural, namespace, name), change, MERGE, dryRun="All")[0]


def where_to(plural: str, namespace: str) -> str:
    return path_of(plural, namespace) if namespace or not KINDS[plural] else f"{V3}/{plural}"


def query_of(selectors: tuple[str, str]) -> dict[str, str]:
    return {k: v for k, v in zip(("labelSelector", "fieldSelector"), selectors, strict=True) if v}


def watched(ask: Session, where: str, selectors: tuple[str, str], expected: Any) -> Any:
    """The policies that a watch begins with, as many as are expected and what comes with them; or its refusal."""
    connection = HTTPSConnection("127.0.0.1", ask.connection.port, context=_TLS[ask.connection.port or 0], timeout=10)
    try:
        query = urlencode({"watch": "1", "resourceVersion": "0", **query_of(selectors)})
        connection.request("GET", f"{where}?{query}", headers=ask.headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return answer.status
        events = [json.loads(answer.readline()) for _ in expected] if isinstance(expected, set) else []
        assert connection.sock is not None
        connection.sock.settimeout(0.03)
        with suppress(TimeoutError):
            events += [json.loads(line) for line in iter(answer.readline, b"")]
        return marked([event["object"] for event in events])
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


_SERVERS: dict[int, ApiServer] = {}
_TLS: dict[int, ssl.SSLContext] = {}
_ADMIN: dict[int, dict[str, str]] = {}


def aggregated_session(world: World, grant: str, plural: str) -> Session:
    """A user of the matrix, as the front proxy announces it."""
    server = world.aggregated
    if server.port not in _TLS:
        _TLS[server.port] = world.straight().tls
        _SERVERS[server.port] = server
        _ADMIN[server.port] = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    return Session(server, _TLS[server.port], {"X-Remote-User": user(grant, plural)})


def native_session(server: ApiServer, grant: str, plural: str) -> Session:
    """A user of the matrix, impersonated by the administrator."""
    if server.port not in _TLS:
        _TLS[server.port] = Http(server).tls
        _SERVERS[server.port] = server
        _ADMIN[server.port] = {}
    return Session(server, _TLS[server.port], {"Impersonate-User": user(grant, plural)})


@pytest.mark.parametrize("plural", PLURALS)
@pytest.mark.parametrize("name", GRANTS)
def test_the_embedded_server_judges_writes_in_native_mode(native: ApiServer, plural: str, name: str) -> None:
    grant, ask = GRANTS[name], native_session(native, name, plural)
    wrong = []
    for namespace in places_of(plural, grant):
        for in_tier, policies in NAMES.items():
            for policy_name in policies:
                for verb, asked, wanted in (
                    ("get", "", 200),
                    ("update", "update", 200),
                    ("patch", "update", 200),
                    ("delete", "delete", 200),
                ):
                    may = grant.outer and (not asked or grant.allows(asked, in_tier, policy_name, namespace))
                    got = one(ask, verb, plural, namespace, policy_name, in_tier)
                    if got != (wanted if may else 403):
                        wrong.append((verb, namespace, in_tier, policy_name, got, may))
                made = f"{policy_name}x"
                may = grant.allows("create", in_tier, made, namespace)
                got = one(ask, "create", plural, namespace, made, in_tier)
                if got != (201 if may else 403):
                    wrong.append(("create", namespace, in_tier, made, got, may))
        for old, new in MOVES:
            moved = NAMES[old][0]
            may = all(grant.allows("update", t, moved, namespace) for t in (old, new))
            got = patch(ask, plural, namespace, moved, {"spec": {"tier": new}})
            if got != (200 if may else 403):
                wrong.append(("move", namespace, old, new, got, may))
        everything = {(namespace, n) for names in NAMES.values() for n in names}
        listed = many(ask, "list", plural, namespace, ("", ""))
        if listed != (everything if grant.outer else 403):
            wrong.append(("list", namespace, listed))
        may = grant.outer and all(grant.allows("delete", t, n, namespace) for t, names in NAMES.items() for n in names)
        deleted = many(ask, "deletecollection", plural, namespace, ("mx", ""))
        if deleted != (everything if may else 403):
            wrong.append(("deletecollection", namespace, deleted, may))
    assert not wrong


def test_the_matrix_is_about_something() -> None:
    """A check of the oracle itself: what the sheet says in words."""
    every, named = GRANTS["one-tier-by-get"], GRANTS["one-tier-by-name"]
    assert every.allows("get", "mx-net", "x", "")
    assert not every.allows("get", "mx-dev", "x", "")
    assert named.allows("list", "mx-net", "", "")
    assert not GRANTS["all-rights-no-tier"].allows("get", "default", "x", "")
    assert GRANTS["bare-name"].allows("get", "mx-dev", "p", "")
    assert not GRANTS["bare-name"].allows("get", "mx-net", "mx-net.p", "")
    assert scope(GRANTS["two-tiers"], "list", ("", ""), "", HAS_EVERY_TIER) == {"mx-net", "default"}
    assert scope(GRANTS["only-the-tier"], "list", ("", ""), "", HAS_EVERY_TIER) == 403
