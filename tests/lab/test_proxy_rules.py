"""Services as text rules: one golden listing, and random histories against a small model of nftables.

What the rules do to packets: test_proxy_kernel.py.
"""

import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_world import service, slices

from tortie.lab.proxy.conntrack import Entry, parse, stale
from tortie.lab.proxy.endpoints import Family, plan
from tortie.lab.proxy.rules import EMPTY, MAPS, Rules, frame, nodes, service_rules
from tortie.lab.proxy.table import Table

CIDRS = ("192.168.0.0/16",)


def rules_of(svc: Any, pieces: Any, *, family: Family = "ip") -> Rules:
    plans = plan(svc, pieces, node="n1", family=family)
    return service_rules(plans, family=family, cluster_cidrs=CIDRS) if plans else EMPTY


GOLDEN = """\
chain cluster-shop/web/tcp/80/main
  ip daddr 10.96.0.7 ip saddr != { 192.168.0.0/16 } jump mark-for-masquerade
  ip saddr @affinity-600-shop/web/tcp/80/main__192.168.71.11/8080 goto endpoint-shop/web/tcp/80/main__192.168.71.11/8080
  ip saddr @affinity-600-shop/web/tcp/80/main__192.168.71.12/8080 goto endpoint-shop/web/tcp/80/main__192.168.71.12/8080
  numgen random mod 2 vmap { 0 : goto endpoint-shop/web/tcp/80/main__192.168.71.11/8080, \
1 : goto endpoint-shop/web/tcp/80/main__192.168.71.12/8080 }
chain local-shop/web/tcp/80/main
  ip saddr @affinity-600-shop/web/tcp/80/main__192.168.71.11/8080 goto endpoint-shop/web/tcp/80/main__192.168.71.11/8080
  numgen random mod 1 vmap { 0 : goto endpoint-shop/web/tcp/80/main__192.168.71.11/8080 }
chain external-shop/web/tcp/80/main
  ip saddr { 192.168.0.0/16 } goto cluster-shop/web/tcp/80/main
  fib saddr type local jump mark-for-masquerade
  fib saddr type local goto cluster-shop/web/tcp/80/main
  goto local-shop/web/tcp/80/main
chain endpoint-shop/web/tcp/80/main__192.168.71.11/8080
  ip saddr 192.168.71.11 jump mark-for-masquerade
  update @affinity-600-shop/web/tcp/80/main__192.168.71.11/8080 { ip saddr }
  meta l4proto tcp dnat to 192.168.71.11:8080
chain endpoint-shop/web/tcp/80/main__192.168.71.12/8080
  ip saddr 192.168.71.12 jump mark-for-masquerade
  update @affinity-600-shop/web/tcp/80/main__192.168.71.12/8080 { ip saddr }
  meta l4proto tcp dnat to 192.168.71.12:8080
map service-ips 10.96.0.7 . tcp . 80 : goto cluster-shop/web/tcp/80/main
map service-nodeports tcp . 30080 : goto external-shop/web/tcp/80/main
set cluster-ips 10.96.0.7
"""


def test_a_node_port_service_with_affinity_and_local_external_policy_reads_like_this() -> None:
    from tortie.model.k8s import ClientIPConfig, SessionAffinityConfig

    svc = service(
        "10.96.0.7",
        node_port=30080,
        external_traffic_policy="Local",
        session_affinity="ClientIP",
        session_affinity_config=SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=600)),
    )
    rules = rules_of(svc, slices("a", "b", nodes={"b": "n2"}))
    lines: list[str] = []
    order = ("cluster", "local", "external", "endpoint")
    for name in sorted(rules.chains, key=lambda n: (order.index(n.split("-")[0]), n)):
        lines += [f"chain {name}", *(f"  {rule}" for rule in rules.chains[name])]
    lines += [f"map {m} {k} : {v}" for m, elements in sorted(rules.maps.items()) for k, v in sorted(elements.items())]
    lines += [f"set {s} {m}" for s, members in rules.sets.items() for m in sorted(members)]
    assert "\n".join(lines) + "\n" == GOLDEN


@pytest.mark.parametrize(
    "svc",
    [service("None"), service("10.96.0.7", type="ExternalName", external_name="x.org"), service("fd00::7")],
    ids=["headless", "external name", "other family"],
)
def test_services_without_an_address_in_the_family_add_nothing(svc: Any) -> None:
    assert rules_of(svc, slices("a")) == EMPTY


def test_a_name_that_could_break_out_of_the_rules_is_refused() -> None:
    svc = service("10.96.0.7", name="x; flush ruleset")
    with pytest.raises(ValueError, match="not allowed"):
        rules_of(svc, slices("a"))


def test_addresses_that_are_none_are_left_out() -> None:
    rules = rules_of(service("10.96.0.7", external_ips=("nonsense",)), slices("a", "not-an-ip"))
    assert all("nonsense" not in str(part) for part in (rules.chains, rules.maps))


# --- random histories --------------------------------------------------------------------------------------------


class ModelNft:
    """Executes the text that a Table gives, as strictly as the kernel: nothing twice, nothing missing, nothing removed
    that is still referred to."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, dict[str, str]] = {}

    def run(self, text: str) -> None:
        for line in filter(None, text.splitlines()):
            words = line.split(" ", 5)
            verb, kind = words[0], words[1]
            name = words[4] if len(words) > 4 else ""
            rest = words[5] if len(words) > 5 else ""
            getattr(self, f"_{verb}_{kind}")(name, rest)

    def _add_table(self, _name: str, _rest: str) -> None: ...

    def _add_map(self, name: str, _rest: str) -> None:
        self.sets.setdefault(name, {})

    _add_set = _add_map

    def _add_chain(self, name: str, _rest: str) -> None:
        self.chains.setdefault(name, [])

    def _flush_chain(self, name: str, _rest: str) -> None:
        self.chains[name].clear()

    def _flush_map(self, name: str, _rest: str) -> None:
        self.sets[name].clear()

    _flush_set = _flush_map

    def _add_rule(self, name: str, rule: str) -> None:
        for target in re.findall(r"(?:goto|jump) ([^\s,}]+)", rule):
            assert target in self.chains, f"rule to a missing chain {target}"
        for referred in re.findall(r"@(\S+)", rule):
            assert referred in self.sets, f"rule with a missing set {referred}"
        self.chains[name].append(rule)

    def _add_element(self, name: str, rest: str) -> None:
        for element in rest.strip("{} ").split(", "):
            key, _, verdict = element.partition(" : ")
            assert key not in self.sets[name], f"{key} is in {name} already"
            if verdict.startswith("goto "):
                assert verdict[5:] in self.chains
            self.sets[name][key] = verdict

    def _delete_element(self, name: str, rest: str) -> None:
        for key in rest.strip("{} ").split(", "):
            del self.sets[name][key]

    def _delete_chain(self, name: str, _rest: str) -> None:
        assert not self.chains[name], f"{name} still has rules"
        users = [rule for rules in self.chains.values() for rule in rules if f" {name}" in f"{rule} ".replace(",", "")]
        assert not [u for u in users if re.search(rf"(?:goto|jump) {re.escape(name)}(?:[\s,}}]|$)", u)]
        assert all(verdict != f"goto {name}" for members in self.sets.values() for verdict in members.values())
        del self.chains[name]

    def _delete_set(self, name: str, _rest: str) -> None:
        assert not any(f"@{name} " in f"{rule} " for rules in self.chains.values() for rule in rules)
        del self.sets[name]

    def state(self) -> Any:
        return self.chains, self.sets


services = st.builds(
    lambda name, ip, port, node_port, local, sticky, externals, pods, seconds: (
        ("shop", name),
        rules_of(
            service(
                f"10.96.0.{ip}",
                name=name,
                port=port,
                node_port=30000 + node_port if node_port else 0,
                external_traffic_policy="Local" if local else "",
                session_affinity="ClientIP" if sticky else "None",
                external_ips=tuple(externals),
            ),
            slices(*pods, name=name, nodes={"b": "n2"}),
        )
        if seconds
        else EMPTY,
    ),
    name=st.sampled_from(["w", "x", "y"]),
    ip=st.integers(1, 3),
    port=st.sampled_from([80, 81]),
    node_port=st.integers(0, 2),
    local=st.booleans(),
    sticky=st.booleans(),
    externals=st.lists(st.sampled_from(["198.51.100.1", "198.51.100.2"]), unique=True),
    pods=st.lists(st.sampled_from(["a", "b"]), unique=True),
    seconds=st.integers(0, 4),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(services, min_size=1, max_size=3), max_size=12))
def test_small_changes_lead_to_the_same_table_as_writing_it_anew(history: list[Any]) -> None:
    table, kernel = Table("ip"), ModelNft()
    table.set(("", "frame"), frame("ip"))
    table.set(("", "node"), nodes(["172.30.0.11"]))
    kernel.run(table.replacement({}))
    table.committed()
    for batch in history:
        for owner, rules in batch:
            table.set(owner, rules)
        kernel.run(table.transaction())
        table.committed()
        assert table.transaction() == "" and not table.dirty
        fresh = ModelNft()
        fresh.run(table.replacement({}))
        assert kernel.state() == fresh.state()
    before = deepcopy(kernel.state())
    existing = {
        "chain": list(kernel.chains),
        "map": [name for name in kernel.sets if name in MAPS],
        "set": [name for name in kernel.sets if name not in MAPS],
    }
    kernel.run(table.replacement(existing))
    assert kernel.state() == before, "a restart over what is there changes nothing"


# --- conntrack -----------------------------------------------------------------------------------------------------

LISTING = """\
udp      17 29 src=172.29.9.2 dst=10.96.0.10 sport=40000 dport=53 src=192.168.71.11 dst=172.29.9.2 sport=8080 \
dport=40000 [ASSURED] mark=0 use=1
udp      17 29 src=172.29.9.2 dst=10.96.0.10 sport=40001 dport=53 [UNREPLIED] src=10.96.0.10 dst=172.29.9.2 sport=53 \
dport=40001 mark=0 use=1
udp      17 29 src=172.29.9.2 dst=172.29.9.1 sport=40002 dport=30053 src=192.168.71.12 dst=172.29.9.2 sport=8080 \
dport=40002 mark=0 use=1
udp      17 29 src=192.168.71.11 dst=203.0.113.9 sport=40003 dport=30053 src=203.0.113.9 dst=192.168.71.11 \
sport=30053 dport=40003 mark=0 use=1
"""


def test_only_entries_that_lead_to_a_wrong_backend_are_stale() -> None:
    entries = parse(LISTING)
    assert entries[0] == Entry("172.29.9.2", "10.96.0.10", 40000, 53, "192.168.71.11")
    services = {
        ("10.96.0.10", 53): frozenset({"192.168.71.11"}),
        ("", 30053): frozenset({"192.168.71.11"}),
    }
    assert [e.source_port for e in stale(entries, services, frozenset({"172.29.9.1"}))] == [40001, 40002]
