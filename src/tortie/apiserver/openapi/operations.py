"""The operations of a kind as OpenAPI describes them: paths, parameters, bodies, answers.

In: kinds, and the writer that knows how definitions are referred to in version 2 or 3. Out: the path items of a
document. kubectl reads from them how a kind is patched and whether dry run and field validation exist; generated
clients and fuzzers read all of it. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tortie.apiserver.kinds import Kind, Subresource
from tortie.apiserver.openapi.definitions import META, Writer, gvk, kind_name, type_name

Object = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_BODIES = ("application/json", "application/yaml")
_METHODS = {"get": "get", "list": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete",
            "deletecollection": "delete"}  # fmt: skip
_ACTIONS = {"update": "put", "create": "post"}
_WORDS = {"get": "read", "update": "replace", "deletecollection": "delete"}
_CODES = {"create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202")}
_SAID = {"200": "OK", "201": "Created", "202": "Accepted", "401": "Unauthorized"}

# name: (type, what it is for)
_QUERY = {
    "allowWatchBookmarks": ("boolean", "Whether a watch is told from time to time how far it has come."),
    "command": ("string", "What to run; repeated for each argument."),
    "container": ("string", "Which container; may be left out when there is one."),
    "continue": ("string", "The token of the page before, to get the next one."),
    "dryRun": ("string", "All: check the request and store nothing."),
    "fieldManager": ("string", "Who is changing the object, as managedFields will name it."),
    "fieldSelector": ("string", "Only objects with these values in the fields that can be selected by."),
    "fieldValidation": ("string", "What unknown and repeated fields cause: Ignore, Warn or Strict."),
    "follow": ("boolean", "Whether to go on with what is logged later."),
    "force": ("boolean", "Server-side apply: take over fields that others own."),
    "gracePeriodSeconds": ("integer", "How long the object may still live; 0 ends it at once."),
    "labelSelector": ("string", "Only objects with labels that match."),
    "limit": ("integer", "How many objects a page of the list may have."),
    "limitBytes": ("integer", "At most so many bytes of the log."),
    "orphanDependents": ("boolean", "The old word for propagationPolicy=Orphan."),
    "ports": ("integer", "Which port of the pod."),
    "pretty": ("string", "Whether the answer is indented for people."),
    "previous": ("boolean", "The log of the container before it was started again."),
    "propagationPolicy": ("string", "What becomes of dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "How old the answer may be."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Whether a watch begins with what there is, closed by a marked bookmark."),
    "sinceSeconds": ("integer", "Only what was logged in so many seconds."),
    "sinceTime": ("string", "Only what was logged since then."),
    "stderr": ("boolean", "Whether standard error is sent."),
    "stdin": ("boolean", "Whether standard input is sent."),
    "stdout": ("boolean", "Whether standard output is sent."),
    "tailLines": ("integer", "Only so many lines from the end of the log."),
    "timeoutSeconds": ("integer", "How long a watch or a list may take."),
    "timestamps": ("boolean", "Whether each line begins with its time."),
    "tty": ("boolean", "Whether the command gets a terminal."),
    "watch": ("boolean", "Whether to go on with changes as they happen."),
}
_LISTING = ("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
            "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch")  # fmt: skip
_DELETING = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_WRITING = ("dryRun", "fieldManager", "fieldValidation")
_STREAM = ("command", "container", "stderr", "stdin", "stdout", "tty")
_CONNECTING = {
    "log": ("container", "follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "tailLines", "timestamps"),
    "exec": _STREAM,
    "attach": _STREAM[1:],
    "portforward": ("ports",),
}
_PARAMETERS = {
    "create": _WRITING,
    "update": _WRITING,
    "patch": (*_WRITING, "force"),
    "delete": _DELETING,
    "list": _LISTING,
    "deletecollection": (*_DELETING, *(n for n in _LISTING if n not in {"allowWatchBookmarks", "watch"})),
}
_PATH = {
    "name": "The name of the {kind}.",
    "namespace": "The namespace of the objects.",
}


def patch_types(kind: Kind) -> list[str]:
    """The media types of PATCH bodies."""
    return [t for t in (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY) if t != STRATEGIC or not kind.custom]


def add_paths(paths: Object, kind: Kind, writer: Writer) -> None:
    """Adds every path of a kind to a document's."""
    for path in _paths(kind):
        item = paths.setdefault(path.path, {})
        for verb in path.verbs:
            item[_METHODS[verb]] = _operation(kind, verb, path, writer)
        item["parameters"] = _path_parameters(kind, path.path, writer.version)


@dataclass(frozen=True, slots=True)
class _Path:
    path: str
    verbs: Sequence[str]
    sub: Subresource | None = None
    everywhere: bool = False


def _paths(kind: Kind) -> Iterable[_Path]:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    yield _Path(base, [v for v in ("list", "create", "deletecollection") if v in kind.verbs])
    if kind.namespaced and "list" in kind.verbs:
        yield _Path(f"{root}/{kind.plural}", ["list"], everywhere=True)
    if kind.stored:
        yield _Path(f"{base}/{{name}}", [v for v in ("get", "update", "patch", "delete") if v in kind.verbs])
    for sub in kind.subresources.values():
        verbs = [v for v in ("get", "update", "patch", "create") if v in sub.verbs]
        yield _Path(f"{base}/{{name}}/{sub.name}", verbs, sub)


def _group_word(group: str) -> str:
    return "".join(part.capitalize() for part in group.removesuffix(".k8s.io").split(".")) or "Core"


def _identity(kind: Kind, verb: str, path: _Path) -> str:
    """A name for the operation that no other one has: listCoreV1NamespacedPod."""
    connects = path.sub is not None and path.sub.name in _CONNECTING and path.sub.name != "log"
    word = f"connect{_METHODS[verb].capitalize()}" if connects else _WORDS.get(verb, verb)
    many = "Collection" if verb == "deletecollection" else ""
    scope = "Namespaced" if kind.namespaced and not path.everywhere else ""
    last = path.sub.name.capitalize() if path.sub else "ForAllNamespaces" if path.everywhere else ""
    return f"{word}{_group_word(kind.group)}{kind.version.capitalize()}{many}{scope}{kind.kind}{last}"


def _operation(kind: Kind, verb: str, path: _Path, writer: Writer) -> Object:
    sub = path.sub
    shown = gvk(kind)
    if sub is not None and sub.kind != kind.kind:
        shown = {"group": sub.group or kind.group, "version": sub.version or kind.version, "kind": sub.kind}
    connects = sub is not None and sub.name in _CONNECTING
    names = _CONNECTING[sub.name] if sub is not None and connects else _PARAMETERS.get(verb, ())
    operation: Object = {
        "operationId": _identity(kind, verb, path),
        "tags": [f"{_group_word(kind.group).lower()}_{kind.version}"],
        "x-kubernetes-action": "connect" if connects else _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": shown,
        "parameters": [_parameter(name, writer.version) for name in names],
    }
    if not connects:
        _add_body(operation, kind, verb, sub, writer)
    else:
        operation["produces"] = ["*/*"]
    _add_answers(operation, kind, verb, sub, writer)
    if writer.version == 3:
        operation.pop("produces", None)
    return operation


def _parameter(name: str, version: int) -> Object:
    kind, text = _QUERY[name]
    parameter: Object = {"name": name, "in": "query", "description": text}
    if version == 3:
        return {**parameter, "schema": {"type": kind, "uniqueItems": True}}
    return {**parameter, "type": kind, "uniqueItems": True}


def _path_parameters(kind: Kind, path: str, version: int) -> list[Object]:
    found = []
    for name, text in _PATH.items():
        if f"{{{name}}}" not in path:
            continue
        parameter = {"name": name, "in": "path", "required": True, "description": text.format(kind=kind.kind)}
        if version == 3:
            found.append({**parameter, "schema": {"type": "string", "uniqueItems": True}})
        else:
            found.append({**parameter, "type": "string", "uniqueItems": True})
    return [*found, _parameter("pretty", version)]


def _reference(kind: Kind, sub: Subresource | None, writer: Writer) -> Object:
    """What a body or an answer of this path holds."""
    if sub is None or sub.kind == kind.kind:
        return {"$ref": writer.prefix + kind_name(kind)}
    return {"$ref": writer.prefix + type_name(sub.kind)}


def _patches(kind: Kind, sub: Subresource | None, writer: Writer) -> Object:
    """Schemas of patches by their media type."""
    whole = {"$ref": f"{writer.prefix}{META}.Patch"}
    steps: Object = {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["op", "path"],
            "properties": {
                "op": {"type": "string", "enum": ["add", "copy", "move", "remove", "replace", "test"]},
                "path": {"type": "string"},
                "from": {"type": "string"},
                "value": {},
            },
        },
    }
    applied = _reference(kind, sub, writer)
    return {t: steps if t == JSON_PATCH else applied if t == APPLY else whole for t in patch_types(kind)}


def _add_body(operation: Object, kind: Kind, verb: str, sub: Subresource | None, writer: Writer) -> None:
    if verb in {"create", "update"}:
        schemas = dict.fromkeys(_BODIES, _reference(kind, sub, writer))
    elif verb == "patch":
        schemas = _patches(kind, sub, writer)
    elif verb in {"delete", "deletecollection"}:
        schemas = {media: {"$ref": f"{writer.prefix}{META}.DeleteOptions"} for media in _BODIES}
    else:
        return
    required = verb not in {"delete", "deletecollection"}
    if writer.version == 3:
        content = {media: {"schema": schema} for media, schema in schemas.items()}
        operation["requestBody"] = {"required": True, "content": content} if required else {"content": content}
        return
    operation["consumes"] = list(schemas) if verb == "patch" else ["*/*"]
    one = {"$ref": f"{writer.prefix}{META}.Patch"} if verb == "patch" else schemas[_BODIES[0]]
    body: Object = {"name": "body", "in": "body", "schema": one}
    operation["parameters"] = [{**body, "required": True} if required else body, *operation["parameters"]]


def _add_answers(operation: Object, kind: Kind, verb: str, sub: Subresource | None, writer: Writer) -> None:
    schema: Object
    if operation["x-kubernetes-action"] == "connect":
        schema = {"type": "string"}
    elif verb == "list":
        schema = {"$ref": f"{writer.prefix}{kind_name(kind)}List"}
    elif verb == "deletecollection" or (verb == "delete" and not kind.graceful):
        schema = {"$ref": f"{writer.prefix}{META}.Status"}
    else:
        schema = _reference(kind, sub, writer)
    produced = operation.setdefault("produces", list(_BODIES))
    answers: Object = {}
    for code in _CODES.get(verb, ("200",)):
        if writer.version == 3:
            content = {media: {"schema": schema} for media in produced}
            answers[code] = {"description": _SAID[code], "content": content}
        else:
            answers[code] = {"description": _SAID[code], "schema": schema}
    operation["responses"] = {**answers, "401": {"description": _SAID["401"]}}
