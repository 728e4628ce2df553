"""Checks between objects before a create: the namespace must exist and stay.

In: a call and the new object. Out: nothing, or a StatusError. The kinds' own preparations are their hooks.
"""

from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause

Object = dict[str, Any]

# The namespace controller and reviews may still write these while a namespace ends.
_ALLOWED_IN_TERMINATING = frozenset({"localsubjectaccessreviews"})


def admit_create(call: Call, obj: Object) -> None:
    """Refuses creation in a namespace that is missing (404) or being deleted (403)."""
    kind = call.kind
    if not kind.namespaced or kind.plural in _ALLOWED_IN_TERMINATING:
        return
    name = obj["metadata"]["namespace"]
    record = call.context.record("/namespaces", "", name)
    if record is None:
        raise errors.not_found("", "namespaces", name)
    if record.fields.get("status.phase") != "Terminating":
        return
    why = f"unable to create new content in namespace {name} because it is being terminated"
    raise errors.forbidden(
        kind.group,
        kind.plural,
        objects.get(obj, "metadata", "name") or "",
        why,
        [Cause("NamespaceTerminating", "metadata.namespace", f"namespace {name} is being terminated")],
    )
