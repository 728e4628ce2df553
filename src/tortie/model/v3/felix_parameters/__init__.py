"""The parameters of Felix, as tables by subject (spec/resources.md 5.2).

For the struct FelixConfiguration, its admission, its conversion to raw parameters, and Felix's own configuration. In:
the tables of this package. Out: `PARAMETERS`, by field name, `BY_NAME`, by lower-cased parameter name, and `LOCAL`,
which FelixConfiguration cannot set.
"""

from tortie.model.v3.felix_parameters import common, ebpf, kernel, logs, other, process
from tortie.model.v3.felix_parameters.local import LOCAL, LOCAL_NAMES
from tortie.model.v3.felix_parameters.parameter import (
    ConntrackTimeouts,
    HealthTimeout,
    Parameter,
    ProtoPort,
    TableRange,
    snake_case,
)

GROUPS: tuple[tuple[str, tuple[Parameter, ...]], ...] = (
    ("Process, logs, health and metrics", process.TABLE),
    ("The dataplane in general", common.TABLE),
    ("iptables, nftables and XDP", kernel.TABLE),
    ("eBPF", ebpf.TABLE),
    ("Flow, DNS, HTTP, firewall and policy logs", logs.TABLE),
    ("Capture, egress gateways, clouds, IPsec and Windows", other.TABLE),
)

PARAMETERS: dict[str, Parameter] = {parameter.field: parameter for _, table in GROUPS for parameter in table}

BY_NAME: dict[str, Parameter] = {parameter.name.lower(): parameter for parameter in PARAMETERS.values()}

__all__ = [
    "BY_NAME",
    "GROUPS",
    "LOCAL",
    "LOCAL_NAMES",
    "PARAMETERS",
    "ConntrackTimeouts",
    "HealthTimeout",
    "Parameter",
    "ProtoPort",
    "TableRange",
    "snake_case",
]
