"""FelixConfiguration, ClusterInformation and KubeControllersConfiguration: defaults and checks.

For admission. In: objects as JSON for defaults, decoded ones for checks. Out: completed JSON, and problems. What a
single field of FelixConfiguration accepts is in its table (`v3/felix_parameters`) and checked with the schema.
"""

import re
from typing import Any

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.v3.cluster import HostEndpointTemplate, KubeControllersConfiguration
from tortie.model.v3.felix import FelixConfiguration
from tortie.model.v3.felix_parameters import PARAMETERS, Parameter, ProtoPort, TableRange, snake_case

Object = dict[str, Any]

_TIMEOUT_NAME = re.compile(r"[A-Za-z0-9_ -]+")
_MAX_TABLES = 65535

# Fields that are regular expressions, addresses or lists of ranges, whatever their table type.
_REGEXES = (
    "logDebugFilenameRegex",
    "mtuIfacePattern",
    "bpfDataIfacePattern",
    "bpfL3IfacePattern",
    "bpfDisableGROForIfaces",
    "nftablesFlowTableDataIfacePattern",
    "egressIPHostIfacePattern",
    "windowsNetworkName",
)
_ADDRESSES = {"natOutgoingAddress": 4, "deviceRouteSourceAddress": 4, "deviceRouteSourceAddressIPv6": 6}
_CIDR_LISTS = {"externalNodesList": 4, "bpfDSROptoutCIDRs": None, "bpfExcludeCIDRsFromNAT": None}


# --- FelixConfiguration ----------------------------------------------------------------------------------------


def default_felix_configuration(obj: Object) -> None:
    """The deprecated switch of connect-time load balancing sets the fields that replace it."""
    spec = obj["spec"]
    enabled = spec.get("bpfConnectTimeLoadBalancingEnabled")
    if isinstance(enabled, bool):
        spec["bpfConnectTimeLoadBalancing"] = "Enabled" if enabled else "Disabled"
        spec["bpfHostNetworkedNATWithoutCTLB"] = "Disabled"


def check_felix_configuration(configuration: FelixConfiguration, problems: Problems) -> None:
    spec = configuration.spec
    name = configuration.metadata.name
    if spec.node_selector:
        if name == "default" or name.startswith("node."):
            problems.forbidden("spec.nodeSelector", f"cannot be set in {name}, whose name says which nodes it is for")
        problems.selector("spec.nodeSelector", spec.node_selector)
    for field, parameter in PARAMETERS.items():
        value = getattr(spec, snake_case(field))
        if value is not None:
            _field(parameter, value, f"spec.{field}", problems)
    _route_tables(spec, problems)


def _field(parameter: Parameter, value: Any, path: str, problems: Problems) -> None:
    field = parameter.field
    match parameter.kind:
        case "ports":
            for index, item in enumerate(value):
                _proto_port(item, f"{path}[{index}]", problems)
        case "port-range":
            _port_range(value, path, problems, zero=True)
        case "port-ranges":
            for index, item in enumerate(value):
                _port_range(item, f"{path}[{index}]", problems)
        case "timeouts":
            for index, item in enumerate(value):
                if not _TIMEOUT_NAME.fullmatch(item.name):
                    problems.add(f"{path}[{index}].name", item.name, "must be letters, digits, '_', '-' and blanks")
                if message := _timeout_problem(item.timeout):
                    problems.add(f"{path}[{index}].timeout", item.timeout, message)
        case "dscp":
            try:
                formats.dscp_value(value)
            except ValueError as error:
                problems.add(path, value, str(error))
    if field in _REGEXES:
        problems.text(path, value, formats.regex_problem)
    elif field in _ADDRESSES and value and (message := formats.address_problem(value, version=_ADDRESSES[field])):
        problems.add(path, value, message)
    elif field in _CIDR_LISTS:
        version = _CIDR_LISTS[field]
        problems.texts(path, value, lambda net: formats.net_problem(net, version=version, host_bits=True))


def _proto_port(item: ProtoPort, path: str, problems: Problems) -> None:
    if item.protocol not in ("", "TCP", "UDP", "SCTP"):
        problems.add(f"{path}.protocol", item.protocol, "must be TCP, UDP or SCTP, in capitals")
    if item.net and (message := formats.net_problem(item.net, host_bits=True)):
        problems.add(f"{path}.net", item.net, message)


def _port_range(value: int | str, path: str, problems: Problems, *, zero: bool = False) -> None:
    try:
        port = formats.parse_port(value)
    except ValueError:
        port = ""
    if isinstance(port, str) or (port[0] < 1 and not (zero and port == (0, 0))):
        problems.add(path, value, "must be a port from 1 to 65535 or a range such as 30000:32767")


def _timeout_problem(value: str) -> str:
    if message := formats.duration_problem(value):
        return message
    return "must not be negative" if formats.duration_seconds(value) < 0 else ""


def _route_tables(spec: Any, problems: Problems) -> None:
    single: TableRange | None = spec.route_table_range
    ranges: tuple[TableRange, ...] = spec.route_table_ranges or ()
    if single is not None and ranges:
        problems.forbidden("spec.routeTableRange", "cannot be set together with routeTableRanges, which replaces it")
    if single is not None and not 1 <= single.min <= single.max <= 250:
        problems.add("spec.routeTableRange", f"{single.min}-{single.max}", "must have 1 <= min <= max <= 250")
    for index, item in enumerate(ranges):
        if not 1 <= item.min <= item.max <= 0xFFFF_FFFF:
            problems.add(
                f"spec.routeTableRanges[{index}]", f"{item.min}-{item.max}", "must have 1 <= min <= max <= 4294967295"
            )
    total = sum(item.max - item.min + 1 for item in ranges if item.min <= item.max)
    if total > _MAX_TABLES:
        problems.add("spec.routeTableRanges", total, f"must not have more than {_MAX_TABLES} tables in all")


# --- ClusterInformation and KubeControllersConfiguration -------------------------------------------------------


def default_cluster_information(obj: Object) -> None:
    obj["spec"].setdefault("datastoreReady", True)


def check_kube_controllers_configuration(configuration: KubeControllersConfiguration, problems: Problems) -> None:
    spec = configuration.spec
    problems.duration("spec.etcdV3CompactionPeriod", spec.etcd_v3_compaction_period)
    controllers = spec.controllers
    for field, controller in (
        ("policy", controllers.policy),
        ("workloadEndpoint", controllers.workload_endpoint),
        ("serviceAccount", controllers.service_account),
        ("namespace", controllers.namespace),
    ):
        if controller is not None:
            problems.duration(f"spec.controllers.{field}.reconcilerPeriod", controller.reconciler_period)
    node = controllers.node
    if node is None:
        return
    problems.duration("spec.controllers.node.reconcilerPeriod", node.reconciler_period)
    problems.duration("spec.controllers.node.leakGracePeriod", node.leak_grace_period)
    if node.host_endpoint is not None:
        names: set[str] = set()
        for index, template in enumerate(node.host_endpoint.templates):
            path = f"spec.controllers.node.hostEndpoint.templates[{index}]"
            if template.generate_name in names:
                problems.add(f"{path}.generateName", template.generate_name, "another template has this name")
            names.add(template.generate_name)
            _template(template, path, problems)


def _template(template: HostEndpointTemplate, path: str, problems: Problems) -> None:
    problems.text(f"{path}.generateName", template.generate_name, formats.name_problem)
    if not template.interface_cidrs and not template.interface_pattern:
        problems.required(f"{path}.interfaceCIDRs", "either interfaceCIDRs or interfacePattern must be set")
    problems.texts(
        f"{path}.interfaceCIDRs", template.interface_cidrs, lambda net: formats.net_problem(net, host_bits=True)
    )
    problems.text(f"{path}.interfacePattern", template.interface_pattern, formats.regex_problem)
    problems.labels(f"{path}.labels", template.labels)
    problems.annotations(f"{path}.annotations", template.annotations)
    problems.selector(f"{path}.nodeSelector", template.node_selector)
