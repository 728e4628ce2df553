"""The expressions of one admission policy: compiled once, then evaluated for each request within a budget.

In: `spec` of a Validating- or MutatingAdmissionPolicy. Out: `Compiled`, which also knows what is wrong with the
expressions; and `Evaluation`, one policy on one request with one parameter. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tortie.apiserver import cel, errors
from tortie.apiserver.admission.variables import NAMESPACE, REQUEST, Variables, once
from tortie.apiserver.cel import values
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.errors import Cause

Object = dict[str, Any]
BUDGET = 10 * cel.COST_LIMIT
"""What all expressions of one evaluation may cost together; a single one has the limit of any expression."""
MESSAGE_LENGTH = 5120
ANNOTATION_LENGTH = 10 * 1024
_MESSAGES: cel.Messages = {"Object": None, "JSONPatch": ("op", "from", "path", "value")}


@dataclass(frozen=True, slots=True)
class Validation:
    index: int
    text: str
    program: cel.Program
    message: str
    message_program: cel.Program | None
    reason: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """kind: ApplyConfiguration or JSONPatch."""

    kind: str
    program: cel.Program


@dataclass(frozen=True, slots=True)
class Problem:
    """An expression that does not compile. at: its place in the policy."""

    at: str
    expression: str
    text: str

    @property
    def cause(self) -> Cause:
        return errors.invalid_value(self.at, self.expression, f"compilation failed: {self.text}")


@dataclass(slots=True)
class Compiled:
    """A policy's programs. problems: the expressions that do not compile."""

    conditions: list[tuple[str, cel.Program]] = field(default_factory=list)
    variables: list[tuple[str, cel.Program]] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    annotations: list[tuple[str, cel.Program]] = field(default_factory=list)
    mutations: list[Mutation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class _Compiler:
    def __init__(self, object_type: Type) -> None:
        self.problems: list[Problem] = []
        self.scope: dict[str, Type | None] = {
            "object": object_type, "oldObject": object_type, "request": REQUEST, "namespaceObject": NAMESPACE,
            "authorizer": DYN,
        }  # fmt: skip
        self.variables: dict[str, Type] = {}

    def program(
        self,
        text: Any,
        at: str,
        *wanted: Type,
        without: str = "",
        messages: cel.Messages | None = None,
    ) -> cel.Program | None:
        """None when the expression is absent or wrong. wanted: the types it may give. without: a variable that it
        does not see."""
        expression = str(text or "")
        if not expression.strip():
            return None
        scope = {**self.scope, "variables": cel.object_of("variables", self.variables)}
        scope.pop(without, None)
        try:
            made = cel.compile(expression, scope, messages=messages)
            if wanted and not any(_gives(made.result, kind) for kind in wanted):
                raise cel.CelError(f"must evaluate to {' or '.join(_shown(kind) for kind in wanted)}")
        except cel.CelError as error:
            self.problems.append(Problem(at, expression, error.shown(expression)))
            return None
        return made


def _gives(given: Type, wanted: Type) -> bool:
    if given.name == "dyn" or given.name == wanted.name == "list":
        return given.name == "dyn" or all(_gives(g, w) for g, w in zip(given.params, wanted.params, strict=False))
    return given.name == wanted.name


def _shown(kind: Type) -> str:
    return "null_type" if kind.name == "null" else f"[]{kind.params[0].name}" if kind.params else kind.name


def compiled(spec: Mapping[str, Any], *, object_type: Type = DYN) -> Compiled:
    """The programs of a policy. object_type: of `object`, where type checking knows it."""
    at = "spec"
    compiler = _Compiler(object_type)
    found = Compiled(problems=compiler.problems)
    if spec.get("paramKind"):
        compiler.scope["params"] = DYN
    for index, entry in enumerate(spec.get("variables") or ()):
        name = str(entry.get("name", ""))
        program = compiler.program(entry.get("expression"), f"{at}.variables[{index}].expression")
        compiler.variables[name] = program.result if program is not None else DYN
        if program is not None:
            found.variables.append((name, program))
    for index, entry in enumerate(spec.get("matchConditions") or ()):
        place = f"{at}.matchConditions[{index}].expression"
        program = compiler.program(entry.get("expression"), place, cel.BOOL, without="variables")
        if program is not None:
            found.conditions.append((str(entry.get("name", "")), program))
    for index, entry in enumerate(spec.get("validations") or ()):
        place = f"{at}.validations[{index}]"
        program = compiler.program(entry.get("expression"), f"{place}.expression", cel.BOOL)
        message = compiler.program(
            entry.get("messageExpression"), f"{place}.messageExpression", cel.STRING, without="authorizer"
        )
        if program is not None:
            text, said = str(entry.get("expression", "")).strip(), str(entry.get("message") or "").strip()
            found.validations.append(
                Validation(index, text, program, said, message, str(entry.get("reason") or "Invalid"))
            )
    for index, entry in enumerate(spec.get("auditAnnotations") or ()):
        place = f"{at}.auditAnnotations[{index}].valueExpression"
        program = compiler.program(entry.get("valueExpression"), place, cel.STRING, cel.NULL)
        if program is not None:
            found.annotations.append((str(entry.get("key", "")), program))
    for index, entry in enumerate(spec.get("mutations") or ()):
        found.mutations += _mutation(compiler, entry, f"{at}.mutations[{index}]")
    return found


_RESULTS = {
    "ApplyConfiguration": ("applyConfiguration", cel.object_of("Object", {})),
    "JSONPatch": ("jsonPatch", cel.list_of(cel.object_of("JSONPatch", {}))),
}


def _mutation(compiler: _Compiler, entry: Mapping[str, Any], at: str) -> Iterator[Mutation]:
    kind = str(entry.get("patchType"))
    if kind not in _RESULTS:
        return
    key, result = _RESULTS[kind]
    expression = (entry.get(key) or {}).get("expression")
    program = compiler.program(expression, f"{at}.{key}.expression", result, messages=_MESSAGES)
    if program is not None:
        yield Mutation(kind, program)


def expressions(spec: Mapping[str, Any]) -> set[str]:
    """Every expression of a policy."""
    found: set[str] = set()
    for entry in [e for key in ("variables", "matchConditions", "validations", "auditAnnotations", "mutations")
                  for e in spec.get(key) or ()]:  # fmt: skip
        places = (entry, entry.get("applyConfiguration") or {}, entry.get("jsonPatch") or {})
        found |= {str(p.get(k) or "") for p in places for k in ("expression", "messageExpression", "valueExpression")}
    return found


class Evaluation:
    """One policy on one request with one parameter."""

    def __init__(self, policy: Compiled, bindings: Mapping[str, Any]) -> None:
        self._policy = policy
        self._left = BUDGET
        variables = Variables()
        self._bindings = {**bindings, "variables": variables}
        for name, program in policy.variables:
            variables[name] = once(lambda program=program: self.run(program))  # type: ignore[misc] # binds now

    def run(self, program: cel.Program) -> Any:
        """An expression's value as CEL has it. Raises CelError."""
        meter = cel.Meter(min(cel.COST_LIMIT, max(self._left, 0)))
        try:
            return program.value(self._bindings, meter)
        except cel.CostExceeded:
            if meter.limit < cel.COST_LIMIT:
                raise cel.CelError("validation failed due to running out of cost budget") from None
            raise cel.CelError("operation cancelled: actual cost limit exceeded") from None
        finally:
            self._left -= meter.limit - max(meter.left, 0)

    def plain(self, program: cel.Program) -> Any:
        """An expression's value as JSON. Raises CelError."""
        return values.plain(self.run(program), cel.Meter(cel.COST_LIMIT))

    def matches(self) -> bool:
        """Whether every match condition holds: false wins over errors, else an error raises CelError."""
        failed: list[str] = []
        for name, program in self._policy.conditions:
            try:
                if self.run(program) is not True:
                    return False
            except cel.CelError as error:
                failed.append(f"{name}: {error.message}")
        if failed:
            raise cel.CelError("failed to evaluate match conditions: " + "; ".join(failed))
        return True

    def message(self, validation: Validation) -> str:
        """What a failed validation says."""
        if validation.message_program is not None:
            try:
                text = self.run(validation.message_program)
            except cel.CelError:
                text = None
            if isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= MESSAGE_LENGTH:
                return text.strip()
        return validation.message or f"failed expression: {validation.text}"

    def annotations(self) -> Iterator[tuple[str, str]]:
        """Audit annotations with their values; an expression that gives null or nothing makes none. May raise."""
        for key, program in self._policy.annotations:
            value = self.run(program)
            if isinstance(value, str) and value:
                yield key, value[:ANNOTATION_LENGTH]
