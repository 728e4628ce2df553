"""FelixConfiguration, ClusterInformation and BGPConfiguration as raw parameters (spec/resources.md 5.1).

For the syncer. In: API objects. Out: updates with parameters by name, values as text in the units of the environment:
durations in seconds, lists with commas. Felix itself reads, checks and merges them.
"""

from typing import Any

from tortie.model import formats
from tortie.model.dataplane import BGPConfig, BGPConfigKey, ClusterInfoKey, ConfigValues, FelixConfigKey, Update
from tortie.model.v3.bgp import BGPConfiguration, ServiceCIDR
from tortie.model.v3.cluster import ClusterInformation
from tortie.model.v3.felix import FelixConfiguration
from tortie.model.v3.felix_parameters import PARAMETERS, HealthTimeout, Parameter, ProtoPort, TableRange, snake_case

OVERRIDE_PREFIX = "config.projectcalico.org/"

_FIELDS: tuple[tuple[str, Parameter], ...] = tuple(
    (snake_case(field), parameter) for field, parameter in PARAMETERS.items() if field != "nodeSelector"
)


def felix_configuration(configuration: FelixConfiguration) -> Update:
    """Annotations `config.projectcalico.org/<Name>` win over fields and are not checked."""
    values: dict[str, str] = {}
    errors: list[str] = []
    for attribute, parameter in _FIELDS:
        value = getattr(configuration.spec, attribute)
        if value is None or value == "":
            continue
        try:
            values[parameter.name] = parameter_text(parameter, value)
        except ValueError as error:
            errors.append(f"{parameter.field} is left out: {error}")
    metadata = configuration.metadata
    for name, text in metadata.annotations.items():
        if name.startswith(OVERRIDE_PREFIX):
            values[_known_name(name.removeprefix(OVERRIDE_PREFIX), values)] = text
    result = ConfigValues(
        values=values,
        node_selector=configuration.spec.node_selector or "",
        created=metadata.creation_timestamp or "",
    )
    return Update(FelixConfigKey(metadata.name), result, tuple(errors))


def _known_name(name: str, values: dict[str, str]) -> str:
    """The spelling under which the parameter is in `values` already; case does not count."""
    lowered = name.lower()
    return next((known for known in values if known.lower() == lowered), name)


def parameter_text(parameter: Parameter, value: Any) -> str:
    """The value of a field in the form of the environment. Raises ValueError."""
    match parameter.kind:
        case "bool":
            return "true" if value else "false"
        case "duration":
            seconds = formats.duration_seconds(value)
            return _number(seconds * 1000 if parameter.name.endswith("Millis") else seconds)
        case "list" | "cidrs" | "dns-servers" | "port-ranges":
            return ",".join(str(item) for item in value) or "none"
        case "ports":
            return ",".join(_proto_port(item) for item in value) or "none"
        case "table-range":
            return _table_range(value)
        case "table-ranges":
            return ",".join(_table_range(item) for item in value) or "none"
        case "timeouts":
            return ",".join(_timeout(item) for item in value)
        case "map":
            return ",".join(f"{key}={item}" for key, item in sorted(value.items()))
        case "conntrack-timeouts":
            names = {name: getattr(value, name) for name in value.__struct_fields__}
            return ",".join(f"{_title(name)}={text}" for name, text in names.items() if text is not None)
        case _:
            return str(value)


def _title(attribute: str) -> str:
    return "".join(word.capitalize() for word in attribute.split("_"))


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _proto_port(item: ProtoPort) -> str:
    protocol = (item.protocol or "TCP").lower()
    if not item.net:
        return f"{protocol}:{item.port}"
    net = f"[{item.net}]" if ":" in item.net else item.net
    return f"{protocol}:{net}:{item.port}"


def _table_range(item: TableRange) -> str:
    return f"{item.min}-{item.max}"


def _timeout(item: HealthTimeout) -> str:
    return f"{item.name}={item.timeout}"


def cluster_information(information: ClusterInformation) -> Update:
    spec = information.spec
    texts = {
        "ClusterGUID": spec.cluster_guid,
        "ClusterType": spec.cluster_type,
        "CalicoVersion": spec.calico_version,
        "Variant": spec.variant,
        "CNXVersion": spec.cnx_version,
        "CalicoEnterpriseVersion": spec.calico_enterprise_version,
    }
    values = {name: text for name, text in texts.items() if text}
    if spec.datastore_ready is not None:
        values["DatastoreReady"] = "true" if spec.datastore_ready else "false"
    created = information.metadata.creation_timestamp or ""
    return Update(ClusterInfoKey(information.metadata.name), ConfigValues(values=values, created=created))


def bgp_configuration(configuration: BGPConfiguration) -> Update:
    """The ranges of Service addresses that BGP announces; the dataplane must not loop traffic to unused ones."""
    spec = configuration.spec
    errors: list[str] = []

    def cidrs(entries: tuple[ServiceCIDR, ...], field: str) -> tuple[str, ...]:
        result: list[str] = []
        for entry in entries:
            try:
                result.append(formats.canonical_net(entry.cidr))
            except ValueError:
                errors.append(f"{field} entry {entry.cidr!r} is left out: it is not a CIDR")
        return tuple(result)

    value = BGPConfig(
        service_cluster_cidrs=cidrs(spec.service_cluster_ips, "serviceClusterIPs"),
        service_external_cidrs=cidrs(spec.service_external_ips, "serviceExternalIPs"),
        service_load_balancer_cidrs=cidrs(spec.service_load_balancer_ips, "serviceLoadBalancerIPs"),
    )
    return Update(BGPConfigKey(configuration.metadata.name), value, tuple(errors))
