"""FelixConfiguration, ClusterInformation, KubeControllersConfiguration (spec/resources.md 1.4, 5).

In: the table of Felix's parameters. Out: tables for the package.
"""

from tortie.model.v3.felix_parameters import PARAMETERS, ConntrackTimeouts, Parameter
from tortie.model.validations.rule import (
    DURATION,
    NAME,
    NET,
    NO_GLOBAL,
    PORT_NUMBER,
    Limit,
    Rule,
    Rules,
    forbidden,
    limit,
    singleton,
)

_PORT_RANGE = limit(minimum=1, maximum=65535, pattern=f"^{PORT_NUMBER}(:{PORT_NUMBER})?$")
_PORT_RANGE_OR_NONE = limit(minimum=0, maximum=65535, pattern=f"^(0+|{PORT_NUMBER}(:{PORT_NUMBER})?)$")
_DNS_SERVER = limit(
    pattern=f"^(k8s-service:([a-z0-9-]+/)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:{PORT_NUMBER})?|[0-9.]+(:{PORT_NUMBER})?"
    rf"|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\]:{PORT_NUMBER})$"
)
_POSITIVE = DURATION.keywords["pattern"].replace("[+-]?", "[+]?")
_TIMEOUT = limit(pattern=f"^(?i:auto)$|{_POSITIVE}")
_ADDRESSES: dict[int | None, list[str]] = {4: ["ipv4"], 6: ["ipv6"], None: ["ipv4", "ipv6"]}
_TABLES_RULE = "1 <= self.min && self.min <= self.max && self.max <= {most}"


def _field(path: str, parameter: Parameter) -> Rules:
    """What one parameter's field accepts beyond its schema, by the kind of the parameter."""
    match parameter.kind:
        case "address":
            formats = [{"format": name} for name in _ADDRESSES[parameter.version]]
            return {path: (limit(anyOf=[*formats, {"maxLength": 0}]),)}
        case "cidrs":
            more: tuple[Limit, ...] = (limit(pattern="^[^:]*$"),) if parameter.version == 4 else ()
            return {f"{path}[]": (NET, *more)}
        case "ports":
            return {
                f"{path}[].protocol": (limit(enum=["", "TCP", "UDP", "SCTP"]),),
                f"{path}[].net": (limit(anyOf=[*NET.keywords["anyOf"], {"maxLength": 0}]),),
            }
        case "port-range":
            return {path: (_PORT_RANGE_OR_NONE,)}
        case "port-ranges":
            return {f"{path}[]": (_PORT_RANGE,)}
        case "table-range":
            return {path: (Rule(_TABLES_RULE.format(most=250), "must have 1 <= min <= max <= 250"),)}
        case "table-ranges":
            return {
                path: (
                    # Felix takes 65535 tables at most, each range one at least.
                    limit(maxItems=65535),
                    Rule(
                        "self.map(r, r.max - r.min + 1).sum() <= 65535", "must not have more than 65535 tables in all"
                    ),
                ),
                f"{path}[].min": (limit(minimum=1, maximum=0xFFFF_FFFF),),
                f"{path}[].max": (limit(minimum=1, maximum=0xFFFF_FFFF),),
                f"{path}[]": (Rule("self.min <= self.max", "must have min <= max"),),
            }
        case "timeouts":
            return {
                f"{path}[].name": (limit(pattern="^[A-Za-z0-9_ -]+$"),),
                f"{path}[].timeout": (limit(pattern=_POSITIVE),),
            }
        case "dns-servers":
            return {f"{path}[]": (_DNS_SERVER,)}
        case "conntrack-timeouts":
            return {f"{path}.{name}": (_TIMEOUT,) for name in ConntrackTimeouts.__struct_encode_fields__}
        case "dscp":
            names = "DF|EF|AF[1-4][1-3]|CS[0-6]"
            return {path: (limit(minimum=0, maximum=63, pattern=f"^((?i:{names})|[0-9]|[1-5][0-9]|6[0-3])$"),)}
    return {}


def _felix() -> Rules:
    rules: Rules = {
        "": (
            forbidden(
                "(self.metadata.name != 'default' && !self.metadata.name.startsWith('node.')) || !has(self.spec) ||"
                " self.spec.?nodeSelector.orValue('') == ''",
                "cannot be set in default and node.*, whose name says which nodes they are for",
                ".spec.nodeSelector",
            ),
        ),
        "spec": (
            forbidden(
                "!has(self.routeTableRange) || !has(self.routeTableRanges) || self.routeTableRanges.size() == 0",
                "cannot be set together with routeTableRanges, which replaces it",
                ".routeTableRange",
            ),
        ),
        "spec.nodeSelector": (NO_GLOBAL,),
    }
    for name, parameter in PARAMETERS.items():
        rules |= _field(f"spec.{name}", parameter)
    return rules


_NODE = "spec.controllers.node"
_TEMPLATES = f"{_NODE}.hostEndpoint.templates"
_PERIODIC = (
    "policy",
    "workloadEndpoint",
    "serviceAccount",
    "namespace",
    "federatedServices",
    "applicationLayer",
    "rbacSync",
)
_CONTROLLERS: Rules = {
    "": (singleton(),),
    "spec.etcdV3CompactionPeriod": (DURATION,),
    **{f"spec.controllers.{name}.reconcilerPeriod": (DURATION,) for name in _PERIODIC},
    f"{_NODE}.reconcilerPeriod": (DURATION,),
    f"{_NODE}.leakGracePeriod": (DURATION,),
    _TEMPLATES: (limit(x_kubernetes_list_type="map", x_kubernetes_list_map_keys=["generateName"]),),
    f"{_TEMPLATES}[]": (
        limit(
            anyOf=[
                {"properties": {"interfaceCIDRs": {"minItems": 1}}, "required": ["interfaceCIDRs"]},
                {"properties": {"interfacePattern": {"minLength": 1}}, "required": ["interfacePattern"]},
            ]
        ),
    ),
    f"{_TEMPLATES}[].generateName": (NAME,),
    f"{_TEMPLATES}[].interfaceCIDRs[]": (NET,),
    f"{_TEMPLATES}[].nodeSelector": (limit(maxLength=1024),),
}

TABLES: dict[str, Rules] = {
    "felixconfigurations": _felix(),
    "clusterinformations": {"": (singleton(),), "spec.datastoreReady": (limit(default=True),)},
    "kubecontrollersconfigurations": _CONTROLLERS,
}
