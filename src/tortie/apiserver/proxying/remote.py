"""What an aggregated API server says about itself: whether it answers, its resources, its OpenAPI documents.

In: a `Target` and the answers of its server. Out: a `Remote`: discovery in the form of apidiscovery.k8s.io/v2, the
OpenAPI v2 tree, the hash of the v3 document. What it said last is kept while it does not answer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from tortie.apiserver import bodies, endpoints, requestheader
from tortie.apiserver.context import SYSTEM, Context
from tortie.apiserver.endpoints import Address, Unreachable, url_host
from tortie.apiserver.proxying.forward import Forwarder
from tortie.apiserver.proxying.services import Target

Object = dict[str, Any]
CHECK_SECONDS = 5.0
ATTEMPTS = 5
_LIMIT = 32 * 1024 * 1024
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_JSON = "application/json"


@dataclass(slots=True, eq=False)
class Remote:
    """What is known of one target."""

    target: Target
    available: bool = False
    resources: list[Object] = field(default_factory=list)
    v2: Object = field(default_factory=dict)
    v2_tag: str = ""
    v3_hash: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


async def _get(forwarder: Forwarder, target: Target, address: Address, path: str, **headers: str) -> _Answer:
    url = URL(f"https://{url_host(address)}{path}", encoded=True)
    sent = CIMultiDict(
        {"Accept": _JSON, "Accept-Encoding": "identity", **headers, "Host": f"{target.server_name}:{target.port}"}
    )
    for key, value in requestheader.headers(SYSTEM):
        sent.add(key, value)
    async with asyncio.timeout(CHECK_SECONDS):
        async with forwarder.session("GET").get(
            url, headers=sent, ssl=forwarder.tls(target), server_hostname=target.server_name, allow_redirects=False
        ) as answer:
            return _Answer(answer.status, answer.headers, await bodies.read(answer, _LIMIT))


async def check(context: Context, forwarder: Forwarder, target: Target) -> Address:
    """An address at which the target answers for its group version. Raises Unreachable."""
    found = endpoints.addresses(context, target.namespace, target.service, target.port)
    attempts = [found[n % len(found)] for n in range(ATTEMPTS)]
    tasks = {asyncio.create_task(_get(forwarder, target, a, target.path), name=f"check {target.name}"): a
             for a in attempts}  # fmt: skip
    url = f"https://{url_host(found[0])}{target.path}"
    problem = ""
    try:
        for _ in range(len(tasks)):
            done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address = tasks.pop(task)
                error = task.exception()
                if error is not None:
                    problem = problem or f"failing or missing response from {url}: {error or type(error).__name__}"
                elif 200 <= task.result().status < 300:
                    return address
                else:
                    problem = f"failing or missing response from {url}: bad status from {url}: {task.result().status}"
            if not tasks:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise Unreachable(problem, "FailedDiscoveryCheck", problem)


async def learn(forwarder: Forwarder, remote: Remote, address: Address) -> bool:
    """Reads discovery and OpenAPI; whether anything changed."""
    target = remote.target
    before = (remote.resources, remote.v2_tag, remote.v3_hash)
    remote.resources = await _discovery(forwarder, target, address)
    tags = {"If-None-Match": remote.v2_tag} if remote.v2_tag else {}
    answer = await _get(forwarder, target, address, "/openapi/v2", **tags)
    if answer.status == 200:
        document = msgspec.json.decode(answer.body, type=Object)
        remote.v2 = document
        remote.v2_tag = answer.headers.get("ETag", "")
    answer = await _get(forwarder, target, address, "/openapi/v3")
    if answer.status == 200:
        paths = msgspec.json.decode(answer.body, type=Object).get("paths") or {}
        place = str((paths.get(target.path.strip("/")) or {}).get("serverRelativeURL", ""))
        remote.v3_hash = URL(place, encoded=True).query.get("hash", "") or ("unknown" if place else "")
    return before != (remote.resources, remote.v2_tag, remote.v3_hash)


async def _discovery(forwarder: Forwarder, target: Target, address: Address) -> list[Object]:
    answer = await _get(forwarder, target, address, "/apis", Accept=_AGGREGATED)
    kind = answer.headers.get("Content-Type", "").replace(" ", "")
    if answer.status == 200 and "as=APIGroupDiscoveryList" in kind:
        for group in msgspec.json.decode(answer.body, type=Object).get("items") or ():
            if (group.get("metadata") or {}).get("name") != target.group:
                continue
            for version in group.get("versions") or ():
                if version.get("version") == target.version:
                    return list(version.get("resources") or ())
    answer = await _get(forwarder, target, address, target.path)
    if answer.status != 200:
        raise aiohttp.ClientPayloadError(f"{target.path} answered {answer.status}")
    return from_legacy(target, msgspec.json.decode(answer.body, type=Object))


def from_legacy(target: Target, tree: Object) -> list[Object]:
    """The resources of an APIResourceList as apidiscovery.k8s.io/v2 has them."""
    found: dict[str, Object] = {}

    def response(entry: Object) -> Object:
        return {
            "group": entry.get("group") or target.group,
            "version": entry.get("version") or target.version,
            "kind": entry.get("kind", ""),
        }

    for entry in tree.get("resources") or ():
        name, _, sub = str(entry.get("name", "")).partition("/")
        if not sub:
            found[name] = {
                "resource": name,
                "responseKind": response(entry),
                "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
                "singularResource": entry.get("singularName", ""),
                "verbs": list(entry.get("verbs") or ()),
                **{key: list(entry[key]) for key in ("shortNames", "categories") if entry.get(key)},
            }
    for entry in tree.get("resources") or ():
        name, _, sub = str(entry.get("name", "")).partition("/")
        if sub and name in found:
            found[name].setdefault("subresources", []).append(
                {"subresource": sub, "responseKind": response(entry), "verbs": list(entry.get("verbs") or ())}
            )
    return list(found.values())
