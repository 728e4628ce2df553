"""The JSONPath subset that printer columns and selectable fields use, and tables made of such columns.

In: paths such as `.spec.tier` or `.status.conditions[?(@.type=='Ready')].reason`. Out: readers of objects, and a
`Table` for a list of additionalPrinterColumns. Pure.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tortie.apiserver import tables
from tortie.apiserver.kinds import Column, Table

Object = dict[str, Any]
_STEP = re.compile(
    r"\.(?P<name>[A-Za-z0-9_\-/]+|\\.)"
    r"|\[(?P<index>-?\d+)\]"
    r"|\[(?P<star>\*)\]"
    r"|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
    r"|\[\?\(@\.(?P<key>[A-Za-z0-9_.\-]+)\s*(?P<op>==|!=)\s*(?P<value>\"[^\"]*\"|'[^']*'|[A-Za-z0-9_\-]+)\)\]"
)


class PathError(ValueError):
    """The path uses something that is not understood."""


def _steps(path: str) -> list[tuple[str, Any]]:
    steps: list[tuple[str, Any]] = []
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$").replace("\\.", "\0")
    at = 0
    pattern = re.compile(_STEP.pattern.replace("A-Za-z0-9_\\-/", "A-Za-z0-9_\\-/\\x00"))
    while at < len(text):
        match = pattern.match(text, at)
        if match is None:
            raise PathError(f"the JSON path {path!r} is not understood at {text[at:]!r}")
        at = match.end()
        if match["name"] is not None:
            steps.append(("key", match["name"].replace("\0", ".")))
        elif match["quoted"] is not None:
            steps.append(("key", match["quoted"].replace("\0", ".")))
        elif match["index"] is not None:
            steps.append(("index", int(match["index"])))
        elif match["star"]:
            steps.append(("all", None))
        else:
            steps.append(("filter", (match["key"].split("."), match["op"], match["value"].strip("'\""))))
    return steps


def _filter(value: Any, keys: list[str], operator: str, wanted: str) -> list[Any]:
    found = []
    for item in value if isinstance(value, list) else ():
        have: Any = item
        for key in keys:
            have = have.get(key) if isinstance(have, dict) else None
        equal = (str(have).lower() if isinstance(have, bool) else str(have)) == wanted
        if equal is (operator == "=="):
            found.append(item)
    return found


def compile_path(path: str) -> Callable[[Object], list[Any]]:
    """A reader that gives every value the path finds. Raises PathError."""
    steps = _steps(path)

    def read(obj: Object) -> list[Any]:
        current: list[Any] = [obj]
        for kind, argument in steps:
            following: list[Any] = []
            for value in current:
                if kind == "key":
                    if isinstance(value, dict) and argument in value:
                        following.append(value[argument])
                elif kind == "index":
                    if isinstance(value, list) and -len(value) <= argument < len(value):
                        following.append(value[argument])
                elif kind == "all":
                    if isinstance(value, list):
                        following += value
                    elif isinstance(value, dict):
                        following += value.values()
                else:
                    following += _filter(value, *argument)
            current = following
        return current

    return read


def _cell(values: list[Any], column_type: str) -> Any:
    if not values or values[0] is None:
        return None
    value = values[0]
    if column_type == "date":
        return tables.Since(value)
    if column_type == "boolean":
        return value if isinstance(value, bool) else None
    if column_type == "integer":
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if column_type == "number":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        import json

        return json.dumps(value, separators=(",", ":"))
    return str(value)


def table(declared: Iterable[Mapping[str, Any]]) -> Table:
    """A table of printer columns; without any, Name and Age."""
    rows = list(declared) or [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    columns = [tables.NAME]
    readers: list[tuple[Callable[[Object], list[Any]], str]] = []
    for row in rows:
        kind = str(row.get("type", "string"))
        columns.append(
            Column(
                str(row["name"]),
                "string" if kind == "date" else kind,
                str(row.get("format", "")),
                int(row.get("priority", 0)),
                str(row.get("description", "")),
            )
        )
        readers.append((compile_path(str(row["jsonPath"])), kind))

    def cells(obj: Object) -> list[Any]:
        return [obj["metadata"]["name"], *(_cell(read(obj), kind) for read, kind in readers)]

    return Table(columns, cells)
