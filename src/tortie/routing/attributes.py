"""What a BGPPeer says about its sessions, checked so that BIRD will take it.

For `tortie.routing.peerings`. In: one BGPPeer and what is known about the peering. Out: `Attributes`, or `Rejected`
with a reason for the user (spec/bgp-typha.md A.2.4).
"""

import msgspec

from tortie.model import formats
from tortie.model.meta import SecretKeySelector
from tortie.model.v3 import bgp
from tortie.routing.world import World, address

_MAX_PASSWORD = 80
"""The Linux kernel's limit for TCP-MD5 keys."""

MAX_RESTART_TIME = 4095
"""Seconds; the graceful restart capability has twelve bits for it."""


class Rejected(Exception):
    """This object cannot become a peering; the text tells its author why."""


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """next_hop: "", `self` or `keep`. hops 0: any number. Times in seconds, None for BIRD's default."""

    filters: tuple[str, ...] = ()
    next_hop: str = ""
    hops: int = 0
    password: str = ""
    restart_time: int | None = None
    keepalive_time: int | None = None
    own_as_allowed: int = 0
    reachable_by: str = ""


def peer_attributes(
    world: World,
    peer: bgp.BGPPeer,
    *,
    internal: bool,
    family: int,
    by_address: bool,
    secrets: set[str],
) -> Attributes:
    """The attributes of one peering of `peer`.

    by_address: the peer is given by peerIP, not by a selector. secrets: receives the name of the secret it refers to.
    """
    spec = peer.spec
    password = ""
    if spec.password is not None and spec.password.secret_key_ref is not None:
        password = resolve_password(world, spec.password, secrets)
    if spec.reachable_by:
        gateway = address(spec.reachable_by)
        if gateway is None:
            raise Rejected(f"reachableBy {spec.reachable_by!r} is not an IP address")
        if gateway.version != family:
            raise Rejected(f"reachableBy {spec.reachable_by} is not of the peer's family, IPv{family}")
    keepalive = seconds(spec.keepalive_time)
    return Attributes(
        filters=tuple(spec.filters),
        next_hop=_next_hop(spec, internal=internal),
        hops=spec.ttl_security or 0,
        password=password,
        restart_time=restart_time(spec.max_restart_time),
        keepalive_time=keepalive if keepalive else None,
        own_as_allowed=max(0, spec.num_allowed_local_as_numbers or 0) if by_address else 0,
        reachable_by=str(address(spec.reachable_by)) if spec.reachable_by else "",
    )


def _next_hop(spec: bgp.BGPPeerSpec, *, internal: bool) -> str:
    if spec.next_hop_mode:
        return {"Self": "self", "Keep": "keep"}.get(spec.next_hop_mode, "")
    return "keep" if spec.keep_original_next_hop and not internal else ""


def resolve_password(world: World, source: bgp.BGPPassword, secrets: set[str]) -> str:
    """The secret's value as it stands; "" if the secret or its key is missing (the peering then has no password)."""
    reference: SecretKeySelector | None = source.secret_key_ref
    if reference is None:
        return ""
    secrets.add(reference.name)
    value = world.secrets.get(reference.name, {}).get(reference.key, "")
    where = f"the password in secret {reference.name}, key {reference.key},"
    if '"' in value or any(ord(c) < 32 for c in value):
        raise Rejected(f"{where} holds a double quote, a line break or a control character, which BIRD cannot take")
    if len(value.encode(errors="surrogateescape")) > _MAX_PASSWORD:
        raise Rejected(f"{where} is longer than {_MAX_PASSWORD} bytes, the kernel's limit")
    return value


def seconds(duration: str | None) -> int | None:
    """A duration such as `1m30s` as whole seconds, rounded half up; None if absent. Raises Rejected."""
    if not duration:
        return None
    try:
        return int(formats.duration_seconds(duration) + 0.5)
    except ValueError as e:
        raise Rejected(str(e)) from e


def restart_time(duration: str | None) -> int | None:
    """A graceful restart time in seconds, cut to what BGP can express; None if absent. Raises Rejected."""
    value = seconds(duration)
    return None if value is None else min(value, MAX_RESTART_TIME)
