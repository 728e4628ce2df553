"""Label and field selectors of list, watch and deletecollection requests.

In: the query's text. Out: small matchers over the labels and the selectable fields that each stored record keeps
beside its bytes, so that no object is decoded to be filtered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tortie.apiserver import errors

_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|<|>|,|\(|\))|(?P<word>[^\s=!<>,()]+))")
_KEY = re.compile(
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
)
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")


def valid_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_KEY.match(key)) and 0 < len(name) <= 63 and (not slash or 0 < len(prefix) <= 253)


def valid_label_value(value: str) -> bool:
    return len(value) <= 63 and bool(_VALUE.match(value))


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term: key, operator (in, notin, exists, !, gt, lt), values."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not value.lstrip("-").isdigit():
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound


@dataclass(frozen=True, slots=True)
class LabelSelector:
    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(r.matches(labels) for r in self.requirements)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"unexpected character {text[position]!r} at position {position}")
            self.tokens.append(("op", match["op"]) if match["op"] else ("word", match["word"]))
            position = match.end()
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def key(self) -> str:
        kind, text = self.next()
        if kind != "word":
            raise ValueError(f"found '{text}', expected: identifier")
        if not valid_label_key(text):
            raise ValueError(
                f"key: Invalid value: \"{text}\": name part must consist of alphanumeric characters, '-', '_' or '.'"
            )
        return text

    def value(self, key: str) -> str:
        kind, text = self.peek()
        if kind != "word":
            return ""
        self.at += 1
        if not valid_label_value(text):
            raise ValueError(
                f'values[0][{key}]: Invalid value: "{text}": a valid label must be an empty string or consist of '
                "alphanumeric characters, '-', '_' or '.'"
            )
        return text

    def requirement(self) -> Requirement:
        if self.peek() == ("op", "!"):
            self.next()
            return Requirement(self.key(), "!")
        key = self.key()
        kind, text = self.peek()
        if kind == "end" or text == ",":
            return Requirement(key, "exists")
        self.next()
        if kind == "op" and text in {"=", "=="}:
            return Requirement(key, "in", frozenset({self.value(key)}))
        if kind == "op" and text == "!=":
            return Requirement(key, "notin", frozenset({self.value(key)}))
        if kind == "op" and text in {"<", ">"}:
            number = self.value(key)
            if not number.lstrip("-").isdigit():
                raise ValueError(f"for 'Gt', 'Lt' operators, the value must be an integer, not {number!r}")
            return Requirement(key, "lt" if text == "<" else "gt", frozenset({number}))
        if kind == "word" and text in {"in", "notin"}:
            return Requirement(key, text, self.values(key))
        raise ValueError(f"found '{text}', expected: in, notin, =, ==, !=, gt, lt")

    def values(self, key: str) -> frozenset[str]:
        if self.next() != ("op", "("):
            raise ValueError("expected: '('")
        values = {self.value(key)}
        while True:
            token = self.next()
            if token == ("op", ")"):
                return frozenset(values)
            if token != ("op", ","):
                raise ValueError(f"found '{token[1]}', expected: ',' or ')'")
            values.add(self.value(key))


def parse_labels(text: str) -> LabelSelector | None:
    """The selector, or None when it selects everything. Raises StatusError 400."""
    if not text.strip():
        return None
    try:
        parser = _Parser(text)
        requirements = [parser.requirement()]
        while parser.peek()[0] != "end":
            if parser.next() != ("op", ","):
                raise ValueError("expected: ','")
            requirements.append(parser.requirement())
    except ValueError as error:
        raise errors.bad_request(f"unable to parse requirement: {error}") from None
    return LabelSelector(tuple(requirements))


@dataclass(frozen=True, slots=True)
class FieldTerm:
    field: str
    equal: bool
    value: str


@dataclass(frozen=True, slots=True)
class FieldSelector:
    terms: tuple[FieldTerm, ...]

    def matches(self, namespace: str, name: str, fields: Mapping[str, str]) -> bool:
        for term in self.terms:
            if term.field == "metadata.name":
                have = name
            elif term.field == "metadata.namespace":
                have = namespace
            else:
                have = fields.get(term.field, "")
            if (have == term.value) is not term.equal:
                return False
        return True

    def exact(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector pins it."""
        for term in self.terms:
            if term.field == field and term.equal:
                return term.value
        return None


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def parse_fields(text: str, allowed: Mapping[str, object], *, namespaced: bool) -> FieldSelector | None:
    """The selector, or None when it selects everything. Raises StatusError 400 for a field not in `allowed`."""
    if not text.strip():
        return None
    terms = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = re.match(r"^([^=!]+)(==|!=|=)(.*)$", part, re.DOTALL)
        if match is None:
            raise errors.bad_request(f"invalid field selector: {text!r}: no operator (=, ==, !=) in {part!r}")
        field = match[1].strip()
        if field not in allowed and field != "metadata.name" and not (field == "metadata.namespace" and namespaced):
            raise errors.bad_request(f"field label not supported: {field}")
        terms.append(FieldTerm(field, match[2] != "!=", _unescape(match[3])))
    return FieldSelector(tuple(terms)) if terms else None
