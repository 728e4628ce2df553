"""Reads the schemas of the built-in kinds from the texts in `types/`.

In: `types/*.txt`, one block per type, one line per field: its protobuf number (0: none; 2.19: field 19 of an inlined
message 2), name (`*` required, `?` zero is kept apart from absent), type, then how lists merge. Out: `Node` trees by
type name, parsed once per process. Descriptions are in `types/descriptions*.txt` and are read only when OpenAPI is
asked for.

Types: string int int64 number bool bytes time microtime quantity intstr object any; [T] a list, {T} a map.
Words after the type: merge=KEY (strategic merge), merge (of primitives), retain (retainKeys), keys=A,B (a map list),
set, atomic (a map that is replaced whole).
"""

import functools
from dataclasses import replace
from importlib import resources

from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node

_SIMPLE = {
    "string": Node(type=n.STRING),
    "int": Node(type=n.INTEGER, format="int32"),
    "int64": Node(type=n.INTEGER, format="int64"),
    "number": Node(type=n.NUMBER, format="double"),
    "bool": Node(type=n.BOOLEAN),
    "bytes": Node(type=n.STRING, format="byte"),
    "time": Node(type=n.STRING, format="date-time", nullable=True),
    "microtime": Node(type=n.STRING, format="micro-time", nullable=True),
    "quantity": Node(type=n.STRING, format="quantity"),
    "intstr": Node(type=n.ANY, format="int-or-string", int_or_string=True),
    "object": Node(type=n.OBJECT, preserve=True, atomic=True),
    "any": Node(type=n.ANY, preserve=True),
}


# Type name to {protobuf number: (field, whether a zero value counts as given)}; filled by `types`.
_NUMBERS: dict[str, dict[str, tuple[str, bool]]] = {}
# Type name to the file that defines it, which is the name of its API package.
_PACKAGES: dict[str, str] = {}


def package(type_name: str) -> str:
    """The API package of a type: core, apps, meta, …"""
    types()
    return _PACKAGES[type_name]


def numbers(type_name: str) -> dict[str, tuple[str, bool]]:
    """The protobuf field numbers of a type."""
    types()
    return _NUMBERS.get(type_name, {})


def _type(text: str, types: dict[str, Node]) -> Node:
    if text.startswith("["):
        return Node(type=n.ARRAY, items=_type(text[1:-1], types))
    if text.startswith("{"):
        return Node(type=n.OBJECT, values=_type(text[1:-1], types))
    return _SIMPLE.get(text) or types[text]


def _field(words: list[str], types: dict[str, Node]) -> Node:
    node = _type(words[2], types)
    if len(words) == 3:
        return node
    node = replace(node)  # the words belong to this field, not to the type
    for word in words[3:]:
        key, _, value = word.partition("=")
        match key:
            case "merge":
                node.merge, node.merge_key = True, value
            case "retain":
                node.retain = True
            case "keys":
                node.list_type, node.keys = "map", tuple(value.split(","))
            case "set":
                node.list_type = "set"
            case "atomic":
                node.atomic = True
            case _:
                raise ValueError(f"unknown word {word!r} in the line {' '.join(words)!r}")
    return node


@functools.cache
def types() -> dict[str, Node]:
    """Every built-in type by name."""
    blocks: list[tuple[Node, list[list[str]]]] = []
    found: dict[str, Node] = {}
    folder = resources.files("tortie.apiserver") / "types"
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".txt") or file.name.startswith("descriptions"):
            continue
        for line in file.read_text().splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if not line.startswith(" "):
                node = Node(type=n.OBJECT, ref=words[1], atomic="atomic" in words[2:])
                found[words[1]] = node
                _PACKAGES[words[1]] = file.name.removesuffix(".txt")
                blocks.append((node, []))
            else:
                blocks[-1][1].append(words)
    for node, rows in blocks:
        required = []
        numbers: dict[str, tuple[str, bool]] = {}
        for words in rows:
            name = words[1].rstrip("*?")
            if "*" in words[1]:
                required.append(name)
            node.properties[name] = _field(words, found)
            if words[0] != "0":
                numbers[words[0]] = (name, words[1].endswith("?"))
        node.required = tuple(required)
        _NUMBERS[node.ref] = numbers
    return found


@functools.cache
def descriptions() -> dict[str, str]:
    """Texts for `kubectl explain`: `Type` or `Type.field` to a sentence; `*.field` for fields of any other type."""
    folder = resources.files("tortie.apiserver") / "types"
    found: dict[str, str] = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.startswith("descriptions"):
            for line in file.read_text().splitlines():
                key, _, sentence = line.partition(": ")
                if sentence:
                    found[key] = sentence
    return found


def description(type_name: str, field: str = "") -> str:
    """The text for a type, or for a field of it."""
    texts = descriptions()
    if field:
        if field == "metadata" and type_name.endswith("List"):
            field = "listMetadata"
        return texts.get(f"{type_name}.{field}") or texts.get(f"*.{field}", "")
    if type_name not in texts and type_name.endswith("List"):
        return f"A list of objects of the kind {type_name.removesuffix('List')}."
    return texts.get(type_name, "")
