"""The CEL rules of custom kinds (x-kubernetes-validations): compiled once, evaluated on every write.

In: a structural schema; then objects, on update with what they replace. Out: `Rules`, a tree beside the schema that
has only the places with rules on them or below; causes for a 422; and for a definition, what is wrong with its rules.
A rule that was stored but does not compile refuses the values it stands at. Pure.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tortie.apiserver import cel, errors
from tortie.apiserver.cel import values
from tortie.apiserver.cel.lexer import tokens
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.errors import Cause
from tortie.apiserver.schema import declare
from tortie.apiserver.schema.node import Node
from tortie.apiserver.schema.validate import identity, type_word

CALL_LIMIT = cel.COST_LIMIT
OBJECT_LIMIT = 10 * cel.COST_LIMIT
"""What one rule, and all rules of one object together, may cost."""
REASONS = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
MESSAGE_LENGTH = 5120
EXTENSION = "x-kubernetes-validations"
ROOT = "<nil>"
"""The field of a cause that is about the whole object."""
_MISSING: Any = object()
_SEGMENT = re.compile(r"\.([^.\[\]]+)|\[(?:'([^']*)'|\"([^\"]*)\")\]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. program is None when the expression does not compile: `problem` says why. field_path: relative."""

    text: str
    program: "cel.Program | None"
    problem: str
    message: str
    message_program: "cel.Program | None"
    reason: str
    field_path: str
    transition: bool
    optional: bool


@dataclass(slots=True)
class Rules:
    """The rules of one place, and of the places below. transitions: some rule here or below compares with the old."""

    rules: tuple[Rule, ...] = ()
    view: declare.View | None = None
    properties: dict[str, "Rules"] = field(default_factory=dict)
    values: "Rules | None" = None
    items: "Rules | None" = None
    node: Node | None = None
    transitions: bool = False

    @property
    def empty(self) -> bool:
        return not (self.rules or self.properties or self.values or self.items)


# --- compiling ---------------------------------------------------------------------------------------------------


def compile_rules(node: Node, *, path: str = "", problems: list[Cause] | None = None) -> Rules | None:
    """The rules of a whole object's schema; None when it has none. problems: collects what is wrong with them."""
    found = _compile(node, path, "", problems if problems is not None else [], root=True)
    return None if found.empty else found


def _compile(node: Node, path: str, fixed: str, problems: list[Cause], *, root: bool = False) -> Rules:
    """fixed: the list above whose items have no identity, so that nothing below can be compared with the old."""
    made = Rules(node=node)
    if node.rules:
        kind = declare.type_of(node, root=root) or DYN
        made.view = declare.view_of(node, root=root)
        made.rules = tuple(
            _rule(rule, node, kind, f"{path}.{EXTENSION}[{place}]", fixed, problems)
            for place, rule in enumerate(node.rules)
        )
    for key, sub in node.properties.items():
        if root and key in {"apiVersion", "kind", "metadata"}:
            continue
        below = _compile(sub, f"{path}.properties[{key}]", fixed, problems)
        if not below.empty:
            made.properties[key] = below
    if node.values is not None:
        below = _compile(node.values, f"{path}.additionalProperties", fixed, problems)
        made.values = None if below.empty else below
    if node.items is not None:
        within = fixed or (path if node.list_type != "map" else "")
        below = _compile(node.items, f"{path}.items", within, problems)
        made.items = None if below.empty else below
    parts = [*made.properties.values(), made.values, made.items]
    made.transitions = any(r.transition for r in made.rules) or any(p is not None and p.transitions for p in parts)
    return made


def _rule(rule: Mapping[str, Any], node: Node, kind: Type, path: str, fixed: str, problems: list[Cause]) -> Rule:
    text = str(rule.get("rule") or "")
    optional = bool(rule.get("optionalOldSelf"))
    transition = names(text, "oldSelf")
    problems += _form(rule, node, path)
    variables: dict[str, Type | None] = {"self": kind}
    if transition:
        variables["oldSelf"] = cel.optional_of(kind) if optional else kind
        if fixed:
            problems.append(
                errors.invalid_value(
                    f"{path}.rule",
                    text,
                    f"oldSelf cannot be used on the uncorrelatable portion of the schema within {fixed}",
                )
            )
    elif optional:
        problems.append(
            errors.invalid_value(f"{path}.optionalOldSelf", True, "may not be set if oldSelf is not used in rule")
        )
    program, message_program, problem = None, None, ""
    if text.strip():
        program, problem = _program(text, variables, cel.BOOL)
        if problem:
            problems.append(errors.invalid_value(f"{path}.rule", text, problem))
    expression = str(rule.get("messageExpression") or "")
    if expression.strip():
        message_program, why = _program(expression, variables, cel.STRING)
        if why:
            problems.append(errors.invalid_value(f"{path}.messageExpression", expression, why))
    suffix = ""
    if rule.get("fieldPath"):
        suffix, why = _field_path(str(rule["fieldPath"]), node)
        if why:
            problems.append(errors.invalid_value(f"{path}.fieldPath", rule["fieldPath"], why))
    reason = rule.get("reason")
    return Rule(
        text=text,
        program=program,
        problem=problem or ("" if program is not None else "rule is not specified"),
        message=str(rule.get("message") or "").strip(),
        message_program=message_program,
        reason=reason if reason in REASONS else "FieldValueInvalid",
        field_path=suffix,
        transition=transition,
        optional=optional,
    )


def _program(text: str, variables: Mapping[str, Type | None], result: Type) -> "tuple[cel.Program | None, str]":
    try:
        return cel.compile(text, variables, result=result), ""
    except cel.CelError as error:
        return None, f"compilation failed: {error.shown(text)}"


def names(expression: str, name: str) -> bool:
    """Whether an expression names a variable."""
    if name not in expression:
        return False
    try:
        found = tokens(expression)
    except cel.CelError:
        return False
    before: Any = None
    for token in found:
        if token.kind == "name" and token.value == name and before != ".":
            return True
        before = token.value if token.kind == "operator" else None
    return False


def _form(rule: Mapping[str, Any], node: Node, path: str) -> Iterator[Cause]:
    """What is wrong with a rule besides its expressions."""
    text = str(rule.get("rule") or "")
    message, expression = rule.get("message"), rule.get("messageExpression")
    if not text.strip():
        yield errors.required(f"{path}.rule", "rule is not specified")
    if message is not None and message != "" and not str(message).strip():
        yield errors.invalid_value(f"{path}.message", message, "message must be non-empty if specified")
    elif message and "\n" in str(message).strip():
        yield errors.invalid_value(f"{path}.message", message, "message must not contain line breaks")
    elif not message and "\n" in text.strip() and not expression:
        yield errors.required(f"{path}.message", "message must be specified if rule contains line breaks")
    if expression is not None and expression != "" and not str(expression).strip():
        yield errors.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in REASONS:
        yield errors.not_supported(f"{path}.reason", reason, REASONS)


def _field_path(text: str, node: Node) -> tuple[str, str]:
    """A relative path as errors show it, or why it is none."""
    shown, at = "", 0
    place: Node | None = node
    while at < len(text):
        match = _SEGMENT.match(text, at)
        if match is None:
            return "", "fieldPath must be a valid path: .field or ['field'] for each step, without numbers of items"
        name = match[1] or match[2] or match[3] or ""
        while place is not None and place.items is not None:
            place = place.items
        if place is None or (name not in place.properties and place.values is None):
            return "", f"fieldPath must be a valid path: does not refer to a valid field: {name}"
        shown += f".{name}" if name in place.properties else f"[{name}]"
        place = place.properties.get(name) or place.values
        at = match.end()
    return shown, ""


# --- evaluating --------------------------------------------------------------------------------------------------


class _Exhausted(Exception):
    """The rules of one object have cost too much."""


class _Check:
    """One object's evaluation: what it found, and what it may still cost."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self.left = OBJECT_LIMIT

    def walk(self, rules: Rules, value: Any, old: Any, path: str, *, same: bool, root: bool = False) -> None:
        """same: something above is as it was before, and so is this; then only comparisons with the old count."""
        if value is None or (same and not rules.transitions):
            return
        if old is None:
            old = _MISSING
        shown, before = self._views(rules, value, old, path, root=root)
        if not same and old is not _MISSING:
            same = (rules.view is not None and shown == before) if root else (value == old)
            if same and not rules.transitions:
                return
        if shown is not _MISSING:
            for rule in rules.rules:
                if rule.transition:
                    if old is _MISSING and not rule.optional:
                        continue
                elif same:
                    continue
                self._evaluate(rule, value, shown, before, path)
        if isinstance(value, dict):
            earlier = old if isinstance(old, dict) else {}
            for key, below in rules.properties.items():
                if key in value:
                    self.walk(below, value[key], earlier.get(key, _MISSING), _joined(path, key), same=same)
            if rules.values is not None:
                known = rules.node.properties if rules.node is not None else {}
                for key, sub in value.items():
                    if key not in known:
                        self.walk(rules.values, sub, earlier.get(key, _MISSING), f"{path}[{key}]", same=same)
        elif isinstance(value, list) and rules.items is not None:
            self._items(rules, rules.items, value, old, path, same=same)

    def _items(self, rules: Rules, below: Rules, value: list[Any], old: Any, path: str, *, same: bool) -> None:
        node = rules.node
        assert node is not None
        before = {}
        if node.list_type == "map" and isinstance(old, list):
            before = {identity(node, item): item for item in old}
        for index, item in enumerate(value):
            earlier = before.get(identity(node, item), _MISSING) if before else _MISSING
            self.walk(below, item, earlier, f"{path}[{index}]", same=same)

    def _views(self, rules: Rules, value: Any, old: Any, path: str, *, root: bool) -> tuple[Any, Any]:
        """Both values as expressions see them; MISSING when the new one cannot be seen at all."""
        if rules.view is None or not (rules.rules or root):
            return value, old
        try:
            shown = rules.view(value)
        except cel.CelError as error:
            self.causes.append(_broken(path, value, f"rules cannot read the value: {error}"))
            return _MISSING, _MISSING
        try:
            return shown, rules.view(old) if old is not _MISSING else old
        except cel.CelError:
            return shown, _MISSING

    def _evaluate(self, rule: Rule, value: Any, shown: Any, before: Any, path: str) -> None:
        at = path + rule.field_path if path else rule.field_path.lstrip(".")
        if rule.program is None:
            self.causes.append(_broken(path, value, f"rule compile error: {rule.problem}"))
            return
        bindings: dict[str, Any] = {"self": shown}
        if rule.transition:
            bindings["oldSelf"] = before if not rule.optional else values.Optional(before is not _MISSING, before)
        try:
            result = self._run(rule.program, bindings)
        except cel.CelError as error:
            name = rule.message or rule.text.strip()
            self.causes.append(_broken(at, value, f"{error.message} evaluating rule: {name}"))
            return
        if result is not True:
            self.causes.append(_failed(rule.reason, at, value, self._message(rule, bindings)))

    def _run(self, program: "cel.Program", bindings: Mapping[str, Any]) -> Any:
        meter = cel.Meter(CALL_LIMIT)
        try:
            result = program.value(bindings, meter)
        except cel.CostExceeded:
            self._pay(CALL_LIMIT)
            raise cel.CelError("call cost exceeds limit") from None
        except cel.CelError:
            self._pay(meter.limit - meter.left)
            raise
        self._pay(meter.limit - meter.left)
        return result

    def _pay(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _Exhausted

    def _message(self, rule: Rule, bindings: Mapping[str, Any]) -> str:
        """What the rule says when it fails; an expression that gives no usable text counts as absent."""
        if rule.message_program is not None:
            try:
                text = self._run(rule.message_program, bindings)
            except cel.CelError:
                text = None
            if isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= MESSAGE_LENGTH:
                return text.strip()
        return rule.message or f"failed rule: {rule.text.strip()}"


def check(rules: Rules, obj: Any, old: Any | None) -> list[Cause]:
    """Causes for an object; `old` is what it replaces. Rules at unchanged values pass unless they compare with old."""
    run = _Check()
    try:
        run.walk(rules, obj, _MISSING if old is None else old, "", same=False, root=True)
    except _Exhausted:
        run.causes.append(
            Cause(
                "FieldValueInvalid",
                ROOT,
                "Invalid value: validation failed due to running out of cost budget, no further validation rules "
                "will be run",
            )
        )
    return run.causes


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_WORDS = {
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
}


def _failed(reason: str, path: str, value: Any, detail: str) -> Cause:
    """A rule that is not true of a value. What a simple value is gets shown; more would hide the sentence."""
    word = _WORDS.get(reason, "Invalid value")
    if reason in {"FieldValueInvalid", "FieldValueDuplicate"} and not isinstance(value, dict | list):
        word += f": {json.dumps(value, ensure_ascii=False)}"
    return Cause(reason, path or ROOT, f"{word}: {detail}")


def _broken(path: str, value: Any, detail: str) -> Cause:
    """A rule that could not be evaluated."""
    return Cause("FieldValueInvalid", path or ROOT, f'Invalid value: "{type_word(value)}": {detail}')
