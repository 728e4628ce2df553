"""The dataplane's pure parts: sets without overlaps, what is live in a table, interfaces, parameters.

The same parts at work in a kernel are covered in test_dataplane_lifecycle.py and test_dataplane_network.py.
"""

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.felix.dataplane import DataplaneConfig
from tortie.felix.dataplane.chain import Chain
from tortie.felix.dataplane.config import Failsafe
from tortie.felix.dataplane.interfaces import ADDRESS_REMOVAL_DELAY, Interfaces
from tortie.felix.dataplane.marks import Marks
from tortie.felix.dataplane.plan import plan
from tortie.felix.dataplane.sets import NetMembers, PortMembers, parse_net
from tortie.felix.dataplane.table import TableState
from tortie.felix.messages import IPPort
from tortie.net.link import Address, Link
from tortie.net.nft.match import AddressSet
from tortie.net.nft.statement import ACCEPT, Rule, Verdict
from tortie.net.nft.transaction import Hook, Transaction, element_keys

# --- sets --------------------------------------------------------------------------------------------------------


@st.composite
def cidrs(draw: st.DrawFn) -> str:
    length = draw(st.sampled_from((0, 8, 15, 16, 24, 30, 31, 32)))
    address = 10 << 24 | draw(st.integers(0, 3)) << 16 | draw(st.integers(0, 7))
    return str(ipaddress.ip_network((address, length), strict=False))


def covered(elements: list[bytes]) -> list[tuple[int, int]]:
    """First and last address of every element."""
    result = []
    for element in elements:
        keys = element_keys(element)
        first = int.from_bytes(keys[0][:4], "big")
        last = int.from_bytes(keys[1][:4], "big") - 1 if len(keys) == 2 else 0xFFFFFFFF
        result.append((first, last))
    return sorted(result)


@given(st.lists(st.tuples(st.frozensets(cidrs(), max_size=5), st.frozensets(cidrs(), max_size=5)), max_size=8))
def test_a_set_covers_exactly_its_members_and_its_elements_never_overlap(
    steps: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    members = NetMembers(4)
    wanted: set[str] = set()
    kernel: set[bytes] = set()
    for added, removed in steps:
        wanted = (wanted - removed) | added
        deleted, new = members.update(added, removed)
        assert kernel.issuperset(deleted), "only what is there can be deleted"
        kernel -= set(deleted)
        assert kernel.isdisjoint(new), "what is there is not added again"
        kernel |= set(new)
        assert kernel == set(members.elements())
        spans = covered(list(kernel))
        assert all(before[1] < after[0] for before, after in pairwise(spans))
        nets = list(ipaddress.collapse_addresses(map(ipaddress.ip_network, wanted)))
        total = sum(last - first + 1 for first, last in spans)
        assert total == sum(net.num_addresses for net in nets)


def test_families_are_kept_apart_and_a_wrong_member_is_named() -> None:
    members = NetMembers(6)
    assert members.update(["10.0.0.0/8", "fd00::/64"], ())[1] == members.elements()
    assert len(members) == 1
    with pytest.raises(ValueError, match="'fd00::x/64' is not an address or CIDR"):
        members.update(["fd00::x/64"], ())
    with pytest.raises(ValueError, match="not within 0-128"):
        parse_net("fd00::/129")
    with pytest.raises(ValueError, match="in a set of networks"):
        members.update([IPPort("fd00::1", 6, 80)], ())
    with pytest.raises(ValueError, match="in a set of addresses with ports"):
        PortMembers(4).update(["10.0.0.0/8"], ())


# --- tables ------------------------------------------------------------------------------------------------------


def jump(*targets: str) -> tuple[Rule, ...]:
    return tuple(Rule((Verdict("jump", target),)) for target in targets)


def committed(table: TableState) -> list[str]:
    """Applies the plan to nothing and returns what it did."""
    made = plan(table, Transaction())
    table.settle(made)
    return [f"{'-' if chain is None else '+'}{name}" for name, chain in made.chains.items()]


def test_only_chains_that_packets_can_reach_are_written() -> None:
    table = TableState(4)
    table.put("frame", [Chain("base", jump("a"), Hook("filter", "input", 0))])
    table.put("a", [Chain("a", jump("b")), Chain("unused", jump("c"))])
    table.put("b", [Chain("b", (Rule((AddressSet("saddr", 4, "cali40s-x"), ACCEPT)),))])
    table.put_set("s:x", "net", frozenset({"10.0.0.1/32"}))
    table.put_set("s:unused", "net", frozenset())
    assert committed(table) == ["+a", "+b", "+base"]
    assert table.written_sets == {"cali40s-x"}
    table.put("frame", [Chain("base", jump("unused"), Hook("filter", "input", 0))])
    assert set(committed(table)) == {"+base", "+c", "+unused", "-a", "-b"}
    assert table.written_sets == set()
    assert b"stand-in: not there" in table.written["c"][0]
    table.put("c", [Chain("c", jump())])
    assert committed(table) == ["+c"]


def test_a_chain_that_several_owners_share_stays_until_the_last_one_leaves() -> None:
    table = TableState(4)
    group = Chain("group", (Rule((ACCEPT,)),))
    table.put_map("dispatch", {"cali1": "one", "cali2": "two"})
    table.put("1", [Chain("one", jump("group")), group])
    table.put("2", [Chain("two", jump("group")), group])
    committed(table)
    table.drop("1")
    table.put_map("dispatch", {"cali2": "two"})
    assert committed(table) == ["-one"]
    table.drop("2")
    table.put_map("dispatch", {})
    assert committed(table) == ["-group", "-two"]


def test_what_changed_and_changed_back_is_not_written() -> None:
    table = TableState(4)
    table.put("frame", [Chain("base", jump("a"), Hook("filter", "input", 0))])
    table.put("a", [Chain("a", (Rule((ACCEPT,)),))])
    table.put_set("s:x", "net", frozenset())
    committed(table)
    table.put("a", [Chain("a", ())])
    table.put("a", [Chain("a", (Rule((ACCEPT,)),))])
    transaction = Transaction()
    plan(table, transaction)
    assert len(transaction) == 0


# --- interfaces --------------------------------------------------------------------------------------------------


def device(index: int, name: str, *, up: bool = True) -> Link:
    return Link(index, name, up, up, 1500, "02:00:00:00:00:01", "veth", 0, 0, {})


def test_interfaces_are_known_by_index_so_that_a_name_may_be_used_again() -> None:
    interfaces = Interfaces()
    assert interfaces.load([device(1, "lo"), device(7, "cali1")], [Address(7, "10.0.0.1", 32)]) == {"lo", "cali1"}
    assert interfaces.link_changed(device(8, "cali1"), present=True) == {"cali1"}
    assert interfaces.link_changed(device(7, "cali1"), present=False) == {"cali1"}
    found = interfaces.get("cali1")
    assert found is not None and found.index == 8
    assert interfaces.link_changed(device(8, "renamed"), present=True) == {"cali1", "renamed"}
    assert interfaces.get("cali1") is None


def test_an_address_that_leaves_counts_a_moment_longer() -> None:
    interfaces = Interfaces()
    interfaces.load([device(2, "eth0")], [Address(2, "10.0.0.1", 24)])
    assert interfaces.address_changed(Address(2, "10.0.0.1", 24), present=False, now=5.0) == set()
    assert interfaces.addresses("eth0") == {"10.0.0.1"}
    assert interfaces.next_expiry == 5.0 + ADDRESS_REMOVAL_DELAY
    assert interfaces.address_changed(Address(2, "10.0.0.1", 24), present=True, now=5.05) == set()
    assert interfaces.next_expiry is None
    interfaces.address_changed(Address(2, "10.0.0.1", 24), present=False, now=6.0)
    assert interfaces.expire(6.05) == set()
    assert interfaces.expire(6.11) == {"eth0"}
    assert interfaces.with_address("10.0.0.1") is None


def test_excluded_interfaces_do_not_exist() -> None:
    interfaces = Interfaces(("kube-ipvs0",))
    interfaces.load([device(3, "kube-ipvs0")], [])
    assert interfaces.link_changed(device(3, "kube-ipvs0"), present=True) == set()
    assert interfaces.names() == []


# --- parameters --------------------------------------------------------------------------------------------------


def test_parameters_are_read_in_any_case_and_unknown_ones_passed_over() -> None:
    config = DataplaneConfig.of(
        {
            "InterfacePrefix": "cali, tap",
            "IPV6SUPPORT": "false",
            "DefaultEndpointToHostAction": "Accept",
            "FailsafeInboundHostPorts": "tcp:22",
            "NATPortRange": "1000:2000",
            "VXLANPort": "4790",
            "NftablesMarkMask": "0x00f00000",
            "RouteRefreshInterval": "30",
            "NftablesRefreshInterval": "5m",
            "DisableConntrackInvalidCheck": "true",
            "FelixHostname": "node-7",
            "SomethingElse": "x",
        }
    )
    assert config.interface_prefixes == ("cali", "tap")
    assert config.versions == (4,)
    assert config.endpoint_to_host_action == "accept"
    assert config.failsafe_in == (Failsafe(6, 22),)
    assert (config.nat_first_port, config.nat_last_port) == (1000, 2000)
    assert config.vxlan_port == 4790
    assert config.marks == Marks(accept=0x100000, passed=0x200000)
    assert (config.route_refresh, config.nft_refresh) == (30.0, 300.0)
    assert not config.check_conntrack_invalid
    assert config.node == "node-7"
    assert DataplaneConfig.of({}, node="n") == DataplaneConfig(node="n")


def test_felixs_defaults_are_the_dataplanes_defaults() -> None:
    from tortie.felix.config import BY_NAME

    defaults = {parameter.name: parameter.default for parameter in BY_NAME.values() if parameter.default}
    assert DataplaneConfig.of(defaults) == DataplaneConfig()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"DefaultEndpointToHostAction": "maybe"}, "expected one of drop, return, accept"),
        ({"Ipv6Support": "perhaps"}, "neither true nor false"),
        ({"NftablesMarkMask": "0x1"}, "has 1 bits, at least 2 are needed"),
        ({"VXLANPort": "x"}, "VXLANPort='x'"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_named(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataplaneConfig.of(values)
