"""The expression tree of a selector: canonical text, matching, prefixing and restrictions (spec/resources.md 3.3, 3.4).

For `selector`, which builds the tree. In: operations and groups. Out: nodes that carry their canonical text, and
functions over them. Nodes are immutable; text is joined once, bottom up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Operator = Literal["==", "!=", "contains", "starts with", "ends with"]
Matcher: TypeAlias = Callable[[Mapping[str, str]], bool]


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


@dataclass(frozen=True, slots=True)
class Compare:
    label: str
    operator: Operator
    value: str
    text: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"{self.label} {self.operator} {_quoted(self.value)}")


@dataclass(frozen=True, slots=True)
class InSet:
    label: str
    values: frozenset[str]
    negated: bool
    text: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        values = ", ".join(_quoted(value) for value in sorted(self.values))
        object.__setattr__(self, "text", f"{self.label} {'not in' if self.negated else 'in'} {{{values}}}")


@dataclass(frozen=True, slots=True)
class Has:
    label: str

    @property
    def text(self) -> str:
        return f"has({self.label})"


@dataclass(frozen=True, slots=True)
class All:
    text: str = "all()"


@dataclass(frozen=True, slots=True)
class Global:
    text: str = "global()"


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Node"
    text: str = field(init=False, compare=False)
    depth: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", "!" + self.operand.text)
        object.__setattr__(self, "depth", 1 + depth_of(self.operand))


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple["Node", ...]
    text: str = field(init=False, compare=False)
    depth: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"({' && '.join(operand.text for operand in self.operands)})")
        object.__setattr__(self, "depth", 1 + max(map(depth_of, self.operands)))


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple["Node", ...]
    text: str = field(init=False, compare=False)
    depth: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"({' || '.join(operand.text for operand in self.operands)})")
        object.__setattr__(self, "depth", 1 + max(map(depth_of, self.operands)))


def depth_of(node: "Node") -> int:
    """How many groups and negations stand one inside the other."""
    return node.depth if isinstance(node, Not | And | Or) else 0


Node: TypeAlias = Compare | InSet | Has | All | Global | Not | And | Or


# --- matching --------------------------------------------------------------------------------------------------


def matcher(node: Node) -> Matcher:
    """A function from labels to whether the expression holds."""
    match node:
        case Compare(label, operator, value):
            return _compare(label, operator, value)
        case InSet(label, values, negated):
            if negated:
                return lambda labels: labels.get(label) not in values
            return lambda labels: labels.get(label) in values
        case Has(label):
            return lambda labels: label in labels
        case Not(operand):
            return _negation(operand)
        case And(operands):
            return _conjunction([matcher(operand) for operand in operands])
        case Or(operands):
            return _disjunction([matcher(operand) for operand in operands])
        case All() | Global():
            return lambda labels: True


def _compare(label: str, operator: Operator, value: str) -> Matcher:
    match operator:
        case "==":
            return lambda labels: labels.get(label) == value
        case "!=":
            return lambda labels: labels.get(label) != value
        case "contains":
            return lambda labels: (found := labels.get(label)) is not None and value in found
        case "starts with":
            return lambda labels: (found := labels.get(label)) is not None and found.startswith(value)
        case "ends with":
            return lambda labels: (found := labels.get(label)) is not None and found.endswith(value)


def _negation(operand: Node) -> Matcher:
    negated = True
    while isinstance(operand, Not):
        operand, negated = operand.operand, not negated
    inner = matcher(operand)
    return (lambda labels: not inner(labels)) if negated else inner


def _conjunction(parts: list[Matcher]) -> Matcher:
    if len(parts) == 2:
        first, second = parts
        return lambda labels: first(labels) and second(labels)

    def every(labels: Mapping[str, str]) -> bool:
        for part in parts:  # noqa: SIM110 - all() costs a generator
            if not part(labels):
                return False
        return True

    return every


def _disjunction(parts: list[Matcher]) -> Matcher:
    if len(parts) == 2:
        first, second = parts
        return lambda labels: first(labels) or second(labels)

    def some(labels: Mapping[str, str]) -> bool:
        for part in parts:  # noqa: SIM110 - any() costs a generator
            if part(labels):
                return True
        return False

    return some


# --- prefixing -------------------------------------------------------------------------------------------------


def prefixed(node: Node, prefix: str) -> Node:
    """The same expression with the prefix before every label name."""
    match node:
        case Compare(label, operator, value):
            return Compare(prefix + label, operator, value)
        case InSet(label, values, negated):
            return InSet(prefix + label, values, negated=negated)
        case Has(label):
            return Has(prefix + label)
        case Not(operand):
            return Not(prefixed(operand, prefix))
        case And(operands):
            return And(tuple(prefixed(operand, prefix) for operand in operands))
        case Or(operands):
            return Or(tuple(prefixed(operand, prefix) for operand in operands))
        case All() | Global():
            return node


# --- restrictions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restriction:
    """What a match requires of one label. values: it has one of these; None: any value.

    A selector whose restriction cannot be met (no value left, or present and absent) matches nothing.
    """

    present: bool = False
    absent: bool = False
    values: frozenset[str] | None = None

    @property
    def unsatisfiable(self) -> bool:
        return (self.present and self.absent) or self.values == frozenset()


_PRESENT = Restriction(present=True)
_ABSENT = Restriction(absent=True)


def restrictions(node: Node) -> dict[str, Restriction]:
    """What holds for the labels of every match, as far as it is easily known."""
    match node:
        case Compare(label, "==", value):
            return {label: Restriction(present=True, values=frozenset((value,)))}
        case Compare(label, "contains" | "starts with" | "ends with", _):
            return {label: _PRESENT}
        case InSet(label, values, negated=False):
            return {label: Restriction(present=True, values=values)}
        case Has(label):
            return {label: _PRESENT}
        case Not(Has(label)):
            return {label: _ABSENT}
        case And(operands):
            return _intersection([restrictions(operand) for operand in operands])
        case Or(operands):
            return _union([restrictions(operand) for operand in operands])
        case _:
            return {}


def _intersection(parts: list[dict[str, Restriction]]) -> dict[str, Restriction]:
    result: dict[str, Restriction] = {}
    for part in parts:
        for label, new in part.items():
            old = result.get(label)
            result[label] = (
                new
                if old is None
                else Restriction(
                    present=old.present or new.present,
                    absent=old.absent or new.absent,
                    values=new.values
                    if old.values is None
                    else old.values
                    if new.values is None
                    else old.values & new.values,
                )
            )
    return result


def _union(parts: list[dict[str, Restriction]]) -> dict[str, Restriction]:
    first, *rest = parts
    result: dict[str, Restriction] = {}
    for label, restriction in first.items():
        others = [part[label] for part in rest if label in part]
        if len(others) < len(rest):
            continue
        branches = [restriction, *others]
        value_sets = [branch.values for branch in branches if branch.values is not None]
        merged = Restriction(
            present=all(branch.present for branch in branches),
            absent=all(branch.absent for branch in branches),
            values=frozenset().union(*value_sets) if len(value_sets) == len(branches) else None,
        )
        if merged.present or merged.absent:
            result[label] = merged
    return result
