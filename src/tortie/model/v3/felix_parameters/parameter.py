"""What is known about one parameter of Felix, and short ways to write a table of them.

For the tables beside this module. In: the arguments of the table rows. Out: `Parameter` objects, which say how the
field of FelixConfiguration looks and how the same parameter is written in the environment.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tortie.model.fields import ApiStruct, constant, doc

Kind = Literal[
    "bool",
    "int",
    "string",
    "regex",
    "address",
    "duration",
    "choice",
    "list",
    "cidrs",
    "interfaces",
    "dns-servers",
    "ports",
    "port-range",
    "port-ranges",
    "table-range",
    "table-ranges",
    "timeouts",
    "map",
    "dscp",
    "conntrack-timeouts",
]


class ProtoPort(ApiStruct, frozen=True, kw_only=True):
    protocol: Annotated[str, doc("TCP, UDP or SCTP; TCP if absent.")] = ""
    port: Annotated[int, doc("Number of the port.", minimum=0, maximum=65535, required=True)] = constant(0)
    net: Annotated[str, doc("Only for this range of remote addresses, in CIDR notation; all if absent.")] = ""


class TableRange(ApiStruct, frozen=True, kw_only=True):
    min: Annotated[int, doc("The lowest table.", required=True)] = constant(0)
    max: Annotated[int, doc("The highest table.", required=True)] = constant(0)


class HealthTimeout(ApiStruct, frozen=True, kw_only=True):
    name: Annotated[str, doc("Name of the part whose watchdog is meant.", required=True)] = constant("")
    timeout: Annotated[str, doc("Time until it counts as hung, such as 90s; 0s for never.", required=True)] = constant(
        ""
    )


class ConntrackTimeouts(ApiStruct, frozen=True, kw_only=True):
    """Each is a duration, or Auto for the kernel's own value."""

    creation_grace_period: Annotated[str | None, doc("Grace period of new entries; 10s if absent.")] = None
    tcp_syn_sent: Annotated[str | None, doc("TCP before the answer; 20s if absent.")] = None
    tcp_established: Annotated[str | None, doc("TCP, established; 1h if absent.")] = None
    tcp_fins_seen: Annotated[str | None, doc("TCP, closing; Auto if absent.")] = None
    tcp_reset_seen: Annotated[str | None, doc("TCP after a reset; 40s if absent.")] = None
    udp_timeout: Annotated[str | None, doc("UDP; 60s if absent.")] = None
    icmp_timeout: Annotated[str | None, doc("ICMP; 5s if absent.")] = None
    generic_timeout: Annotated[str | None, doc("Other protocols; 10m if absent.")] = None


_TYPES: dict[Kind, Any] = {
    "bool": bool,
    "int": int,
    "string": str,
    "regex": str,
    "address": str,
    "interfaces": str,
    "duration": str,
    "choice": str,
    "list": tuple[str, ...],
    "cidrs": tuple[str, ...],
    "dns-servers": tuple[str, ...],
    "ports": tuple[ProtoPort, ...],
    "port-range": int | str,
    "port-ranges": tuple[int | str, ...],
    "table-range": TableRange,
    "table-ranges": tuple[TableRange, ...],
    "timeouts": tuple[HealthTimeout, ...],
    "map": dict[str, str],
    "dscp": int | str,
    "conntrack-timeouts": ConntrackTimeouts,
}

# Names that differ between the field and the parameter by more than capitals.
_RENAMED = {
    "ipipEnabled": "IpInIpEnabled",
    "ipipMTU": "IpInIpMtu",
    "iptablesLockProbeInterval": "IptablesLockProbeIntervalMillis",
}
_WITH_SECS = frozenset(
    {
        "iptablesPostWriteCheckInterval",
        "netlinkTimeout",
        "reportingInterval",
        "reportingTTL",
        "endpointReportingDelay",
        "usageReportingInitialDelay",
        "usageReportingInterval",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of Felix.

    field: the name in FelixConfiguration. default: as written in a FelixConfiguration, "" for unset. choices: the
    allowed values of a choice; fold: whether their case is ignored. fatal: a bad value stops Felix instead of being
    replaced by the default. edition: "E" for a parameter that only the Enterprise schema has, "O" for one that only the
    open source edition acts on. schema_default: what the schema writes into objects that say nothing; written_default:
    what the aggregated server writes. editions: the defaults of open source and of Enterprise, where they differ.
    version: 4 or 6 for addresses and ranges of one family.
    """

    field: str
    kind: Kind
    default: str
    description: str
    choices: tuple[str, ...] = ()
    fold: bool = False
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""
    fatal: bool = False
    edition: Literal["", "E", "O"] = ""
    schema_default: str = ""
    written_default: str = ""
    editions: tuple[str, str] | None = None
    version: Literal[4, 6] | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The parameter's name outside the API: in FELIX_<name> and in the configuration file."""
        if self.field in _RENAMED:
            return _RENAMED[self.field]
        return self.field[0].upper() + self.field[1:] + ("Secs" if self.field in _WITH_SECS else "")

    @property
    def type(self) -> Any:
        """The Python type of the field in the struct."""
        return _TYPES[self.kind]

    @property
    def keywords(self) -> dict[str, Any]:
        """OpenAPI keywords of the field."""
        keywords = dict(self.extra)
        if self.choices and self.fold:
            keywords["pattern"] = f"(?i)^({'|'.join(self.choices)})?$"
        elif self.choices:
            keywords["enum"] = list(self.choices)
        if self.kind == "duration":
            keywords["pattern"] = "^([0-9]+(ms|s|m|h))*$"
        if self.pattern:
            keywords["pattern"] = self.pattern
        if self.minimum is not None:
            keywords["minimum"] = self.minimum
        if self.maximum is not None:
            keywords["maximum"] = self.maximum
        if self.schema_default:
            keywords["default"] = self.schema_default
        return keywords


def snake_case(name: str) -> str:
    """`vxlanMTUV6` -> `vxlan_mtu_v6`: the attribute for a field."""
    name = name.replace("IPv", "Ipv").replace("IPs", "Ips").replace("CIDRs", "Cidrs")
    name = re.sub(r"(V\d+)$", r"_\1", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).replace("__", "_").lower()


def flag(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "bool", default, description, more)


def integer(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "int", default, description, more)


def port(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "int", default, description, {"minimum": 0, "maximum": 65535, **more})


def mark(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(
        field, "int", default, description, {"minimum": 0, "maximum": 0xFFFF_FFFF, "format": "int64", **more}
    )


def text(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "string", default, description, more)


def regex(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "regex", default, description, more)


def address(field: str, version: Literal[4, 6], description: str, **more: Any) -> Parameter:
    return _parameter(field, "address", "", description, {"version": version, **more})


def cidrs(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "cidrs", default, description, more)


def duration(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "duration", default, description, more)


def strings(field: str, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, "list", default, description, more)


def choice(field: str, default: str, description: str, *choices: str, **more: Any) -> Parameter:
    """One of several words, exactly as written."""
    return _parameter(field, "choice", default, description, {"choices": choices, **more})


def word(field: str, default: str, description: str, *choices: str, **more: Any) -> Parameter:
    """One of several words, in any case."""
    return _parameter(field, "choice", default, description, {"choices": choices, "fold": True, **more})


def switch(field: str, default: str, description: str, **more: Any) -> Parameter:
    return choice(field, default, description, "Enabled", "Disabled", **more)


def special(field: str, kind: Kind, default: str, description: str, **more: Any) -> Parameter:
    return _parameter(field, kind, default, description, more)


_OWN = frozenset(
    {
        "choices",
        "fold",
        "minimum",
        "maximum",
        "pattern",
        "fatal",
        "edition",
        "schema_default",
        "written_default",
        "editions",
        "version",
    }
)


def _parameter(field: str, kind: Kind, default: str, description: str, more: dict[str, Any]) -> Parameter:
    own = {name: value for name, value in more.items() if name in _OWN}
    extra = {name: value for name, value in more.items() if name not in _OWN}
    return Parameter(field=field, kind=kind, default=default, description=description, extra=extra, **own)
