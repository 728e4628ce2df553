"""Tables of cases for admission, and how to run them: shared by the test_model_validation_config_*.py files.

A case: what it is about, the spec, and the path of the field at fault, or None if the object is accepted. Both serving
modes give the same verdict unless the case says `Verdicts(native=…, aggregated=…)`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from tortie.model.admission import ServingMode, admit
from tortie.model.resource import Resource


class Verdicts(NamedTuple):
    """The path of the field at fault, or None, in each mode."""

    native: str | None
    aggregated: str | None


Expected = str | Verdicts | None
Case = tuple[str, dict[str, Any], Expected]


def parameters(cases: Mapping[Resource[Any], Sequence[Case]]) -> list[Any]:
    """One pytest parameter for each case."""
    return [
        pytest.param(resource, spec, path, id=f"{resource.kind}-{words}-{_word(path)}")
        for resource, entries in cases.items()
        for words, spec, path in entries
    ]


def _word(path: Expected) -> str:
    if isinstance(path, Verdicts):
        return f"native {_word(path.native)} aggregated {_word(path.aggregated)}"
    return "accepted" if path is None else "refused"


def named(resource: Resource[Any], spec: dict[str, Any], name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns"} if resource.namespaced else {"name": name}
    return {"metadata": metadata, "spec": spec}


def without(spec: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != field}


def judge(resource: Resource[Any], spec: dict[str, Any], path: Expected, *, name: str = "default") -> None:
    """Accepted: stored, read as a struct and written again without a change. Refused: at that field first."""
    for mode in ServingMode:
        admission = admit(resource, named(resource, spec, name), None, mode=mode)
        expected = getattr(path, mode) if isinstance(path, Verdicts) else path
        if expected is not None:
            assert admission.errors, f"accepted in {mode} mode"
            assert str(admission.errors[0]).partition(": ")[0] == expected, mode
            continue
        assert [str(error) for error in admission.errors] == [], mode
        assert admission.unknown_fields == []
        survives(resource, admission.object, mode)


def survives(resource: Resource[Any], stored: dict[str, Any], mode: ServingMode = ServingMode.NATIVE) -> None:
    """What was accepted is accepted again without a change, and no struct loses a part of it."""
    again = admit(resource, stored, stored, mode=mode)
    assert (again.errors, again.object) == ([], stored)
    written = json.loads(msgspec.json.encode(msgspec.convert(stored, resource.type)))
    assert without_zeros(written.get("spec", {})) == without_zeros(stored["spec"])


def without_zeros(value: Any) -> Any:
    """Empty and false fields mean the same as absent ones; the number 0 does not."""
    if isinstance(value, dict):
        inner = {name: without_zeros(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not False and item not in ("", [], {}, None)}
    return [without_zeros(item) for item in value] if isinstance(value, list | tuple) else value


def every_case_has_both(cases: Mapping[Resource[Any], Sequence[Case]]) -> None:
    for resource, entries in cases.items():
        verdicts = {path is None for _, _, path in entries if not isinstance(path, Verdicts)}
        assert verdicts == {True, False}, resource.kind
