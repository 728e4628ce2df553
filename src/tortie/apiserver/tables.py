"""The Table form of objects, which `kubectl get` prints.

In: a kind's columns and trees of objects. Out: `meta.k8s.io` Table trees; and the small formatters that cells share.
"""

from typing import Any

from tortie.apiserver import objects
from tortie.apiserver.kinds import Column, Kind, Table
from tortie.apiserver.negotiate import Output

Object = dict[str, Any]

NAME = Column("Name", "string", "name", 0, "Name of the object, unique within its namespace.")
AGE = Column("Age", "string", "", 0, "Time since the object was created.")
CREATED = Column("Created At", "date", "", 0, "When the object was created.")

PLAIN = Table((NAME, CREATED), lambda o: [o["metadata"]["name"], o["metadata"].get("creationTimestamp")])


def duration(seconds: float) -> str:
    """How long, as kubectl shows ages: the two largest useful units."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        rest = total % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    if hours < 24 * 365 * 8:
        rest = days % 365
        return f"{years}y{rest}d" if rest else f"{years}y"
    return f"{years}y"


def since(text: Any, now: float) -> str:
    """The age of a time; `<unknown>` without one."""
    if not text:
        return "<unknown>"
    try:
        return duration(now - objects.parse_time(str(text)))
    except ValueError:
        return "<invalid>"


def table(
    kind: Kind, trees: list[Object], output: Output, now: float, list_meta: Object, *, with_columns: bool = True
) -> Object:
    """The Table of some objects."""
    shape = kind.table or PLAIN
    columns = [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in shape.columns
    ]
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{output.shape_version}",
        "metadata": list_meta,
        "columnDefinitions": columns if with_columns else None,
        "rows": [row(kind, tree, output, now) for tree in trees],
    }


def row(kind: Kind, tree: Object, output: Output, now: float) -> Object:
    """The row of one object."""
    shape = kind.table or PLAIN
    try:
        values = shape.cells(tree)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        # One odd object must not hide the others of its list.
        values = [tree["metadata"].get("name"), *("<invalid>" for _ in shape.columns[1:])]
    cells = [c.text(since(c.at, now)) if isinstance(c, Since) else c for c in values]
    made: Object = {"cells": cells}
    if shape.conditions is not None:
        conditions = shape.conditions(tree)
        if conditions:
            made["conditions"] = conditions
    if output.include == "Object":
        made["object"] = tree
    elif output.include != "None":
        made["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{output.shape_version}",
            "metadata": tree["metadata"],
        }
    return made


class Since:
    """A cell that shows how long ago a time was."""

    __slots__ = ("at",)

    def __init__(self, at: Any) -> None:
        self.at = at

    def text(self, since: str) -> str:
        """The cell, given how long ago it was."""
        return since


def age(obj: Object) -> Since:
    """The cell of the Age column."""
    return Since(obj["metadata"].get("creationTimestamp"))
