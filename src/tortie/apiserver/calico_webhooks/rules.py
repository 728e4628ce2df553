"""What the webhooks decide: rights by tier, and who may write ClusterInformation.

In: the request of an AdmissionReview, and how access questions are answered. Out: None to allow, or the `StatusError`
to refuse with.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tortie.apiserver import errors, tiered
from tortie.apiserver.context import User
from tortie.apiserver.errors import StatusError
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.tiered import tier_of

Object = dict[str, Any]
Allowed = Callable[[User, Attributes], Awaitable[bool]]
FindTier = Callable[[str], Awaitable[Object | None]]
WRITERS = ("calico-node", "calico-kube-controllers", "calico-typha")
_VERBS = {"CREATE": "create", "UPDATE": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Request:
    """The part of an AdmissionReview's request that decides."""

    user: User
    operation: str
    group: str
    plural: str
    subresource: str
    namespace: str
    name: str
    new: Object | None
    old: Object | None


def read(request: Mapping[str, Any]) -> Request:
    """The request as it was sent. Raises ValueError, which names the field, for what is not one."""
    info, resource = request.get("userInfo"), request.get("resource")
    if not isinstance(info, dict) or not isinstance(resource, dict):
        raise ValueError("request.userInfo and request.resource must be objects")  # noqa: TRY004 - a bad body
    operation = request.get("operation")
    if operation not in {*_VERBS, "CONNECT"}:
        raise ValueError(f"request.operation is {operation!r}; it must be one of CREATE, UPDATE, DELETE, CONNECT")
    new, old = (
        value if isinstance(value, dict) else None for value in (request.get("object"), request.get("oldObject"))
    )
    meta = (new or old or {}).get("metadata")
    extra = {str(k): tuple(map(str, v)) for k, v in (info.get("extra") or {}).items()}
    return Request(
        user=User(
            str(info.get("username", "")), tuple(map(str, info.get("groups") or ())), str(info.get("uid") or ""), extra
        ),
        operation=str(operation),
        group=str(resource.get("group", "")),
        plural=str(resource.get("resource", "")),
        subresource=str(request.get("subResource") or ""),
        namespace=str(request.get("namespace") or ""),
        name=str(request.get("name") or (meta.get("name") if isinstance(meta, dict) else "") or ""),
        new=new,
        old=old,
    )


async def by_tier(request: Request, allowed: Allowed, find_tier: FindTier) -> StatusError | None:
    """A policy may be written by who has the right in its tier, and when it moves in both. The tier must exist."""
    verb = _VERBS.get(request.operation)
    if verb is None or request.group != tiered.GROUP or request.plural not in tiered.PLURALS:
        return None
    wanted = [tier_of(obj) for obj in (request.old, request.new) if obj is not None]
    if not wanted:
        return errors.bad_request("the request has neither object nor oldObject")
    for tier in dict.fromkeys(wanted):
        asked = tiered.checks(
            verb,
            request.plural,
            tier,
            name=request.name,
            namespace=request.namespace,
            subresource=request.subresource,
        )
        answers = await asyncio.gather(*(allowed(request.user, question) for question in asked))
        decision = tiered.decide(answers)
        if not decision.allowed:
            return tiered.refusal(
                request.user.name,
                verb,
                request.plural,
                tier,
                name=request.name,
                namespace=request.namespace,
                gets_tier=decision.gets_tier,
            )
    return await _usable(request, tier_of(request.new), find_tier) if request.new is not None else None


async def _usable(request: Request, name: str, find_tier: FindTier) -> StatusError | None:
    tier = await find_tier(name)
    if tier is not None and not (tier.get("metadata") or {}).get("deletionTimestamp"):
        return None
    what = "does not exist" if tier is None else "is being deleted"
    return errors.forbidden(tiered.GROUP, request.plural, request.name, f"tier {name} {what}")


def cluster_information(request: Request, namespace: str) -> StatusError | None:
    """ClusterInformation is written by Calico's own service accounts. namespace: theirs."""
    if request.group != tiered.GROUP or request.plural != "clusterinformations" or request.operation not in _VERBS:
        return None
    if request.user.name in {f"system:serviceaccount:{namespace}:{account}" for account in WRITERS}:
        return None
    return StatusError(
        405,
        "MethodNotAllowed",
        f'ClusterInformation is written by {", ".join(WRITERS)} in namespace {namespace} alone, not by "'
        f'{request.user.name}"',
        details={"group": tiered.GROUP, "kind": "clusterinformations", "name": request.name},
    )
