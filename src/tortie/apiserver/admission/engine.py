"""Admission policies in CEL: which of them want a request, with which parameters, and what they decide.

In: the attributes of a request, and the stored policies and bindings. Out: the changed object; warnings and audit
annotations on the call; a StatusError where a policy refuses, or fails and its failure policy says so.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tortie.apiserver import cel, errors
from tortie.apiserver.admission import attributes as attributes_of
from tortie.apiserver.admission import mutations, parameters
from tortie.apiserver.admission.attributes import Attributes
from tortie.apiserver.admission.bound import Binding, Bound, Match, Phase, Policy
from tortie.apiserver.admission.expressions import Evaluation, Mutation
from tortie.apiserver.admission.variables import authorizer_of
from tortie.apiserver.context import Call, Context
from tortie.apiserver.conversion import between
from tortie.apiserver.errors import StatusError
from tortie.apiserver.kinds import Kind
from tortie.apiserver.schema import dsl
from tortie.apiserver.schema.node import FREE

Object = dict[str, Any]
_log = logging.getLogger("tortie.apiserver")
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One validation that did not hold. index: of the expression, -1 when the policy as a whole failed."""

    message: str
    reason: str = "Invalid"
    index: int = -1


@dataclass(frozen=True, slots=True)
class _Matched:
    """A binding that wants a request, and the version of the resource it wants it in."""

    policy: Policy
    binding: Binding
    kind: Kind


class PolicyEngine:
    """The admission policies of one server."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._bound = Bound(context)
        self.evaluated = self.refused = self.failed = 0

    def statistics(self) -> dict[str, int]:
        return {"policies_evaluated": self.evaluated, "policies_refused": self.refused, "policies_failed": self.failed}

    def concern(self, kind: Kind, operation: str, subresource: str) -> bool:
        """Whether some policy with a binding may match."""
        phases: tuple[Phase, ...] = ("mutating", "validating")
        return any(self._bound.candidates(phase, kind, operation, subresource) for phase in phases)

    # --- matching ---

    def _candidates(self, phase: Phase, call: Call, attributes: Attributes) -> tuple[Policy, ...]:
        return self._bound.candidates(phase, call.kind, attributes.operation, attributes.subresource)

    def _matched(self, policy: Policy, call: Call, attributes: Attributes) -> Iterator[_Matched]:
        """The bindings of a policy that want the request."""
        labels = self._namespace_labels(attributes)
        kind = self._kind(policy.match, call, attributes)
        if kind is None or not policy.match.selects(attributes, labels):
            return
        for binding in policy.bindings:
            own = self._kind(binding.match, call, attributes)
            if own is not None and binding.match.selects(attributes, labels):
                yield _Matched(policy, binding, kind)

    def _kind(self, match: Match, call: Call, attributes: Attributes) -> Kind | None:
        registry = self._context.registry
        return match.kind(registry, attributes.operation, call.kind, attributes.subresource, attributes.name)

    def _namespace_labels(self, attributes: Attributes) -> Mapping[str, str] | None:
        if not attributes.namespaced:
            return None
        record = self._context.record("/namespaces", "", attributes.namespace)
        return record.labels if record is not None else {}

    def _parameters(self, matched: _Matched, attributes: Attributes) -> Iterator[Object | None]:
        """Raises ParameterError, and CelError when the policy does not compile."""
        if matched.policy.programs.problems:
            problem = matched.policy.programs.problems[0]
            raise cel.CelError(f"{problem.at}: compilation failed: {problem.text}")
        return parameters.resolve(self._context, matched.policy.param_kind, matched.binding.parameters, attributes)

    def _evaluation(
        self, matched: _Matched, attributes: Attributes, request: Object, parameter: Object | None
    ) -> Evaluation:
        """request: as an AdmissionReview has it, in the version that the policy names."""
        namespace = attributes.namespace if attributes.namespaced else ""
        bindings = {
            "object": request["object"],
            "oldObject": request["oldObject"],
            "request": {k: v for k, v in request.items() if k not in {"object", "oldObject"}},
            "namespaceObject": cel.Lazy(
                lambda: self._context.read("/namespaces", "", namespace) if namespace else None
            ),
            "authorizer": authorizer_of(self._context.authorizer, attributes),
            "params": parameter,
        }
        self.evaluated += 1
        return Evaluation(matched.policy.programs, bindings)

    # --- validating ---

    async def validate(self, call: Call, attributes: Attributes) -> None:
        """Raises StatusError when a policy refuses; warns and annotates as the bindings say."""
        audited: list[Object] = []
        denied: tuple[_Matched, _Refusal] | None = None
        requests: dict[str, Object] = {}
        policies = self._candidates("validating", call, attributes)
        for matched in (m for policy in policies for m in self._matched(policy, call, attributes)):
            version = matched.kind.api_version
            if version not in requests:
                requests[version] = await attributes_of.request(attributes, matched.kind, "")
            for refusal in self._refusals(matched, call, attributes, requests[version]):
                actions = matched.binding.actions
                if "Warn" in actions:
                    call.warn(f"Validation failed for {_named(matched)}: {refusal.message}")
                if "Audit" in actions:
                    audited.append(_audit(matched, refusal))
                if "Deny" in actions and denied is None:
                    denied = matched, refusal
        if audited:
            call.annotate(FAILURE_KEY, json.dumps(audited, separators=(",", ":"), ensure_ascii=False))
        if denied is not None:
            self.refused += 1
            raise _denial(call, attributes, *denied)

    def _refusals(self, matched: _Matched, call: Call, attributes: Attributes, request: Object) -> Iterator[_Refusal]:
        policy = matched.policy
        try:
            for parameter in self._parameters(matched, attributes):
                evaluation = self._evaluation(matched, attributes, request, parameter)
                if evaluation.matches():
                    yield from self._decide(policy, evaluation, call)
        except (cel.CelError, parameters.ParameterError) as error:
            yield from self._failure(policy, str(error))

    def _decide(self, policy: Policy, evaluation: Evaluation, call: Call) -> Iterator[_Refusal]:
        for validation in policy.programs.validations:
            try:
                holds = evaluation.run(validation.program) is True
            except cel.CelError as error:
                text = f"expression '{validation.text}' resulted in error: {error.message}"
                yield from self._failure(policy, text, validation.index)
                continue
            if not holds:
                yield _Refusal(evaluation.message(validation), validation.reason, validation.index)
        try:
            for key, value in evaluation.annotations():
                call.annotate(f"{policy.name}/{key}", value)
        except cel.CelError as error:
            yield from self._failure(policy, f"audit annotation resulted in error: {error.message}")

    def _failure(self, policy: Policy, text: str, index: int = -1) -> Iterator[_Refusal]:
        self.failed += 1
        _log.warning("admission policy %s: %s", policy.name, text)
        if policy.fail:
            yield _Refusal(text, index=index)

    # --- mutating ---

    async def mutate(self, call: Call, attributes: Attributes, *, again: bool) -> Object | None:
        """The object after every mutating policy; those that want it see later changes of others once more.
        again: webhooks have changed the object, and only those policies are asked."""
        if attributes.obj is None:
            return None
        current = attributes
        left: dict[tuple[str, str], Object | None] = {}
        policies = self._candidates("mutating", call, attributes)
        for turn in (1,) if again else (0, 1):
            for policy in policies if not turn else (p for p in policies if p.reinvoke):
                for matched in self._matched(policy, call, current):
                    place = (policy.name, matched.binding.name)
                    if turn and not again and (place not in left or left[place] == current.obj):
                        continue
                    current = await self._mutate_one(matched, call, current)
                    left[place] = current.obj
        return current.obj

    async def _mutate_one(self, matched: _Matched, call: Call, attributes: Attributes) -> Attributes:
        policy, current = matched.policy, attributes
        try:
            for parameter in self._parameters(matched, attributes):
                request = await attributes_of.request(current, matched.kind, "")
                if not self._evaluation(matched, current, request, parameter).matches():
                    continue
                for mutation in policy.programs.mutations:
                    request = await attributes_of.request(current, matched.kind, "")
                    evaluation = self._evaluation(matched, current, request, parameter)
                    changed = await self._mutated(matched, evaluation, mutation, call, current)
                    labels = (changed.get("metadata") or {}).get("labels") or {}
                    current = replace(current, obj=changed, labels=(labels, *current.labels[1:]))
        except (cel.CelError, parameters.ParameterError, mutations.MutationError) as error:
            self.failed += 1
            _log.warning("admission policy %s: %s", policy.name, error)
            if policy.fail:
                raise _denial(call, attributes, matched, _Refusal(str(error))) from None
            return attributes
        return current

    async def _mutated(
        self, matched: _Matched, evaluation: Evaluation, mutation: Mutation, call: Call, attributes: Attributes
    ) -> Object:
        value = evaluation.plain(mutation.program)
        shown = await between(attributes.obj, call.kind, matched.kind)
        assert shown is not None
        schema, custom = matched.kind.schema, matched.kind.custom
        if attributes.place.object_kind != call.kind.kind:
            schema, custom = dsl.types().get(attributes.place.object_kind, FREE), False
        change = mutations.patched if mutation.kind == "JSONPatch" else mutations.applied
        changed = change(shown, value, schema, custom=custom)
        back = await between(changed, matched.kind, call.kind)
        assert back is not None
        return back


def _named(matched: _Matched) -> str:
    kind = f"{matched.policy.phase.capitalize()}AdmissionPolicy"
    return f"{kind} '{matched.policy.name}' with binding '{matched.binding.name}'"


def _denial(call: Call, attributes: Attributes, matched: _Matched, refusal: _Refusal) -> StatusError:
    text = f"{_named(matched)} denied request: {refusal.message}"
    error = errors.forbidden(call.kind.group, call.kind.plural, attributes.name, text)
    reason = refusal.reason if refusal.reason in _CODES else "Invalid"
    return StatusError(
        _CODES[reason],
        reason,
        error.message,
        details={**(error.details or {}), "causes": [{"message": text}]},
    )


def _audit(matched: _Matched, refusal: _Refusal) -> Object:
    return {
        "message": refusal.message,
        "policy": matched.policy.name,
        "binding": matched.binding.name,
        "expressionIndex": max(refusal.index, 0),
        "validationActions": list(matched.binding.actions),
    }
