"""Names of chains, sets and maps in Felix's nftables tables (spec/felix.md 3.1, 3.3).

Keys of policies, profiles and interfaces come in; names that the nft language can write go out. A name that it could
not write, or that is too long, becomes its beginning plus a hash.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable

from tortie.model.dataplane import PolicyKey

TABLE = "calico"
_LIMIT = 200
_WRITABLE = re.compile(r"[A-Za-z][A-Za-z0-9/_.\-]*\Z")
_KINDS = {
    "NetworkPolicy": "np",
    "GlobalNetworkPolicy": "gnp",
    "StagedNetworkPolicy": "snp",
    "StagedGlobalNetworkPolicy": "sgnp",
    "StagedKubernetesNetworkPolicy": "sknp",
    "KubernetesNetworkPolicy": "knp",
    "KubernetesClusterNetworkPolicy": "kcnp",
}


def digest(text: str, length: int = 16) -> str:
    """base64url characters of the SHA-256 of `text`."""
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()[:length]


def writable(prefix: str, rest: str) -> str:
    name = prefix + rest
    if len(name) <= _LIMIT and _WRITABLE.match(name):
        return name
    return f"{prefix}_{digest(rest, 32)}"


def policy_id(key: PolicyKey) -> str:
    """Such as `gnp/default.allow-dns` or `np/shop/default.web`."""
    namespace = f"{key.namespace}/" if key.namespace else ""
    return f"{_KINDS.get(key.kind, key.kind.lower())}/{namespace}{key.name}"


def policy_chain(layer: str, *, inbound: bool, key: PolicyKey) -> str:
    return writable(f"{layer}-cali-{'pi' if inbound else 'po'}-", policy_id(key))


def profile_chain(*, inbound: bool, name: str) -> str:
    return writable(f"filter-cali-{'pri' if inbound else 'pro'}-", name)


def group_chain(layer: str, *, inbound: bool, policy_chains: Iterable[str]) -> str:
    """Policies that are evaluated one after the other, for every endpoint that has this very list."""
    return f"{layer}-cali-{'gi' if inbound else 'go'}-{digest(' '.join(policy_chains))}"


def endpoint_chain(layer: str, kind: str, interface: str) -> str:
    """kind: fw, tw (workloads), fh, th, fhfw, thfw (host endpoints)."""
    return writable(f"{layer}-cali-{kind}-", interface)


def ip_set(version: int, set_id: str) -> str:
    # The calculation's ids begin like `s:`, which is no part of a name in nft's language.
    return writable(f"cali{version}0", set_id.replace(":", "-", 1))


def content_set(version: int, kind: str, members: Iterable[str]) -> str:
    """A set that rules own, named after what it holds, so that equal lists share one."""
    return f"cali{version}0{kind}-{digest(','.join(members))}"
