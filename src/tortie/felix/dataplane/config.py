"""The dataplane's share of Felix's parameters, typed.

The daemon hands over the effective parameters as text (`ConfigUpdate`), already validated by `felix.config`; what the
renderers and managers need of them comes out as one frozen `DataplaneConfig`. A value that cannot be read here raises a
ValueError that names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from tortie.felix.dataplane.marks import Marks
from tortie.model.v3.felix_parameters.values import parse_ports


@dataclass(frozen=True, slots=True)
class Failsafe:
    """A port that host endpoints can never close, to or from `net` ("" for any)."""

    protocol: int
    port: int
    net: str = ""


_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_INBOUND = "tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667"
_OUTBOUND = "udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667"

HostAction = Literal["drop", "return", "accept"]
DropOverride = Literal["Drop", "Accept", "LogAndDrop", "LogAndAccept"]


def parse_failsafes(text: str) -> tuple[Failsafe, ...]:
    """`protocol:[net:]port`, comma separated; no protocol means tcp; `none` or `[]` means no ports at all."""
    return tuple(
        Failsafe(protocol=_PROTOCOLS[item.protocol.lower()], port=item.port, net=item.net) for item in parse_ports(text)
    )


@dataclass(frozen=True, slots=True)
class DataplaneConfig:
    """Field names follow the parameters of spec/felix.md 6.3; times are seconds."""

    node: str = ""
    interface_prefixes: tuple[str, ...] = ("cali",)
    interface_exclude: tuple[str, ...] = ("kube-ipvs0",)
    ipv4: bool = True
    ipv6: bool = True
    marks: Marks = field(default_factory=Marks)
    endpoint_to_host_action: HostAction = "drop"
    failsafe_in: tuple[Failsafe, ...] = parse_failsafes(_INBOUND)
    failsafe_out: tuple[Failsafe, ...] = parse_failsafes(_OUTBOUND)
    reject_denied: bool = False
    drop_override: DropOverride = "Drop"
    check_conntrack_invalid: bool = True
    allow_vxlan_from_workloads: bool = False
    allow_ipip_from_workloads: bool = False
    workload_source_spoofing: bool = False
    log_prefix: str = "calico-packet"
    log_rate_limit: str = ""
    flow_logs: bool = False
    nat_first_port: int = 0
    nat_last_port: int = 0
    nat_outgoing_address: str = ""
    nat_exclude_hosts: bool = False
    service_loop_prevention: Literal["Drop", "Reject", "Disabled"] = "Drop"
    vxlan_vni: int = 4096
    vxlan_port: int = 4789
    vxlan_mtu: int = 0
    vxlan_mtu_v6: int = 0
    ip_forwarding: bool = True
    device_route_protocol: int = 3
    device_route_source: str = ""
    remove_external_routes: bool = True
    route_sync_disabled: bool = False
    program_cluster_routes: bool = False
    nft_refresh: float = 180.0
    route_refresh: float = 90.0
    interface_refresh: float = 90.0
    set_refresh: float = 90.0
    prepare_host: bool = True
    """False leaves the host's global settings (forwarding, accounting) alone."""

    @property
    def versions(self) -> tuple[Literal[4, 6], ...]:
        result: tuple[Literal[4, 6], ...] = ()
        if self.ipv4:
            result += (4,)
        if self.ipv6:
            result += (6,)
        return result

    def is_workload(self, interface: str) -> bool:
        return interface.startswith(self.interface_prefixes)

    @classmethod
    def of(cls, values: Mapping[str, str], *, node: str = "") -> "DataplaneConfig":
        """From Felix's effective parameters. Names are compared without case; unknown ones are not ours."""
        return _read({name.lower(): value.strip() for name, value in values.items()}, node)


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "y", "t", "enabled", "enable"):
        return True
    if lowered in ("false", "0", "no", "n", "f", "disabled", "disable", "none"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for suffix, factor in units.items():
        if text.endswith(suffix) and text[: -len(suffix)].replace(".", "", 1).isdigit():
            return float(text[: -len(suffix)]) * factor
    return float(text)


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.replace("-", ":").partition(":")
    return int(first), int(last or first)


def _integer(text: str) -> int:
    return int(text, 0)


def _read(values: Mapping[str, str], node: str) -> DataplaneConfig:
    found: dict[str, object] = {"node": node or values.get("felixhostname", "")}

    def take(name: str, field: str, parse: object) -> None:
        text = values.get(name.lower(), "")
        if not text:
            return
        try:
            found[field] = parse(text)  # type: ignore[operator]  # any callable from text
        except (ValueError, KeyError) as error:
            raise ValueError(f"{name}={text!r}: {error}") from error

    take("InterfacePrefix", "interface_prefixes", lambda text: tuple(part.strip() for part in text.split(",")))
    take("InterfaceExclude", "interface_exclude", lambda text: tuple(part.strip() for part in text.split(",")))
    take("Ipv4Support", "ipv4", _boolean)
    take("Ipv6Support", "ipv6", _boolean)
    for name in ("IptablesMarkMask", "NftablesMarkMask"):
        take(name, "marks", lambda text: Marks.of_mask(_integer(text)))
    take("DefaultEndpointToHostAction", "endpoint_to_host_action", _one_of("drop", "return", "accept"))
    take("FailsafeInboundHostPorts", "failsafe_in", parse_failsafes)
    take("FailsafeOutboundHostPorts", "failsafe_out", parse_failsafes)
    for name in ("IptablesFilterDenyAction", "NftablesFilterDenyAction"):
        take(name, "reject_denied", lambda text: text.lower() == "reject")
    take("DropActionOverride", "drop_override", _one_of("Drop", "Accept", "LogAndDrop", "LogAndAccept"))
    take("DisableConntrackInvalidCheck", "check_conntrack_invalid", lambda text: not _boolean(text))
    take("AllowVXLANPacketsFromWorkloads", "allow_vxlan_from_workloads", _boolean)
    take("AllowIPIPPacketsFromWorkloads", "allow_ipip_from_workloads", _boolean)
    take("WorkloadSourceSpoofing", "workload_source_spoofing", lambda text: text.lower() == "any")
    take("LogPrefix", "log_prefix", str)
    take("LogActionRateLimit", "log_rate_limit", str)
    take("FlowLogsFileEnabled", "flow_logs", _boolean)
    take("NATOutgoingAddress", "nat_outgoing_address", str)
    take("NATOutgoingExclusions", "nat_exclude_hosts", lambda text: text.lower() == "ippoolsandhostips")
    take("ServiceLoopPrevention", "service_loop_prevention", _one_of("Drop", "Reject", "Disabled"))
    take("VXLANVNI", "vxlan_vni", int)
    take("VXLANPort", "vxlan_port", int)
    take("VXLANMTU", "vxlan_mtu", int)
    take("VXLANMTUV6", "vxlan_mtu_v6", int)
    take("IPForwarding", "ip_forwarding", _boolean)
    take("DeviceRouteProtocol", "device_route_protocol", int)
    take("DeviceRouteSourceAddress", "device_route_source", str)
    take("RemoveExternalRoutes", "remove_external_routes", _boolean)
    take("RouteSyncDisabled", "route_sync_disabled", _boolean)
    take("ProgramClusterRoutes", "program_cluster_routes", lambda text: text.lower() == "enabled")
    take("NftablesRefreshInterval", "nft_refresh", _seconds)
    take("RouteRefreshInterval", "route_refresh", _seconds)
    take("InterfaceRefreshInterval", "interface_refresh", _seconds)
    take("IpsetsRefreshInterval", "set_refresh", _seconds)
    take("NATPortRange", "nat_first_port", lambda text: _ports(text)[0])
    take("NATPortRange", "nat_last_port", lambda text: _ports(text)[1])
    assert found.keys() <= {field.name for field in fields(DataplaneConfig)}
    return DataplaneConfig(**found)  # type: ignore[arg-type]  # each parser gives its field's type


def _one_of(*allowed: str) -> object:
    def parse(text: str) -> str:
        for value in allowed:
            if value.lower() == text.lower():
                return value
        raise ValueError(f"expected one of {', '.join(allowed)}")

    return parse
