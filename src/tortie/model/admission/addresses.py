"""Network sets, host endpoints, pools and address management: defaults and checks (spec/resources.md 1.4).

For admission. In: objects as JSON for defaults, decoded ones for checks. Out: completed JSON, and problems.
"""

from typing import Any

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.serving import ServingMode
from tortie.model.v3.endpoints import HostEndpoint
from tortie.model.v3.ipam import BlockAffinity, IPAMConfiguration, IPPool, IPPoolSpec
from tortie.model.v3.networkset import GlobalNetworkSet, NetworkSet
from tortie.model.v3.nodestatus import CalicoNodeStatus

Object = dict[str, Any]

_LINK_LOCAL = (formats.network("169.254.0.0/16"), formats.network("fe80::/10"))
_BLOCK_SIZES = {4: (20, 32, 26), 6: (116, 128, 122)}
"""IP version -> least and greatest block size, and the default"""


def check_network_set(network_set: NetworkSet | GlobalNetworkSet, problems: Problems) -> None:
    spec = network_set.spec
    problems.texts("spec.nets", spec.nets, lambda net: formats.net_problem(net, host_bits=True))
    problems.texts("spec.allowedEgressDomains", spec.allowed_egress_domains, formats.domain_problem)


def check_host_endpoint(endpoint: HostEndpoint, problems: Problems) -> None:
    spec = endpoint.spec
    if not spec.node:
        problems.required("spec.node", "the name of a node is required")
    problems.text("spec.node", spec.node, formats.name_problem)
    problems.text("spec.interfaceName", spec.interface_name, formats.interface_problem)
    if not spec.interface_name and not spec.expected_ips:
        problems.required("spec.interfaceName", "either interfaceName or expectedIPs must be set")
    problems.texts("spec.expectedIPs", spec.expected_ips, formats.address_problem)
    problems.texts("spec.profiles", spec.profiles, formats.name_problem)
    for index, port in enumerate(spec.ports):
        where = f"spec.ports[{index}]"
        if not port.name:
            problems.required(f"{where}.name", "a name is required")
        problems.text(f"{where}.name", port.name, formats.port_name_problem)
        if port.protocol not in ("TCP", "UDP", "SCTP", 6, 17, 132):
            problems.add(f"{where}.protocol", port.protocol, "must be TCP, UDP or SCTP, or their number 6, 17 or 132")


def check_node_status(status: CalicoNodeStatus, problems: Problems) -> None:
    problems.text("spec.node", status.spec.node, formats.name_problem)


# --- pools -----------------------------------------------------------------------------------------------------


def default_ip_pool(obj: Object, _: ServingMode) -> None:
    spec = obj["spec"]
    spec["ipipMode"] = spec.get("ipipMode") or "Never"
    spec["vxlanMode"] = spec.get("vxlanMode") or "Never"
    spec["nodeSelector"] = spec.get("nodeSelector") or "all()"
    spec["assignmentMode"] = spec.get("assignmentMode") or "Automatic"
    # A pool for some namespaces may not name Tunnel, so its uses stay unsaid.
    if not spec.get("allowedUses") and not spec.get("namespaceSelector"):
        spec["allowedUses"] = ["Workload", "Tunnel"]
    if not spec.get("blockSize") and isinstance(spec.get("cidr"), str):
        spec["blockSize"] = _BLOCK_SIZES[formats.version_of(spec["cidr"])][2]


def check_ip_pool(pool: IPPool, problems: Problems) -> None:
    spec = pool.spec
    if not spec.cidr:
        problems.required("spec.cidr", "a CIDR such as 192.168.0.0/16 is required")
        return
    if message := formats.net_problem(spec.cidr, need_length=True):
        problems.add("spec.cidr", spec.cidr, message)
        return
    network = formats.network(spec.cidr)
    if any(network.version == bad.version and network.overlaps(bad) for bad in _LINK_LOCAL):
        problems.add("spec.cidr", spec.cidr, "must not overlap the link-local ranges 169.254.0.0/16 and fe80::/10")
    least, most, _ = _BLOCK_SIZES[network.version]
    if not least <= spec.block_size <= most:
        problems.add(
            "spec.blockSize", spec.block_size, f"must be between {least} and {most} for an IPv{network.version} pool"
        )
    elif network.prefixlen > spec.block_size and not spec.disabled:
        problems.add(
            "spec.cidr",
            spec.cidr,
            f"is smaller than a block of /{spec.block_size}: shorten the prefix or set disabled",
        )
    if spec.ipip_mode != "Never" and spec.vxlan_mode != "Never":
        problems.add("spec.ipipMode", spec.ipip_mode, f"must be Never, because vxlanMode is {spec.vxlan_mode}")
    if spec.ipip_mode != "Never" and network.version == 6:
        problems.add("spec.ipipMode", spec.ipip_mode, "must be Never: IPIP does not exist for IPv6")
    problems.selector("spec.nodeSelector", spec.node_selector)
    problems.selector("spec.namespaceSelector", spec.namespace_selector)
    _pool_uses(spec, problems)


def _pool_uses(spec: IPPoolSpec, problems: Problems) -> None:
    uses = spec.allowed_uses
    if spec.namespace_selector and "Tunnel" in uses:
        problems.add("spec.namespaceSelector", spec.namespace_selector, "cannot be set when allowedUses has Tunnel")
    for use in ("LoadBalancer", "L2Workload"):
        if use not in uses:
            continue
        if len(uses) > 1:
            problems.add("spec.allowedUses", list(uses), f"{use} cannot be combined with other uses")
        for field, mode in (("ipipMode", spec.ipip_mode), ("vxlanMode", spec.vxlan_mode)):
            if mode != "Never":
                problems.add(f"spec.{field}", mode, f"must be Never for a pool with use {use}")
    if "LoadBalancer" in uses:
        if spec.disable_bgp_export:
            problems.add("spec.disableBGPExport", True, "must be false for a pool with use LoadBalancer")
        if spec.node_selector != "all()":
            problems.add("spec.nodeSelector", spec.node_selector, "must be all() for a pool with use LoadBalancer")
    if "L2Workload" in uses and not spec.disable_bgp_export:
        problems.add("spec.disableBGPExport", False, "must be true for a pool with use L2Workload")


def check_ip_pool_update(old: IPPool, new: IPPool, problems: Problems) -> None:
    """A pool keeps its range and block size, and one for load balancers keeps its use."""
    try:
        same = formats.canonical_net(old.spec.cidr) == formats.canonical_net(new.spec.cidr)
        version = formats.network(old.spec.cidr).version
    except ValueError:
        return
    if not same:
        problems.add("spec.cidr", new.spec.cidr, f"cannot be changed from {old.spec.cidr}: make a new pool instead")
    default = _BLOCK_SIZES[version][2]
    if same and (new.spec.block_size or default) != (old.spec.block_size or default):
        problems.add("spec.blockSize", new.spec.block_size, f"cannot be changed from {old.spec.block_size or default}")
    if "LoadBalancer" in old.spec.allowed_uses and "LoadBalancer" not in new.spec.allowed_uses:
        problems.add("spec.allowedUses", list(new.spec.allowed_uses), "cannot be changed from LoadBalancer")


def check_block_affinity(affinity: BlockAffinity, problems: Problems) -> None:
    """Natively a deletion begins with this mark; the aggregated server's clients delete."""
    if affinity.spec.deleted and problems.aggregated:
        problems.forbidden("spec.deleted", "cannot be set to true: delete the object instead")


# --- address management ----------------------------------------------------------------------------------------


def check_ipam_configuration(configuration: IPAMConfiguration, problems: Problems) -> None:
    spec = configuration.spec
    if not spec.auto_allocate_blocks and not spec.strict_affinity:
        problems.add(
            "spec.autoAllocateBlocks",
            False,
            "can be false only when strictAffinity is true",
        )
