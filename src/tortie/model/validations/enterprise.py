"""Kinds of the Enterprise edition (spec/resources.md 1.4). In: nothing. Out: tables for the package."""

from typing import Any

from tortie.model.v3.clusters import RemoteClusterConfigurationSpec
from tortie.model.validations.rule import (
    DNS_LABEL,
    DURATION,
    INTERFACE,
    NAME,
    NO_GLOBAL,
    PORT_NUMBER,
    PROTOCOL,
    Limit,
    Rule,
    Rules,
    forbidden,
    limit,
    required,
    singleton,
)

_NOT_EMPTY = limit(minLength=1)
_PERIOD = Rule(
    "!has(self.startTime) || !has(self.endTime) || self.endTime > self.startTime",
    "must be later than startTime",
    ".endTime",
)


def _at_least(path: str, least: str) -> Rules:
    """A duration, no shorter than another."""
    positive = limit(pattern=r"^([+]?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)?$", maxLength=64)
    return {path: (positive, Rule(f"self == '' || duration(self) >= duration('{least}')", f"must be at least {least}"))}


def _one_of(*fields: str) -> Limit:
    return limit(oneOf=[{"required": [field]} for field in fields])


# --- alerts, feeds and reports --------------------------------------------------------------------------------------

_ALERT: Rules = {
    "spec": (
        required("self.?dataSet.orValue('') != ''", "the logs to search are required", ".dataSet"),
        required(
            "self.?metric.orValue('') == '' || self.?condition.orValue('') != ''",
            "a metric needs a condition",
            ".condition",
        ),
        forbidden(
            "self.?metric.orValue('') != 'count' || self.?field.orValue('') == ''",
            "cannot be set when metric is count",
            ".field",
        ),
        required(
            "self.?metric.orValue('') in ['', 'count'] || self.?field.orValue('') != ''",
            "this metric needs a field",
            ".field",
        ),
        forbidden(
            "self.?metric.orValue('') != '' || self.?field.orValue('') == ''",
            "cannot be set without a metric",
            ".field",
        ),
    ),
    "spec.description": (_NOT_EMPTY,),
    "spec.substitutions": (limit(x_kubernetes_list_type="map", x_kubernetes_list_map_keys=["name"]),),
    **_at_least("spec.period", "1m"),
    **_at_least("spec.lookback", "1m"),
}

_VALUE = limit(
    anyOf=[{"not": {"required": ["valueFrom"]}}, {"properties": {"value": {"maxLength": 0}}}],
)
_VALUE_FROM = _one_of("configMapKeyRef", "secretKeyRef")

_FEED: Rules = {
    "spec": (
        forbidden(
            "!has(self.globalNetworkSet) || self.?content.orValue('IPSet') != 'DomainNameSet'",
            "is for content IPSet only",
            ".globalNetworkSet",
        ),
        required(
            "!has(self.globalNetworkSet) || has(self.pull)", "globalNetworkSet needs a feed that is pulled", ".pull"
        ),
    ),
    **_at_least("spec.pull.period", "5m"),
    "spec.pull.http.url": (limit(pattern=r"^https?://[^\s/]+[^\s]*$"),),
    "spec.pull.http.headers[]": (_VALUE,),
    "spec.pull.http.headers[].name": (_NOT_EMPTY,),
    "spec.pull.http.headers[].valueFrom": (_VALUE_FROM,),
    "spec.pull.http.format": (
        Rule(
            "[has(self.newlineDelimited), has(self.json), has(self.csv)].filter(x, x).size() <= 1",
            "must have at most one of newlineDelimited, json and csv",
        ),
    ),
    "spec.pull.http.format.csv": (
        Rule(
            "has(self.fieldNum) != (self.?fieldName.orValue('') != '')",
            "must have exactly one of fieldNum and fieldName",
        ),
        Rule(
            "self.?fieldName.orValue('') == '' || self.?header.orValue(false)",
            "must be true when fieldName is set",
            ".header",
        ),
        forbidden(
            "!has(self.recordSize) || !self.?disableRecordSizeValidation.orValue(false)",
            "cannot be set when disableRecordSizeValidation is true",
            ".recordSize",
        ),
    ),
}

_SETTINGS = {
    "Slack": ("url",),
    "Generic": ("url",),
    "AlertManager": ("url",),
    "Jira": ("url", "project", "issueType", "username", "apiToken"),
}

_WEBHOOK: Rules = {
    "spec": tuple(
        required(
            f"self.consumer != '{consumer}' || self.config.exists(c, c.name == '{name}')",
            f"consumer {consumer} needs a setting named {name}",
            ".config",
        )
        for consumer, names in _SETTINGS.items()
        for name in names
    ),
    "spec.query": (_NOT_EMPTY,),
    # The known settings are fewer than twenty.
    "spec.config": (limit(maxItems=256),),
    "spec.config[]": (_VALUE,),
    "spec.config[].name": (limit(minLength=1, maxLength=253),),
    "spec.config[].valueFrom": (_VALUE_FROM,),
}

# At most two values of minutes; a step from any minute on leaves no more if it is 30 or longer.
_MINUTE = "[0-5]?[0-9](-[0-5]?[0-9])?(/[1-9][0-9]*)?"
_MINUTES = rf"({_MINUTE}(,{_MINUTE})?|\*/([3-9][0-9]|[1-9][0-9]{{2,}}))"
_REPORT: Rules = {
    "spec.reportType": (NAME,),
    "spec.schedule": (limit(pattern=rf"^(\s*{_MINUTES}(\s+[0-9A-Za-z*/,?-]+){{4}}\s*)?$"),),
}
_REPORT_TYPE: Rules = {
    "spec.downloadTemplates": (limit(x_kubernetes_list_type="map", x_kubernetes_list_map_keys=["name"]),),
    "spec.downloadTemplates[].name": (limit(default=""),),
}

# --- traffic and networks -------------------------------------------------------------------------------------------

_CAPTURE_PORT = limit(minimum=1, maximum=65535, pattern=f"^{PORT_NUMBER}(:{PORT_NUMBER})?$")
_CAPTURE: Rules = {
    "spec": (_PERIOD,),
    "spec.selector": (limit(maxLength=1024), NO_GLOBAL),
    "spec.filters[].protocol": (PROTOCOL,),
    "spec.filters[].ports[]": (_CAPTURE_PORT,),
}
_EGRESS: Rules = {"spec.rules[].destination.cidr": (limit(anyOf=[{"format": "cidr"}, {"maxLength": 0}]),)}
_MILLISECONDS = limit(allOf=[{"pattern": r"^([+]?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)?$"}, {"pattern": "^$|[1-9]"}])
_BFD: Rules = {
    "spec.interfaces[].matchPattern": (limit(pattern=r"^(\*|[A-Za-z0-9_.-]{1,15}\*?)$"),),
    **{
        f"spec.interfaces[].{field}": (_MILLISECONDS,)
        for field in ("minimumRecvInterval", "minimumSendInterval", "idleSendInterval")
    },
}


def _family(pattern: str, version: str) -> dict[str, Any]:
    hop = {"properties": {"nextHop": {"anyOf": [{"format": version}, {"maxLength": 0}]}}}
    return {"properties": {"destination": {"pattern": pattern}, "action": hop}}


_ROUTE = limit(anyOf=[_family("^[^:]*$", "ipv4"), _family(":", "ipv6")])
_INTERFACE_NAME = limit(minLength=1, pattern=INTERFACE.keywords["pattern"])
_SAME_SELECTOR = limit(x_kubernetes_list_type="map", x_kubernetes_list_map_keys=["nodeSelector"])
_NETWORK: Rules = {
    "spec": (
        Rule("has(self.vrf) != has(self.l2Bridge)", "must have exactly one of vrf and l2Bridge"),
        forbidden(
            "has(self.vrf) == has(oldSelf.vrf)", "the type of a network cannot be changed: make a new one instead"
        ),
    ),
    "spec.vrf.hostConfig": (_SAME_SELECTOR,),
    "spec.vrf.hostConfig[].nodeSelector": (limit(default=""),),
    "spec.vrf.hostConfig[].hostInterfaces[].name": (_INTERFACE_NAME,),
    "spec.vrf.hostConfig[].staticRoutes[]": (_ROUTE,),
    "spec.l2Bridge.hostConfig": (_SAME_SELECTOR,),
    "spec.l2Bridge.hostConfig[].bridge.existingBridge.name": (_INTERFACE_NAME,),
    "spec.l2Bridge.hostConfig[].hostConnections[].trunkPort.interface.name": (_INTERFACE_NAME,),
    "spec.l2Bridge.vlans[].subnets[].routes[]": (_ROUTE,),
    "spec.l2Bridge.hostConfig[].nodeSelector": (limit(default=""),),
    "spec.l2Bridge.hostConfig[].bridge": (_one_of("existingBridge", "managedBridge"),),
    "spec.l2Bridge.hostConfig[].bridge.existingBridge": (
        Rule(
            "!self.name.startsWith('calb-') && !self.name.startsWith('calq-')",
            "must not begin with calb- or calq-",
            ".name",
        ),
    ),
    "spec.l2Bridge.vlans": (limit(maxItems=4094),),
    "spec.l2Bridge.vlans[].vlan": (_one_of("id", "range"),),
    "spec.l2Bridge.vlans[].vlan.range": (Rule("self.start <= self.end", "must not be less than start", ".end"),),
}

# --- clusters -------------------------------------------------------------------------------------------------------

_CONNECTION = {
    attribute: field
    for attribute, field in zip(
        RemoteClusterConfigurationSpec.__struct_fields__,
        RemoteClusterConfigurationSpec.__struct_encode_fields__,
        strict=True,
    )
    if attribute.startswith(("etcd_", "k8s_", "kubeconfig"))
}


def _unset(attribute: str, field: str) -> str:
    if attribute == "k8s_client_qps":
        return f"!has(self.{field})"
    if attribute == "k8s_insecure_skip_tls_verify":
        return f"!self.?{field}.orValue(false)"
    if attribute == "k8s_client_qps":
        return f"self.?{field}.orValue(0.0) == 0.0"
    return f"self.?{field}.orValue('') == ''"


_REMOTE: Rules = {
    "spec": (
        forbidden(
            "!has(self.clusterAccessSecret) || self.?datastoreType.orValue('') == ''",
            "must be empty when clusterAccessSecret is set",
            ".datastoreType",
        ),
        *(
            forbidden(
                f"{_unset(attribute, field)} || (!has(self.clusterAccessSecret) &&"
                f" self.?datastoreType.orValue('etcdv3') == '{store}')",
                f"is for datastoreType {store} without clusterAccessSecret only",
                f".{field}",
            )
            for attribute, field in _CONNECTION.items()
            for store in ("etcdv3" if attribute.startswith("etcd_") else "kubernetes",)
        ),
    ),
    "spec.clusterAccessSecret": tuple(
        required(f"self.?{field}.orValue('') != ''", f"the {field} of the Secret is required", f".{field}")
        for field in ("name", "namespace")
    ),
}

# --- recommendations, the console and the firewall ------------------------------------------------------------------

_RECOMMENDATIONS: Rules = {
    "": (singleton(),),
    "spec.initialLookback": (DURATION,),
    "spec.interval": (DURATION,),
    "spec.stabilizationPeriod": (DURATION,),
    **{f"spec.{part}.selector": (NO_GLOBAL,) for part in ("namespaceSpec", "hostEndpointSpec")},
    **{f"spec.{part}.tierName": (DNS_LABEL,) for part in ("namespaceSpec", "hostEndpointSpec")},
}
_SETTING: Rules = {
    "": (
        Rule(
            "!has(self.spec) || self.metadata.name.startsWith(self.spec.group + '.')",
            "must begin with the name of the group and a dot",
            ".metadata.name",
        ),
    ),
    "spec": (
        Rule(
            "[has(self.view), has(self.layer), has(self.dashboard)].filter(x, x).size() == 1",
            "must have exactly one of view, layer and dashboard",
        ),
        Rule("has(self.user) == has(oldSelf.user)", "cannot be changed", ".user"),
    ),
    "spec.group": (limit(minLength=1, maxLength=253), Rule("self == oldSelf", "cannot be changed")),
    "spec.user": (Rule("self == oldSelf", "cannot be changed"),),
    "spec.description": (_NOT_EMPTY,),
}
_WAF_PLUGIN: Rules = {
    "spec": (
        required(
            " || ".join(f"self.?{field}.orValue('') != ''" for field in ("config", "before", "rules", "after")),
            "at least one of config, before, rules and after must be set",
        ),
    )
}

TABLES: dict[str, Rules] = {
    "alertexceptions": {
        "spec": (_PERIOD,),
        "spec.description": (_NOT_EMPTY,),
        "spec.selector": (_NOT_EMPTY,),
    },
    "bfdconfigurations": _BFD,
    "deeppacketinspections": {"spec.selector": (limit(maxLength=1024), NO_GLOBAL)},
    "egressgatewaypolicies": _EGRESS,
    "globalalerts": _ALERT,
    "globalalerttemplates": _ALERT,
    "globalreports": _REPORT,
    "globalreporttypes": _REPORT_TYPE,
    "globalthreatfeeds": _FEED,
    "licensekeys": {"": (singleton(),), "spec.token": (_NOT_EMPTY,)},
    "managedclusters": {
        "": (
            Rule(
                "self.metadata.name != 'cluster'",
                "the name cluster is reserved for this cluster itself",
                ".metadata.name",
            ),
        ),
        "spec.operatorNamespace": (limit(anyOf=[{"maxLength": 0}, DNS_LABEL.keywords]),),
        "spec.installationManifest": (
            Rule("self == oldSelf || self == ''", "cannot be changed: the server makes it at creation"),
        ),
    },
    "networks": _NETWORK,
    "packetcaptures": _CAPTURE,
    "policyrecommendationscopes": _RECOMMENDATIONS,
    "remoteclusterconfigurations": _REMOTE,
    "securityeventwebhooks": _WEBHOOK,
    "uisettings": _SETTING,
    "uisettingsgroups": {"spec.description": (_NOT_EMPTY,)},
    "globalwafpolicies": {"": (singleton(),)},
    "globalwafplugins": _WAF_PLUGIN,
    "wafplugins": _WAF_PLUGIN,
    "wafpolicies": {"spec.plugins[].kind": (limit(enum=["WAFPlugin"]),)},
}
