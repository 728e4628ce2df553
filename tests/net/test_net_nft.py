"""nf_tables without the nft program: what is written is what nft reads; all or nothing; errors name the culprit.

What the dataplane writes with it is covered in tests/felix/test_dataplane_*.py.
"""

import os
import re
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tortie.net import namespace
from tortie.net.nft import match, statement
from tortie.net.nft import transaction as nft
from tortie.net.nft.connection import Connection, Generations
from tortie.net.nft.statement import ACCEPT, COUNTER, DROP, RETURN, Rule, Verdict
from tortie.net.nft.transaction import Hook, Transaction

pytestmark = pytest.mark.netns


@pytest.fixture
def netns() -> Iterator[int]:
    """A fresh network namespace, in which the test's thread stands."""
    made: list[int] = []

    def make() -> None:
        namespace.unshare_network()
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    with namespace.inside(made[0]):
        yield made[0]
    os.close(made[0])


@pytest.fixture
def connection(netns: int) -> Iterator[Connection]:
    opened = Connection()
    yield opened
    opened.close()


def nft_program(*argv: str, text: str = "") -> str:
    done = subprocess.run(["nft", *argv], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH: list[tuple[object, ...]] = [
    (match.Interface("iifname", "cali1234"), ACCEPT),
    (match.Interface("oifname", "cali*"), DROP),
    (match.Interface("iifname", "lo", negated=True), RETURN),
    (match.Mark(0x30000, 0x10000), ACCEPT),
    (match.Mark(0x20000, 0, negated=True), ACCEPT),
    (match.ConntrackState(("established", "related")), ACCEPT),
    (match.ConntrackState(("invalid",)), DROP),
    (match.DestinationTranslated(), ACCEPT),
    (match.DestinationTranslated(negated=True), ACCEPT),
    (match.Protocol(132), ACCEPT),
    (match.Protocol(6, negated=True), ACCEPT),
    (match.ProtocolSet("protocols"), ACCEPT),
    (match.Protocol(6), match.Port("dport", 80, 80), ACCEPT),
    (match.Protocol(6), match.Port("sport", 80, 90), ACCEPT),
    (match.Protocol(17), match.Port("dport", 53, 53, negated=True), ACCEPT),
    (match.Protocol(17), match.Port("dport", 1000, 2000, negated=True), ACCEPT),
    (match.Protocol(6), match.PortSet("dport", "ports"), ACCEPT),
    (match.Protocol(6), match.PortSet("sport", "ranges", negated=True), ACCEPT),
    (COUNTER, statement.SetMark(bits=0x10000), RETURN),
    (statement.SetMark(clear=0x30000),),
    (statement.SetMark(clear=0x30000, bits=0x10000), RETURN),
    (statement.Log("calico-packet: "),),
    (statement.Log("API0|x", group=1),),
    (statement.Limit(10, "minute"), statement.Log("x")),
    (Verdict("jump", "other"),),
    (Verdict("goto", "other"),),
    (match.NoRouteBack(), DROP),
    (match.AddressType(("saddr",), "local"), ACCEPT),
    (match.AddressType(("daddr",), "local", negated=True), ACCEPT),
]


def per_version(version: int) -> list[tuple[object, ...]]:
    v4 = version == 4
    single, net, odd = ("10.0.0.1/32", "10.0.0.0/8", "10.0.0.0/9") if v4 else ("fd00::1/128", "fd00::/64", "fd00::/65")
    return [
        (match.Address("saddr", single), ACCEPT),
        (match.Address("daddr", net), ACCEPT),
        (match.Address("saddr", odd), ACCEPT),
        (match.Address("daddr", odd, negated=True), ACCEPT),
        (match.Address("daddr", net, negated=True), ACCEPT),
        (match.AddressSet("saddr", version, "nets"), ACCEPT),
        (match.AddressSet("daddr", version, "nets", negated=True), ACCEPT),
        (match.AddressPortSet("daddr", version, "triples"), ACCEPT),
        (match.AddressPortSet("saddr", version, "triples", negated=True), ACCEPT),
        (match.InterfaceAddressSet(version, "sources", negated=True), DROP),
        (match.Protocol(1 if v4 else 58), match.Icmp(version, 8 if v4 else 128), ACCEPT),
        (match.Protocol(1 if v4 else 58), match.NotIcmp(version, 0), ACCEPT),
        (statement.Reject(version),),
    ]


def sets(version: int) -> list[tuple[str, nft.SetType, list[bytes], str]]:
    v4 = version == 4
    address = "10.0.0.7" if v4 else "fd00::7"
    number = 10 << 24 if v4 else 0xFD << 120
    return [
        (
            "nets",
            nft.NETS4 if v4 else nft.NETS6,
            [nft.net_element(version, number, 24)],
            "10.0.0.0/24" if v4 else "fd00::/24",
        ),
        (
            "triples",
            nft.ADDRESS_PORTS4 if v4 else nft.ADDRESS_PORTS6,
            [nft.address_port_element(address, 6, 80)],
            f"{address} . 6 . 80",
        ),
        (
            "sources",
            nft.INTERFACE_ADDRESSES4 if v4 else nft.INTERFACE_ADDRESSES6,
            [nft.interface_address_element("cali1", address)],
            f'"cali1" . {address}',
        ),
        ("ports", nft.PORTS, [nft.port_element(80, 80, interval=False)], "80"),
        (
            "ranges",
            nft.PORT_RANGES,
            [nft.port_element(1, 9, interval=True), nft.port_element(80, 80, interval=True)],
            "1-9, 80",
        ),
        ("protocols", nft.PROTOCOLS, [nft.key_element(b"\x06"), nft.key_element(b"\x11")], "6, 17"),
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_the_nft_program_reads_the_same_from_kernel_form_and_text_form(connection: Connection, version: int) -> None:
    family: nft.Family = "ip" if version == 4 else "ip6"
    rules = [Rule(parts) for parts in BOTH + per_version(version)]  # type: ignore[arg-type]  # all are parts
    transaction = Transaction()
    transaction.add_table(family, "encoded")
    for name, kind, elements, _ in sets(version):
        transaction.add_set(family, "encoded", name, kind, name)
        transaction.add_elements(family, "encoded", name, elements, name)
    transaction.add_chain(family, "encoded", "other", "other")
    transaction.add_chain(family, "encoded", "rules", "rules")
    for rule in rules:
        transaction.add_rules(family, "encoded", "rules", [(rule.encode(), b"")], rule.text())
    assert connection.commit(transaction) == []

    lines = [f"table {family} written {{"]
    for name, kind, _, shown in sets(version):
        lines.append(f"set {name} {{ {kind.text()} elements = {{ {shown} }} }}")
    lines += ["chain other { }", "chain rules {", *[rule.text() for rule in rules], "}", "}"]
    nft_program("-f", "-", text="\n".join(lines))

    encoded = nft_program("list", "table", family, "encoded").replace("table ip encoded", "table ip written")
    written = nft_program("list", "table", family, "written")
    assert encoded.replace("table ip6 encoded", "table ip6 written").splitlines() == written.splitlines()


@pytest.mark.parametrize(
    ("hook", "priority", "parts"),
    [
        ("postrouting", 110, (statement.Masquerade(),)),
        ("postrouting", 110, (match.Protocol(17), statement.Masquerade(5000, 6000))),
        ("postrouting", 110, (statement.SourceNat("192.0.2.1"),)),
        ("postrouting", 110, (match.Protocol(6), statement.SourceNat("192.0.2.1", 1000, 2000))),
        ("prerouting", -300, (statement.NoTrack(),)),
    ],
)
def test_translation_and_tracking_statements_read_back(
    connection: Connection, hook: str, priority: int, parts: tuple[object, ...]
) -> None:
    rule = Rule(parts)  # type: ignore[arg-type]  # all are parts
    kind = "nat" if hook == "postrouting" else "filter"
    transaction = Transaction()
    transaction.add_table("ip", "t")
    transaction.add_chain("ip", "t", "c", "c", Hook(kind, hook, priority))  # type: ignore[arg-type]  # parametrised
    transaction.add_rules("ip", "t", "c", [(rule.encode(), nft.comment_data("why"))], "c")
    assert connection.commit(transaction) == []
    nft_program("-f", "-", text=f"table ip u {{\nchain c {{\n{rule.text()}\n}}\n}}" if kind == "filter" else "")
    listing = nft_program("list", "table", "ip", "t")
    shown = rule.text().replace("meta l4proto 17", "meta l4proto udp").replace("meta l4proto 6", "meta l4proto tcp")
    assert f'{shown} comment "why"' in listing


def test_a_refused_transaction_changes_nothing_and_names_what_was_refused(connection: Connection) -> None:
    transaction = Transaction()
    transaction.add_table("ip", "t")
    transaction.add_chain("ip", "t", "good", "good")
    transaction.add_chain("ip", "t", "bad", "bad")
    jump = Rule((Verdict("jump", "missing"),)).encode()
    transaction.add_rules("ip", "t", "good", [(Rule((ACCEPT,)).encode(), b"")], "rules of good")
    transaction.add_rules("ip", "t", "bad", [(jump, b""), (jump, b"")], "rules of bad")
    refusals = connection.commit(transaction)
    assert [refusal.subject for refusal in refusals] == ["rules of bad"]
    assert "No such file or directory" in str(refusals[0])
    assert connection.tables("ip") == set()


def test_several_culprits_are_named_at_once(connection: Connection) -> None:
    transaction = Transaction()
    transaction.add_table("ip", "t")
    for name in ("a", "b", "c"):
        transaction.add_chain("ip", "t", name, name)
    transaction.add_rules("ip", "t", "a", [(Rule((match.AddressSet("saddr", 4, "none"), DROP)).encode(), b"")], "a")
    transaction.add_rules("ip", "t", "b", [(Rule((DROP,)).encode(), b"")], "b")
    transaction.add_rules("ip", "t", "c", [(Rule((Verdict("jump", "none"),)).encode(), b"")], "c")
    assert {refusal.subject for refusal in connection.commit(transaction)} == {"a", "c"}


def test_a_check_examines_everything_and_takes_nothing(connection: Connection) -> None:
    good = Transaction()
    good.add_table("ip", "t")
    assert connection.commit(good, check=True) == []
    assert connection.tables("ip") == set()
    bad = Transaction()
    bad.delete_table("ip", "t")
    assert connection.commit(bad, check=True) != []


def test_listing_gives_rules_with_their_comments_and_sets_with_their_elements(connection: Connection) -> None:
    transaction = Transaction()
    transaction.add_table("ip6", "t")
    transaction.add_set("ip6", "t", "s", nft.NETS6, "s")
    element = nft.net_element(6, 0xFD << 120, 64)
    transaction.add_elements("ip6", "t", "s", [element], "s")
    transaction.add_chain("ip6", "t", "base", "base", Hook("filter", "input", 0))
    transaction.add_rules("ip6", "t", "base", [(Rule((ACCEPT,)).encode(), nft.comment_data("one"))], "base")
    assert connection.commit(transaction) == []
    listing = connection.list_table("ip6", "t")
    assert listing.chains == {"base": [nft.comment_data("one")]}
    assert listing.hooks == {"base": Hook("filter", "input", 0)}
    assert listing.sets == {"s": nft.NETS6.shape}
    assert connection.list_elements("ip6", "t", "s").keys() == set(nft.element_keys(element))
    assert connection.list_table("ip", "t").chains == {}


def test_everything_fits_in_a_set_even_the_whole_address_space(connection: Connection) -> None:
    transaction = Transaction()
    transaction.add_table("ip", "t")
    transaction.add_set("ip", "t", "s", nft.NETS4, "s")
    transaction.add_elements("ip", "t", "s", [nft.net_element(4, 0, 0)], "s")
    transaction.add_set("ip", "t", "many", nft.NETS4, "many")
    many = [nft.net_element(4, 10 << 24 | number, 32) for number in range(20_000)]
    transaction.add_elements("ip", "t", "many", many, "many")
    assert connection.commit(transaction) == []
    assert "0.0.0.0/0" in nft_program("list", "set", "ip", "t", "s")
    assert len(connection.list_elements("ip", "t", "many")) == 40_000


def test_elements_come_and_go_one_by_one(connection: Connection) -> None:
    first = Transaction()
    first.add_table("ip", "t")
    first.add_set("ip", "t", "s", nft.NETS4, "s")
    first.add_elements("ip", "t", "s", [nft.net_element(4, 1, 32), nft.net_element(4, 2, 32)], "s")
    assert connection.commit(first) == []
    second = Transaction()
    second.delete_elements("ip", "t", "s", [nft.net_element(4, 1, 32)], "s")
    second.add_elements("ip", "t", "s", [nft.net_element(4, 0, 31)], "s")
    assert connection.commit(second) == []
    assert re.findall(r"0\.0\.0\.\d+(?:/\d+)?", nft_program("list", "set", "ip", "t", "s")) == ["0.0.0.0/31", "0.0.0.2"]


def test_changes_of_others_are_told_from_our_own(connection: Connection) -> None:
    generations = Generations()
    transaction = Transaction()
    transaction.add_table("ip", "t")
    assert connection.commit(transaction) == []
    assert set(generations.read() or []) == {connection.port}
    nft_program("add", "table", "ip", "foreign")
    senders = generations.read()
    assert senders and connection.port not in senders
    generations.close()


def test_the_identity_of_a_table_changes_when_it_is_made_anew(connection: Connection) -> None:
    transaction = Transaction()
    transaction.add_table("ip", "t")
    transaction.add_chain("ip", "t", "c", "c")
    assert connection.commit(transaction) == []
    before = connection.table_identity("ip", "t")
    nft_program("flush", "ruleset")
    assert connection.table_identity("ip", "t") is None
    assert connection.commit(transaction) == []
    assert connection.table_identity("ip", "t") not in (None, before)


def test_values_that_no_packet_can_have_are_refused_before_the_kernel_sees_them() -> None:
    with pytest.raises(ValueError, match="protocol 300"):
        match.Protocol(300).encode()
    with pytest.raises(ValueError, match="longer than 15"):
        nft.interface_goto("a-very-long-interface", "c")
