"""Owners of fields (managedFields)."""

from typing import Any

from tortie.apiserver.context import Call

Object = dict[str, Any]


def on_create(call: Call, obj: Object, operation: str) -> None:
    return


def on_update(call: Call, old: Object, new: Object, subresource: str) -> None:
    return


def same(old: Object, new: Object) -> bool:
    return old == new
