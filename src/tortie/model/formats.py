"""The text formats of the API (spec/resources.md 0.2): names, addresses, ports, durations, communities.

For admission, which asks what is wrong with a value, and for conversion, which needs it in canonical form. In: text.
Out: `…_problem` functions give "" or what the value must be; the others give the value or raise ValueError.
"""

import base64
import binascii
import ipaddress
import re
import socket
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
_PORT_TEXT = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}|\*")
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_DURATION = re.compile(r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+|0")
_DURATION_PART = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 / 1e9
_MOST_DIGITS = 20
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,18})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_COMMUNITY = re.compile(r"([0-9]+):([0-9]+)(?::([0-9]+))?")
_CONTAINER_ID = re.compile(r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
PORT_PROTOCOLS = frozenset({6, 17, 132})


# --- names -----------------------------------------------------------------------------------------------------


def name_problem(value: str, *, limit: int = 253) -> str:
    """A DNS-1123 subdomain."""
    if len(value) > limit:
        return f"must be no more than {limit} characters"
    if not _SUBDOMAIN.fullmatch(value):
        return (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
            " start and end with an alphanumeric character (e.g. 'example.com')"
        )
    return ""


def dns_label_problem(value: str) -> str:
    """A DNS-1123 label."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if not _DNS_LABEL.fullmatch(value):
        return (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and"
            " end with an alphanumeric character (e.g. 'my-name')"
        )
    return ""


def label_value_problem(value: str) -> str:
    if len(value) > 63:
        return "must be no more than 63 characters"
    if not _LABEL_VALUE.fullmatch(value):
        return (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
            " start and end with an alphanumeric character (e.g. 'MyValue')"
        )
    return ""


def qualified_name_problem(value: str) -> str:
    """The key of a label or annotation: an optional DNS subdomain with a slash, and a name of at most 63 characters."""
    prefix, slash, name = value.rpartition("/")
    if slash and (problem := name_problem(prefix) if prefix else "prefix part must be non-empty"):
        return f"prefix part: {problem}"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    if not _QUALIFIED_NAME.fullmatch(name):
        return (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
            " alphanumeric character (e.g. 'MyName')"
        )
    return ""


def port_name_problem(value: str) -> str:
    if len(value) > 15 or not _PORT_NAME.fullmatch(value) or not re.search("[a-z]", value):
        return (
            "must be a port name: at most 15 of a-z, 0-9 and '-', with at least one letter, and no '-' at an end or"
            " next to another"
        )
    return ""


def interface_problem(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        return "must be an interface name of 1 to 15 letters, digits, '_', '.' or '-', or * for all interfaces"
    return ""


def container_id_problem(value: str) -> str:
    return "" if _CONTAINER_ID.fullmatch(value) else "must be letters and digits, with '-' inside only"


def mac_problem(value: str) -> str:
    return "" if _MAC.fullmatch(value) else "must be a hardware address such as ee:ee:ee:ee:ee:ee"


# --- addresses -------------------------------------------------------------------------------------------------


def address(text: str) -> Address:
    """A bare address. Raises ValueError."""
    if "%" in text:
        raise ValueError(f"{text!r} is not an IP address: a zone is not allowed")
    return ipaddress.ip_address(text)


def host_net(text: str) -> str:
    """A bare address as the canonical CIDR of it alone. Raises ValueError."""
    try:
        # What this accepts is in canonical form already; it is ten times faster than a parsed object.
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        parsed = address(text)
        return f"{parsed}/{parsed.max_prefixlen}"
    return f"{text}/32"


def network(text: str) -> Network:
    """A CIDR, host bits cleared; a bare address is a network of one. Raises ValueError."""
    base, slash, length = text.partition("/")
    if "%" in base or (slash and not _PREFIX_LENGTH.fullmatch(length)):
        raise ValueError(f"{text!r} is not an IP address or CIDR")
    return ipaddress.ip_network(text, strict=False)


def canonical_net(text: str) -> str:
    """The network in canonical text, with its prefix length. Raises ValueError."""
    return network(text).with_prefixlen


def overlap(one: str, other: str) -> bool:
    """Whether two networks share an address; False if either is none."""
    try:
        first, second = network(one), network(other)
    except ValueError:
        return False
    return first.version == second.version and first.overlaps(second)


def version_of(cidr: str) -> int:
    """4 or 6, from the look of a canonical address or CIDR."""
    return 6 if ":" in cidr else 4


def address_problem(value: str, *, version: int | None = None) -> str:
    """A bare address, of one version if given. IPv6 refuses addresses that wrap an IPv4 one."""
    wanted = {4: "an IPv4 address", 6: "an IPv6 address", None: "an IP address"}[version]
    try:
        parsed = address(value)
    except ValueError:
        return f"must be {wanted}, without a prefix length"
    if (version is not None and parsed.version != version) or (version == 6 and getattr(parsed, "ipv4_mapped", None)):
        return f"must be {wanted}"
    return ""


def net_problem(value: str, *, version: int | None = None, need_length: bool = False, host_bits: bool = False) -> str:
    """A CIDR or, unless need_length, a bare address; host bits must be clear unless host_bits."""
    try:
        parsed = network(value)
    except ValueError:
        example = {6: "fd00:10::/64"}.get(version or 4, "10.0.0.0/8")
        return f"must be a CIDR such as {example}" + ("" if need_length else ", or an IP address")
    if version is not None and parsed.version != version:
        return f"must be an IPv{version} CIDR"
    if "/" not in value:
        return f"must be a CIDR with a prefix length, such as {parsed.with_prefixlen}" if need_length else ""
    if not host_bits and address(value.partition("/")[0]) != parsed.network_address:
        return f"must not have bits set beyond the prefix length: did you mean {parsed.with_prefixlen}?"
    return ""


# --- numbers and other scalars ---------------------------------------------------------------------------------


def protocol_number(value: int | str) -> int:
    """The IANA number of a protocol given by number, numeric text or exact name. Raises ValueError."""
    if isinstance(value, str):
        if value in PROTOCOLS:
            return PROTOCOLS[value]
        if not (value.isascii() and value.isdigit() and len(value) <= 3):
            raise ValueError(f"protocol {value!r} is none of {', '.join(PROTOCOLS)}, nor a number from 1 to 255")
        value = int(value)
    if not 1 <= value <= 255:
        raise ValueError(f"protocol {value} is not between 1 and 255")
    return value


def protocol_problem(value: int | str) -> str:
    try:
        protocol_number(value)
    except ValueError:
        return f"must be one of {', '.join(PROTOCOLS)}, or a number from 1 to 255"
    return ""


def parse_port(value: int | str) -> tuple[int, int] | str:
    """A port as (first, last), or as a name. Raises ValueError for what is neither; limits are not checked."""
    if isinstance(value, int):
        if not 0 <= value <= 65535:
            raise ValueError(f"port {value} is not between 0 and 65535")
        return value, value
    first, colon, last = value.partition(":")
    if first.isascii() and first.isdigit():
        if not colon:
            last = first
        if last.isascii() and last.isdigit():
            low, high = int(first), int(last)
            if low > high or high > 65535:
                raise ValueError(f"ports {value!r} are not a range of numbers up to 65535 whose first is the lower one")
            return low, high
    if not _PORT_TEXT.fullmatch(value):
        raise ValueError(f"port {value!r} is not a number, a range such as 80:90, or a name")
    return value


def port_problem(value: int | str) -> str:
    try:
        port = parse_port(value)
    except ValueError:
        return "must be a number from 1 to 65535, a range such as 8000:8080, or the name of a port"
    if isinstance(port, str):
        return port_name_problem(port)
    if port[0] < 1:
        return "ports must be between 1 and 65535"
    return ""


def canonical_port(value: int | str) -> int | str:
    """The form in which a port is stored: a number if it is one, else `first:last` or a name. Raises ValueError."""
    port = parse_port(value)
    if isinstance(port, str):
        return port
    return port[0] if port[0] == port[1] else f"{port[0]}:{port[1]}"


def as_number(value: int | str) -> int:
    """An AS number from a number, decimal text or `high.low`. Raises ValueError."""
    if isinstance(value, str):
        parts = value.split(".")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"{value!r} is not an AS number")
        numbers = [int(part) for part in parts]
        if len(numbers) == 2 and max(numbers) > 65535:
            raise ValueError(f"{value!r} is not an AS number: both parts must be at most 65535")
        value = numbers[0] if len(numbers) == 1 else numbers[0] * 65536 + numbers[1]
    if not 0 <= value <= 0xFFFF_FFFF:
        raise ValueError(f"{value} is not an AS number: it must be at most 4294967295")
    return value


def duration_problem(value: str) -> str:
    try:
        duration_seconds(value)
    except ValueError:
        return "must be a duration such as 90s, 1h30m or 1.5s, and less than 292 years"
    return ""


def duration_seconds(value: str) -> float:
    """Seconds of a duration such as `1h2m3.5s`, which has to fit into 64 bits of nanoseconds. Raises ValueError."""
    if not _DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is not a duration such as 90s, 1h30m or 1.5s")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if total >= _LONGEST:
        raise ValueError(f"{value!r} is longer than any duration: 292 years")
    return -total if value.startswith("-") else total


def time(text: str) -> datetime:
    """A time of RFC 3339 such as 2026-01-31T12:00:00Z. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time such as 2026-01-31T12:00:00Z")
    # More digits than Python keeps are legal.
    return datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text.upper()))


def time_problem(value: str) -> str:
    try:
        time(value)
    except ValueError:
        return "must be a time such as 2026-01-31T12:00:00Z"
    return ""


def base64_problem(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return "must be base64"
    return ""


def certificate_problem(value: str) -> str:
    """One or more certificates as PEM."""
    found = _CERTIFICATE.findall(value)
    if not found or any(base64_problem("".join(body.split())) for body in found):
        return "must be a certificate as PEM, which begins with -----BEGIN CERTIFICATE-----"
    return ""


def community_problem(value: str, *, leading_zeros: bool = True) -> str:
    found = _COMMUNITY.fullmatch(value)
    wanted = "must be a community aa:nn (each at most 65535) or aa:nn:mm (each at most 4294967295)"
    if not found:
        return wanted
    parts = [part for part in found.groups() if part is not None]
    if any(len(part) > _MOST_DIGITS or int(part) > (65535 if len(parts) == 2 else 0xFFFF_FFFF) for part in parts):
        return wanted
    if not leading_zeros and any(len(part) > 1 and part.startswith("0") for part in parts):
        return f"{wanted}, without leading zeros"
    return ""


@lru_cache(maxsize=512)
def regex(text: str) -> Any:
    """A regular expression of RE2, the language of the API's patterns, which takes linear time. Raises ValueError."""
    import re2  # type: ignore[import-untyped]  # has no stubs

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(text, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise ValueError(why.decode(errors="replace") if isinstance(why, bytes) else str(why)) from None


def regex_problem(value: str) -> str:
    try:
        regex(value)
    except ValueError as error:
        return f"must be a regular expression: {error}"
    return ""


_DOMAIN_COMPONENT = re.compile(r"[A-Za-z0-9_](?:[-A-Za-z0-9_]*[A-Za-z0-9_])?")


def domain_problem(value: str) -> str:
    """A domain name; one component but the last may be `*`."""
    components = value.removesuffix(".").split(".")
    if (
        not 0 < len(value) <= 254
        or max(map(len, components)) > 63
        or components.count("*") > 1
        or components[-1] == "*"
        or not all(component == "*" or _DOMAIN_COMPONENT.fullmatch(component) for component in components)
    ):
        return "must be a domain name such as example.com; one component, but not the last, may be *"
    return ""


_DSCP = {
    "DF": 0, "EF": 46,
    "AF11": 10, "AF12": 12, "AF13": 14, "AF21": 18, "AF22": 20, "AF23": 22,
    "AF31": 26, "AF32": 28, "AF33": 30, "AF41": 34, "AF42": 36, "AF43": 38,
    "CS0": 0, "CS1": 8, "CS2": 16, "CS3": 24, "CS4": 32, "CS5": 40, "CS6": 48,
}  # fmt: skip


def dscp_value(value: int | str) -> int:
    """A DSCP code point from a number, numeric text or name. Raises ValueError."""
    if isinstance(value, str):
        if value.upper() in _DSCP:
            return _DSCP[value.upper()]
        value = int(value) if value.isascii() and value.isdigit() else -1
    if not 0 <= value <= 63:
        raise ValueError("a DSCP value is a number from 0 to 63 or one of " + ", ".join(_DSCP))
    return value
