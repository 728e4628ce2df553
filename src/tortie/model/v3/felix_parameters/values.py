"""What each kind of parameter accepts, in both forms: as a field of FelixConfiguration and as text.

For admission, which asks what is wrong with a field, and for Felix, which reads the environment, its file and what the
syncer made of resources. In: a parameter of the tables and a value. Out: problems, or the text in canonical form.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tortie.model import formats
from tortie.model.v3.felix_parameters.parameter import ConntrackTimeouts, Parameter, ProtoPort, TableRange

_TIMEOUT_NAME = re.compile(r"[A-Za-z0-9_ -]+")
_TRUE = frozenset({"true", "1", "yes", "y", "t", "on", "enabled"})
_FALSE = frozenset({"false", "0", "no", "n", "f", "off", "disabled"})
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_SERVICE = "k8s-service:"
_MOST_TABLES = 65535
_ZERO = {"bool": "false", "int": "0", "duration": "0", "ports": "none"}


class Problem(NamedTuple):
    """where: what follows the field's path, such as `[0].net`."""

    where: str
    value: Any
    message: str


# --- fields --------------------------------------------------------------------------------------------------------


def field_problems(parameter: Parameter, value: Any) -> Iterator[Problem]:
    """What is wrong with the value of a field, beyond what its schema says."""
    match parameter.kind:
        case "regex" | "address" | "interfaces":
            yield from _text(parameter, value)
        case "cidrs" | "dns-servers":
            for index, item in enumerate(value):
                if message := _item_problem(parameter, item):
                    yield Problem(f"[{index}]", item, message)
        case "ports":
            for index, item in enumerate(value):
                yield from _proto_port(item, f"[{index}]")
        case "port-range":
            if message := port_range_problem(value, zero=True):
                yield Problem("", value, message)
        case "port-ranges":
            for index, item in enumerate(value):
                if message := port_range_problem(item):
                    yield Problem(f"[{index}]", item, message)
        case "table-range" | "table-ranges":
            yield from _tables(parameter, value)
        case "timeouts":
            for index, item in enumerate(value):
                if not _TIMEOUT_NAME.fullmatch(item.name):
                    yield Problem(f"[{index}].name", item.name, "must be letters, digits, '_', '-' and blanks")
                if message := _not_negative(item.timeout):
                    yield Problem(f"[{index}].timeout", item.timeout, message)
        case "conntrack-timeouts":
            yield from _conntrack(value)
        case "dscp":
            try:
                formats.dscp_value(value)
            except ValueError as error:
                yield Problem("", value, str(error))


def _text(parameter: Parameter, value: str) -> Iterator[Problem]:
    if value and (message := _item_problem(parameter, value)):
        yield Problem("", value, message)


def _item_problem(parameter: Parameter, value: str) -> str:
    """What is wrong with one text of a parameter of such a kind."""
    match parameter.kind:
        case "regex":
            return formats.regex_problem(value)
        case "address":
            return formats.address_problem(value, version=parameter.version)
        case "cidrs":
            return formats.net_problem(value, version=parameter.version, host_bits=True)
        case "dns-servers":
            return dns_server_problem(value)
        case "interfaces":
            return _interfaces_problem(value)
        case _:
            return ""


def _interfaces_problem(value: str) -> str:
    for part in (part.strip() for part in value.split(",")):
        if (
            len(part) > 1
            and part.startswith("/")
            and part.endswith("/")
            and (message := formats.regex_problem(part[1:-1]))
        ):
            return f"{message} in {part}"
    return ""


def dns_server_problem(value: str) -> str:
    """`address`, `address:port`, `[IPv6]:port` or `k8s-service:[namespace/]name[:port]`."""
    wanted = "must be an address, address:port, [IPv6 address]:port or k8s-service:[namespace/]name[:port]"
    if value.startswith(_SERVICE):
        place, colon, port = value.removeprefix(_SERVICE).partition(":")
        namespace, slash, name = place.rpartition("/")
        if formats.name_problem(name) or (slash and formats.dns_label_problem(namespace)):
            return wanted
        return wanted if colon and not _is_port(port) else ""
    if not formats.address_problem(value):
        return ""
    address, colon, port = value.rpartition(":")
    version = 6 if address.startswith("[") and address.endswith("]") else 4
    if not colon or formats.address_problem(address.strip("[]"), version=version) or not _is_port(port):
        return wanted
    return ""


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _proto_port(item: ProtoPort, where: str) -> Iterator[Problem]:
    if item.protocol not in ("", *_PROTOCOLS):
        yield Problem(f"{where}.protocol", item.protocol, "must be TCP, UDP or SCTP, in capitals")
    if item.net and (message := formats.net_problem(item.net, host_bits=True)):
        yield Problem(f"{where}.net", item.net, message)


def port_range_problem(value: int | str, *, zero: bool = False) -> str:
    """zero: whether port 0 alone, for none, is allowed."""
    try:
        port = formats.parse_port(value)
    except ValueError:
        port = ""
    if isinstance(port, str) or (port[0] < 1 and not (zero and port == (0, 0))):
        return "must be a port from 1 to 65535 or a range such as 30000:32767"
    return ""


def _tables(parameter: Parameter, value: TableRange | tuple[TableRange, ...]) -> Iterator[Problem]:
    most = 250 if isinstance(value, TableRange) else 0xFFFF_FFFF
    ranges = (value,) if isinstance(value, TableRange) else value
    for index, item in enumerate(ranges):
        if not 1 <= item.min <= item.max <= most:
            where = "" if isinstance(value, TableRange) else f"[{index}]"
            yield Problem(where, f"{item.min}-{item.max}", f"must have 1 <= min <= max <= {most}")
    total = sum(item.max - item.min + 1 for item in ranges if item.min <= item.max)
    if total > _MOST_TABLES:
        yield Problem("", total, f"must not have more than {_MOST_TABLES} tables in all")


def _not_negative(value: str) -> str:
    if message := formats.duration_problem(value):
        return message
    return "must not be negative" if formats.duration_seconds(value) < 0 else ""


def _conntrack(value: ConntrackTimeouts) -> Iterator[Problem]:
    for attribute, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        text = getattr(value, attribute)
        if text and text.lower() != "auto" and (message := _not_negative(text)):
            yield Problem(f".{name}", text, f"{message}, or Auto")


# --- text ----------------------------------------------------------------------------------------------------------


def canonical_text(parameter: Parameter, text: str) -> str:
    """A value in canonical form. Raises ValueError, whose text continues a sentence that names the value."""
    if text.lower() == "none":
        return _zero(parameter)
    reader = _READERS.get(parameter.kind)
    if reader is not None:
        return reader(parameter, text)
    if parameter.pattern and not re.search(parameter.pattern, text):
        raise ValueError(f"does not have the form {parameter.pattern}")
    return text


def parse_ports(text: str) -> tuple[ProtoPort, ...]:
    """`protocol:[net:]port` with commas; no protocol means tcp; `none` or `[]` means no ports. Raises ValueError."""
    if text.strip().lower() in ("none", "[]", ""):
        return ()
    result: list[ProtoPort] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        protocol, net, port = "TCP", "", entry
        if ":" in entry:
            head, _, port = entry.rpartition(":")
            first, _, net = head.partition(":")
            protocol = first.upper()
            if protocol not in _PROTOCOLS:  # `net:port` without a protocol
                protocol, net = "TCP", head
        number = int(port) if port.isascii() and port.isdigit() else -1
        if not 0 <= number <= 65535:
            raise ValueError(
                f"failsafe port {entry!r}: expected protocol:[net:]port such as tcp:22 or udp:10.0.0.0/8:53"
            )
        canonical = formats.canonical_net(net.strip("[]")) if net else ""
        result.append(ProtoPort(protocol=protocol, port=number, net=canonical))
    return tuple(result)


def parse_timeouts(text: str) -> dict[str, float]:
    """`Name=duration` with commas, as seconds by name; 0 means no deadline. Raises ValueError."""
    result: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = entry.partition("=")
        if not equals:
            raise ValueError(f"has the entry {entry!r}; expected Name=duration, such as CalculationGraph=60s")
        result[name.strip()] = formats.duration_seconds(value.strip())
    return result


def parse_tables(text: str) -> tuple[TableRange, ...]:
    """`first-last` with commas. Raises ValueError."""
    result: list[TableRange] = []
    for entry in (part.strip() for part in text.split(",")):
        first, dash, last = entry.partition("-")
        if not all(part.isascii() and part.isdigit() for part in (first, last if dash else first)):
            raise ValueError(f"has the entry {entry!r}; expected first-last, such as 1-250")
        result.append(TableRange(min=int(first), max=int(last if dash else first)))
    return tuple(result)


def _zero(parameter: Parameter) -> str:
    if parameter.fatal and parameter.kind == "choice":
        raise ValueError(f"is not allowed; choose one of {', '.join(parameter.choices)}")
    return _ZERO.get(parameter.kind, "")


def _boolean(_: Parameter, text: str) -> str:
    lowered = text.lower()
    if lowered in _TRUE:
        return "true"
    if lowered in _FALSE:
        return "false"
    raise ValueError("is neither true nor false")


def _integer(parameter: Parameter, text: str) -> str:
    try:
        number = int(text, 0)
    except ValueError:
        raise ValueError("is not a whole number") from None
    low, high = parameter.minimum, parameter.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"is out of range; allowed: {'' if low is None else low} to {'' if high is None else high}")
    return str(number)


def _duration(parameter: Parameter, text: str) -> str:
    """Plain numbers are in the unit of the parameter's name; durations such as 90s are understood too."""
    milliseconds = parameter.name.endswith("Millis")
    try:
        number = float(text)
    except ValueError:
        try:
            number = formats.duration_seconds(text) * (1000 if milliseconds else 1)
        except ValueError:
            unit = "milliseconds" if milliseconds else "seconds"
            raise ValueError(f"is neither a number of {unit} nor a duration such as 90s") from None
    return f"{number:g}" if number < 1e6 else str(int(number))


def _choice(parameter: Parameter, text: str) -> str:
    for choice in parameter.choices:
        if choice.lower() == text.lower():
            return choice
    raise ValueError(f"is not one of {', '.join(parameter.choices)}")


def _checked(parameter: Parameter, text: str) -> str:
    """A single text of a kind that has its own check."""
    if message := _item_problem(parameter, text):
        raise ValueError(message)
    return text


def _list(parameter: Parameter, text: str) -> str:
    items = [part for part in (part.strip() for part in text.split(",")) if part]
    for item in items:
        if message := _item_problem(parameter, item):
            raise ValueError(f"has the entry {item!r}, which {message}")
    return ",".join(items)


def _ports(_: Parameter, text: str) -> str:
    try:
        parse_ports(text)
    except ValueError as error:
        raise ValueError(f"is not a list of ports: {error}") from error
    return text


def _port_ranges(parameter: Parameter, text: str) -> str:
    single = parameter.kind == "port-range"
    items = [text] if single else [part.strip() for part in text.split(",")]
    for item in items:
        # A dash is what kube-proxy writes between the ends of a range.
        if message := port_range_problem(item.replace("-", ":"), zero=single):
            raise ValueError(f"has the entry {item!r}, which {message}")
    return ",".join(items)


def _table_ranges(parameter: Parameter, text: str) -> str:
    found = parse_tables(text)
    if parameter.kind == "table-range" and len(found) != 1:
        raise ValueError("is not one range such as 1-250")
    for problem in _tables(parameter, found[0] if parameter.kind == "table-range" else found):
        raise ValueError(f"has {problem.value}, which {problem.message}")
    return text


def _timeouts(_: Parameter, text: str) -> str:
    parse_timeouts(text)
    return text


def _dscp(_: Parameter, text: str) -> str:
    return str(formats.dscp_value(text))


_READERS: dict[str, Callable[[Parameter, str], str]] = {
    "bool": _boolean,
    "int": _integer,
    "duration": _duration,
    "choice": _choice,
    "regex": _checked,
    "address": _checked,
    "interfaces": _checked,
    "cidrs": _list,
    "dns-servers": _list,
    "ports": _ports,
    "port-range": _port_ranges,
    "port-ranges": _port_ranges,
    "table-range": _table_ranges,
    "table-ranges": _table_ranges,
    "timeouts": _timeouts,
    "dscp": _dscp,
}
