"""What admission accepts and refuses in tiers, network sets, host endpoints and address management, one case a line.

(spec/resources.md 1.4, spec/cni-ipam-node.md 2.1.) Names and checks against other objects are in test_model_kinds.py
and test_model_policies.py.
"""

from typing import Any

import pytest
from validation_cases import Case, Expected, Verdicts, every_case_has_both, judge, parameters, without

from tortie.model import catalog as c
from tortie.model.resource import Resource

HEP = {"node": "n", "interfaceName": "eth0"}
AFFINITY = {"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26", "deleted": False}
BLOCK = {"cidr": "10.0.0.0/30", "allocations": [None, 0, None, None], "unallocated": [0, 2, 3], "strictAffinity": False}
OWNED = {**BLOCK, "attributes": [{"handle_id": "h", "secondary": {"pod": "p"}}]}


def pool(cidr: str = "10.0.0.0/16", **fields: Any) -> dict[str, Any]:
    return {"cidr": cidr, **fields}


def port(**fields: Any) -> dict[str, Any]:
    return {**HEP, "ports": [{"name": "http", "protocol": "TCP", "port": 80, **fields}]}


SETS: list[Case] = [
    ("nothing", {}, None),
    # Detail 1.
    ("bare addresses and host bits", {"nets": ["10.0.0.1", "10.0.0.1/8", "fd00::1", "::/0", "0.0.0.0/0"]}, None),
    ("length 33", {"nets": ["10.0.0.0/33"]}, "spec.nets[0]"),
    ("a mask for a length", {"nets": ["10.0.0.0/255.0.0.0"]}, "spec.nets[0]"),
    ("an octet with a leading zero", {"nets": ["10.0.0.01"]}, "spec.nets[0]"),
    ("an address with a zone", {"nets": ["fe80::1%eth0"]}, "spec.nets[0]"),
    ("twice", {"nets": ["10.0.0.1", "10.0.0.1"]}, "spec.nets[1]"),
    ("a name", {"nets": ["example.com"]}, "spec.nets[0]"),
    ("domains", {"allowedEgressDomains": ["example.com", "*.a.com", "update.*.a.com", "a.com."]}, None),
    *[
        (f"domain {name!r}"[:40], {"allowedEgressDomains": [name]}, "spec.allowedEgressDomains[0]")
        for name in ("a.*", "*.*.com", "x*.com", "", ".", "a..", "a..b", "-a.com", "10.0.0.0/8", "^a$", "l" * 64)
    ],
    ("nets as text", {"nets": "10.0.0.0/8"}, "spec.nets"),
]

CASES: dict[Resource[Any], list[Case]] = {
    c.TIERS: [
        ("default", {}, None),
        ("order", {"order": -5.5, "defaultAction": "Pass"}, Verdicts("spec.order", "spec.order")),
        ("order of the default tier", {"order": 1_000_000}, None),
        ("order as text", {"order": "1"}, "spec.order"),
        ("other action", {"defaultAction": "Allow"}, "spec.defaultAction"),
        ("action of the default tier", {"defaultAction": "Pass"}, "spec.defaultAction"),
    ],
    c.NETWORK_SETS: SETS,
    c.GLOBAL_NETWORK_SETS: SETS,
    c.HOST_ENDPOINTS: [
        ("an interface", HEP, None),
        ("every interface", {**HEP, "interfaceName": "*"}, None),
        ("addresses", {"node": "n", "expectedIPs": ["10.0.0.1", "fd00::1"], "profiles": ["p", "kns.a"]}, None),
        ("neither", {"node": "n"}, "spec.interfaceName"),
        ("no node", without(HEP, "node"), "spec.node"),
        ("an empty node", {**HEP, "node": ""}, "spec.node"),
        ("node with capitals", {**HEP, "node": "N"}, "spec.node"),
        ("node of 254", {**HEP, "node": "n" * 254}, "spec.node"),
        ("interface of 15", {**HEP, "interfaceName": "a" * 15}, None),
        ("interface of 16", {**HEP, "interfaceName": "a" * 16}, "spec.interfaceName"),
        ("interface with a star", {**HEP, "interfaceName": "eth*"}, "spec.interfaceName"),
        ("interface with a colon", {**HEP, "interfaceName": "eth0:1"}, "spec.interfaceName"),
        ("address with a length", {**HEP, "expectedIPs": ["10.0.0.1/32"]}, "spec.expectedIPs[0]"),
        ("address twice", {**HEP, "expectedIPs": ["10.0.0.1", "10.0.0.1"]}, "spec.expectedIPs[1]"),
        ("profile twice", {**HEP, "profiles": ["a", "a"]}, "spec.profiles[1]"),
        ("profile with capitals", {**HEP, "profiles": ["A"]}, "spec.profiles[0]"),
        *[(f"port of {p}", port(protocol=p), None) for p in ("TCP", "UDP", "SCTP", 6, 17, 132)],
        *[(f"port of {p}", port(protocol=p), "spec.ports[0].protocol") for p in ("tcp", "ICMP", 1, "6")],
        ("port 65535", port(port=65535), None),
        ("port 0", port(port=0), "spec.ports[0].port"),
        ("port 65536", port(port=65536), "spec.ports[0].port"),
        ("port without a name", port(name=""), "spec.ports[0].name"),
        ("port of a long name", port(name="a" * 16), "spec.ports[0].name"),
        ("port without a protocol", {**HEP, "ports": [{"name": "a", "port": 1}]}, "spec.ports[0].protocol"),
        ("port without a number", {**HEP, "ports": [{"name": "a", "protocol": "TCP"}]}, "spec.ports[0].port"),
    ],
    c.IP_POOLS: [
        ("IPv4", pool(), None),
        ("IPv6", pool("fd00:10::/48", vxlanMode="Always"), None),
        ("no range", {}, "spec.cidr"),
        ("an empty range", pool(""), "spec.cidr"),
        ("an address", pool("10.0.0.1"), "spec.cidr"),
        ("host bits", pool("10.0.0.1/16"), "spec.cidr"),
        ("range of 49 characters", pool("1" * 49), "spec.cidr"),
        ("link-local", pool("169.254.0.0/24"), "spec.cidr"),
        ("around link-local", pool("168.0.0.0/7"), "spec.cidr"),
        ("link-local of IPv6", pool("fe80::/64"), "spec.cidr"),
        ("one block", pool("10.0.0.0/26"), None),
        ("less than a block", pool("10.0.0.0/27"), "spec.cidr"),
        ("less than a block but disabled", pool("10.0.0.0/27", disabled=True), None),
        ("block size by default", pool(blockSize=0), None),
        ("greatest blocks", pool(blockSize=20), None),
        ("least blocks", pool("10.0.0.0/32", blockSize=32), None),
        ("blocks of /19", pool(blockSize=19), "spec.blockSize"),
        ("blocks of /33", pool(blockSize=33), "spec.blockSize"),
        ("greatest blocks of IPv6", pool("fd00::/64", blockSize=116), None),
        ("least blocks of IPv6", pool("fd00::/64", blockSize=128), None),
        ("blocks of /115", pool("fd00::/64", blockSize=115), "spec.blockSize"),
        ("blocks of /129", pool("fd00::/64", blockSize=129), "spec.blockSize"),
        ("IPIP across subnets", pool(ipipMode="CrossSubnet"), None),
        ("IPIP in lower case", pool(ipipMode="always"), "spec.ipipMode"),
        ("IPIP for IPv6", pool("fd00::/64", ipipMode="Always"), "spec.ipipMode"),
        ("both overlays", pool(ipipMode="Always", vxlanMode="Always"), "spec.ipipMode"),
        ("VXLAN otherwise", pool(vxlanMode="On"), "spec.vxlanMode"),
        ("nodes", pool(nodeSelector="!has(x)", natOutgoing=True, disableBGPExport=True), None),
        ("nodes by global", pool(nodeSelector="global()"), "spec.nodeSelector"),
        ("nodes by a long selector", pool(nodeSelector=f"a == '{'x' * 1024}'"), "spec.nodeSelector"),
        ("namespaces", pool(namespaceSelector="has(a)"), None),
        ("namespaces and pods", pool(namespaceSelector="has(a)", allowedUses=["Workload"]), None),
        (
            "namespaces and tunnels",
            pool(namespaceSelector="has(a)", allowedUses=["Workload", "Tunnel"]),
            "spec.namespaceSelector",
        ),
        ("namespaces by global", pool(namespaceSelector="global()"), "spec.namespaceSelector"),
        *[(f"use {use}", pool(allowedUses=[use]), None) for use in ("Workload", "Tunnel", "HostSecondaryInterface")],
        ("use twice", pool(allowedUses=["Tunnel", "Tunnel"]), "spec.allowedUses[1]"),
        ("other use", pool(allowedUses=["Pods"]), "spec.allowedUses[0]"),
        ("eleven uses", pool(allowedUses=["Tunnel"] * 11), "spec.allowedUses"),
        ("load balancers", pool(allowedUses=["LoadBalancer"]), None),
        ("load balancers of all nodes", pool(allowedUses=["LoadBalancer"], nodeSelector="all()"), None),
        ("load balancers and pods", pool(allowedUses=["LoadBalancer", "Workload"]), "spec.allowedUses"),
        ("load balancers over VXLAN", pool(allowedUses=["LoadBalancer"], vxlanMode="Always"), "spec.vxlanMode"),
        ("load balancers over IPIP", pool(allowedUses=["LoadBalancer"], ipipMode="Always"), "spec.ipipMode"),
        (
            "load balancers unannounced",
            pool(allowedUses=["LoadBalancer"], disableBGPExport=True),
            "spec.disableBGPExport",
        ),
        (
            "load balancers of some nodes",
            pool(allowedUses=["LoadBalancer"], nodeSelector="has(x)"),
            "spec.nodeSelector",
        ),
        ("bridged pods", pool(allowedUses=["L2Workload"], disableBGPExport=True), None),
        ("bridged pods announced", pool(allowedUses=["L2Workload"]), "spec.disableBGPExport"),
        (
            "bridged and other pods",
            pool(allowedUses=["L2Workload", "Workload"], disableBGPExport=True),
            "spec.allowedUses",
        ),
        (
            "bridged pods over VXLAN",
            pool(allowedUses=["L2Workload"], disableBGPExport=True, vxlanMode="Always"),
            "spec.vxlanMode",
        ),
        ("by hand", pool(assignmentMode="Manual", awsSubnetID="subnet-1"), None),
        ("by magic", pool(assignmentMode="Magic"), "spec.assignmentMode"),
    ],
    c.IP_RESERVATIONS: [
        ("ranges", {"reservedCIDRs": ["10.0.0.1/32", "10.0.0.1/8", "fd00::/64"]}, None),
        ("an address", {"reservedCIDRs": ["10.0.0.1"]}, "spec.reservedCIDRs[0]"),
        ("twice", {"reservedCIDRs": ["10.0.0.0/8", "10.0.0.0/8"]}, "spec.reservedCIDRs[1]"),
        ("nonsense", {"reservedCIDRs": ["all/8"]}, "spec.reservedCIDRs[0]"),
    ],
    c.IPAM_CONFIGURATIONS: [
        ("defaults", {}, None),
        ("strict", {"strictAffinity": True, "autoAllocateBlocks": False, "maxBlocksPerHost": 5}, None),
        ("no blocks and not strict", {"autoAllocateBlocks": False}, "spec.autoAllocateBlocks"),
        ("a million blocks", {"maxBlocksPerHost": 1_000_000}, None),
        ("more blocks", {"maxBlocksPerHost": 1_000_001}, Verdicts("spec.maxBlocksPerHost", None)),
        ("most blocks of the old store", {"maxBlocksPerHost": 2**31 - 1}, Verdicts("spec.maxBlocksPerHost", None)),
        ("more than that", {"maxBlocksPerHost": 2**31}, "spec.maxBlocksPerHost"),
        ("blocks below 0", {"maxBlocksPerHost": -1}, "spec.maxBlocksPerHost"),
        ("machines without addresses of their own", {"kubeVirtVMAddressPersistence": "Disabled"}, None),
        ("machines otherwise", {"kubeVirtVMAddressPersistence": "Yes"}, "spec.kubeVirtVMAddressPersistence"),
        ("20 minutes of rest", {"ipCooldownSeconds": 1200}, None),
        ("more rest", {"ipCooldownSeconds": 1201}, "spec.ipCooldownSeconds"),
        ("strict by word", {"strictAffinity": "true"}, "spec.strictAffinity"),
    ],
    c.BLOCK_AFFINITIES: [
        *[
            (f"state {state!r}", {**AFFINITY, "state": state}, None)
            for state in ("", "confirmed", "pending", "pendingDeletion")
        ],
        ("other state", {**AFFINITY, "state": "done"}, "spec.state"),
        ("virtual", {**AFFINITY, "type": "virtual"}, None),
        ("other type", {**AFFINITY, "type": "pod"}, "spec.type"),
        ("no state", without(AFFINITY, "state"), "spec.state"),
        ("no node", without(AFFINITY, "node"), "spec.node"),
        ("no range", without(AFFINITY, "cidr"), "spec.cidr"),
        ("an address", {**AFFINITY, "cidr": "10.0.0.1"}, "spec.cidr"),
        # Natively the owner marks it before it is deleted.
        ("marked as deleted", {**AFFINITY, "deleted": True}, Verdicts(None, "spec.deleted")),
        # Detail 38: a text in the old store, a truth value here.
        ("marked by word", {**AFFINITY, "deleted": "true"}, "spec.deleted"),
    ],
    c.IPAM_BLOCKS: [
        ("free", {**BLOCK, "attributes": []}, None),
        ("owned", {**OWNED, "affinity": "host:node-1.example", "sequenceNumber": 2**62}, None),
        ("of a virtual owner", {**OWNED, "affinity": "virtual:load-balancer"}, None),
        ("of somebody", {**OWNED, "affinity": "pod:a"}, "spec.affinity"),
        ("of an odd name", {**OWNED, "affinity": "host:a/b"}, "spec.affinity"),
        ("claimed at a time", {**OWNED, "affinityClaimTime": "2026-01-01T00:00:00Z"}, None),
        ("claimed sometime", {**OWNED, "affinityClaimTime": "yesterday"}, "spec.affinityClaimTime"),
        ("numbers of assignments", {**OWNED, "sequenceNumberForAllocation": {"1": 17}}, None),
        (
            "numbers as texts",
            {**OWNED, "sequenceNumberForAllocation": {"1": "17"}},
            "spec.sequenceNumberForAllocation.1",
        ),
        ("number beyond 64 bits", {**OWNED, "sequenceNumber": 2**63}, "spec.sequenceNumber"),
        ("no attributes", BLOCK, "spec.attributes"),
        ("no old switch", without(OWNED, "strictAffinity"), "spec.strictAffinity"),
        ("no range", without(OWNED, "cidr"), "spec.cidr"),
        ("free as text", {**OWNED, "unallocated": ["0"]}, "spec.unallocated[0]"),
        ("a free address in the queue", {**OWNED, "unallocated": [None]}, "spec.unallocated[0]"),
    ],
    c.IPAM_HANDLES: [
        ("a handle", {"handleID": "H", "block": {"10.0.0.0/26": 2}}, None),
        ("no handle", {"block": {}}, "spec.handleID"),
        ("no blocks", {"handleID": "h"}, "spec.block"),
        ("counted in words", {"handleID": "h", "block": {"10.0.0.0/26": "two"}}, "spec.block.10.0.0.0/26"),
    ],
}


@pytest.mark.parametrize(("resource", "spec", "path"), parameters(CASES))
def test_a_spec_is_accepted_or_refused_at_the_field_at_fault(
    resource: Resource[Any], spec: dict[str, Any], path: Expected
) -> None:
    judge(resource, spec, path)


def test_every_kind_has_cases_of_both_sorts() -> None:
    every_case_has_both(CASES)
