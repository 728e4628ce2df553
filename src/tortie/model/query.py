"""The language in which alerts, exceptions and webhooks select log records and events (spec/logs-linseed.md 3.6).

For admission, which asks whether a text is a query, and for whoever searches logs. In: text. Out: a tree of `And`,
`Or`, `Not`, `Compare` and `Within`, or `QueryError` with the place where reading stopped. Which keys a data set has is
not known here. AND binds tighter than OR, NOT tightest; keywords may be written in any case.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_LENGTH = 10_240
MAX_DEPTH = 64
MAX_VALUES = 10_000

_TOKEN = re.compile(
    r"[ \t\r\n]*(?:"
    r"(?P<quoted>\"[^\"]*\"|'[^']*')"
    r"|(?P<variable>\$\{[^{}]*\})"
    r"|(?P<operator>!=|<=|>=|=|<|>)"
    r"|(?P<mark>[(){},])"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>-?(?:[0-9]+(?:\.[0-9]+)?)(?![A-Za-z0-9_.]))"
    r")"
)
_BLANK = re.compile(r"[ \t\r\n]*")
_KEYWORDS = frozenset({"and", "or", "not", "in", "notin"})


class QueryError(ValueError):
    """The text is not a query. position: offset of the character where reading stopped."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"{message} at position {position + 1}")
        self.position = position
        self.message = message


@dataclass(frozen=True, slots=True)
class Compare:
    """operator: one of = != < <= > >=. value: text, or a number if it was written as one."""

    key: str
    operator: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Within:
    """The value of the key is one of these patterns, in which * and ? stand for characters. variable: the name of the
    substitution that holds them instead, or ""."""

    key: str
    values: tuple[str, ...]
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Node"


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple["Node", ...]


Node = Compare | Within | Not | And | Or


def parse(text: str) -> Node | None:
    """The query that the text means; None for a blank one, which selects everything. Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(MAX_LENGTH, f"a query is longer than {MAX_LENGTH} characters")
    reader = _Reader(text)
    if reader.kind == "end":
        return None
    node = _disjunction(reader, 0)
    if reader.kind != "end":
        raise reader.error("expected AND, OR or the end")
    return node


def variables(node: Node | None) -> Iterator[str]:
    """The names of the substitutions that a query refers to."""
    match node:
        case Within(variable=name) if name:
            yield name
        case Not(operand=operand):
            yield from variables(operand)
        case And(operands=operands) | Or(operands=operands):
            for operand in operands:
                yield from variables(operand)


@dataclass(slots=True)
class _Reader:
    """The text and the token that is next: its kind, its text and where it begins."""

    text: str
    kind: str = field(default="", init=False)
    token: str = field(default="", init=False)
    start: int = field(default=0, init=False)
    _end: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self.text, self._end)
        if found is None:
            blank = _BLANK.match(self.text, self._end)
            self.start = blank.end() if blank else self._end
            if self.start < len(self.text):
                raise self.error(_unreadable(self.text[self.start]))
            self.kind, self.token = "end", ""
            return
        self.kind = found.lastgroup or ""
        self.token, self.start, self._end = found.group(self.kind), found.start(self.kind), found.end()

    def keyword(self) -> str:
        """The keyword that is next, in lower case, or ""."""
        lowered = self.token.lower()
        return lowered if self.kind == "word" and lowered in _KEYWORDS else ""

    def take(self, mark: str) -> bool:
        if self.kind != "mark" or self.token != mark:
            return False
        self.advance()
        return True

    def error(self, message: str) -> QueryError:
        return QueryError(self.start, message)


def _unreadable(character: str) -> str:
    if character in "\"'":
        return "missing closing quote of the text that begins"
    return f"unexpected {character!r}: names and values with other characters than letters, digits and _ need quotes,"


def _disjunction(reader: _Reader, depth: int) -> Node:
    operands = [_conjunction(reader, depth)]
    while reader.keyword() == "or":
        reader.advance()
        operands.append(_conjunction(reader, depth))
    return operands[0] if len(operands) == 1 else Or(tuple(operands))


def _conjunction(reader: _Reader, depth: int) -> Node:
    operands = [_term(reader, depth)]
    while reader.keyword() == "and":
        reader.advance()
        operands.append(_term(reader, depth))
    return operands[0] if len(operands) == 1 else And(tuple(operands))


def _term(reader: _Reader, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise reader.error(f"more than {MAX_DEPTH} levels of NOT and parentheses")
    if reader.keyword() == "not":
        reader.advance()
        return Not(_term(reader, depth + 1))
    if reader.take("("):
        node = _disjunction(reader, depth + 1)
        if not reader.take(")"):
            raise reader.error("expected a closing parenthesis")
        return node
    return _selector(reader)


def _selector(reader: _Reader) -> Node:
    if reader.kind not in ("word", "quoted") or reader.keyword():
        raise reader.error("expected the name of a field, NOT or (")
    key = reader.token[1:-1] if reader.kind == "quoted" else reader.token
    if not key:
        raise reader.error("expected the name of a field")
    reader.advance()
    word = reader.keyword()
    if word in ("in", "notin"):
        reader.advance()
        found = _set(reader, key)
        return Not(found) if word == "notin" else found
    if reader.kind != "operator":
        raise reader.error("expected =, !=, <, <=, >, >=, IN or NOTIN")
    operator = reader.token
    reader.advance()
    return Compare(key, operator, _value(reader))


def _value(reader: _Reader) -> str | int | float:
    token, kind = reader.token, reader.kind
    if kind == "number":
        reader.advance()
        return float(token) if "." in token else int(token)
    if kind == "quoted":
        reader.advance()
        return token[1:-1]
    if kind != "word" or reader.keyword():
        raise reader.error("expected a value: a word, a number or text in quotes")
    reader.advance()
    return token


def _set(reader: _Reader, key: str) -> Within:
    if reader.kind == "variable":
        name = reader.token[2:-1]
        if not name:
            raise reader.error("expected the name of a substitution between ${ and }")
        reader.advance()
        return Within(key, (), name)
    if not reader.take("{"):
        raise reader.error('expected a set such as {"a", "b*"} or ${name}')
    values: list[str] = []
    while True:
        if reader.kind != "quoted":
            raise reader.error("expected text in quotes")
        values.append(reader.token[1:-1])
        if len(values) > MAX_VALUES:
            raise reader.error(f"more than {MAX_VALUES} values in a set")
        reader.advance()
        if reader.take("}"):
            return Within(key, tuple(values))
        if not reader.take(","):
            raise reader.error("expected a comma or }")
