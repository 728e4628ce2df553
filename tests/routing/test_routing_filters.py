"""BGPFilters as BIRD functions. That BIRD accepts and obeys them is in test_routing_render and test_routing_netns."""

import pytest
from routing_worlds import bgp_filter, rule

from tortie.model.v3 import bgp
from tortie.routing.filters import filter_functions
from tortie.routing.settings import community


def text_of(*rules: bgp.BGPFilterRule, direction: str = "export", family: int = 4, name: str = "f") -> str:
    functions, problems = filter_functions(bgp_filter(name, **{f"{direction}_v{family}": rules}).values())
    assert problems == []
    return functions[name, direction, family].text


def body(*rules: bgp.BGPFilterRule, family: int = 4) -> list[str]:
    return [line.strip() for line in text_of(*rules, family=family).splitlines()[2:-1]]


def test_a_rule_without_conditions_decides_at_once():
    assert body(rule("Reject")) == ["reject;"]
    assert body(rule("Accept")) == ["accept;"]


@pytest.mark.parametrize(
    ("operator", "length", "condition"),
    [
        ("Equal", None, "net = 10.0.0.0/8"),
        ("NotEqual", None, "net != 10.0.0.0/8"),
        ("In", None, "net ~ [ 10.0.0.0/8+ ]"),
        ("NotIn", None, "net !~ [ 10.0.0.0/8+ ]"),
        ("In", (16, 24), "net ~ [ 10.0.0.0/8{16,24} ]"),
        ("In", (None, 24), "net ~ [ 10.0.0.0/8{8,24} ]"),
        ("In", (2, None), "net ~ [ 10.0.0.0/8{8,32} ]"),
        ("NotIn", (16, 24), "net !~ [ 10.0.0.0/8{16,24} ]"),
    ],
)
def test_prefix_operators(operator, length, condition):
    one = rule(
        "Reject",
        cidr="10.0.0.0/8",
        match_operator=operator,
        prefix_length=bgp.PrefixLength(min=length[0], max=length[1]) if length else None,
    )
    assert body(one) == [f"if ({condition}) then reject;"]


def test_host_bits_in_a_cidr_are_cleared_because_bird_refuses_them():
    assert body(rule("Reject", cidr="10.1.2.3/8", match_operator="Equal")) == ["if (net = 10.0.0.0/8) then reject;"]


def test_an_empty_length_range_never_matches_and_its_negation_always_does():
    empty = {"cidr": "10.0.0.0/24", "prefix_length": bgp.PrefixLength(min=8, max=16)}
    assert body(rule("Accept", match_operator="In", **empty), rule("Reject")) == ["reject;"]
    assert body(rule("Accept", match_operator="NotIn", **empty)) == ["accept;"]


def test_all_conditions_must_hold():
    one = rule(
        "Accept",
        cidr="fd00::/16",
        match_operator="In",
        source="RemotePeers",
        interface="eth*",
        communities=bgp.CommunityMatch(values=("65000:1",)),
        as_path_prefix=(65000, 65001),
        priority=512,
        peer_type="eBGP",
    )
    conditions = (
        "net ~ [ fd00::/16+ ]",
        "source = RTS_BGP",
        'ifname ~ "eth*"',
        "(65000,1) ~ bgp_community",
        "bgp_path ~ [= 65000 65001 * =]",
        "defined(bgp_local_pref) && bgp_local_pref = 2147483135",
        "! is_ibgp",
    )
    assert body(one, family=6) == [f"if {' && '.join(f'({c})' for c in conditions)} then accept;"]


def test_only_a_function_that_asks_for_the_peers_type_takes_it():
    with_type = text_of(rule("Accept", peer_type="iBGP"))
    assert with_type.startswith("function 'bgp_f_exportFilterV4'(bool is_ibgp)")
    functions, _ = filter_functions(bgp_filter("f", export_v4=(rule("Accept", peer_type="iBGP"),)).values())
    assert functions["f", "export", 4].call(internal=True) == "'bgp_f_exportFilterV4'(true);"
    assert text_of(rule("Accept")).startswith("function 'bgp_f_exportFilterV4'()")


def test_operations_run_in_order_and_a_prepended_path_reads_as_written():
    one = rule(
        "Accept",
        operations=(
            bgp.BGPFilterOperation(add_community=bgp.AddCommunity(value="65000:1")),
            bgp.BGPFilterOperation(add_community=bgp.AddCommunity(value="1:2:3")),
            bgp.BGPFilterOperation(prepend_as_path=bgp.PrependASPath(prefix=(65001, 65002))),
            bgp.BGPFilterOperation(set_priority=bgp.SetPriority(value=512)),
        ),
    )
    assert body(one) == [
        "bgp_community.add((65000,1));",
        "bgp_large_community.add((1,2,3));",
        "bgp_path.prepend(65002);",
        "bgp_path.prepend(65001);",
        "bgp_local_pref = 2147483135;",
        "accept;",
    ]


def test_a_bad_rule_is_left_out_and_reported_the_others_stay():
    rules = (
        rule("Reject", cidr="10.0.0.0/40", match_operator="In"),
        rule("Reject", cidr="fd00::/8", match_operator="In"),
        rule("Accept", communities=bgp.CommunityMatch(values=("70000:1",))),
        rule("Drop"),
        rule("Reject", interface='eth0"; accept; #'),
        rule("Reject", cidr="10.0.0.0/8", match_operator="In"),
    )
    functions, problems = filter_functions(bgp_filter("f", import_v4=rules).values())
    assert functions["f", "import", 4].text.splitlines()[2:-1] == ["  if (net ~ [ 10.0.0.0/8+ ]) then reject;"]
    assert [p.message.split(":")[0] for p in problems] == [f"importV4[{n}]" for n in range(5)]


def test_a_filter_that_bird_refuses_lets_nothing_pass():
    filters = bgp_filter("f", import_v4=(rule("Accept", peer_type="iBGP"),), export_v6=(rule("Accept"),))
    functions, _ = filter_functions(filters.values(), refused=frozenset({"f"}))
    assert {key: f.text.splitlines()[2:-1] for key, f in functions.items()} == {
        ("f", "import", 4): ["  reject;"],
        ("f", "export", 6): ["  reject;"],
    }
    assert functions["f", "import", 4].call(internal=True) == "'bgp_f_importFilterV4'();"


def test_a_long_name_is_shortened_below_birds_limit():
    first_line = text_of(rule("Accept"), name="x" * 200).splitlines()[0]
    symbol = first_line.removeprefix("function '").split("'")[0]
    assert len(symbol) <= 64
    assert symbol.startswith("bgp_" + "x" * 28 + "_")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1:2", (1, 2)),
        ("65535:65535", (65535, 65535)),
        ("65536:1", None),
        ("4294967295:1:2", (4294967295, 1, 2)),
        ("1:2:4294967296", None),
        ("1", None),
        ("a:b", None),
        ("1:2:3:4", None),
        ("-1:2", None),
    ],
)
def test_communities_stay_within_bgps_limits(text, numbers):
    assert community(text) == numbers
