"""How the API structs say what their fields are called and what they mean.

For the modules that define kinds. In: attribute names and descriptions written beside the fields. Out: JSON names for
msgspec, and metadata from which `tortie.model.schema` builds OpenAPI. Limits written here are checked on admission,
never while decoding: an object that another version wrote must still be readable.
"""

from typing import Any

import msgspec

_INITIALISMS = {
    "api": "API",
    "as": "AS",
    "asn": "ASN",
    "bgp": "BGP",
    "ca": "CA",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "cis": "CIS",
    "dnat": "DNAT",
    "guid": "GUID",
    "icmp": "ICMP",
    "id": "ID",
    "ip": "IP",
    "ips": "IPs",
    "l2": "L2",
    "mac": "MAC",
    "nat": "NAT",
    "nats": "NATs",
    "tls": "TLS",
    "url": "URL",
    "vlan": "VLAN",
}


def json_name(attribute: str) -> str:
    """`expected_ips` -> `expectedIPs`, `pre_dnat` -> `preDNAT`: the API's spelling of a snake-case attribute."""
    first, *rest = attribute.split("_")
    return first + "".join(_INITIALISMS.get(word) or word.capitalize() for word in rest)


def doc(description: str, **keywords: Any) -> msgspec.Meta:
    """Metadata for `Annotated`: a description and OpenAPI keywords (`x_` becomes `x-`, other `_` become `-`)."""
    schema = {(name.replace("_", "-") if name.startswith("x_") else name): value for name, value in keywords.items()}
    return msgspec.Meta(description=description, extra_json_schema=schema or None)


UNIQUE = {"x_kubernetes_list_type": "set"}
"""Keywords for a list whose duplicates the API refuses."""


class ApiStruct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=json_name):
    """A part of an API object: immutable, absent fields have their zero value, and zero values are not written."""


class Object(ApiStruct, frozen=True, kw_only=True, omit_defaults=True, rename=json_name):
    """A whole API object. Subclasses add `api_version`, `kind`, `metadata` and the rest."""


def constant(value: Any) -> Any:
    """A default that is written all the same (msgspec omits plain defaults): for apiVersion,
    kind, and fields that the schema requires. The value must be immutable."""
    return msgspec.field(default_factory=lambda: value)


def required_map() -> Any:
    """The default of a field that is a map and that the schema requires: a new empty one, which is written."""
    return msgspec.field(default_factory=lambda: {})  # noqa: PIE807  # dict itself is omitted


def empty_map() -> Any:
    """The default of a field that is a map: a new empty one, which is not written."""
    return msgspec.field(default_factory=dict)
