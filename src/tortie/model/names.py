"""Names that several components must compute alike: interfaces, endpoints, blocks, affinities, chains.

For CNI, IPAM, Felix and the conversions. In: names from the API. Out: text; nothing here can fail except on input
that could not name anything. The rules are spec/resources.md 1.4 (IPAM), 3.4 and 4.2.
"""

import base64
import hashlib

MAX_NAME = 253


def workload_interface_name(namespace: str, pod: str, *, prefix: str = "cali") -> str:
    """The node's end of a pod's interface: the prefix and 11 hex digits of SHA-1 over `<namespace>.<pod>`.

    prefix: a comma-separated list is allowed; its first entry is used (FELIX_INTERFACEPREFIX has that form).
    """
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return prefix.split(",", 1)[0].strip() + digest[:11]


def workload_endpoint_name(
    *, node: str, orchestrator: str = "k8s", pod: str = "", workload: str = "", container_id: str = "", endpoint: str
) -> str:
    """`<node>-<orchestrator>-<workload>-<endpoint>`, every `-` inside a part doubled.

    The third part is the pod for k8s, the container for cni, the word libnetwork for libnetwork, else the workload.
    Raises ValueError, naming the part, if one is empty or begins or ends with `-`.
    """
    third = {"k8s": pod, "cni": container_id, "libnetwork": "libnetwork"}.get(orchestrator, workload)
    parts = {"node": node, "orchestrator": orchestrator, "workload": third, "endpoint": endpoint}
    for part, value in parts.items():
        if not value or value.startswith("-") or value.endswith("-"):
            raise ValueError(f"{part} {value!r} cannot be part of an endpoint's name: empty, or a dash at an end")
    return "-".join(value.replace("-", "--") for value in parts.values())


def split_workload_endpoint_name(name: str) -> tuple[str, str, str, str]:
    """The inverse of workload_endpoint_name: node, orchestrator, workload, endpoint. Raises ValueError otherwise."""
    parts = tuple(part.replace("\0", "-") for part in name.replace("--", "\0").split("-"))
    if len(parts) != 4 or not all(parts):
        raise ValueError(f"{name!r} is not <node>-<orchestrator>-<workload>-<endpoint> with doubled inner dashes")
    return parts


def cidr_name(cidr: str) -> str:
    """An object name for a CIDR: 192.168.10.64/26 -> 192-168-10-64-26, fd80:50::/122 -> fd80-50---122."""
    return cidr.translate(_CIDR_SEPARATORS)


_CIDR_SEPARATORS = str.maketrans(".:/", "---")


def affinity_name(node: str, cidr: str) -> str:
    """The name of a BlockAffinity: `<node>-<cidr name>`, shortened with a hash when it would be too long."""
    block = cidr_name(cidr)
    name = f"{node}-{block}"
    if len(name) < MAX_NAME:
        return name
    digest = hashlib.sha256(f"{node}+{block}".encode()).hexdigest()[:11]
    room = MAX_NAME - len(block) - len(digest) - 2
    return f"{node[:room]}-{block}-{digest}"


def handle_name(handle_id: str) -> str:
    """The name of an IPAMHandle."""
    return handle_id.lower()


def hostname_hash(node: str) -> str:
    """The value of label projectcalico.org/hostname-hash: base32 of SHA3-256 without padding (52 characters)."""
    return base64.b32encode(hashlib.sha3_256(node.encode()).digest()).decode().rstrip("=")


def limited_id(prefix: str, suffix: str, limit: int) -> str:
    """prefix+suffix if that is shorter than the limit, else prefix, `_` and a hash of the suffix, cut to the limit.

    A text of exactly the limit's length is kept as it is too, unless the suffix begins with `_`, so that it cannot be
    mistaken for a hash. An empty suffix is replaced by `_`.
    """
    suffix = suffix or "_"
    text = prefix + suffix
    if len(text) < limit or (len(text) == limit and not suffix.startswith("_")):
        return text
    digest = base64.urlsafe_b64encode(hashlib.sha256(suffix.encode()).digest()).decode().rstrip("=")
    return f"{prefix}_{digest}"[:limit]


def namespace_profile(namespace: str) -> str:
    """The profile that all pods of the namespace have."""
    return f"kns.{namespace}"


def service_account_profile(namespace: str, service_account: str) -> str:
    """The profile that all pods of the service account have; an empty namespace means default."""
    return f"ksa.{namespace or 'default'}.{service_account}"


def vtep_mac(name: str) -> str:
    """The MAC of a VXLAN tunnel endpoint: a hash of its name, locally administered and unicast (spec/felix.md 3.8).

    name: the node's name, with `-v6` behind it for the IPv6 tunnel.
    """
    octets = bytearray(hashlib.sha1(name.encode(), usedforsecurity=False).digest()[:6])
    octets[0] = octets[0] & 0b1111_1100 | 0b0000_0010
    return ":".join(f"{octet:02x}" for octet in octets)


def reversed_uid(uid: str) -> str:
    """The UID of an object that is derived from another: the bits of each byte reversed, bytes 6 and 8 (version and
    variant) unchanged. Its own inverse. Raises ValueError if uid is not a UUID."""
    digits = uid.replace("-", "")
    if len(digits) != 32:
        raise ValueError(f"{uid!r} is not a UUID of 32 hexadecimal digits")
    raw = bytes.fromhex(digits)
    hexadecimal = bytes(b if i in (6, 8) else _REVERSED[b] for i, b in enumerate(raw)).hex()
    return "-".join((hexadecimal[:8], hexadecimal[8:12], hexadecimal[12:16], hexadecimal[16:20], hexadecimal[20:]))


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
