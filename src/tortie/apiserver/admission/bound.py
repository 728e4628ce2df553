"""Admission policies with their bindings as the store has them, ready to be matched and evaluated.

In: Validating- and MutatingAdmissionPolicy objects and their bindings, read again after each change of them. Out:
`Policy`s in order of name, each with its bindings; and whether the match rules of either mean a request. A policy
without a binding has no effect and is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tortie.apiserver.admission import matching
from tortie.apiserver.admission.attributes import Attributes, equivalents
from tortie.apiserver.admission.expressions import Compiled, compiled
from tortie.apiserver.admission.matching import GROUP
from tortie.apiserver.context import Context
from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Collection, Event
from tortie.apiserver.registry import Registry

Object = dict[str, Any]
Phase = Literal["mutating", "validating"]
_PHASES: tuple[Phase, ...] = ("mutating", "validating")
COLLECTIONS: Mapping[Phase, tuple[str, str]] = {
    phase: (f"{GROUP}/{phase}admissionpolicies", f"{GROUP}/{phase}admissionpolicybindings") for phase in _PHASES
}


@dataclass(frozen=True, slots=True)
class Match:
    """matchConstraints of a policy or matchResources of a binding. rules None: whatever the other fields let in."""

    rules: tuple[Mapping[str, Any], ...] | None
    excluded: tuple[Mapping[str, Any], ...]
    equivalent: bool
    namespaces: Object
    objects: Object

    def kind(self, registry: Registry, operation: str, kind: Kind, subresource: str, name: str | None) -> Kind | None:
        """The version of the resource in which the rules mean the request; None when they do not. name None: any."""
        others = equivalents(registry, kind) if self.equivalent else ()

        def found(rules: Iterable[Mapping[str, Any]]) -> Kind | None:
            return matching.match_rules(
                rules, operation, kind, others, subresource, equivalent=self.equivalent, name=name
            )

        if name is not None and found(self.excluded) is not None:
            return None
        return kind if self.rules is None else found(self.rules)

    def selects(self, attributes: Attributes, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether the selectors let the request in."""
        return matching.object_matches(self.objects, attributes) and matching.namespace_matches(
            self.namespaces, attributes, namespace_labels
        )


@dataclass(frozen=True, slots=True)
class Binding:
    """parameters: the paramRef, None when there is none. actions: of a validating one."""

    name: str
    match: Match
    parameters: Mapping[str, Any] | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """programs.problems: a stored policy that does not compile any more fails whatever it is asked."""

    name: str
    phase: Phase
    match: Match
    fail: bool
    param_kind: Mapping[str, Any] | None
    reinvoke: bool
    programs: Compiled
    bindings: tuple[Binding, ...]


def _match(spec: Mapping[str, Any] | None, *, rules_needed: bool) -> Match:
    spec = spec or {}
    rules = spec.get("resourceRules") or ()
    return Match(
        rules=tuple(rules) if rules or rules_needed else None,
        excluded=tuple(spec.get("excludeResourceRules") or ()),
        equivalent=spec.get("matchPolicy", "Equivalent") != "Exact",
        namespaces=spec.get("namespaceSelector") or {},
        objects=spec.get("objectSelector") or {},
    )


def _policy(phase: Phase, obj: Object, bindings: tuple[Binding, ...]) -> Policy:
    spec = obj.get("spec") or {}
    return Policy(
        name=obj["metadata"]["name"],
        phase=phase,
        match=_match(spec.get("matchConstraints"), rules_needed=True),
        fail=spec.get("failurePolicy", "Fail") != "Ignore",
        param_kind=spec.get("paramKind"),
        reinvoke=spec.get("reinvocationPolicy") == "IfNeeded",
        programs=compiled(spec),
        bindings=bindings,
    )


class Bound:
    """The bound policies of each phase; read from the store when first asked for after a change."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[Phase, tuple[Policy, ...]] = {}
        self._candidates: dict[tuple[Phase, str, str, str], tuple[Policy, ...]] = {}
        self._generation = -1
        context.store.on_event.append(self._forget)

    def _forget(self, collection: Collection, _event: Event) -> None:
        for phase, names in COLLECTIONS.items():
            if collection.name in names:
                self._known.pop(phase, None)
                self._candidates.clear()

    def policies(self, phase: Phase) -> tuple[Policy, ...]:
        """By name."""
        known = self._known.get(phase)
        if known is None:
            known = self._known[phase] = tuple(self._read(phase))
        return known

    def _read(self, phase: Phase) -> Iterable[Policy]:
        policies, bindings = (self._context.store.collection(name) for name in COLLECTIONS[phase])
        bound: dict[str, list[Binding]] = {}
        for record in bindings.select(None):
            spec = record.decode().get("spec") or {}
            binding = Binding(
                name=record.key[1],
                match=_match(spec.get("matchResources"), rules_needed=False),
                parameters=spec.get("paramRef"),
                actions=tuple(spec.get("validationActions") or ()),
            )
            bound.setdefault(str(spec.get("policyName")), []).append(binding)
        for record in policies.select(None):
            if record.key[1] in bound:
                yield _policy(phase, record.decode(), tuple(bound[record.key[1]]))

    def candidates(self, phase: Phase, kind: Kind, operation: str, subresource: str) -> tuple[Policy, ...]:
        """The policies whose rules mean such requests, whatever the object and its namespace are."""
        registry = self._context.registry
        if self._generation != registry.generation:
            self._candidates.clear()
            self._generation = registry.generation
        place = (phase, f"{kind.api_version}/{kind.plural}", operation, subresource)
        known = self._candidates.get(place)
        if known is None:
            known = (
                ()
                if matching.exempt(kind.group, kind.plural)
                else tuple(
                    policy
                    for policy in self.policies(phase)
                    if policy.match.kind(registry, operation, kind, subresource, None) is not None
                )
            )
            self._candidates[place] = known
        return known
