"""Network sets, host endpoints, pools and address management (spec/resources.md 1.4). In: nothing. Out: tables."""

from tortie.model.validations.rule import (
    ADDRESS,
    DOMAIN,
    INTERFACE,
    NAME,
    NET,
    NO_GLOBAL,
    PORT_NAME,
    Rule,
    Rules,
    forbidden,
    limit,
    required,
    singleton,
)

_SET: Rules = {"spec.nets[]": (NET,), "spec.allowedEgressDomains[]": (DOMAIN,)}

_HOST_ENDPOINT: Rules = {
    "spec": (
        required(
            "self.?interfaceName.orValue('') != '' || (has(self.expectedIPs) && self.expectedIPs.size() > 0)",
            "either interfaceName or expectedIPs must be set",
            ".interfaceName",
        ),
    ),
    "spec.node": (NAME,),
    "spec.interfaceName": (INTERFACE,),
    "spec.expectedIPs[]": (ADDRESS,),
    "spec.profiles[]": (NAME,),
    "spec.ports[].name": (PORT_NAME,),
    "spec.ports[].protocol": (limit(anyOf=[{"enum": ["TCP", "UDP", "SCTP"]}, {"enum": [6, 17, 132]}]),),
}

# --- pools ----------------------------------------------------------------------------------------------------------

_VERSION_6 = "self.cidr.contains(':')"
_BLOCK_SIZE = f"(self.?blockSize.orValue(0) != 0 ? self.?blockSize.orValue(0) : ({_VERSION_6} ? 122 : 26))"


def _uses(use: str) -> str:
    return f"(has(self.allowedUses) && '{use}' in self.allowedUses)"


_NO_ENCAPSULATION = "self.?ipipMode.orValue('Never') == 'Never' && self.?vxlanMode.orValue('Never') == 'Never'"

_IP_POOL: Rules = {
    "spec": (
        Rule(
            f"self.?blockSize.orValue(0) == 0 || ({_VERSION_6} ? self.?blockSize.orValue(0) >= 116 :"
            " self.?blockSize.orValue(0) >= 20 && self.?blockSize.orValue(0) <= 32)",
            "must be between 20 and 32 for an IPv4 pool, between 116 and 128 for an IPv6 pool",
            ".blockSize",
        ),
        Rule(
            f"self.?disabled.orValue(false) || !isCIDR(self.cidr) || cidr(self.cidr).prefixLength() <= {_BLOCK_SIZE}",
            "is smaller than a block of blockSize: shorten the prefix or set disabled",
            ".cidr",
        ),
        Rule(
            "self.?ipipMode.orValue('Never') == 'Never' || self.?vxlanMode.orValue('Never') == 'Never'",
            "must be Never, because vxlanMode is not",
            ".ipipMode",
        ),
        Rule(
            f"self.?ipipMode.orValue('Never') == 'Never' || !{_VERSION_6}",
            "must be Never: IPIP does not exist for IPv6",
            ".ipipMode",
        ),
        Rule(
            f"self.?namespaceSelector.orValue('') == '' || !{_uses('Tunnel')}",
            "cannot be set when allowedUses has Tunnel",
            ".namespaceSelector",
        ),
        *(
            Rule(
                f"!{_uses(use)} || self.allowedUses.size() == 1",
                f"{use} cannot be combined with other uses",
                ".allowedUses",
            )
            for use in ("LoadBalancer", "L2Workload")
        ),
        *(
            Rule(
                f"!{_uses(use)} || ({_NO_ENCAPSULATION})",
                f"ipipMode and vxlanMode must be Never for a pool with use {use}",
                ".allowedUses",
            )
            for use in ("LoadBalancer", "L2Workload")
        ),
        Rule(
            f"!{_uses('LoadBalancer')} || !self.?disableBGPExport.orValue(false)",
            "must be false for a pool with use LoadBalancer",
            ".disableBGPExport",
        ),
        Rule(
            f"!{_uses('LoadBalancer')} || self.?nodeSelector.orValue('all()') == 'all()'",
            "must be all() for a pool with use LoadBalancer",
            ".nodeSelector",
        ),
        Rule(
            f"!{_uses('L2Workload')} || self.?disableBGPExport.orValue(false)",
            "must be true for a pool with use L2Workload",
            ".disableBGPExport",
        ),
        Rule(
            f"!(has(oldSelf.allowedUses) && 'LoadBalancer' in oldSelf.allowedUses) || {_uses('LoadBalancer')}",
            "cannot be changed from LoadBalancer",
            ".allowedUses",
        ),
        Rule(
            f"{_BLOCK_SIZE} == {_BLOCK_SIZE.replace('self.', 'oldSelf.')}",
            "cannot be changed: make a new pool instead",
            ".blockSize",
        ),
    ),
    "spec.cidr": (
        Rule(
            "!isCIDR(self) || cidr(self).masked() == cidr(self)",
            "must not have bits set beyond the prefix length",
        ),
        Rule(
            "!isCIDR(self) || (self.contains(':')"
            " ? !cidr('fe80::/10').containsIP(cidr(self).ip()) && !cidr(self).containsIP('fe80::')"
            " : !cidr('169.254.0.0/16').containsIP(cidr(self).ip()) && !cidr(self).containsIP('169.254.0.0'))",
            "must not overlap the link-local ranges 169.254.0.0/16 and fe80::/10",
        ),
        Rule(
            "self == oldSelf || (isCIDR(self) && isCIDR(oldSelf) && cidr(self) == cidr(oldSelf))",
            "cannot be changed: make a new pool instead",
        ),
    ),
    "spec.ipipMode": (limit(default="Never"),),
    "spec.vxlanMode": (limit(default="Never"),),
    "spec.assignmentMode": (limit(default="Automatic"),),
    "spec.nodeSelector": (limit(default="all()"), NO_GLOBAL),
    "spec.namespaceSelector": (NO_GLOBAL,),
}

TABLES: dict[str, Rules] = {
    "networksets": _SET,
    "globalnetworksets": _SET,
    "hostendpoints": _HOST_ENDPOINT,
    "ippools": _IP_POOL,
    "ipamconfigurations": {
        "": (singleton(),),
        "spec": (
            forbidden(
                "self.?autoAllocateBlocks.orValue(true) || self.?strictAffinity.orValue(false)",
                "can be false only when strictAffinity is true",
                ".autoAllocateBlocks",
            ),
        ),
    },
    "caliconodestatuses": {"spec.node": (NAME,)},
}
