"""Rules of object metadata that every kind shares: names, labels, times, generated names, server-owned fields.

In: trees of objects and the time. Out: changed metadata, and causes for a 422. Pure, apart from the random suffix
of a generated name.
"""

import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.errors import Cause
from tortie.apiserver.selectors import valid_label_key, valid_label_value

Object = dict[str, Any]

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
ANNOTATIONS_LIMIT = 256 * 1024

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)


def timestamp(now: float) -> str:
    """Seconds since 1970 as the API writes times: UTC, whole seconds, Z."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """RFC 3339 text as seconds since 1970. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def new_uid() -> str:
    return str(uuid.uuid4())


def generated(prefix: str) -> str:
    """`prefix`, cut to 58 characters, and five random ones."""
    return prefix[:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))


def name_problem(name: str, rule: str) -> str:
    """Why `name` is not a good name under the rule (subdomain, label, label1035, path); empty when it is."""
    match rule:
        case "path":
            if name in {".", ".."}:
                return f"may not be '{name}'"
            for bad in "/%":
                if bad in name:
                    return f"may not contain '{bad}'"
            return ""
        case "label":
            if len(name) > 63:
                return "must be no more than 63 characters"
            return "" if _LABEL.match(name) else _LABEL_TEXT
        case "label1035":
            if len(name) > 63:
                return "must be no more than 63 characters"
            return "" if _LABEL_1035.match(name) else _LABEL_1035_TEXT
    if len(name) > 253:
        return "must be no more than 253 characters"
    return "" if _SUBDOMAIN.match(name) else _SUBDOMAIN_TEXT


def validate_labels(labels: Any, field: str) -> list[Cause]:
    causes = []
    for key, value in (labels or {}).items():
        if not valid_label_key(key):
            causes.append(
                errors.invalid_value(
                    field,
                    key,
                    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
                    "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc')",
                )
            )
        if not isinstance(value, str) or not valid_label_value(value):
            causes.append(
                errors.invalid_value(
                    field,
                    value,
                    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                    "and must start and end with an alphanumeric character, at most 63 of them",
                )
            )
    return causes


def validate_metadata(obj: Object, *, namespaced: bool, name_rule: str) -> list[Cause]:
    """Causes for what is wrong in `metadata`."""
    meta = obj["metadata"]
    causes: list[Cause] = []
    name = meta.get("name", "")
    if not name:
        causes.append(errors.required("metadata.name", "name or generateName is required"))
    else:
        problem = name_problem(name, name_rule)
        if problem:
            causes.append(errors.invalid_value("metadata.name", name, problem))
    if namespaced and not meta.get("namespace"):
        causes.append(errors.required("metadata.namespace"))
    causes += validate_labels(meta.get("labels"), "metadata.labels")
    annotations = meta.get("annotations") or {}
    size = 0
    for key, value in annotations.items():
        size += len(key) + len(value)
        if not valid_label_key(key.lower()):
            causes.append(
                errors.invalid_value(
                    "metadata.annotations",
                    key,
                    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
                    "an alphanumeric character",
                )
            )
    if size > ANNOTATIONS_LIMIT:
        causes.append(errors.too_long("metadata.annotations", ANNOTATIONS_LIMIT))
    for index, finalizer in enumerate(meta.get("finalizers") or ()):
        if not valid_label_key(finalizer):
            causes.append(errors.invalid_value(f"metadata.finalizers[{index}]", finalizer, "must be a qualified name"))
    causes += _validate_owners(meta.get("ownerReferences") or ())
    return causes


def _validate_owners(owners: Any) -> list[Cause]:
    causes = []
    controllers = 0
    for index, owner in enumerate(owners):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                causes.append(errors.required(f"metadata.ownerReferences[{index}].{key}", "must not be empty"))
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        causes.append(
            errors.invalid_value(
                "metadata.ownerReferences", controllers, "Only one reference can have Controller set to true"
            )
        )
    return causes


def order(obj: Object) -> Object:
    """The object with apiVersion, kind and metadata first, as people expect to read it."""
    first: Object = {key: obj[key] for key in ("kind", "apiVersion", "metadata") if key in obj}
    rest = {key: value for key, value in obj.items() if key not in first}
    return {**first, **rest}


def get(obj: Any, *path: str) -> Any:
    """The value at a path of keys, or None."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj


def text(*path: str) -> Any:
    """A reader of a selectable text field: absent reads as ""."""

    def read(obj: Object) -> str:
        value = get(obj, *path)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return read
