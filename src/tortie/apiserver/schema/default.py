"""Fills in the defaults that a structural schema declares.

In: a schema node and an object. Out: the object, changed in place. Pure.
"""

import copy
from typing import Any

from tortie.apiserver.schema import node as n
from tortie.apiserver.schema.node import Node


def has_defaults(node: Node) -> bool:
    """Whether the schema declares any default, so that reading can skip the walk."""
    if node.default is not n.UNSET:
        return True
    below = [*node.properties.values(), node.items, node.values]
    return any(b is not None and b is not node and has_defaults(b) for b in below)


def apply_defaults(node: Node, value: Any) -> None:
    """Sets what is absent, deepest objects too."""
    if isinstance(value, dict):
        for key, below in node.properties.items():
            if below.default is not n.UNSET and (key not in value or (value[key] is None and not below.nullable)):
                value[key] = copy.deepcopy(below.default)
            if key in value:
                apply_defaults(below, value[key])
        if node.values is not None:
            for key, sub in value.items():
                if key not in node.properties:
                    apply_defaults(node.values, sub)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            apply_defaults(node.items, item)
