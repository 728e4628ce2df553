"""The selector language (spec/resources.md 3): text that chooses endpoints, sets, nodes or namespaces by label.

For policy, IPAM, routing and admission. In: selector text. Out: `Selector` objects that match labels, print themselves
in canonical form and say what they require of labels. The parser keeps its own stack, so nesting cannot exhaust
Python's; matching is a tree of closures, because making one costs microseconds where compiling code costs a hundred.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from tortie.model.selector_nodes import (
    All,
    And,
    Compare,
    Global,
    Has,
    InSet,
    Node,
    Not,
    Operator,
    Or,
    Restriction,
    depth_of,
    matcher,
    prefixed,
    restrictions,
)

__all__ = ["Restriction", "Selector", "SelectorError", "normalise", "parse"]

MAX_LABEL = 512
MAX_DEPTH = 150

_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_BLANK = re.compile(r"[ \t]*")
_NOTS = re.compile(r"(?:![ \t]*)*")
_HAS = re.compile(r"has\([ \t]*([A-Za-z0-9_./-]*)[ \t]*\)")
_NULLARY = re.compile(r"(all|global)\([ \t]*\)")
# An operator directly after a label. Words count only if no label character follows.
_OPERATOR = re.compile(
    r"[ \t]*(?:(?P<symbol>==|!=)|(?P<word>contains|starts[ \t]*with|ends[ \t]*with|in|not[ \t]*in)(?![A-Za-z0-9_./-]))"
)
_LITERAL = re.compile(r"[ \t]*(?:'([^']*)'|\"([^\"]*)\")")
_WORDS: dict[str, Operator] = {"contains": "contains", "startswith": "starts with", "endswith": "ends with"}


class SelectorError(ValueError):
    """The text is not a selector. position: offset of the character where reading stopped."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} at position {position + 1} of selector {text!r}")
        self.text = text
        self.position = position
        self.message = message


class Selector:
    """A parsed selector. Equal selectors have equal canonical text.

    matches: whether an endpoint with the given labels is selected. canonical: spec/resources.md 3.4.
    """

    __slots__ = ("_id", "_restrictions", "canonical", "matches", "root")

    def __init__(self, root: Node) -> None:
        self.root = root
        self.canonical: str = root.text
        self.matches: Callable[[Mapping[str, str]], bool] = matcher(root)
        self._id = ""
        self._restrictions: Mapping[str, Restriction] | None = None

    @property
    def unique_id(self) -> str:
        """`s:` and 38 characters that depend on the canonical text alone."""
        if not self._id:
            digest = hashlib.sha224(b"s:" + self.canonical.encode()).digest()
            self._id = "s:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return self._id

    @property
    def restrictions(self) -> Mapping[str, Restriction]:
        """What every match must have, by label: an aid for indexes, never the whole truth."""
        if self._restrictions is None:
            self._restrictions = restrictions(self.root)
        return self._restrictions

    def prefixed(self, prefix: str) -> "Selector":
        """The same selector on labels whose names begin with the prefix, such as `pcns.`."""
        return Selector(prefixed(self.root, prefix))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __repr__(self) -> str:
        return f"Selector({self.canonical!r})"

    def __str__(self) -> str:
        return self.canonical


@lru_cache(maxsize=65_536)
def parse(text: str) -> Selector:
    """The selector that the text means; empty or blank text means all(). Raises SelectorError."""
    return Selector(_parse(text))


def normalise(text: str) -> str:
    """The canonical text, or the trimmed input if it is not a selector."""
    text = text.strip()
    try:
        return parse(text).canonical
    except SelectorError:
        return text


class _Group:
    """An open parenthesis, or the whole text: finished `||` operands, and those of the `&&` being read."""

    __slots__ = ("negated", "operands", "terms")

    def __init__(self, *, negated: bool) -> None:
        self.negated = negated
        self.operands: list[Node] = []
        self.terms: list[Node] = []

    def end_term(self) -> None:
        self.operands.append(self.terms[0] if len(self.terms) == 1 else And(tuple(self.terms)))
        self.terms = []

    def close(self) -> Node:
        self.end_term()
        node = self.operands[0] if len(self.operands) == 1 else Or(tuple(self.operands))
        return Not(node) if self.negated else node


def _parse(text: str) -> Node:
    position = _skip_blank(text, 0)
    if position == len(text):
        return All()
    groups = [_Group(negated=False)]
    while True:
        # An operand is expected: exclamation marks, then an operation or an opening parenthesis.
        nots = _NOTS.match(text, position)
        assert nots is not None
        negated = nots.group().count("!") % 2 == 1
        position = nots.end()
        if text.startswith("(", position):
            groups.append(_Group(negated=negated))
            position = _skip_blank(text, position + 1)
            continue
        node, position = _operation(text, position)
        groups[-1].terms.append(Not(node) if negated else node)
        # A connective is expected, or the end of groups.
        position = _skip_blank(text, position)
        while text.startswith(")", position):
            if len(groups) == 1:
                raise SelectorError(text, position, "closing parenthesis without an opening one")
            node = groups.pop().close()
            if depth_of(node) > MAX_DEPTH:
                raise SelectorError(text, position, f"groups nested more than {MAX_DEPTH} deep")
            groups[-1].terms.append(node)
            position = _skip_blank(text, position + 1)
        if position == len(text):
            if len(groups) > 1:
                raise SelectorError(text, position, "missing closing parenthesis")
            return groups[0].close()
        if text.startswith("||", position):
            groups[-1].end_term()
        elif not text.startswith("&&", position):
            raise SelectorError(text, position, "expected &&, || or the end")
        position = _skip_blank(text, position + 2)


def _operation(text: str, position: int) -> tuple[Node, int]:
    if found := _HAS.match(text, position):
        label = found.group(1)
        if not label:
            raise SelectorError(text, found.end() - 1, "has() needs the name of a label")
        _check_length(text, found.start(1), label)
        return Has(label), found.end()
    if found := _NULLARY.match(text, position):
        return (All() if found.group(1) == "all" else Global()), found.end()
    found = _LABEL.match(text, position)
    if not found:
        raise SelectorError(text, position, "expected the name of a label, has(), all(), global(), ! or (")
    label = found.group()
    _check_length(text, position, label)
    position = found.end()
    operator = _OPERATOR.match(text, position)
    if not operator:
        raise SelectorError(
            text, position, f"expected ==, !=, in, not in, contains, starts with or ends with after label {label!r}"
        )
    position = operator.end()
    word = re.sub(r"[ \t]", "", operator.group("word") or "")
    if word in ("in", "notin"):
        values, position = _set(text, position)
        return InSet(label, values, negated=word == "notin"), position
    value, position = _literal(text, position)
    symbol: Operator = "==" if operator.group("symbol") == "==" else "!="
    return Compare(label, _WORDS.get(word, symbol), value), position


def _set(text: str, position: int) -> tuple[frozenset[str], int]:
    position = _skip_blank(text, position)
    if not text.startswith("{", position):
        raise SelectorError(text, position, "expected a set such as {'a', 'b'}")
    position = _skip_blank(text, position + 1)
    values: set[str] = set()
    while not text.startswith("}", position):
        value, position = _literal(text, position)
        values.add(value)
        position = _skip_blank(text, position)
        if text.startswith(",", position):
            position = _skip_blank(text, position + 1)
        elif not text.startswith("}", position):
            raise SelectorError(text, position, "expected a comma or } in a set")
    return frozenset(values), position + 1


def _literal(text: str, position: int) -> tuple[str, int]:
    found = _LITERAL.match(text, position)
    if not found:
        position = _skip_blank(text, position)
        unterminated = text.startswith(("'", '"'), position)
        raise SelectorError(
            text,
            position,
            "missing closing quote of the text that begins" if unterminated else "expected text in quotes",
        )
    single, double = found.groups()
    return (double if single is None else single), found.end()


def _skip_blank(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    assert found is not None
    return found.end()


def _check_length(text: str, position: int, label: str) -> None:
    if len(label) > MAX_LABEL:
        raise SelectorError(text, position, f"label of {len(label)} characters where at most {MAX_LABEL} are allowed")
