"""BGP resources (spec/resources.md 1.4). In: nothing. Out: tables for the package."""

from tortie.model.validations.rule import (
    ADDRESS,
    COMMUNITY,
    DURATION,
    MASKED,
    NAME,
    NET,
    NO_GLOBAL,
    OPTIONAL_NAME,
    Rule,
    Rules,
    forbidden,
    limit,
    required,
)

_IS_DEFAULT = "self.metadata.name == 'default' || !has(self.spec) || "
_SERVICES = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
_ON_DEFAULT = {
    "nodeToNodeMeshEnabled": "!has(self.spec.nodeToNodeMeshEnabled)",
    "asNumber": "!has(self.spec.asNumber)",
    **{field: f"!has(self.spec.{field}) || self.spec.{field}.size() == 0" for field in _SERVICES},
    "nodeMeshPassword": "!has(self.spec.nodeMeshPassword)",
    "nodeMeshMaxRestartTime": "!has(self.spec.nodeMeshMaxRestartTime)",
}

_CONFIGURATION: Rules = {
    "": tuple(
        forbidden(_IS_DEFAULT + absent, "can be set only in the object named default", f".spec.{field}")
        for field, absent in _ON_DEFAULT.items()
    ),
    "spec": (
        required(
            "!has(self.communities) || self.communities.size() == 0 ||"
            " (has(self.prefixAdvertisements) && self.prefixAdvertisements.size() > 0)",
            "communities have no effect without prefixAdvertisements",
            ".prefixAdvertisements",
        ),
        *(
            forbidden(
                f"self.?nodeToNodeMeshEnabled.orValue(true) || !has(self.{field})",
                "cannot be set when nodeToNodeMeshEnabled is false",
                f".{field}",
            )
            for field in ("nodeMeshPassword", "nodeMeshMaxRestartTime")
        ),
    ),
    "spec.prefixAdvertisements[].cidr": (
        NET,
        limit(maxLength=49),
        Rule("!isCIDR(self) || " + MASKED.rule, MASKED.message),
    ),
    "spec.logSeverityScreen": (limit(pattern="(?i)^(Trace|Debug|Info|Warning|Error|Fatal)?$"),),
    "spec.communities[].name": (NAME,),
    "spec.communities[].value": (limit(pattern=COMMUNITY),),
    # That a name is one of those in communities costs too much to find out, with 500 of both.
    "spec.prefixAdvertisements[].communities[]": (
        limit(anyOf=[{"pattern": COMMUNITY}, {"pattern": NAME.keywords["pattern"]}], maxLength=253),
    ),
    "spec.nodeMeshMaxRestartTime": (DURATION,),
    "spec.ignoredInterfaces[]": (limit(pattern=r"^([A-Za-z0-9_.*-]{2,15}|[A-Za-z0-9_.-])$"),),
    "spec.localWorkloadPeeringIPV4": (limit(anyOf=[{"format": "ipv4"}, {"maxLength": 0}]),),
    "spec.localWorkloadPeeringIPV6": (limit(anyOf=[{"format": "ipv6"}, {"maxLength": 0}]),),
}

_PORT = "int(self.substring(self.lastIndexOf(':') + 1))"

_PEER: Rules = {
    "spec": (
        forbidden(
            "self.?node.orValue('') == '' || self.?nodeSelector.orValue('') == ''",
            "cannot be set together with node",
            ".nodeSelector",
        ),
        forbidden(
            "self.?peerIP.orValue('') == '' || self.?peerSelector.orValue('') == ''",
            "cannot be set together with peerSelector",
            ".peerIP",
        ),
        forbidden(
            "self.?asNumber.orValue(0) == 0 || self.?peerSelector.orValue('') == ''",
            "cannot be set together with peerSelector: the nodes have AS numbers",
            ".asNumber",
        ),
        *(
            forbidden(
                f"self.?{field}.orValue('') == '' || self.?localWorkloadSelector.orValue('') == ''",
                "cannot be set together with localWorkloadSelector",
                f".{field}",
            )
            for field in ("peerIP", "peerSelector")
        ),
        required(
            "self.?localWorkloadSelector.orValue('') == '' || self.?asNumber.orValue(0) != 0",
            "localWorkloadSelector needs the AS number of the workloads",
            ".asNumber",
        ),
        required(
            "self.?reachableBy.orValue('') == '' || self.?peerIP.orValue('') != ''",
            "reachableBy needs a peerIP",
            ".peerIP",
        ),
        Rule(
            "self.?reachableBy.orValue('') == '' || self.?peerIP.orValue('') == '' || self.reachableBy.contains(':') =="
            " (self.peerIP.startsWith('[') || self.peerIP.matches('^[^:]*:[^:]*:'))",
            "must be of the IP version of peerIP",
            ".reachableBy",
        ),
        forbidden(
            "!self.?keepOriginalNextHop.orValue(false) || self.?nextHopMode.orValue('') == ''",
            "cannot be set when keepOriginalNextHop is true",
            ".nextHopMode",
        ),
        forbidden(
            "self.?network.orValue('') == '' || self.?externalNetwork.orValue('') == ''",
            "cannot be set together with externalNetwork",
            ".network",
        ),
    ),
    "spec.node": (OPTIONAL_NAME,),
    **{f"spec.{field}": (NO_GLOBAL,) for field in ("nodeSelector", "peerSelector", "localWorkloadSelector")},
    "spec.peerIP": (
        Rule(
            r"self == '' || isIP(self) || (self.matches('^[0-9.]+:[0-9]{1,5}$') && isIP(self.split(':')[0])) ||"
            r" (self.matches('^\\[[0-9A-Fa-f:.]+\\]:[0-9]{1,5}$') && isIP(self.substring(1, self.indexOf(']'))))",
            "must be an IP address, or one with a port: 192.0.2.1:1179, [2001:db8::1]:1179",
        ),
        Rule(
            r"!self.matches('^([0-9.]+|\\[.*\\]):[0-9]{1,5}$') ||"
            f" ({_PORT} >= 1 && {_PORT} <= 65535)",
            "must have a port from 1 to 65535, if any",
        ),
    ),
    "spec.reachableBy": (limit(anyOf=[*ADDRESS.keywords["anyOf"], {"maxLength": 0}]),),
    "spec.maxRestartTime": (DURATION,),
    "spec.keepaliveTime": (DURATION,),
    "spec.filters[]": (NAME,),
}

_FILTER_COMMUNITY = limit(
    allOf=[{"pattern": COMMUNITY}, {"pattern": "^(0|[1-9][0-9]*):(0|[1-9][0-9]*)(:(0|[1-9][0-9]*))?$"}]
)


def _filter_rules(field: str, version: int) -> Rules:
    path = f"spec.{field}[]"
    most = 32 if version == 4 else 128
    return {
        # No limit of the length of this list is known, so the fields are compared by the schema.
        path: (
            limit(
                allOf=[
                    {"anyOf": [{"required": ["cidr", "matchOperator"]}, {"not": {"anyOf": _ANY_OF_CIDR}}]},
                    {"anyOf": [{"required": ["cidr"]}, {"not": {"required": ["prefixLength"]}}]},
                    {
                        "anyOf": [
                            {"properties": {"action": {"enum": ["Accept"]}}},
                            {"not": {"required": ["operations"]}},
                        ]
                    },
                ]
            ),
        ),
        f"{path}.cidr": (limit(pattern="^[^:]*$" if version == 4 else ":", maxLength=18 if version == 4 else 49),),
        f"{path}.prefixLength.min": (limit(maximum=most),),
        f"{path}.prefixLength.max": (limit(maximum=most),),
        f"{path}.interface": (limit(pattern=r"^[A-Za-z0-9_.*-]{0,15}$"),),
        f"{path}.communities.values[]": (_FILTER_COMMUNITY,),
        f"{path}.operations[]": (
            limit(oneOf=[{"required": [name]} for name in ("addCommunity", "prependASPath", "setPriority")]),
        ),
        f"{path}.operations[].addCommunity.value": (_FILTER_COMMUNITY,),
    }


_ANY_OF_CIDR = [{"required": ["cidr"]}, {"required": ["matchOperator"]}]
_FILTER: Rules = {}
for _field, _version in (("exportV4", 4), ("importV4", 4), ("exportV6", 6), ("importV6", 6)):
    _FILTER |= _filter_rules(_field, _version)

TABLES: dict[str, Rules] = {"bgpconfigurations": _CONFIGURATION, "bgppeers": _PEER, "bgpfilters": _FILTER}
