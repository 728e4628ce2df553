"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902).

In: a document and a patch. Out: the patched document; `PatchError` says which operation or place was wrong. Pure.
"""

import copy
from typing import Any


class PatchError(ValueError):
    """The patch cannot be applied; code is the HTTP status that says so best."""

    def __init__(self, message: str, code: int = 422) -> None:
        super().__init__(message)
        self.code = code


MAX_OPERATIONS = 10_000


def merge_patch(document: Any, patch: Any) -> Any:
    """The document with the patch merged in: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merge_patch(result.get(key), value)
        else:
            result[key] = value
    return result


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"the path {text!r} must be empty or start with '/'", 400)
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(array: list[Any], part: str, *, insert: bool = False) -> int:
    if insert and part == "-":
        return len(array)
    if not part.isdigit() or (len(part) > 1 and part[0] == "0"):
        raise PatchError(f"{part!r} is not an index of a list")
    index = int(part)
    if index > len(array) - (0 if insert else 1):
        raise PatchError(f"the index {index} is out of bounds of a list of {len(array)}")
    return index


def _walk(document: Any, parts: list[str], path: str) -> Any:
    for part in parts:
        if isinstance(document, dict):
            if part not in document:
                raise PatchError(f"the path {path!r} does not exist")
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part)]
        else:
            raise PatchError(f"the path {path!r} does not exist")
    return document


def _add(document: Any, parts: list[str], value: Any, path: str) -> Any:
    if not parts:
        return value
    parent = _walk(document, parts[:-1], path)
    if isinstance(parent, dict):
        parent[parts[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, parts[-1], insert=True), value)
    else:
        raise PatchError(f"the path {path!r} does not exist")
    return document


def _remove(document: Any, parts: list[str], path: str) -> Any:
    if not parts:
        raise PatchError("the whole object cannot be removed")
    parent = _walk(document, parts[:-1], path)
    if isinstance(parent, dict) and parts[-1] in parent:
        return parent.pop(parts[-1])
    if isinstance(parent, list):
        return parent.pop(_index(parent, parts[-1]))
    raise PatchError(f"the path {path!r} does not exist")


def json_patch(document: Any, operations: Any) -> Any:
    """The document after every operation in order; changes the given document in place."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch must be a list of operations", 400)
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}", 413
        )
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise PatchError("each operation of a JSON patch needs op and path", 400)
        document = _operate(document, operation)
    return document


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    path = operation["path"]
    parts = _pointer(path)
    kind = operation["op"]
    if kind in {"add", "replace", "test"} and "value" not in operation:
        raise PatchError(f"the operation {kind} on {path!r} needs a value", 400)
    match kind:
        case "add":
            return _add(document, parts, copy.deepcopy(operation["value"]), path)
        case "remove":
            _remove(document, parts, path)
            return document
        case "replace":
            _walk(document, parts, path)
            if not parts:
                return copy.deepcopy(operation["value"])
            parent = _walk(document, parts[:-1], path)
            if isinstance(parent, list):
                parent[_index(parent, parts[-1])] = copy.deepcopy(operation["value"])
            else:
                parent[parts[-1]] = copy.deepcopy(operation["value"])
            return document
        case "test":
            if _walk(document, parts, path) != operation["value"]:
                raise PatchError(f"testing value {path} failed")
            return document
        case "copy" | "move":
            source = _pointer(operation.get("from"))
            value = copy.deepcopy(_walk(document, source, operation["from"]))
            if kind == "move":
                _remove(document, source, operation["from"])
            return _add(document, parts, value, path)
    raise PatchError(f"unknown operation {kind!r}; allowed: add, remove, replace, move, copy, test", 400)
