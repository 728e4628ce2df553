"""The nodes of a parsed CEL expression.

In: what `parser` read. Out: nodes with their place in the text; `depth` and `size` bound what compiling and evaluating
them may recurse into and cost. Macros are nodes of their own, not expanded.
"""

from dataclasses import dataclass, field
from typing import Any

# Words that the language keeps for others; they are no names, yet fields may have them.
RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


@dataclass(slots=True, eq=False)
class Node:
    """Any part of an expression. at: offset in the text."""

    at: int
    depth: int = field(default=1, init=False)
    size: int = field(default=1, init=False)


@dataclass(slots=True, eq=False)
class Literal(Node):
    value: Any


@dataclass(slots=True, eq=False)
class Name(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.field`; optional: `operand.?field`; test: inside `has()`."""

    operand: Node
    field_name: str
    optional: bool = False
    test: bool = False


@dataclass(slots=True, eq=False)
class Index(Node):
    operand: Node
    index: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function, operator (`_+_`) or, with a target, a method."""

    name: str
    target: Node | None
    arguments: list[Node]


@dataclass(slots=True, eq=False)
class Logic(Node):
    """`&&` or `||` over two or more parts."""

    operator: str
    parts: list[Node]


@dataclass(slots=True, eq=False)
class Conditional(Node):
    condition: Node
    then: Node
    otherwise: Node


@dataclass(slots=True, eq=False)
class ListOf(Node):
    items: list[tuple[Node, bool]]


@dataclass(slots=True, eq=False)
class MapOf(Node):
    entries: list[tuple[Node, Node, bool]]


@dataclass(slots=True, eq=False)
class Message(Node):
    """`Type{field: value}`."""

    type_name: str
    fields: list[tuple[str, Node, bool]]


@dataclass(slots=True, eq=False)
class Loop(Node):
    """A macro over a list or map. macro: all, exists, existsOne, map, filter or one of the transforms."""

    macro: str
    over: Node
    variables: list[str]
    condition: Node | None
    result: Node | None


@dataclass(slots=True, eq=False)
class Bind(Node):
    """`cel.bind(name, value, body)`."""

    name: str
    value: Node
    body: Node


@dataclass(slots=True, eq=False)
class OptionalMap(Node):
    """`target.optMap(name, body)`; flat: `optFlatMap`."""

    target: Node
    name: str
    body: Node
    flat: bool


def measured(node: Node, *below: Node | None) -> Any:
    """The node with its depth and size set from those below it."""
    parts = [part for part in below if part is not None]
    node.depth = 1 + max((part.depth for part in parts), default=0)
    node.size = 1 + sum(part.size for part in parts)
    return node


def dotted(node: Node) -> str:
    """`a.b.c` if the node is nothing but names."""
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Select) and not node.optional and not node.test:
        inner = dotted(node.operand)
        return f"{inner}.{node.field_name}" if inner else ""
    return ""
