"""Policies and tiers: what their definitions check (spec/resources.md 1.4, 2.1 to 2.6). In: nothing. Out: tables.

Lists of rules may be long, so what is asked of each rule must be cheap: the API server reckons with the longest lists
that the limits allow, and refuses a definition whose rules could cost too much.
"""

from tortie.model.v3.policy import HEADER_OPERATORS
from tortie.model.v3.tier import BUILT_IN_TIERS
from tortie.model.validations.rule import (
    DOMAIN,
    MASKED,
    MAX_CIDR,
    NAME,
    NO_GLOBAL,
    OPTIONAL_NAME,
    PORT,
    PORT_NAME,
    PROTOCOL,
    Limit,
    Rule,
    Rules,
    forbidden,
    limit,
    required,
)

_DOMAINS = "domains are for the destination of Allow rules in egress only"
_ONE_FAMILY = limit(anyOf=[{"items": {"pattern": ":"}}, {"items": {"pattern": "^[^:]*$"}}])
_NETWORK = limit(format="cidr", maxLength=MAX_CIDR)
_NOT_EVERYTHING = limit(pattern="/0*[1-9][0-9]*$")
_ENTITIES = ("source", "destination")
_LISTS = ("nets", "notNets")
_PORTS = ("ports", "notPorts")


def _entity(path: str, name: str, *, egress: bool, global_policy: bool) -> Rules:
    """One side of a rule."""
    side = "destination" if egress else "source"
    exclusive = " && ".join(
        [f"self.?{field}.orValue('') == ''" for field in ("selector", "notSelector", "namespaceSelector")]
        + [f"{_empty(field)}" for field in _LISTS]
        + ["!has(self.serviceAccounts)"]
    )
    rules: list[Rule | Limit] = [
        forbidden(
            f"!has(self.services) || ({exclusive})",
            "services cannot be combined with selectors, nets or service accounts",
        )
    ]
    if name == "destination":
        rules.append(
            forbidden(
                f"!has(self.services) || ({_empty('ports')} && {_empty('notPorts')})",
                "services cannot be combined with ports: they have their own",
                ".services",
            )
        )
    if name != side:
        wanted = "destination of an egress rule" if egress else "source of an ingress rule"
        message = f"services can be matched only as the {wanted} here"
        rules.append(forbidden("!has(self.services)", message, ".services"))
    if egress and name == "destination":
        message = "cannot be combined with domains"
        rules.append(forbidden(f"{_empty('domains')} || {_empty('nets')}", message, ".nets"))
        rules.append(forbidden(f"{_empty('domains')} || self.?selector.orValue('') == ''", message, ".selector"))
    else:
        rules.append(forbidden(_empty("domains"), _DOMAINS, ".domains"))
    table: Rules = {
        path: tuple(rules),
        f"{path}.selector": (NO_GLOBAL,),
        f"{path}.notSelector": (NO_GLOBAL,),
        f"{path}.namespaceSelector": (
            Rule(
                r"!self.contains('global(') || self.replace(' ', '').replace('\t', '') == 'global()'",
                "global() cannot be combined with anything else",
            ),
        ),
        f"{path}.serviceAccounts.names[]": (NAME,),
        f"{path}.serviceAccounts.selector": (NO_GLOBAL,),
        f"{path}.services.name": (limit(minLength=1),),
        f"{path}.domains[]": (DOMAIN,),
        f"{path}.nets": (_ONE_FAMILY,),
        f"{path}.nets[]": (_NETWORK, MASKED),
        f"{path}.notNets": (_ONE_FAMILY,),
        f"{path}.notNets[]": (_NETWORK, MASKED, _NOT_EVERYTHING),
    }
    if global_policy:
        message = "a global policy must name the namespace of the Service"
        table[f"{path}.services"] = (required("self.?namespace.orValue('') != ''", message, ".namespace"),)
    table |= {f"{path}.{field}[]": (PORT,) for field in _PORTS}
    return table


def _empty(path: str) -> str:
    """That a list is absent or has no members. The API server knows the size of a list only if it is named plainly."""
    first, _, last = path.partition(".")
    if last:
        return f"(!has(self.{first}) || !has(self.{path}) || self.{path}.size() == 0)"
    return f"(!has(self.{path}) || self.{path}.size() == 0)"


def _families() -> tuple[Rule, ...]:
    """All nets of a rule are of one family. Each list has but one, so the first of each are compared."""
    lists = [f"{entity}.{field}" for entity in _ENTITIES for field in _LISTS]
    filled = {
        nets: f"has(self.{nets.partition('.')[0]}) && has(self.{nets}) && self.{nets}.size() > 0" for nets in lists
    }
    six = " || ".join(f"({filled[nets]} && self.{nets}[0].contains(':'))" for nets in lists)
    four = " || ".join(f"({filled[nets]} && !self.{nets}[0].contains(':'))" for nets in lists)
    return (
        Rule(f"!(({six}) && ({four}))", "nets and notNets must not mix IPv4 and IPv6: use one rule for each"),
        Rule(
            f"!has(self.ipVersion) || !(self.ipVersion == 6 ? ({four}) : ({six}))",
            "nets and notNets must be of the family that ipVersion names",
        ),
    )


def _is(field: str, names: list[str], numbers: list[int]) -> str:
    """That a protocol, a name or a number, is one of these."""
    written = [*names, *(str(number) for number in numbers)]
    return f"(self.{field} in {written} || self.{field} in {numbers})"


_WITH_PORTS = _is("protocol", ["TCP", "UDP", "SCTP"], [6, 17, 132])
_NAMED = {"items": {"pattern": "[a-z]", "maximum": 0}}
_PORTS_NAMED_OR_PROTOCOL = Limit(
    {
        "anyOf": [
            {"required": ["protocol"]},
            {
                "properties": {
                    entity: {"properties": {field: _NAMED for field in _PORTS}}  # noqa: C420  # one object for each
                    for entity in _ENTITIES
                }
            },
        ]
    }
)
"""Without a protocol every port is a name, so it has a letter and is no number. A rule in CEL would cost too much,
because the API server does not know the length of what may be a number or a text."""


def _rule(path: str, *, egress: bool, global_policy: bool) -> Rules:
    """One rule of a policy."""
    no_ports = " && ".join(_empty(f"{entity}.{field}") for entity in _ENTITIES for field in _PORTS)
    checks: list[Rule | Limit] = [
        Rule(
            f"!has(self.icmp) || (has(self.protocol) && {_is('protocol', ['ICMP', 'ICMPv6'], [1, 58])})",
            "needs a protocol of ICMP or ICMPv6",
            ".icmp",
        ),
        *_families(),
        Rule(f"!has(self.protocol) || {_WITH_PORTS} || ({no_ports})", "ports need a protocol of TCP, UDP or SCTP"),
        _PORTS_NAMED_OR_PROTOCOL,
    ]
    for field in ("protocol", "notProtocol"):
        checks.append(
            Rule(
                f"!has(self.{field}) || !has(self.ipVersion) || !(self.ipVersion == 6 ?"
                f" {_is(field, ['ICMP'], [1])} : {_is(field, ['ICMPv6'], [58])})",
                "does not exist in the version of IP that ipVersion asks for",
                f".{field}",
            )
        )
    if egress:
        checks.append(forbidden("!has(self.http)", "HTTP can be matched in ingress rules only", ".http"))
        checks.append(forbidden(f"self.action == 'Allow' || {_empty('destination.domains')}", _DOMAINS, ".destination"))
    else:
        checks.append(
            forbidden("!has(self.http) || self.action == 'Allow'", "HTTP can be matched in Allow rules only", ".http")
        )
        checks.append(
            Rule(
                f"!has(self.http) || !has(self.protocol) || {_is('protocol', ['TCP'], [6])}",
                "a rule that matches HTTP needs protocol TCP or none",
                ".protocol",
            )
        )
    needs_type = Rule("!has(self.code) || has(self.type)", "needs an ICMP type as well", ".code")
    http_path = limit(pattern="^(/[^ ?#]*)?$")
    exists = ["Exists", "DoesNotExist"]
    others = [operator for operator in HEADER_OPERATORS if operator not in exists]
    table: Rules = {
        path: tuple(checks),
        f"{path}.protocol": (PROTOCOL,),
        f"{path}.notProtocol": (PROTOCOL,),
        f"{path}.icmp": (needs_type,),
        f"{path}.notICMP": (needs_type,),
        f"{path}.http.paths[]": (
            Rule(
                "(self.?exact.orValue('') != '') != (self.?prefix.orValue('') != '')",
                "must have exactly one of exact and prefix",
            ),
        ),
        f"{path}.http.paths[].exact": (http_path,),
        f"{path}.http.paths[].prefix": (http_path,),
        f"{path}.http.headers[]": (
            limit(
                anyOf=[
                    {"properties": {"operator": {"enum": exists}, "values": {"maxItems": 0}}},
                    {"properties": {"operator": {"enum": others}, "values": {"minItems": 1}}},
                ]
            ),
        ),
    }
    for entity in _ENTITIES:
        table |= _entity(f"{path}.{entity}", entity, egress=egress, global_policy=global_policy)
    return table


def _policy(*, global_policy: bool, staged: bool) -> Rules:
    checks: list[Rule | Limit] = []
    if global_policy:
        checks += [
            Rule(
                "!(self.?doNotTrack.orValue(false) && self.?preDNAT.orValue(false))",
                "cannot be true together with preDNAT",
                ".doNotTrack",
            ),
            Rule(
                "self.?applyOnForward.orValue(false) ||"
                " !(self.?doNotTrack.orValue(false) || self.?preDNAT.orValue(false))",
                "must be true when doNotTrack or preDNAT is true",
                ".applyOnForward",
            ),
            forbidden(
                f"!self.?preDNAT.orValue(false) || {_empty('egress')}",
                "a policy with preDNAT true cannot have egress rules",
                ".egress",
            ),
            Rule(
                "!self.?preDNAT.orValue(false) || !has(self.types) || !('Egress' in self.types)",
                "a policy with preDNAT true cannot have type Egress",
                ".types",
            ),
        ]
    if staged:
        checks.append(_nothing_but(global_policy=global_policy))
    selectors = ("selector", "serviceAccountSelector", *(("namespaceSelector",) if global_policy else ()))
    return {
        "spec": tuple(checks),
        "spec.tier": (OPTIONAL_NAME,),
        **{f"spec.{field}": (NO_GLOBAL,) for field in selectors},
        **_rule("spec.ingress[]", egress=False, global_policy=global_policy),
        **_rule("spec.egress[]", egress=True, global_policy=global_policy),
    }


def _nothing_but(*, global_policy: bool) -> Rule:
    """A staged deletion names the policy to delete, and nothing else."""
    texts = ["selector", "serviceAccountSelector", *(["namespaceSelector"] if global_policy else [])]
    flags = ["doNotTrack", "preDNAT", "applyOnForward"] if global_policy else []
    lists = ["types", "ingress", "egress", "performanceHints"]
    absent = " && ".join(
        [
            "!has(self.order)",
            *(f"self.?{field}.orValue('') == ''" for field in texts),
            *(_empty(field) for field in lists),
            *(f"!self.?{field}.orValue(false)" for field in flags),
        ]
    )
    return forbidden(
        f"self.?stagedAction.orValue('') != 'Delete' || ({absent})",
        "every other field but tier must be empty when stagedAction is Delete",
    )


# --- the staged form of a Kubernetes policy -------------------------------------------------------------------------

_REQUIREMENT = limit(
    anyOf=[
        {"properties": {"operator": {"enum": ["In", "NotIn"]}, "values": {"minItems": 1}}, "required": ["values"]},
        {"properties": {"operator": {"enum": ["Exists", "DoesNotExist"]}, "values": {"maxItems": 0}}},
    ]
)
_PEER = limit(
    anyOf=[{"required": [field]} for field in ("podSelector", "namespaceSelector", "ipBlock")],
    **{"not": {"anyOf": [{"required": ["ipBlock", field]} for field in ("podSelector", "namespaceSelector")]}},
)


def _kubernetes_rule(path: str, peers: str) -> Rules:
    """Kubernetes has no limits on the lengths of these lists, so that rules in CEL could cost too much."""
    return {
        f"{path}.{peers}[]": (_PEER,),
        f"{path}.{peers}[].ipBlock.cidr": (_NETWORK,),
        f"{path}.{peers}[].ipBlock.except[]": (_NETWORK,),
        f"{path}.{peers}[].podSelector.matchExpressions[]": (_REQUIREMENT,),
        f"{path}.{peers}[].namespaceSelector.matchExpressions[]": (_REQUIREMENT,),
        f"{path}.ports[]": (limit(anyOf=[{"required": ["port"]}, {"not": {"required": ["endPort"]}}]),),
        f"{path}.ports[].protocol": (limit(enum=["TCP", "UDP", "SCTP"]),),
        f"{path}.ports[].port": (limit(minimum=1, maximum=65535, **PORT_NAME.keywords),),
        f"{path}.ports[].endPort": (limit(minimum=1, maximum=65535),),
    }


_STAGED_KUBERNETES: Rules = {
    "spec": (
        forbidden(
            "self.?stagedAction.orValue('') != 'Delete' ||"
            " ((!has(self.podSelector) ||"
            " (!has(self.podSelector.matchLabels) && !has(self.podSelector.matchExpressions)))"
            f" && {_empty('ingress')} && {_empty('egress')} && {_empty('policyTypes')})",
            "every other field must be empty when stagedAction is Delete",
        ),
    ),
    "spec.podSelector.matchExpressions[]": (_REQUIREMENT,),
    **_kubernetes_rule("spec.ingress[]", "from"),
    **_kubernetes_rule("spec.egress[]", "to"),
}


# --- tiers ----------------------------------------------------------------------------------------------------------


def _built_in(name: str, order: float, action: str) -> Rule:
    return Rule(
        f"self.metadata.name != '{name}' ||"
        f" (self.?spec.?order.orValue(0.0) == {order:.1f} && self.?spec.?defaultAction.orValue('') == '{action}')",
        f"the built-in tier {name} must have order {order:.0f} and defaultAction {action}",
        ".spec",
    )


_TIERS: Rules = {
    "": (
        Rule(
            "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
            "the name of a tier must be no more than 63 characters without a dot",
            ".metadata.name",
        ),
        *(_built_in(name, order, action) for name, (order, action) in BUILT_IN_TIERS.items()),
    )
}

TABLES: dict[str, Rules] = {
    "tiers": _TIERS,
    "networkpolicies": _policy(global_policy=False, staged=False),
    "globalnetworkpolicies": _policy(global_policy=True, staged=False),
    "stagednetworkpolicies": _policy(global_policy=False, staged=True),
    "stagedglobalnetworkpolicies": _policy(global_policy=True, staged=True),
    "stagedkubernetesnetworkpolicies": _STAGED_KUBERNETES,
}
