"""Text formats at their edges. What kinds make of them is in the tests of admission."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.model import formats


@given(st.ip_addresses().map(str) | st.text(alphabet="0123456789.:af%", max_size=12))
def test_the_fast_way_to_a_host_network_agrees_with_the_slow_one(text: str) -> None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        parsed = None
    if parsed is None or "%" in text:
        with pytest.raises(ValueError, match=r"does not appear|zone"):
            formats.host_net(text)
    else:
        assert formats.host_net(text) == f"{parsed}/{parsed.max_prefixlen}"


@pytest.mark.parametrize("text", ["10.0.0.0/255.0.0.0", "10.0.0.0/", "10.0.0.0/08", "fe80::1%eth0/64", "10.0.0/8", ""])
def test_what_python_reads_as_a_network_but_the_api_does_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        formats.network(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h2m3.5s", 3723.5), ("90s", 90), ("50ms", 0.05), ("1us", 1e-6), ("2ns", 2e-9), ("0", 0), ("-1.5h", -5400)],
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert formats.duration_seconds(text) == pytest.approx(seconds)
    assert formats.duration_problem(text) == ""


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1 s", "1h-2m", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert formats.duration_problem(text)


@pytest.mark.parametrize(
    ("value", "number"), [("65000", 65000), ("1.10", 65546), ("0.00010", 10), (4294967295, 4294967295), (0, 0)]
)
def test_as_numbers_may_be_dotted(value: int | str, number: int) -> None:
    assert formats.as_number(value) == number


@pytest.mark.parametrize("value", ["", "1.2.3", "65536.0", "-1", "4294967296", "x"])
def test_what_is_no_as_number_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="AS number"):
        formats.as_number(value)


@pytest.mark.parametrize(
    ("value", "number"), [("EF", 46), ("ef", 46), ("AF11", 10), ("CS6", 48), ("DF", 0), ("63", 63), (0, 0)]
)
def test_dscp_values_have_names_in_any_case(value: int | str, number: int) -> None:
    assert formats.dscp_value(value) == number


@pytest.mark.parametrize(
    ("problem", "good", "bad"),
    [
        (formats.name_problem, ["a", "a.b-c", "0"], ["", "A", "a_b", "-a", "a.", "a..b"]),
        (formats.qualified_name_problem, ["a", "A_b", "x.y/A", "a" * 63], ["", "/a", "a/", "X/a", "a" * 64, "a b"]),
        (formats.label_value_problem, ["", "A.b_c-d"], ["-a", "a b", "a" * 64]),
        (formats.port_name_problem, ["http", "a1", "1a", "a-b"], ["", "1", "a--b", "-a", "a" * 16, "A"]),
        (formats.interface_problem, ["eth0", "*", "a.b-c_d"], ["", "eth*", "a" * 16, "a/b"]),
        (formats.container_id_problem, ["abc", "a-b", "A1"], ["", "-a", "a-", "a.b"]),
        (formats.mac_problem, ["ee:ee:ee:ee:ee:ee", "EE-ee-00-11-22-33"], ["", "ee:ee", "ee:ee:ee:ee:ee-ee", "g" * 17]),
        (formats.community_problem, ["1:2", "65535:0", "1:2:4294967295"], ["", "1", "65536:1", "1:2:3:4", "a:b"]),
        (
            formats.domain_problem,
            ["a", "a.com", "*.a.com", "a.*.com", "a.com."],
            ["", "*", "a.*", "*.*.a", "x*.a", "a b"],
        ),
    ],
)
def test_formats_accept_and_refuse(problem: Callable[[str], str], good: list[str], bad: list[str]) -> None:
    assert [value for value in good if problem(value)] == []
    assert [value for value in bad if not problem(value)] == []


@pytest.mark.parametrize(
    ("value", "port"),
    [(80, (80, 80)), ("80", (80, 80)), ("1:2", (1, 2)), ("http", "http"), ("a.b_c-D", "a.b_c-D"), (0, (0, 0))],
)
def test_ports_are_numbers_ranges_or_names(value: int | str, port: object) -> None:
    assert formats.parse_port(value) == port


def test_an_ipv6_address_may_not_wrap_an_ipv4_one() -> None:
    assert formats.address_problem("::ffff:10.0.0.1", version=6)
    assert not formats.address_problem("fd00::1", version=6)
