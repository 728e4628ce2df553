"""The table of Felix's parameters: complete, consistent in both forms, and documented.

What admission says about single fields is in test_model_validation_config_felix.py; precedence is in
tests/felix/test_daemon_config.py.
"""

import ast
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tortie.felix
from tortie.model import reference
from tortie.model.admission import ServingMode, admit
from tortie.model.catalog import FELIX_CONFIGURATIONS
from tortie.model.convert.configuration import parameter_text
from tortie.model.schema import openapi_schema
from tortie.model.structural import Check, apply
from tortie.model.v3.felix import FelixConfiguration
from tortie.model.v3.felix_parameters import BY_NAME, LOCAL_NAMES, PARAMETERS, Parameter, snake_case
from tortie.model.v3.felix_parameters.acting import ACTING
from tortie.model.v3.felix_parameters.values import canonical_text, field_problems

PAGE = Path(__file__).parents[2] / "docs" / "felix-configuration.md"


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == reference.markdown(), "run `make docs`"


def test_the_counts_are_those_of_the_editions() -> None:
    """Spec 5.1: 308 fields in the Enterprise schema, 188 in the open source one, 120 in the former only."""
    enterprise = [p for p in PARAMETERS.values() if p.edition == "E"]
    assert (len(PARAMETERS), len(enterprise), len(PARAMETERS) - len(enterprise)) == (308, 120, 188)


def test_names_are_distinct_also_from_those_that_only_the_environment_has() -> None:
    assert len(BY_NAME) == len(PARAMETERS)
    assert LOCAL_NAMES.isdisjoint(BY_NAME)


def test_what_felix_acts_on_is_what_its_source_asks_for() -> None:
    asked = {"nodeSelector"}
    for path in Path(next(iter(tortie.felix.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if text[:1].isupper() and text.lower() in BY_NAME:
                asked.add(BY_NAME[text.lower()].field)
    assert asked == ACTING


_PLAIN = ("bool", "int", "string", "regex", "address", "choice", "duration", "interfaces")
_READ: dict[str, Any] = {"bool": lambda text: text == "true", "int": lambda text: int(text, 0)}


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=lambda parameter: parameter.field)
def test_a_default_is_a_good_value_in_both_forms(parameter: Parameter) -> None:
    schema = openapi_schema(FELIX_CONFIGURATIONS)["properties"]["spec"]["properties"][parameter.field]
    for default in filter(None, {parameter.default, *(parameter.editions or ())}):
        text = canonical_text(parameter, default)
        assert canonical_text(parameter, text) == text
        if parameter.kind in _PLAIN:
            field = _READ.get(parameter.kind, str)(default)
            check = Check()
            apply(schema, field, parameter.field, check)
            assert check.errors == []
            assert list(field_problems(parameter, field)) == []


# --- what the API accepts, Felix understands ---------------------------------------------------------------------

_DURATIONS = st.lists(
    st.tuples(st.integers(0, 999), st.sampled_from(("h", "m", "s", "ms"))), min_size=1, max_size=3
).map(lambda parts: "".join(f"{number}{unit}" for number, unit in parts))
_PORTS = st.integers(1, 65535)
_V4_CIDRS = st.tuples(st.integers(0, 255), st.integers(8, 32)).map(lambda pair: f"10.{pair[0]}.0.0/{pair[1]}")


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Values that the API accepts for a field."""
    low, high = parameter.minimum, parameter.maximum
    match parameter.kind:
        case "bool":
            return st.booleans()
        case "int":
            return st.integers(-(2**31) if low is None else low, 2**31 - 1 if high is None else high)
        case "choice":
            words = st.sampled_from(parameter.choices)
            return (
                words.flatmap(lambda word: st.sampled_from((word, word.lower(), word.upper())))
                if (parameter.fold)
                else words
            )
        case "duration":
            return _DURATIONS
        case "address":
            # Addresses that wrap an IPv4 one are refused.
            found = st.ip_addresses(v=parameter.version)
            return found.filter(lambda found: getattr(found, "ipv4_mapped", None) is None).map(str)
        case "cidrs":
            return st.lists(_V4_CIDRS, min_size=1, max_size=3)
        case "ports":
            protocols = st.sampled_from(("TCP", "UDP", "SCTP"))
            port = st.fixed_dictionaries(
                {"protocol": protocols, "port": st.integers(0, 65535)}, optional={"net": _V4_CIDRS}
            )
            return st.lists(port, max_size=4)
        case "port-range":
            return _PORTS
        case "port-ranges":
            return st.lists(
                st.tuples(_PORTS, _PORTS).map(lambda ends: f"{min(ends)}:{max(ends)}"), min_size=1, max_size=7
            )
        case "table-range":
            return st.lists(st.integers(1, 250), min_size=2, max_size=2).map(lambda e: {"min": min(e), "max": max(e)})
        case "table-ranges":
            return st.lists(st.integers(1, 9000).map(lambda low: {"min": low, "max": low + 9}), min_size=1, max_size=4)
        case "timeouts":
            name = st.text("abcXYZ_ -", min_size=1, max_size=9).filter(str.strip)
            return st.lists(st.fixed_dictionaries({"name": name, "timeout": _DURATIONS}), max_size=3)
        case "dscp":
            return st.one_of(st.integers(0, 63), st.sampled_from(("EF", "af21", "CS6")))
        case _:
            return st.nothing()


_VALUES = {
    field: values
    for field, parameter in PARAMETERS.items()
    if field != "routeTableRange" and not (values := values_of(parameter)).is_empty
}
_SPECS = st.lists(st.sampled_from(sorted(_VALUES)), unique=True, max_size=10).flatmap(
    lambda fields: st.fixed_dictionaries({field: _VALUES[field] for field in fields})
)


@settings(max_examples=300, deadline=None)
@given(_SPECS)
def test_what_the_api_accepts_survives_storage_and_is_understood_by_felix(spec: dict[str, Any]) -> None:
    aggregated = admit(
        FELIX_CONFIGURATIONS, {"metadata": {"name": "default"}, "spec": spec}, None, mode=ServingMode.AGGREGATED
    )
    assert aggregated.errors == []
    admission = admit(FELIX_CONFIGURATIONS, {"metadata": {"name": "default"}, "spec": spec}, None)
    assert admission.errors == []
    stored = admission.object
    assert spec.items() <= stored["spec"].items()
    again = admit(FELIX_CONFIGURATIONS, stored, stored)
    assert (again.errors, again.object) == ([], stored)
    struct = msgspec.convert(stored, FelixConfiguration)
    assert json.loads(msgspec.json.encode(struct.spec)) == stored["spec"]
    for field in spec:
        value = getattr(struct.spec, snake_case(field))
        if value != "":
            canonical_text(PARAMETERS[field], parameter_text(PARAMETERS[field], value) or "none")
