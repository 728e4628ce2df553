"""Where everything of a lab is: names, addresses and paths, all derived from its specification.

For every module of the lab. In: a `LabSpec`. Out: plain values; nothing here touches the machine.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

STATE_ROOT = Path(os.environ.get("TORTIE_STATE_DIR", "/var/lib/tortie"))
NAME_PATTERN = re.compile(r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$")

CONTROL = "control"
OUTSIDE = "outside"
FABRIC = "fabric"

IPFamily = Literal["ipv4", "ipv6", "dual"]
EncapsulationMode = Literal["none", "vxlan", "vxlan-cross-subnet"]
ApiMode = Literal["native", "aggregated"]


class LabSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a lab is to be; kept in its state directory. index: 0–99, distinct among the labs of this machine."""

    name: str = "default"
    index: int = 0
    nodes: int = 3
    ip_family: IPFamily = "dual"
    encapsulation: EncapsulationMode = "none"
    api_port: int = 6443
    demo: bool = True
    api_mode: ApiMode = "native"

    @property
    def aggregated(self) -> bool:
        """Whether projectcalico.org/v3 is served by calico-apiserver, behind the API server."""
        return self.api_mode == "aggregated"

    @property
    def calico_api_port(self) -> int:
        """Where calico-apiserver listens, on the control plane's address inside the lab."""
        return 5443

    @property
    def node_names(self) -> list[str]:
        return [f"node-{n}" for n in range(1, self.nodes + 1)]

    @property
    def ipv4(self) -> bool:
        return self.ip_family != "ipv6"

    @property
    def ipv6(self) -> bool:
        return self.ip_family != "ipv4"


# Ranges inside the lab; the machine's own namespace gets a blackhole for each.
POD_CIDR_V4 = "10.244.0.0/16"
POD_CIDR_V6 = "fd00:10:244::/64"
SERVICE_CIDR_V4 = "10.96.0.0/16"
SERVICE_CIDR_V6 = "fd00:10:96::/112"
DNS_SERVICE_V4 = "10.96.0.10"
DNS_SERVICE_V6 = "fd00:10:96::a"

# The documentation ranges play the internet.
OUTSIDE_V4 = ("203.0.113.0/24", "198.51.100.0/24")
OUTSIDE_V6 = ("2001:db8::/32",)
OUTSIDE_DNS_V4 = "203.0.113.53"
OUTSIDE_DNS_V6 = "2001:db8::53"
OUTSIDE_WEB_V4 = "203.0.113.80"
OUTSIDE_WEB_V6 = "2001:db8::80"

CONTROL_HOST = 1
GATEWAY_HOST = 254
FIRST_NODE_HOST = 11


class Layout:
    """Names, addresses and paths of one lab."""

    def __init__(self, spec: LabSpec) -> None:
        self.spec = spec
        self.state = STATE_ROOT / spec.name
        self.subnet_v4 = ipaddress.IPv4Network(f"172.30.{100 + spec.index}.0/24")
        self.subnet_v6 = ipaddress.IPv6Network(f"fd00:30:{spec.index:x}::/64")
        self.management_link = f"tortie{spec.index}"

    # addresses --------------------------------------------------------------------------------------------------

    def address_v4(self, host: int) -> str:
        return str(self.subnet_v4.network_address + host)

    def address_v6(self, host: int) -> str:
        return str(self.subnet_v6.network_address + host)

    def node_host(self, node: str) -> int:
        return FIRST_NODE_HOST - 1 + int(node.rsplit("-", 1)[1])

    def node_addresses(self, node: str) -> list[str]:
        """The node's addresses, first the one of the primary family."""
        host = self.node_host(node)
        addresses = [self.address_v4(host)] if self.spec.ipv4 else []
        return [*addresses, self.address_v6(host)] if self.spec.ipv6 else addresses

    @property
    def control_address(self) -> str:
        """Where nodes and pods reach the API server."""
        return self.address_v4(CONTROL_HOST) if self.spec.ipv4 else self.address_v6(CONTROL_HOST)

    @property
    def control_url(self) -> str:
        host = self.control_address
        return f"https://[{host}]:{self.spec.api_port}" if ":" in host else f"https://{host}:{self.spec.api_port}"

    @property
    def local_url(self) -> str:
        return f"https://127.0.0.1:{self.spec.api_port}"

    @property
    def service_cidrs(self) -> list[str]:
        return [*([SERVICE_CIDR_V4] if self.spec.ipv4 else []), *([SERVICE_CIDR_V6] if self.spec.ipv6 else [])]

    @property
    def pod_cidrs(self) -> list[str]:
        return [*([POD_CIDR_V4] if self.spec.ipv4 else []), *([POD_CIDR_V6] if self.spec.ipv6 else [])]

    @property
    def dns_services(self) -> list[str]:
        return [*([DNS_SERVICE_V4] if self.spec.ipv4 else []), *([DNS_SERVICE_V6] if self.spec.ipv6 else [])]

    @property
    def blackholes(self) -> list[str]:
        """Ranges of the lab that the machine's own namespace must never send to its uplink. Those of the outside world
        are not among them: only nodes and pods send there, by way of the outside's namespace, and a machine may well
        have a use of its own for documentation addresses."""
        inside = [POD_CIDR_V4, SERVICE_CIDR_V4, str(self.subnet_v4)] if self.spec.ipv4 else []
        inside_v6 = [POD_CIDR_V6, SERVICE_CIDR_V6, str(self.subnet_v6)] if self.spec.ipv6 else []
        return inside + inside_v6

    @property
    def blackhole_metric(self) -> int:
        """Distinct for each lab, so that labs side by side may each hold the same blackhole; a real route wins."""
        return 4000 + self.spec.index

    # names ------------------------------------------------------------------------------------------------------

    def namespace(self, machine: str) -> str:
        """The network namespace of the fabric, the outside world or a node."""
        return f"tortie-{self.spec.name}-{machine}"

    @property
    def namespaces(self) -> list[str]:
        return [self.namespace(m) for m in (FABRIC, OUTSIDE, *self.spec.node_names)]

    # paths ------------------------------------------------------------------------------------------------------

    @property
    def spec_file(self) -> Path:
        return self.state / "lab.json"

    @property
    def api_dir(self) -> Path:
        return self.state / "api"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    def machine_dir(self, machine: str) -> Path:
        return self.state / "machines" / machine

    def log_dir(self, machine: str) -> Path:
        return self.machine_dir(machine) / "log"
