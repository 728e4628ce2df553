"""Address management: pools and reservations that users write, and the blocks, affinities and handles behind them.

For IPAM, routing and admission. In: JSON of projectcalico.org/v3. Out: immutable structs (spec/resources.md 1.4,
spec/cni-ipam-node.md 2.1).
"""

from typing import Annotated

import msgspec

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc, empty_map, required_map
from tortie.model.meta import Condition, ObjectMeta

ENCAPSULATION_MODES = ["Never", "Always", "CrossSubnet"]
ALLOWED_USES = ["Workload", "Tunnel", "LoadBalancer", "HostSecondaryInterface", "L2Workload"]


class IPPoolSpec(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[
        str,
        doc(
            "The range of addresses, such as 192.168.0.0/16. Cannot be changed.",
            format="cidr",
            maxLength=48,
            required=True,
        ),
    ] = ""
    block_size: Annotated[
        int,
        doc(
            "Prefix length of the blocks that nodes claim from the pool: 20 to 32 for IPv4 (26 if absent), 116 to 128"
            " for IPv6 (122 if absent). Cannot be changed.",
            minimum=0,
            maximum=128,
        ),
    ] = 0
    ipip_mode: Annotated[
        str,
        doc(
            "When to wrap traffic between nodes in IPIP; IPv4 only. CrossSubnet: only if their subnets differ.",
            enum=ENCAPSULATION_MODES,
        ),
    ] = ""
    vxlan_mode: Annotated[
        str,
        doc(
            "When to wrap traffic between nodes in VXLAN. CrossSubnet: only if their subnets differ.",
            enum=ENCAPSULATION_MODES,
        ),
    ] = ""
    nat_outgoing: Annotated[bool, doc("Give traffic that leaves all pools the address of the node (masquerade).")] = (
        False
    )
    disabled: Annotated[bool, doc("Assign no further addresses from the pool; those in use stay.")] = False
    disable_bgp_export: Annotated[bool, doc("Do not announce the pool's blocks over BGP.")] = False
    node_selector: Annotated[str, doc("Which nodes may assign addresses from the pool.", maxLength=1024)] = ""
    namespace_selector: Annotated[
        str, doc("Restricts the pool to pods in namespaces whose labels this selector matches.", maxLength=1024)
    ] = ""
    allowed_uses: Annotated[
        tuple[str, ...],
        doc(
            "What the addresses are for: Workload (pods), Tunnel (tunnel devices of nodes), LoadBalancer (Services;"
            " stands alone). Workload and Tunnel if absent.",
            items={"enum": ALLOWED_USES},
            maxItems=10,
            **UNIQUE,
        ),
    ] = ()
    assignment_mode: Annotated[
        str,
        doc("Automatic, or Manual for a pool that is used only on request.", enum=["Automatic", "Manual"]),
    ] = ""
    aws_subnet_id: Annotated[str, doc("The AWS subnet that backs the pool.")] = ""


class IPPoolStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[
        tuple[Condition, ...],
        doc("Allocatable: whether addresses are assigned; if not, why: CIDROverlap, Terminating or PoolDisabled."),
    ] = ()


class IPPool(Object, frozen=True, kw_only=True):
    """A range of addresses for pods, tunnels or load balancers, and how traffic to it travels."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("IPPool")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[IPPoolSpec, doc("The range and how it is used.")] = IPPoolSpec()
    status: Annotated[IPPoolStatus | None, doc("What the system observes of the pool.")] = None


class IPReservationSpec(ApiStruct, frozen=True, kw_only=True):
    reserved_cidrs: Annotated[
        tuple[str, ...],
        doc("Ranges from which no address is assigned automatically.", items={"format": "cidr"}, **UNIQUE),
    ] = ()


class IPReservation(Object, frozen=True, kw_only=True):
    """Addresses that automatic assignment leaves alone; those already assigned stay."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("IPReservation")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[IPReservationSpec, doc("The reserved ranges.")] = IPReservationSpec()


class IPAMConfigurationSpec(ApiStruct, frozen=True, kw_only=True):
    strict_affinity: Annotated[
        bool, doc("Nodes assign only from their own blocks and borrow no address from others.", default=False)
    ] = constant(False)
    auto_allocate_blocks: Annotated[bool, doc("Nodes claim a new block when they need one.", default=True)] = constant(
        True
    )
    max_blocks_per_host: Annotated[
        int,
        doc("How many blocks a node may own; 0 means 20.", minimum=0, maximum=1_000_000, default=0),
    ] = constant(0)
    kube_virt_vm_address_persistence: Annotated[
        str,
        doc(
            "Whether a virtual machine keeps its address when its pod is replaced; Enabled if absent.",
            enum=["Enabled", "Disabled"],
        ),
    ] = msgspec.field(default="", name="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: Annotated[
        int,
        doc("Seconds that a released address rests before it is assigned again.", minimum=0, maximum=1200, default=0),
    ] = constant(0)


class IPAMConfiguration(Object, frozen=True, kw_only=True):
    """Settings of address management for the whole cluster. The only object is named default."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("IPAMConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[IPAMConfigurationSpec, doc("The settings.")] = IPAMConfigurationSpec()


class AllocationAttribute(ApiStruct, frozen=True, kw_only=True):
    handle_id: Annotated[str | None, doc("The handle that holds the address.")] = msgspec.field(
        default=None, name="handle_id"
    )
    secondary: Annotated[dict[str, str], doc("Who uses the address: pod, namespace, node.")] = empty_map()
    alternate_owner_attrs: Annotated[dict[str, str], doc("Who takes the address over next, if anyone.")] = empty_map()
    released_at: Annotated[str | None, doc("When the address was released.", format="date-time")] = None


class IPAMBlockSpec(ApiStruct, frozen=True, kw_only=True):
    cidr: Annotated[str, doc("The range of the block.", format="cidr", required=True)] = ""
    affinity: Annotated[
        str | None,
        doc("The owner: host:<node> or virtual:<name>; absent for none.", pattern=r"^(host|virtual):[a-zA-Z0-9._-]+$"),
    ] = None
    affinity_claim_time: Annotated[str | None, doc("When the owner claimed the block.", format="date-time")] = None
    allocations: Annotated[
        tuple[int | None, ...],
        doc(
            "For each address of the block an index into attributes, or null if it is free.",
            items={"nullable": True},
            required=True,
        ),
    ] = constant(())
    unallocated: Annotated[
        tuple[int, ...], doc("The free addresses as offsets, in the order in which they will be used.", required=True)
    ] = constant(())
    attributes: Annotated[tuple[AllocationAttribute, ...], doc("Who holds addresses of the block.", required=True)] = (
        constant(())
    )
    sequence_number: Annotated[int, doc("Grows with every change.", format="int64", default=0)] = constant(0)
    sequence_number_for_allocation: Annotated[
        dict[str, int], doc("The sequence number at which each address was assigned, by offset.")
    ] = empty_map()
    deleted: Annotated[bool, doc("True while the block is being deleted.")] = False
    strict_affinity: Annotated[bool, doc("Not used any more.", required=True)] = constant(False)


class IPAMBlock(Object, frozen=True, kw_only=True):
    """A block of addresses and who holds them. Written by the system."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("IPAMBlock")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[IPAMBlockSpec, doc("The state of the block.")] = IPAMBlockSpec()


class IPAMHandleSpec(ApiStruct, frozen=True, kw_only=True):
    handle_id: Annotated[str, doc("The handle, exactly as given.", required=True)] = ""
    block: Annotated[
        dict[str, int], doc("How many addresses the handle holds in each block, by CIDR.", required=True)
    ] = required_map()
    deleted: Annotated[bool, doc("True while the handle is being deleted.")] = False


class IPAMHandle(Object, frozen=True, kw_only=True):
    """The addresses that one owner holds, so that they can be released together. Written by the system."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("IPAMHandle")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[IPAMHandleSpec, doc("The state of the handle.")] = IPAMHandleSpec()


class BlockAffinitySpec(ApiStruct, frozen=True, kw_only=True):
    state: Annotated[
        str,
        doc(
            "How far the claim is: pending, confirmed or pendingDeletion.",
            enum=["", "confirmed", "pending", "pendingDeletion"],
            required=True,
        ),
    ] = constant("")
    node: Annotated[str, doc("The node that owns the block, or the name of a virtual owner.", required=True)] = ""
    type: Annotated[str, doc("Whether the owner is a host or virtual; host if absent.", enum=["host", "virtual"])] = ""
    cidr: Annotated[str, doc("The range of the block.", format="cidr", required=True)] = ""
    deleted: Annotated[bool, doc("True while the affinity is being deleted.", default=False)] = constant(False)


class BlockAffinity(Object, frozen=True, kw_only=True):
    """Which node owns which block of addresses. Written by the system."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("BlockAffinity")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[BlockAffinitySpec, doc("The owner and the block.")] = BlockAffinitySpec()
