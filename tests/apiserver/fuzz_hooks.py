"""What schemathesis is told about the cluster it fuzzes: names that meet, and what would end the run to no purpose.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS, see fuzz_api). In: its generated cases. Out: the same cases, most of
them with names, types and options that a server would not refuse at once, so that objects are made, found, changed
and deleted again; and what would make the server call webhooks and aggregated APIs is a dry run, because one that is
not there is rightly a 5xx.
"""

import atexit
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis

NAMESPACES = ("default", "default", "kube-system", "fuzz")
NAMES = ("a", "b", "c-1")
_ELSEWHERE = ("/mutatingwebhookconfigurations", "/validatingwebhookconfigurations", "/apiservices")
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "continue": (None,),
    "dryRun": (None, None, "All"),
    "fieldManager": ("a", "b"),
    "fieldSelector": (None, "metadata.name=a", "metadata.name!=default,metadata.name==b"),
    "fieldValidation": ("Ignore", "Strict", "Warn"),
    "force": (None, True),
    "gracePeriodSeconds": (None, 0, 1),
    "labelSelector": (None, "a=b", "a in (b,c),!d", "x"),
    "limit": (None, 1, 2),
    "orphanDependents": (None,),
    "propagationPolicy": ("Background", "Foreground", "Orphan"),
    "resourceVersion": (None, "0", "1", "50"),
    "resourceVersionMatch": (None, None, "NotOlderThan", "Exact"),
    "sendInitialEvents": (None, None, True),
}
_KEPT = ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "managedFields")
_answers: Counter[str] = Counter()


@atexit.register
def _tell() -> None:
    """How often each method was answered with each code, into the file that fuzz_api names."""
    if "FUZZ_ANSWERS" in os.environ:
        Path(os.environ["FUZZ_ANSWERS"]).write_text(json.dumps(_answers))


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    _answers[f"{case.operation.method.upper()} {response.status_code}"] += 1


def _mark(value: Any, ways: int) -> int:
    """A number below `ways` that depends on nothing but the value: a seed gives the same run again."""
    return sum(json.dumps(value, default=str, sort_keys=True).encode(errors="replace")) % ways


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    mark = [case.operation.method, case.body, case.query, case.path_parameters]
    for part, values in (("namespace", NAMESPACES), ("name", NAMES)):
        if part in (case.path_parameters or {}) and _mark(mark, 8):
            case.path_parameters[part] = values[_mark([*mark, part], len(values))]
    if case.query:
        _choose_options(case.query, mark)
    if any(part in case.operation.path for part in _ELSEWHERE) and case.operation.method.upper() != "GET":
        case.query = {**(case.query or {}), "dryRun": "All"}
    if case.operation.method.upper() == "GET":
        case.query = {**(case.query or {}), "timeoutSeconds": 1}
    if isinstance(case.body, dict) and _mark(mark, 7):
        _give_type(case, mark)
    if case.operation.method.upper() == "DELETE" and isinstance(case.body, dict) and _mark(mark, 5):
        case.body = {key: value for key, value in case.body.items() if key in {"gracePeriodSeconds", "preconditions"}}


def _choose_options(query: dict[str, Any], mark: list[Any]) -> None:
    for key, values in _OPTIONS.items():
        if key in query and _mark([key, *mark], 9):
            query[key] = values[_mark([*mark, key], len(values))]
            if query[key] is None:
                del query[key]


def _give_type(case: Any, mark: list[Any]) -> None:
    """Makes the body an object of the operation's kind with the name of the path."""
    gvk = case.operation.definition.raw.get("x-kubernetes-group-version-kind")
    if not gvk or case.operation.method.upper() not in {"POST", "PUT", "PATCH"}:
        return
    group, version = gvk["group"], gvk["version"]
    given = case.body.get("metadata")
    kept = {k: given[k] for k in _KEPT if k in given} if isinstance(given, dict) and _mark([given], 3) else {}
    name = (case.path_parameters or {}).get("name", NAMES[_mark(mark, len(NAMES))])
    case.body = {
        **case.body,
        "apiVersion": f"{group}/{version}" if group else version,
        "kind": gvk["kind"],
        "metadata": {**kept, "name": name},
    }
