"""What an aggregated API server says about itself: whether it answers, its resources, its OpenAPI documents.

In: a `Target` and the answers of its server. Out: a `Remote`: discovery in the form of apidiscovery.k8s.io/v2, the
OpenAPI v2 tree, the hash of the v3 document. What it said last is kept while it does not answer, and what makes no
sense is left out.
"""

import asyncio
import hashlib
import logging
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
from tortie.apiserver.openapi import gnostic
from tortie.apiserver.proxying import merge
from tortie.apiserver.proxying.forward import Forwarder
from tortie.apiserver.proxying.services import Target

Object = dict[str, Any]
CHECK_SECONDS = 5.0
ATTEMPTS = 5
_log = logging.getLogger("tortie.apiserver")
_LIMIT = 32 * 1024 * 1024
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_JSON = "application/json"


@dataclass(slots=True, eq=False)
class Remote:
    """What is known of one target."""

    target: Target
    available: bool = False
    resources: list[Object] = field(default_factory=list)
    discovered: bool = False  # the last reading of its resources worked
    changed: bool = False  # something was learnt since the aggregator looked
    v2: Object = field(default_factory=dict)
    v2_tag: str = ""
    v3_hash: str = ""


class _ResponseKind(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""


class _Subresource(msgspec.Struct, rename="camel", omit_defaults=True):
    subresource: str
    response_kind: _ResponseKind | None = None
    verbs: list[str] = []
    accepted_types: list[_ResponseKind] = []


class _Resource(msgspec.Struct, rename="camel", omit_defaults=True):
    resource: str
    response_kind: _ResponseKind | None = None
    scope: str = ""
    singular_resource: str = ""
    verbs: list[str] = []
    short_names: list[str] = []
    categories: list[str] = []
    subresources: list[_Subresource] = []


class _Version(msgspec.Struct):
    version: str
    resources: list[_Resource] = []


class _Named(msgspec.Struct):
    name: str = ""


class _Group(msgspec.Struct):
    metadata: _Named
    versions: list[_Version] = []


class _Groups(msgspec.Struct):
    items: list[_Group] = []


class _LegacyResource(msgspec.Struct, rename="camel"):
    name: str
    singular_name: str = ""
    namespaced: bool = False
    group: str = ""
    version: str = ""
    kind: str = ""
    verbs: list[str] = []
    short_names: list[str] = []
    categories: list[str] = []


class _ResourceList(msgspec.Struct):
    resources: list[_LegacyResource] = []


class _Place(msgspec.Struct):
    url: str = msgspec.field(name="serverRelativeURL", default="")


class _Index(msgspec.Struct):
    paths: dict[str, _Place] = {}


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


async def learn(forwarder: Forwarder, remote: Remote, address: Address) -> None:
    """Reads discovery and OpenAPI. Raises for an answer that makes no sense; what was learnt before that stays."""
    target = remote.target
    before = (remote.discovered, remote.resources, remote.v2_tag, remote.v3_hash)
    remote.discovered = False
    try:
        remote.resources = await _discovery(forwarder, target, address)
        remote.discovered = True
        tags = {"If-None-Match": remote.v2_tag} if remote.v2_tag.endswith('"') else {}
        answer = await _get(forwarder, target, address, "/openapi/v2", **tags)
        if answer.status == 200:
            remote.v2_tag = answer.headers.get("ETag", "") or hashlib.sha256(answer.body).hexdigest()
            remote.v2 = usable(target, answer.body)
        answer = await _get(forwarder, target, address, "/openapi/v3")
        if answer.status == 200:
            index = msgspec.json.decode(answer.body, type=_Index)
            place = index.paths.get(target.path.strip("/"), _Place()).url
            remote.v3_hash = URL(place, encoded=True).query.get("hash", "") or ("unknown" if place else "")
    finally:
        if before != (remote.discovered, remote.resources, remote.v2_tag, remote.v3_hash):
            remote.changed = True


def usable(target: Target, body: bytes) -> Object:
    """An OpenAPI v2 document that can be merged and encoded; empty when this one cannot, for it must not spoil ours."""
    base: Object = {"swagger": "2.0", "info": {"title": "", "version": ""}, "paths": {}, "definitions": {}}
    try:
        tree = msgspec.json.decode(body, type=Object)
        gnostic.document(merge.openapi_v2(base, [Remote(target, v2=tree)]))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, OverflowError) as error:
        _log.warning("the OpenAPI document of %s cannot be used: %s", target.name, error or type(error).__name__)
        return {}
    return tree


async def _discovery(forwarder: Forwarder, target: Target, address: Address) -> list[Object]:
    answer = await _get(forwarder, target, address, "/apis", Accept=_AGGREGATED)
    kind = answer.headers.get("Content-Type", "").replace(" ", "")
    if answer.status == 200 and "as=APIGroupDiscoveryList" in kind:
        for group in msgspec.json.decode(answer.body, type=_Groups).items:
            for version in group.versions:
                if (group.metadata.name, version.version) == (target.group, target.version):
                    return [_plain(resource) for resource in version.resources]
    answer = await _get(forwarder, target, address, target.path)
    if answer.status != 200:
        raise aiohttp.ClientPayloadError(f"{target.path} answered {answer.status}")
    return from_legacy(target, msgspec.json.decode(answer.body, type=_ResourceList))


def _plain(value: msgspec.Struct) -> Object:
    tree: Object = msgspec.to_builtins(value)
    return tree


def from_legacy(target: Target, listed: "_ResourceList") -> list[Object]:
    """The resources of an APIResourceList as apidiscovery.k8s.io/v2 has them."""
    found: dict[str, _Resource] = {}

    def response(entry: _LegacyResource) -> _ResponseKind:
        return _ResponseKind(entry.group or target.group, entry.version or target.version, entry.kind)

    for entry in listed.resources:
        if "/" not in entry.name:
            found[entry.name] = _Resource(
                resource=entry.name,
                response_kind=response(entry),
                scope="Namespaced" if entry.namespaced else "Cluster",
                singular_resource=entry.singular_name,
                verbs=entry.verbs,
                short_names=entry.short_names,
                categories=entry.categories,
            )
    for entry in listed.resources:
        name, slash, sub = entry.name.partition("/")
        if slash and name in found:
            found[name].subresources.append(_Subresource(sub, response(entry), entry.verbs))
    return [_plain(resource) for resource in found.values()]
