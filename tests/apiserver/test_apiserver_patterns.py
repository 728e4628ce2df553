"""Patterns and formats of schemas: as RE2 and Go read them, at a cost that grows with the text alone."""

import time

import pytest

from tortie.apiserver.schema.node import from_openapi
from tortie.apiserver.schema.validate import validate


def _accepts(value: str, **keywords: str) -> bool:
    return not validate(from_openapi({"type": "string", **keywords}), value, "spec.x")


def test_a_pattern_that_backtracks_without_end_elsewhere_costs_little_here() -> None:
    begin = time.process_time()
    assert not _accepts("a" * 20_000 + "!", pattern="^(a+)+$")
    assert time.process_time() - begin < 1


def test_the_end_of_a_pattern_is_the_end_of_the_text() -> None:
    assert _accepts("abc", pattern="^[a-z]+$")
    assert not _accepts("abc\n", pattern="^[a-z]+$")


def test_flags_may_stand_inside_and_half_a_character_matches_nothing() -> None:
    assert _accepts("info", pattern="^(?i)(Info|Debug)$")
    assert not _accepts("\ud800", pattern="^[a-z]+$")


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.0.0.1/8", "fd00::/64", "::ffff:1.2.3.4/128"])
def test_a_cidr_has_a_length(text: str) -> None:
    assert _accepts(text, format="cidr")


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.0/255.0.0.0", "fe80::1%eth0/64", "10.0.0.0/33", "10.0.0.0/"])
def test_a_mask_or_a_zone_makes_no_cidr(text: str) -> None:
    assert not _accepts(text, format="cidr")


def test_an_address_has_no_zone() -> None:
    assert _accepts("fe80::1", format="ipv6")
    assert not _accepts("fe80::1%eth0", format="ipv6")
