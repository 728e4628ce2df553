"""Which policies select which local endpoints, and in which order they apply (spec/felix.md 1.3: active rules
calculator, policy sorter and resolver).

In: all tiers and policies, the labels of local endpoints and of profiles. Out: policies whose being needed here must
be looked at again, endpoints whose tiers must be worked out again, and those tiers.
"""

from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from tortie.felix.calc import tiers
from tortie.felix.calc.labels import LabelIndex
from tortie.felix.calc.selectors import LazySelector, Matcher, Requirement, namespace_requirement, requirements
from tortie.felix.calc.tiers import SortKey, Tiers
from tortie.model.dataplane import (
    EndpointKey,
    HostEndpointKey,
    Key,
    NetworkSetKey,
    Policy,
    PolicyKey,
    Tier,
    TierKey,
)
from tortie.model.selector import SelectorError, parse

_Matcher: TypeAlias = tuple[Matcher, list[Requirement]]
_NEEDED_EVERYWHERE = "AssumeNeededOnEveryNode"


class Lists(NamedTuple):
    """The tiers of one endpoint. Workload endpoints have the normal list only."""

    normal: Tiers
    untracked: Tiers = ()
    pre_dnat: Tiers = ()
    forward: Tiers = ()


class Matching:
    """recheck: policies that may have become needed or needless; dirty: endpoints whose tiers may have changed;
    bad_selectors: texts that turned out not to be selectors, and why. The caller empties all three."""

    def __init__(self) -> None:
        self._index = LabelIndex()
        self._tiers: dict[TierKey, Tier] = {}
        self._policies: dict[PolicyKey, Policy] = {}
        self._by_selector: dict[str, set[PolicyKey]] = {}
        self._sort_keys: dict[PolicyKey, SortKey] = {}
        self.bad_selectors: list[tuple[str, str]] = []
        self.recheck: set[PolicyKey] = set()
        self.dirty: set[EndpointKey] = set()

    # --- input ---------------------------------------------------------------------------------------------------

    def set_tier(self, key: TierKey, tier: Tier | None) -> None:
        """Adds, changes or removes a tier; every endpoint that has a policy is worked out again."""
        if tier is None:
            self._tiers.pop(key, None)
        else:
            self._tiers[key] = tier
        self._sort_keys.clear()
        self._mark(self._index.known())

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        """Adds, changes or removes a policy. Staged ones count as absent: they are never enforced.

        Raises SelectorError; the policy is then absent."""
        old = self._policies.get(key)
        new = None if policy is None or policy.staged is not None else policy
        matcher: _Matcher | None = None
        failure: SelectorError | None = None
        if new is not None and new.selector not in self._by_selector:
            try:
                matcher = self._matcher(new.selector)
            except SelectorError as error:
                new, failure = None, error
        if old is not None and new is not None and old.selector == new.selector:
            self._policies[key] = new
            if _place(old) != _place(new):
                self._sort_keys.pop(key, None)
                self._touch(new.selector)
        else:
            if new is not None:
                self._register(key, new, matcher)
            if old is not None:
                self._forget(key, old, replaced=new is not None)
        if old is not None or (new is not None and (new.performance_hints or self._index.items(new.selector))):
            self.recheck.add(key)
        if failure is not None:
            raise failure

    def set_endpoint(self, key: EndpointKey, labels: Mapping[str, str], profiles: tuple[str, ...]) -> None:
        """Adds or relabels a local endpoint."""
        before, after = self._index.assign(key, labels, profiles)
        self._moved(before ^ after)
        self.dirty.add(key)

    def remove_endpoint(self, key: EndpointKey) -> None:
        """Removes a local endpoint if it is there."""
        self._moved(self._index.discard(key))
        self.dirty.discard(key)

    def set_profile_labels(self, profile: str, labels: Mapping[str, str]) -> None:
        """Sets the labels that a profile hands down; {} when there is no such profile."""
        for change in self._index.set_parent(profile, labels):
            self._moved((change.selector,))
            self._mark(change.items)

    # --- output --------------------------------------------------------------------------------------------------

    def get(self, key: PolicyKey) -> Policy | None:
        """The policy, unless it is absent, staged or has a bad selector."""
        return self._policies.get(key)

    def having_selector(self, selector: str) -> Collection[PolicyKey]:
        """The policies whose selector is the given text."""
        return self._by_selector.get(selector, ())

    def is_needed(self, key: PolicyKey) -> bool:
        """Whether some local endpoint is subject to the policy, or it asks to be everywhere."""
        policy = self._policies.get(key)
        if policy is None:
            return False
        if _NEEDED_EVERYWHERE in policy.performance_hints:
            return True
        for_workloads = tiers.is_normal(policy)
        return any(
            for_workloads or isinstance(item, HostEndpointKey)
            for items in self._index.items(policy.selector)
            for item in items
        )

    def mark_selected(self, key: PolicyKey) -> None:
        """Has the tiers worked out again of every endpoint that the policy selects."""
        policy = self._policies.get(key)
        if policy is not None:
            self._touch(policy.selector)

    def lists(
        self, endpoint: EndpointKey, leave_out: Container[Key], cache: dict[tuple[int, bool], "Lists"]
    ) -> "Lists":
        """The tiers of an endpoint, list by list, without the policies to leave out.

        cache: empty at first, to be passed again while nothing else is called; endpoints with equal labels share."""
        is_host = isinstance(endpoint, HostEndpointKey)
        selectors = self._index.matches(endpoint)
        found = cache.get((id(selectors), is_host))
        if found is not None:
            return found
        keys = [key for selector in selectors for key in self._by_selector[selector] if key not in leave_out]
        keys.sort(key=self._sort_key)
        ordered = [(key, self._policies[key]) for key in keys]
        known = self._tiers
        normal = tiers.select(ordered, tiers.is_normal, known)
        if is_host:
            found = Lists(
                normal=normal,
                untracked=tiers.select(ordered, tiers.is_untracked, known, always_pass=True),
                pre_dnat=tiers.select(ordered, tiers.is_pre_dnat, known, always_pass=True, egress=False),
                forward=tiers.select(ordered, tiers.is_forward, known),
            )
        else:
            found = Lists(normal=normal)
        cache[id(selectors), is_host] = found
        return found

    def statistics(self) -> dict[str, int]:
        """The label index's sizes and work, and the number of policies."""
        return {"policies": len(self._policies), **self._index.statistics()}

    # --- inside --------------------------------------------------------------------------------------------------

    def _sort_key(self, key: PolicyKey) -> SortKey:
        found = self._sort_keys.get(key)
        if found is None:
            found = self._sort_keys[key] = tiers.sort_key(key, self._policies[key], self._tiers)
        return found

    def _matcher(self, text: str) -> _Matcher:
        """A selector for the index, and what its matches must have; parsed only if that is needed to tell."""
        in_namespace = namespace_requirement(text)
        if in_namespace is not None:
            return LazySelector(text, lambda error: self.bad_selectors.append((text, str(error)))), [in_namespace]
        parsed = parse(text)
        return parsed, requirements(parsed)

    def _register(self, key: PolicyKey, policy: Policy, matcher: _Matcher | None) -> None:
        self._policies[key] = policy
        self._sort_keys.pop(key, None)
        self._by_selector.setdefault(policy.selector, set()).add(key)
        if matcher is not None:
            self._index.add(policy.selector, *matcher)
        self._touch(policy.selector)

    def _forget(self, key: PolicyKey, policy: Policy, *, replaced: bool) -> None:
        self._touch(policy.selector)
        if not replaced:
            del self._policies[key]
            self._sort_keys.pop(key, None)
        keys = self._by_selector[policy.selector]
        keys.discard(key)
        if not keys:
            del self._by_selector[policy.selector]
            self._index.remove(policy.selector)

    def _touch(self, selector: str) -> None:
        for items in self._index.items(selector):
            self._mark(items)

    def _mark(self, items: Iterable[EndpointKey | NetworkSetKey]) -> None:
        self.dirty.update(item for item in items if not isinstance(item, NetworkSetKey))

    def _moved(self, selectors: Iterable[str]) -> None:
        for selector in selectors:
            self.recheck |= self._by_selector[selector]


def _place(policy: Policy) -> tuple[object, ...]:
    """What decides in which lists of an endpoint a policy stands, and where in them."""
    return (
        policy.tier,
        policy.order,
        policy.applies_ingress,
        policy.applies_egress,
        policy.do_not_track,
        policy.pre_dnat,
        policy.apply_on_forward,
    )
