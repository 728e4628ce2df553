"""BGPFilters as functions of BIRD's filter language, one for each direction and family.

For rendering. In: BGPFilter objects. Out: function texts and the call a peering's filter makes; rules that BIRD would
refuse are normalised or left out and reported (spec/bgp-typha.md A.3.6, A.6 35).
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from tortie.model.v3 import bgp
from tortie.routing.settings import INTERFACE, TOP_PREFERENCE, community
from tortie.routing.world import Network, Problem, network

Direction = Literal["import", "export"]

_LONGEST_NAME = 45


class FilterFunction(msgspec.Struct, frozen=True):
    """owner: the BGPFilter. needs_type: the function takes whether the session is iBGP."""

    name: str
    owner: str
    text: str
    needs_type: bool

    def call(self, *, internal: bool) -> str:
        """The statement that runs the function; its accept or reject ends the calling filter."""
        argument = ("true" if internal else "false") if self.needs_type else ""
        return f"{self.name}({argument});"


class _BadRule(Exception):
    pass


class _NeverMatches(Exception):
    pass


def filter_functions(
    filters: Iterable[bgp.BGPFilter], *, refused: frozenset[str] = frozenset()
) -> tuple[dict[tuple[str, Direction, int], FilterFunction], list[Problem]]:
    """(filter, direction, family) -> its function, for those that have rules; and the rules that were left out.

    refused: filters that BIRD did not take; nothing passes them, since what they were to keep out is not known.
    """
    functions: dict[tuple[str, Direction, int], FilterFunction] = {}
    problems: list[Problem] = []
    for one in sorted(filters, key=lambda f: f.metadata.name):
        name = one.metadata.name
        for direction, family, rules in _lists(one.spec):
            if not rules:
                continue
            body: list[str] = ["reject;"] if name in refused else []
            for index, rule in enumerate(rules if name not in refused else ()):
                try:
                    body += _rule(rule, family)
                except _NeverMatches:
                    continue
                except _BadRule as e:
                    problems.append(
                        Problem("BGPFilter", name, f"{direction}V{family}[{index}]: {e}; the rule is left out")
                    )
            symbol = f"'bgp_{_short(name)}_{direction}FilterV{family}'"
            needs_type = name not in refused and any(rule.peer_type for rule in rules)
            parameter = "bool is_ibgp" if needs_type else ""
            text = "\n".join([f"function {symbol}({parameter})", "{", *(f"  {line}" for line in body), "}"])
            functions[name, direction, family] = FilterFunction(symbol, name, text, needs_type)
    return functions, problems


def _lists(spec: bgp.BGPFilterSpec) -> Iterator[tuple[Direction, int, "tuple[bgp.BGPFilterRule, ...]"]]:
    yield "import", 4, spec.import_v4
    yield "export", 4, spec.export_v4
    yield "import", 6, spec.import_v6
    yield "export", 6, spec.export_v6


def _rule(rule: bgp.BGPFilterRule, family: int) -> list[str]:
    if rule.action not in ("Accept", "Reject"):
        raise _BadRule(f"action {rule.action!r} is neither Accept nor Reject")
    conditions = list(_conditions(rule, family))
    operations = list(_operations(rule)) if rule.action == "Accept" else []
    verdict = "accept;" if rule.action == "Accept" else "reject;"
    if not conditions:
        return [*operations, verdict]
    condition = " && ".join(f"({c})" for c in conditions)
    if not operations:
        return [f"if {condition} then {verdict}"]
    return [f"if {condition} then {{", *(f"  {line}" for line in (*operations, verdict)), "}"]


def _conditions(rule: bgp.BGPFilterRule, family: int) -> Iterator[str]:
    if rule.cidr or rule.match_operator:
        condition = _prefix(rule, family)
        if condition:
            yield condition
    if rule.source:
        if rule.source != "RemotePeers":
            raise _BadRule(f"source {rule.source!r} is not RemotePeers")
        yield "source = RTS_BGP"
    if rule.interface:
        if not INTERFACE.fullmatch(rule.interface):
            raise _BadRule(f"interface {rule.interface!r} is not 1 to 15 of letters, digits, _ . * -")
        yield f'ifname ~ "{rule.interface}"'
    if rule.communities is not None:
        for value in rule.communities.values:
            yield _community_match(value)
    if rule.as_path_prefix:
        yield f"bgp_path ~ [= {' '.join(str(_as_number(n)) for n in rule.as_path_prefix)} * =]"
    if rule.priority is not None:
        yield f"defined(bgp_local_pref) && bgp_local_pref = {TOP_PREFERENCE - _priority(rule.priority)}"
    if rule.peer_type:
        if rule.peer_type not in ("eBGP", "iBGP"):
            raise _BadRule(f"peerType {rule.peer_type!r} is neither eBGP nor iBGP")
        yield "is_ibgp" if rule.peer_type == "iBGP" else "! is_ibgp"


def _prefix(rule: bgp.BGPFilterRule, family: int) -> str:
    """The condition on the route's prefix; "" if it always holds."""
    net = network(rule.cidr)
    if net is None or net.version != family:
        raise _BadRule(f"cidr {rule.cidr!r} is not an IPv{family} network")
    negated = rule.match_operator in ("NotEqual", "NotIn")
    if rule.match_operator not in ("Equal", "In", "NotEqual", "NotIn"):
        raise _BadRule(f"matchOperator {rule.match_operator!r} is none of Equal, NotEqual, In, NotIn")
    if rule.prefix_length is not None:
        return _length_range(rule, net, negated=negated)
    if rule.match_operator in ("Equal", "NotEqual"):
        return f"net {'!=' if negated else '='} {net}"
    return f"{'net !~' if negated else 'net ~'} [ {net}+ ]"


def _length_range(rule: bgp.BGPFilterRule, net: Network, *, negated: bool) -> str:
    length = rule.prefix_length
    assert length is not None
    least = max(net.prefixlen, length.min if length.min is not None else net.prefixlen)
    most = min(net.max_prefixlen, length.max if length.max is not None else net.max_prefixlen)
    if least > most:  # BIRD would refuse the range: nothing is in it
        if negated:
            return ""
        raise _NeverMatches
    return f"{'net !~' if negated else 'net ~'} [ {net}{{{least},{most}}} ]"


def _community_match(text: str) -> str:
    numbers = community(text)
    if numbers is None:
        raise _BadRule(f"community {text!r} is neither aa:nn (each up to 65535) nor aa:nn:mm (each up to 4294967295)")
    return f"{_tuple(numbers)} ~ {_list_name(numbers)}"


def _operations(rule: bgp.BGPFilterRule) -> Iterator[str]:
    for operation in rule.operations:
        if operation.add_community is not None:
            numbers = community(operation.add_community.value)
            if numbers is None:
                raise _BadRule(f"addCommunity {operation.add_community.value!r} is not a community")
            yield f"{_list_name(numbers)}.add({_tuple(numbers)});"
        if operation.prepend_as_path is not None:
            for number in reversed(operation.prepend_as_path.prefix):
                yield f"bgp_path.prepend({_as_number(number)});"
        if operation.set_priority is not None:
            yield f"bgp_local_pref = {TOP_PREFERENCE - _priority(operation.set_priority.value)};"


def add_community(numbers: tuple[int, ...]) -> str:
    """The statement that attaches a community to the route."""
    return f"{_list_name(numbers)}.add({_tuple(numbers)});"


def _list_name(numbers: tuple[int, ...]) -> str:
    return "bgp_community" if len(numbers) == 2 else "bgp_large_community"


def _tuple(numbers: tuple[int, ...]) -> str:
    return f"({','.join(map(str, numbers))})"


def _as_number(number: int) -> int:
    if not 0 <= number <= 0xFFFFFFFF:
        raise _BadRule(f"AS number {number} is not within 0 to 4294967295")
    return number


def _priority(value: int) -> int:
    if not 1 <= value < TOP_PREFERENCE:
        raise _BadRule(f"priority {value} is not within 1 to {TOP_PREFERENCE - 1}")
    return value


def _short(name: str) -> str:
    """The name, or a readable beginning and a hash of it: BIRD's symbols end at 64 characters."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:28]}_{hashlib.sha256(name.encode()).hexdigest()[:16].upper()}"
