"""CEL rules of custom kinds: what they see, when they run, what they say; what definitions may hold; ratcheting.

The language itself is in test_apiserver_cel.py; that writes of every form run the rules is at the end of this file.
"""

import time
from typing import Any

import pytest
from apiserver_http import APPLY, MERGE, Http
from tools import ApiServer

from tortie.apiserver.errors import Cause
from tortie.apiserver.schema import costs, structural
from tortie.apiserver.schema import rules as r
from tortie.apiserver.schema.node import from_openapi
from tortie.apiserver.schema.validate import validate

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def _object(properties: dict[str, Any], *rules: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "x-kubernetes-validations": _listed(rules), **more}


def _listed(rules: Any) -> list[dict[str, Any]]:
    return [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]


def _ruled(schema: dict[str, Any], *rules: Any) -> dict[str, Any]:
    return {**schema, "x-kubernetes-validations": _listed(rules)}


def _problems(schema: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    r.compile_rules(from_openapi(schema, metadata=from_openapi({"type": "object"}), top=True), problems=found)
    return found


def _check(schema: dict[str, Any], obj: Any, old: Any = None) -> list[Cause]:
    compiled = r.compile_rules(from_openapi(schema, metadata=from_openapi({"type": "object"}), top=True))
    assert compiled is not None
    assert _problems(schema) == []
    return r.check(compiled, obj, old)


def _fields(causes: list[Cause]) -> list[str]:
    return [cause.field for cause in causes]


def _spec(field: dict[str, Any], *rules: Any) -> dict[str, Any]:
    return _object({"spec": _object({"x": field}, *rules)})


@pytest.mark.parametrize(
    ("field", "rule", "good", "bad"),
    [
        (STRING, "self.x.startsWith('a')", "abc", "bc"),
        (INTEGER, "self.x % 2 == 0", 4, 3),
        ({"type": "number"}, "self.x > 0.5 && type(self.x) == double", 1, 0),
        ({"type": "boolean"}, "self.x", True, False),
        ({"x-kubernetes-int-or-string": True}, "type(self.x) == int ? self.x < 9 : self.x == 'all'", "all", 9),
        ({"x-kubernetes-int-or-string": True}, "type(self.x) == int ? self.x < 9 : self.x == 'all'", 8, "none"),
        (
            {"type": "string", "format": "date-time"},
            "self.x < timestamp('2026-01-01T00:00:00Z')",
            "2025-12-31T23:59:59Z",
            "2026-01-01T00:00:00Z",
        ),
        ({"type": "string", "format": "date"}, "self.x.getFullYear() == 2026", "2026-02-03", "2025-02-03"),
        ({"type": "string", "format": "duration"}, "self.x >= duration('1m')", "90s", "59s"),
        ({"type": "string", "format": "byte"}, "self.x == b'ab'", "YWI=", "YWM="),
        ({"type": "array", "items": INTEGER}, "self.x.all(i, i > 0)", [1, 2], [1, 0]),
        ({"type": "object", "additionalProperties": INTEGER}, "self.x.all(k, self.x[k] > 0)", {"a": 1}, {"a": 0}),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            "self.x == ['a', 'b']",
            ["b", "a"],
            ["a", "c"],
        ),
        ({"type": "string", "nullable": True}, "!has(self.x) || self.x != 'no'", None, "no"),
        ({"type": "string", "format": "ipv4"}, "cidr('10.0.0.0/8').containsIP(self.x)", "10.1.1.1", "1.1.1.1"),
    ],
)  # fmt: skip
def test_rules_see_values_with_the_types_of_the_schema(field: dict, rule: str, good: Any, bad: Any) -> None:
    schema = _spec(field, rule)
    assert _check(schema, {"spec": {"x": good}}) == []
    assert _fields(_check(schema, {"spec": {"x": bad}})) == ["spec"]


def test_names_that_are_no_identifiers_are_written_escaped() -> None:
    names = {"namespace": "__namespace__", "x-prop": "x__dash__prop", "a.b": "a__dot__b", "a/b": "a__slash__b",
             "redact__d": "redact__underscores__d", "in": "__in__"}  # fmt: skip
    for name, escaped in names.items():
        schema = _object({"spec": _object({name: INTEGER}, f"self.{escaped} > 0")})
        assert _check(schema, {"spec": {name: 1}}) == [], name
        assert _fields(_check(schema, {"spec": {name: 0}})) == ["spec"], name


def test_the_root_shows_its_head_and_nothing_else_of_the_metadata() -> None:
    schema = _object(
        {}, "self.apiVersion == 'a/v1' && self.kind == 'K' && self.metadata.name.startsWith('x-')",
        "!has(self.metadata.generateName)",
    )  # fmt: skip
    head = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x-1", "labels": {"a": "b"}}}
    assert _check(schema, head) == []
    assert len(_check(schema, {**head, "metadata": {"name": "y"}})) == 1
    assert "undefined field 'labels'" in _problems(_object({}, "has(self.metadata.labels)"))[0].message


def test_an_embedded_resource_shows_its_head() -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    schema = _object({"template": _ruled(inner, "self.kind == 'Pod' && self.metadata.name == 'p'")})
    assert _check(schema, {"template": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"a": 1}}}) == []
    assert _fields(_check(schema, {"template": {"kind": "Job", "metadata": {"name": "p"}}})) == ["template"]


def test_what_the_schema_does_not_know_cannot_be_named() -> None:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    anything = {"x-kubernetes-preserve-unknown-fields": True}
    for field in (anything, {"type": "array", "items": anything}, {"type": "object", "additionalProperties": anything}):
        assert "undefined field 'x'" in _problems(_spec(field, "has(self.x)"))[0].message
    assert "undefined field 'y'" in _problems(_spec(free, "has(self.x.y)"))[0].message


def test_every_level_has_its_own_self_and_path() -> None:
    schema = _object(
        {
            "spec": _object(
                {
                    "list": {"type": "array", "items": _ruled(STRING, "self != 'bad'")},
                    "map": {"type": "object", "additionalProperties": _ruled(INTEGER, "self > 0")},
                    "deep": _object({"n": _ruled(INTEGER, "self < 5")}),
                }
            )
        }
    )
    value = {"spec": {"list": ["good", "bad"], "map": {"a": 1, "b": 0}, "deep": {"n": 5}}}
    assert _fields(_check(schema, value)) == ["spec.list[1]", "spec.map[b]", "spec.deep.n"]


def test_a_failure_says_message_expression_or_rule_in_this_order_of_preference() -> None:
    value = {"spec": {"x": 7}}

    def said(**rule: Any) -> str:
        return _check(_spec(INTEGER, {"rule": "self.x < 5", **rule}), value)[0].message

    assert said() == "Invalid value: failed rule: self.x < 5"
    assert said(message="too many") == "Invalid value: too many"
    expression = "'x is ' + string(self.x)"
    assert said(message="too many", messageExpression=expression) == "Invalid value: x is 7"
    for unusable in ("''", "'  '", "'a\\nb'", "string(self.x / 0)"):
        assert said(message="too many", messageExpression=unusable).endswith(": too many")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("FieldValueInvalid", "Invalid value: m"),
        ("FieldValueForbidden", "Forbidden: m"),
        ("FieldValueRequired", "Required value: m"),
        ("FieldValueDuplicate", "Duplicate value: m"),
    ],
)
def test_a_rule_chooses_reason_and_field(reason: str, message: str) -> None:
    rule = {"rule": "self.x < 5", "message": "m", "reason": reason, "fieldPath": ".x"}
    assert _check(_spec(INTEGER, rule), {"spec": {"x": 7}}) == [Cause(reason, "spec.x", message)]


def test_field_paths_go_through_lists_and_quoted_names() -> None:
    items = {"type": "array", "items": _object({"foo.34$": STRING})}
    rule = {"rule": "false", "fieldPath": ".list['foo.34$']"}
    assert _fields(_check(_object({"list": items}, rule), {})) == ["list.foo.34$"]
    for wrong in (".missing", "list", ".list[0]", ".list.other", ".list.", ""):
        found = _problems(_object({"list": items}, {"rule": "false", "fieldPath": wrong}))
        assert bool(found) is bool(wrong), wrong


def test_an_evaluation_error_refuses_the_value_it_stands_at() -> None:
    schema = _spec(INTEGER, {"rule": "self.x > 0", "message": "x must be positive"})
    (cause,) = _check(schema, {"spec": {}})
    assert cause.field == "spec"
    assert cause.message == 'Invalid value: "object": no such key: x evaluating rule: x must be positive'


def test_a_simple_value_is_shown_with_what_is_wrong_with_it() -> None:
    for field, value, shown in ((INTEGER, 7, "7"), (STRING, "seven", '"seven"'), ({"type": "boolean"}, True, "true")):
        (cause,) = _check(_spec(_ruled(field, {"rule": "false", "message": "no"})), {"spec": {"x": value}})
        assert cause == Cause("FieldValueInvalid", "spec.x", f"Invalid value: {shown}: no")
    (cause,) = _check(_object({"x": INTEGER}, {"rule": "false", "message": "no"}), {"x": 1})
    assert cause == Cause("FieldValueInvalid", "<nil>", "Invalid value: no")


def test_a_stored_rule_that_does_not_compile_refuses_the_value_it_stands_at() -> None:
    compiled = r.compile_rules(from_openapi(_spec(_ruled(INTEGER, "self.nothing > 0")), top=True))
    assert compiled is not None
    (cause,) = r.check(compiled, {"spec": {"x": 1}}, None)
    assert cause.field == "spec.x"
    assert "rule compile error: compilation failed: ERROR: <input>:1:5" in cause.message


def test_transition_rules_run_only_where_there_is_an_old_value() -> None:
    schema = _spec(_ruled(INTEGER, "self >= oldSelf"))
    assert _check(schema, {"spec": {"x": 1}}) == []
    assert _check(schema, {"spec": {"x": 1}}, {"spec": {}}) == []
    assert _check(schema, {"spec": {"x": 2}}, {"spec": {"x": 1}}) == []
    assert _fields(_check(schema, {"spec": {"x": 1}}, {"spec": {"x": 2}})) == ["spec.x"]


def test_transition_rules_find_items_by_their_keys() -> None:
    items = _ruled(_object({"k": STRING, "v": INTEGER}), "self.v == oldSelf.v")
    schema = _object(
        {"l": {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}
    )
    old = {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]}
    assert _check(schema, {"l": [{"k": "b", "v": 2}, {"k": "new", "v": 9}, {"k": "a", "v": 1}]}, old) == []
    assert _fields(_check(schema, {"l": [{"k": "b", "v": 2}, {"k": "a", "v": 3}]}, old)) == ["l[1]"]


@pytest.mark.parametrize("list_type", ["atomic", "set"])
def test_transition_rules_below_lists_without_keys_are_refused(list_type: str) -> None:
    items = {"type": "array", "items": _ruled(STRING, "self == oldSelf"), "x-kubernetes-list-type": list_type}
    (problem,) = _problems(_object({"l": items}))
    assert problem.field == ".properties[l].items.x-kubernetes-validations[0].rule"
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema" in problem.message


def test_an_optional_old_value_is_seen_on_create_too() -> None:
    rule = {"rule": "oldSelf.hasValue() ? self.x == oldSelf.value().x : self.x == 0", "optionalOldSelf": True}
    schema = _spec(INTEGER, rule)
    assert _check(schema, {"spec": {"x": 0}}) == []
    assert len(_check(schema, {"spec": {"x": 1}})) == 1
    assert _check(schema, {"spec": {"x": 1}}, {"spec": {"x": 1}}) == []
    assert len(_check(schema, {"spec": {"x": 2}}, {"spec": {"x": 1}})) == 1
    (problem,) = _problems(_spec(INTEGER, {"rule": "self.x > 0", "optionalOldSelf": True}))
    assert problem.field.endswith("[0].optionalOldSelf")


@pytest.mark.parametrize(
    ("rule", "field", "text"),
    [
        ({"rule": "self.x > 'a'"}, "rule", "found no matching overload for '_>_' applied to '(int, string)'"),
        ({"rule": "self.y > 0"}, "rule", "undefined field 'y'"),
        ({"rule": "self.x >"}, "rule", "Syntax error"),
        ({"rule": "self.x"}, "rule", "must evaluate to bool"),
        ({"rule": "other > 0"}, "rule", "undeclared reference to 'other'"),
        ({"rule": " "}, "rule", "rule is not specified"),
        ({"rule": "self.x >\n0"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "message": "a\nb"}, "message", "message must not contain line breaks"),
        ({"rule": "true", "message": "  "}, "message", "message must be non-empty if specified"),
        ({"rule": "true", "messageExpression": "self.x"}, "messageExpression", "must evaluate to string"),
        ({"rule": "true", "messageExpression": " "}, "messageExpression", "must be non-empty if specified"),
        ({"rule": "true", "reason": "FieldValueOdd"}, "reason", "supported values"),
        ({"rule": "true", "fieldPath": ".y"}, "fieldPath", "does not refer to a valid field"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_at_its_place(rule: dict, field: str, text: str) -> None:
    (problem,) = _problems(_spec(INTEGER, rule))
    assert problem.field == f".properties[spec].x-kubernetes-validations[0].{field}"
    assert text in problem.message


def test_rules_at_unchanged_values_are_not_asked_again() -> None:
    tight = _spec(_ruled(INTEGER, "self < 5"), "self.x != 8")
    old = {"spec": {"x": 9}}
    assert _check(tight, {"spec": {"x": 9}, "metadata": {"name": "a"}}, old) == []
    assert _fields(_check(tight, {"spec": {"x": 8}}, old)) == ["spec", "spec.x"]
    assert _fields(_check(tight, {"spec": {"x": 9, "y": 1}}, old)) == []
    changing = _spec(INTEGER, "self.x < 5", "oldSelf.x < 5 && self.x < 5")
    assert len(_check(changing, old, old)) == 1, "comparisons with the old are never passed over"


def test_schema_errors_at_unchanged_values_are_tolerated_but_for_the_documented_ones() -> None:
    def causes(field: dict[str, Any], new: Any, old: Any) -> list[str]:
        return [c.reason for c in validate(from_openapi(_object({"x": field, "y": INTEGER})), new, "", old)]

    assert causes({"type": "integer", "maximum": 3}, {"x": 4, "y": 1}, {"x": 4}) == []
    assert causes({"type": "integer", "maximum": 3}, {"x": 5}, {"x": 4}) == ["FieldValueInvalid"]
    assert causes(STRING, {"x": 4, "y": 1}, {"x": 4}) == []
    assert causes({"type": "object", "required": ["z"]}, {"x": {}, "y": 1}, {"x": {}}) == ["FieldValueRequired"]
    doubles = {"type": "array", "items": INTEGER, "x-kubernetes-list-type": "set"}
    assert causes(doubles, {"x": [1, 1], "y": 1}, {"x": [1, 1]}) == ["FieldValueDuplicate"]
    either = {"type": "integer", "anyOf": [{"minimum": 9}]}
    assert causes(either, {"x": 4, "y": 1}, {"x": 4}) == ["FieldValueInvalid"]


def test_a_rule_that_costs_too_much_is_refused_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "CALL_LIMIT", 100_000)
    monkeypatch.setattr(r, "OBJECT_LIMIT", 1_000_000)
    numbers = {"type": "array", "items": INTEGER}
    schema = _spec(numbers, *["self.x.all(a, self.x.all(b, self.x.all(c, a + b + c >= 0)))"] * 12)
    started = time.process_time()
    causes = _check(schema, {"spec": {"x": list(range(300))}})
    assert "call cost exceeds limit" in causes[0].message
    assert "out of cost budget, no further validation rules will be run" in causes[-1].message
    assert len(causes) <= 11
    assert time.process_time() - started < 20


NAMED = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}}
UNIQUE = "self.all(a, self.exists_one(b, a.name == b.name))"


@pytest.mark.parametrize(
    ("schema", "low", "high"),
    [
        (_ruled({"type": "string", "maxLength": 10}, "self.contains('x')"), 5, 5),
        (_ruled(STRING, "self.contains('x')"), 314574, 314574),
        (_ruled({"type": "array", "maxItems": 304, "items": NAMED}, UNIQUE), 9_900_000, 10_000_000),
        (_ruled({"type": "array", "maxItems": 305, "items": NAMED}, UNIQUE), 10_000_001, 10_100_000),
        ({"type": "array", "maxItems": 100, "items": _ruled(INTEGER, "self > 0")}, 100, 300),
        ({"type": "object", "maxProperties": 7, "additionalProperties": _ruled(INTEGER, "self > 0")}, 7, 21),
    ],
)
def test_the_cost_of_a_rule_is_estimated_from_the_bounds_of_the_schema(schema: dict, low: int, high: int) -> None:
    ((_, _, cost),) = costs.estimates(from_openapi(schema), "")
    assert low <= cost <= high


def test_a_definition_whose_rules_could_cost_too_much_is_told_what_to_bound() -> None:
    unbounded = _spec(_ruled({"type": "array", "items": STRING}, "self.all(a, self.all(b, a != b))"))
    first, _contributes, total = costs.problems(from_openapi(unbounded), "spec.schema")
    assert first.field == "spec.schema.properties[spec].properties[x].x-kubernetes-validations[0].rule"
    assert first.message == (
        "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or "
        "adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert total.field == "spec.schema"
    items = {"type": "array", "maxItems": 50, "items": {"type": "string", "maxLength": 20}}
    bounded = _spec(_ruled(items, "self.all(a, self.all(b, a != b))"))
    assert costs.problems(from_openapi(bounded), "spec.schema") == []


def test_rules_inside_combinations_are_refused_since_they_would_never_run() -> None:
    schema = {"type": "object", "properties": {"x": {**INTEGER, "anyOf": [{"minimum": 1}, _ruled({}, "self > 5")]}}}
    (problem,) = structural.check(schema, "s", top=True)
    assert problem.field == "s.properties[x].anyOf[1].x-kubernetes-validations"


# --- over HTTP -----------------------------------------------------------------------------------------------------

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCALER = _object(
    {
        "spec": _object(
            {
                "min": INTEGER,
                "max": INTEGER,
                "class": _ruled({"type": "string"}, {"rule": "self == oldSelf", "message": "class is immutable"}),
                "old": {"type": "integer", "maximum": 100},
            },
            {"rule": "self.min <= self.max", "message": "min must not be more than max", "fieldPath": ".min"},
            required=["min", "max"],
        ),
        "status": _object({"now": INTEGER}),
    },
    {"rule": "!has(self.status) || self.status.now <= self.spec.max", "message": "now must not be more than max"},
)


def _definition(plural: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.rules.example.com"},
        "spec": {
            "group": "rules.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [version],
        },
    }


@pytest.fixture(scope="module")
def http(shared_api_server: ApiServer) -> Http:
    return Http(shared_api_server)


@pytest.fixture(scope="module")
def scalers(http: Http) -> str:
    http.ok("POST", DEFINITIONS, _definition("scalers", "Scaler", SCALER))
    return "/apis/rules.example.com/v1/namespaces/default/scalers"


def _refused(http: Http, method: str, path: str, body: Any, **more: Any) -> list[tuple[str, str]]:
    answer = http(method, path, body, **more)
    assert answer.status == 422, answer.data
    return [(c["field"], c["message"]) for c in answer.json["details"]["causes"]]


MIN = [("spec.min", "Invalid value: min must not be more than max")]


def test_every_kind_of_write_runs_the_rules(http: Http, scalers: str) -> None:
    good = {"metadata": {"name": "a"}, "spec": {"min": 1, "max": 2, "class": "x"}}
    assert _refused(http, "POST", scalers, {"metadata": {"name": "a"}, "spec": {"min": 3, "max": 2}}) == MIN
    made = http.ok("POST", scalers, good)
    assert _refused(http, "PUT", f"{scalers}/a", {**made, "spec": {"min": 3, "max": 2, "class": "x"}}) == MIN
    assert _refused(http, "PATCH", f"{scalers}/a", {"spec": {"min": 3}}, content=MERGE) == MIN
    applied = {"apiVersion": "rules.example.com/v1", "kind": "Scaler", "metadata": {"name": "a"}, "spec": {"min": 3}}
    forced = {"fieldManager": "m", "force": "true"}
    assert _refused(http, "PATCH", f"{scalers}/a", applied, content=APPLY, query=forced) == MIN
    status = _refused(http, "PATCH", f"{scalers}/a/status", {"status": {"now": 3}}, content=MERGE)
    assert [message for _, message in status] == ["Invalid value: now must not be more than max"]
    http.ok("PATCH", f"{scalers}/a/status", {"status": {"now": 2}}, content=MERGE)
    (cause,) = _refused(http, "PATCH", f"{scalers}/a", {"spec": {"class": "y"}}, content=MERGE)
    assert cause == ("spec.class", 'Invalid value: "y": class is immutable')


def test_rules_wait_until_the_shape_is_right(http: Http, scalers: str) -> None:
    causes = _refused(http, "POST", scalers, {"metadata": {"name": "b"}, "spec": {"min": 3}})
    assert [field for field, _ in causes] == ["spec.max", "<nil>"]
    assert "some validation rules were not checked" in causes[1][1]


def test_a_definition_with_a_wrong_rule_is_refused(http: Http) -> None:
    schema = _object({"spec": _object({"x": STRING}, "self.x > 0")})
    ((field, message),) = _refused(http, "POST", DEFINITIONS, _definition("wrongs", "Wrong", schema))
    assert field == "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert "compilation failed: ERROR: <input>:1:8: found no matching overload" in message
    schema = _object({"x": {"type": "array", "items": STRING}}, "self.x.all(a, self.x.all(b, a != b || a == 'x'))")
    assert (
        "estimated rule cost exceeds budget" in _refused(http, "POST", DEFINITIONS, _definition("a", "A", schema))[0][1]
    )


def test_a_tightened_schema_leaves_unchanged_values_in_peace(http: Http) -> None:
    definition = _definition("loose", "Loose", _object({"spec": _object({"x": INTEGER, "y": INTEGER})}))
    made = http.ok("POST", DEFINITIONS, definition)
    path = "/apis/rules.example.com/v1/namespaces/default/loose"
    http.ok("POST", path, {"metadata": {"name": "a"}, "spec": {"x": 9, "y": 1}})
    tight = _object({"spec": _object({"x": _ruled({"type": "integer", "maximum": 5}, "self < 5"), "y": INTEGER})})
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = tight
    http.ok("PUT", f"{DEFINITIONS}/loose.rules.example.com", made)
    http.ok("PATCH", f"{path}/a", {"spec": {"y": 2}, "metadata": {"labels": {"a": "b"}}}, content=MERGE)
    causes = _refused(http, "PATCH", f"{path}/a", {"spec": {"x": 8}}, content=MERGE)
    assert {field for field, _ in causes} == {"spec.x"}
    http.ok("PATCH", f"{path}/a", {"spec": {"x": 3}}, content=MERGE)


def test_kubectl_shows_what_a_rule_says(shared_api_server: ApiServer, scalers: str) -> None:
    text = """
apiVersion: rules.example.com/v1
kind: Scaler
metadata: {name: shown, namespace: default}
spec: {min: 5, max: 4}
"""
    done = shared_api_server.kubectl("apply", "-f", "-", stdin=text, check=False)
    assert done.returncode == 1
    wanted = 'The Scaler "shown" is invalid: spec.min: Invalid value: min must not be more than max'
    assert wanted in done.stderr
