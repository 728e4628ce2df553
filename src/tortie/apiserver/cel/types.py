"""Static types of CEL: what is known of a value before evaluation.

In: schemas' types from the caller, and literals. Out: `Type`, and whether one may stand for another; `DYN` (also
written None by callers) is known only at run time and fits everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """A type. params: of list, map, optional. fields: of an object, by their names in the API."""

    name: str
    params: "tuple[Type, ...]" = ()
    fields: "Mapping[str, Type] | None" = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.fields is not None:
            return self.name if self.name[:1].isupper() else "object"
        if self.params:
            return f"{self.name}({', '.join(str(p) for p in self.params)})"
        return {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}.get(
            self.name, self.name
        )


DYN = Type("dyn")
BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, BYTES, NULL, TYPE = Type("string"), Type("bytes"), Type("null"), Type("type")
TIMESTAMP, DURATION = Type("google.protobuf.Timestamp"), Type("google.protobuf.Duration")


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def object_of(name: str, fields: Mapping[str, Type]) -> Type:
    """An object with known fields."""
    return Type(name, (), fields)


_SCALARS = {"bool", "int", "uint", "double", "string", "bytes", "list", "map"}


def fits(wanted: Type, given: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of `given` may stand where `wanted` is asked for; type variables (one capital) are bound."""
    if len(wanted.name) == 1 and wanted.name.isupper():
        known = bound.get(wanted.name)
        if known is None or known is DYN or known.name == "dyn":
            bound[wanted.name] = given
            return True
        if given.name == "dyn":
            return True
        return fits(known, given, bound) or fits(given, known, bound)
    if wanted.name == "dyn" or given.name == "dyn":
        return True
    if given.name == "null":
        return wanted.name not in _SCALARS
    if wanted.name == "null":
        return given.name not in _SCALARS
    if wanted.name == "map" and given.fields is not None:
        return True
    if wanted.fields is not None:
        return given.fields is not None or given.name == "map"
    if wanted.name != given.name:
        return False
    return all(fits(w, g, bound) for w, g in zip(wanted.params, given.params, strict=False))


def resolve(wanted: Type, bound: Mapping[str, Type]) -> Type:
    """A type with its variables replaced by what they were bound to."""
    if len(wanted.name) == 1 and wanted.name.isupper():
        return bound.get(wanted.name, DYN)
    if wanted.params:
        return Type(wanted.name, tuple(resolve(p, bound) for p in wanted.params), wanted.fields)
    return wanted


def common(left: Type, right: Type) -> Type:
    """The type of what may be either; DYN when they differ."""
    if left == right and (left.fields is None) == (right.fields is None):
        return left
    if left.name == right.name and left.params and len(left.params) == len(right.params):
        return Type(left.name, tuple(common(a, b) for a, b in zip(left.params, right.params, strict=True)))
    return DYN


def parse(text: str) -> Type:
    """A type from text such as `list(string)`, as the signatures of functions write them."""
    name, opened, rest = text.strip().partition("(")
    known = {
        "timestamp": TIMESTAMP,
        "duration": DURATION,
        "optional": Type("optional_type"),
    }.get(name, Type(name))
    if not opened:
        return known
    inner = rest.strip().removesuffix(")")
    return Type(known.name, tuple(parse(part) for part in split(inner)))


def split(text: str) -> list[str]:
    """The parts of a comma-separated list, brackets respected."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]
