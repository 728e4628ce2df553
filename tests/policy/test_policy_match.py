"""Every match field of a rule, the traps of spec/felix.md 7.2 among them. Each test puts one rule before a drop."""

from typing import Any

import pytest
from policy_worlds import ICMP, TCP, UDP, Item, allowed, pod, policy, port, ports, rule, world

from tortie.model.dataplane import (
    EndpointSlice,
    EndpointSliceKey,
    HTTPMatch,
    Icmp,
    NetworkSet,
    NetworkSetKey,
    PortRange,
    Profile,
    ProfileKey,
    ServiceKey,
)

A, B, A6, B6 = "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"
OUTSIDE = "203.0.113.7"


def matches(
    fields: dict[str, Any],
    *,
    source: str = A,
    target: str = B,
    items: tuple[Item, ...] = (),
    target_ports: tuple[Any, ...] = (),
    source_ports: tuple[Any, ...] = (),
    **packet: Any,
) -> bool:
    """Whether a rule with the fields matches the packet from a to b."""
    made = world(
        pod("a", 1, ports=source_ports, labels={"role": "client"}),
        pod("b", 2, ports=target_ports, labels={"role": "server"}),
        policy("p", selector="app == 'b'", ingress=(rule("allow", **fields),)),
        *items,
    )
    return allowed(made, source, target, packet.pop("dst_port", 80), **packet)


def test_an_empty_rule_matches_everything() -> None:
    assert matches({})


@pytest.mark.parametrize(("version", "v4", "v6"), [(4, True, False), (6, False, True)])
def test_ip_version_keeps_a_rule_in_one_family(version: int, v4: bool, v6: bool) -> None:
    assert matches({"ip_version": version}) is v4
    assert matches({"ip_version": version}, source=A6, target=B6) is v6


def test_protocol_and_its_negation() -> None:
    assert matches({"protocol": TCP}) and not matches({"protocol": UDP})
    assert matches({"not_protocol": UDP}) and not matches({"not_protocol": TCP})


@pytest.mark.parametrize(
    ("icmp", "expected"),
    [(Icmp(0), False), (Icmp(8), True), (Icmp(8, 0), True), (Icmp(8, 1), False)],
)
def test_icmp_type_and_code_where_zero_is_a_value(icmp: Icmp, expected: bool) -> None:
    packet = {"protocol": ICMP, "icmp_type": 8, "icmp_code": 0}
    assert matches({"protocol": ICMP, "icmp": icmp}, **packet) is expected
    assert matches({"protocol": ICMP, "not_icmp": icmp}, **packet) is not expected


def test_ports_are_ranges_and_need_a_protocol_with_ports() -> None:
    assert matches({"protocol": TCP, "dst": {"ports": (PortRange(79, 81),)}})
    assert not matches({"protocol": TCP, "dst": {"ports": ports(443)}})
    assert not matches({"protocol": TCP, "dst": {"not_ports": ports(80)}})
    assert matches({"protocol": TCP, "dst": {"not_ports": ports(443)}})
    assert matches({"protocol": TCP, "src": {"ports": ports(40000)}})


# --- named ports ---------------------------------------------------------------------------------------------------


def test_a_named_port_needs_the_rules_protocol() -> None:
    http = {"target_ports": (port("http", 80, UDP),)}
    assert not matches({"protocol": TCP, "dst": {"named_ports": ("http",)}}, **http)
    assert matches({"protocol": UDP, "dst": {"named_ports": ("http",)}}, protocol=UDP, **http)


def test_all_definitions_of_a_name_count() -> None:
    twice = {"target_ports": (port("http", 81), port("http", 80))}
    assert matches({"protocol": TCP, "dst": {"named_ports": ("http",)}}, **twice)


def test_named_and_numeric_ports_are_alternatives() -> None:
    fields = {"protocol": TCP, "dst": {"named_ports": ("http",), "ports": ports(443)}}
    assert matches(fields, dst_port=443)
    assert matches(fields, target_ports=(port("http", 80),))
    assert not matches(fields)


def test_a_source_named_port_is_the_source_port() -> None:
    fields = {"protocol": TCP, "src": {"named_ports": ("client",)}}
    assert matches(fields, source_ports=(port("client", 40000),))
    assert not matches(fields, source_ports=(port("client", 80),))


def test_a_named_port_is_looked_for_among_the_endpoints_that_the_selector_selects() -> None:
    fields = {"protocol": TCP, "dst": {"named_ports": ("http",), "selector": "role == 'client'"}}
    assert not matches(fields, target_ports=(port("http", 80),))


def test_a_named_port_without_a_protocol_has_the_protocols_it_is_defined_with() -> None:
    fields = {"dst": {"named_ports": ("http",)}}
    assert matches(fields, target_ports=(port("http", 80),))
    assert not matches(fields, target_ports=(port("http", 80, UDP),))


def test_a_negated_named_port_matches_everything_else() -> None:
    fields = {"dst": {"not_named_ports": ("http",)}}
    assert not matches(fields, target_ports=(port("http", 80),))
    assert matches(fields, target_ports=(port("http", 81),))
    assert matches(fields, protocol=ICMP, icmp_type=8, icmp_code=0)


# --- addresses -----------------------------------------------------------------------------------------------------


def test_nets_any_of_them_and_not_nets_none_of_them() -> None:
    assert matches({"src": {"nets": ("192.0.2.0/24", "10.0.0.0/24")}})
    assert not matches({"src": {"nets": ("10.0.0.0/24",), "not_nets": ("10.0.0.1/32",)}})
    assert matches({"src": {"not_nets": ("10.0.1.0/24",)}})


@pytest.mark.parametrize("field", ["nets", "not_nets"])
def test_a_rule_whose_nets_are_all_of_one_family_is_not_in_the_other(field: str) -> None:
    nets = ("0.0.0.0/0",) if field == "nets" else ("192.0.2.0/24",)
    assert matches({"src": {field: nets}})
    assert not matches({"src": {field: nets}}, source=A6, target=B6)


def test_not_nets_with_every_address_never_matches() -> None:
    assert not matches({"src": {"not_nets": ("0.0.0.0/0",)}})


def test_selectors_see_labels_of_endpoints_network_sets_and_namespaces() -> None:
    assert matches({"src": {"selector": "role == 'client'"}})
    assert matches({"src": {"selector": "pcns.team == 'one'"}})
    assert not matches({"src": {"selector": "role == 'server'"}})
    known = (NetworkSetKey("", "s"), NetworkSet(nets=("203.0.113.0/24",), labels={"role": "client"}))
    assert matches({"src": {"selector": "role == 'client'"}}, source=OUTSIDE, items=(known,))
    assert not matches({"src": {"selector": "role == 'client'"}}, source=OUTSIDE)


def test_an_endpoints_own_label_wins_then_the_first_profile_that_has_it() -> None:
    parents = tuple((ProfileKey(name), Profile(labels={"role": name, "team": name})) for name in ("first", "second"))
    child = pod("child", 7, labels={"role": "own"}, profiles=("kns.red", "first", "second"))
    for text, expected in (
        ("role == 'own'", True),
        ("role == 'first'", False),
        ("team == 'first'", True),
        ("team == 'second'", False),
    ):
        assert matches({"src": {"selector": text}}, source="10.0.0.7", items=(child, *parents)) is expected, text


def test_a_negated_selector_alone_matches_addresses_that_nobody_has() -> None:
    assert matches({"src": {"not_selector": "role == 'client'"}}, source=OUTSIDE)
    assert not matches({"src": {"not_selector": "role == 'client'"}})


def test_a_positive_and_a_negated_selector_speak_of_one_endpoint() -> None:
    fields = {"src": {"selector": "has(role)", "not_selector": "env == 'x'"}}
    twin = pod("twin", 1, node="n2", labels={"role": "client", "env": "x"})
    assert matches(fields, items=(twin,))  # a has the address too, and is not in env x
    assert not matches({"src": {"not_selector": "env == 'x'"}}, items=(twin,))


def test_a_network_set_of_all_addresses_matches_all() -> None:
    known = (NetworkSetKey("", "s"), NetworkSet(nets=("0.0.0.0/0",), labels={"role": "any"}))
    assert matches({"src": {"selector": "role == 'any'"}}, source=OUTSIDE, items=(known,))


# --- services, HTTP, domains ---------------------------------------------------------------------------------------


def test_a_service_matches_its_endpoints_with_their_ports_as_destination_and_without_as_source() -> None:
    key = ServiceKey("red", "web")
    shown = (EndpointSliceKey("red", "web-1"), EndpointSlice(key, (A, B), (("http", TCP, 80),)))
    assert matches({"dst": {"service": key}}, items=(shown,))
    assert not matches({"dst": {"service": key}}, dst_port=81, items=(shown,))
    assert matches({"src": {"service": key}}, dst_port=81, items=(shown,))
    assert not matches({"src": {"service": ServiceKey("red", "other")}}, items=(shown,))


def test_an_http_match_does_not_hinder_the_packet() -> None:
    assert matches({"protocol": TCP, "http": HTTPMatch(methods=("GET",))})


def test_domains_match_nothing_until_somebody_learns_them() -> None:
    assert not matches({"dst": {"domains": ("example.com",)}})
