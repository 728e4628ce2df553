"""The policies and profiles that local endpoints need, compiled, and the sets these refer to (spec/felix.md 1.3: rule
scanner).

In: a policy or profile that became needed, changed, or became needless. Out: its message, uses of sets counted up and
down, and an error when it cannot be compiled.
"""

from collections.abc import Iterable

from tortie.felix.calc.channel import Channel
from tortie.felix.calc.members import Membership
from tortie.felix.calc.rules import SetSpec, compile_rules
from tortie.felix.calc.sets import SetTable
from tortie.felix.messages import IPSetDelta, IPSetRemove, IPSetUpdate, PolicyUpdate, ProfileUpdate
from tortie.model.dataplane import Policy, PolicyKey, Profile, Rule

_DENY_ALL = (Rule(action="deny"),)
MISSING_PROFILE = Profile(ingress=_DENY_ALL, egress=_DENY_ALL)
"""Stands in for a profile that an endpoint names and that does not exist or is invalid: it denies both ways."""


class ActiveRules:
    """Everything active is announced through `policies` and `profiles`; its sets through `set_messages`."""

    def __init__(self, membership: Membership) -> None:
        self.policies: Channel[PolicyKey, PolicyUpdate] = Channel()
        self.profiles: Channel[str, ProfileUpdate] = Channel()
        self._membership = membership
        self._sets = SetTable()
        self._used: dict[PolicyKey | str, frozenset[str]] = {}

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        """Makes a policy active, replaces it, or ends it (None). Raises SelectorError; it is then not active."""
        message: PolicyUpdate | None = None
        specs: dict[str, SetSpec] = {}
        failure: ValueError | None = None
        if policy is not None:
            try:
                ingress = compile_rules(str(key), "ingress", policy.ingress)
                egress = compile_rules(str(key), "egress", policy.egress)
                specs = ingress.sets | egress.sets
                message = PolicyUpdate(
                    key=key,
                    tier=policy.tier,
                    ingress=ingress.rules,
                    egress=egress.rules,
                    do_not_track=policy.do_not_track,
                    pre_dnat=policy.pre_dnat,
                    generation=policy.generation,
                    resource_version=policy.resource_version,
                )
            except ValueError as error:
                failure = error
        self._use(key, specs.values())
        self.policies.want(key, message)
        if failure is not None:
            raise failure

    def set_profile(self, name: str, profile: Profile | None) -> None:
        """Makes a profile active, replaces it, or ends it (None). Raises SelectorError; the profile then denies all."""
        if profile is None:
            self._use(name, ())
            self.profiles.want(name, None)
            return
        failure: ValueError | None = None
        try:
            message, specs = _compile_profile(name, profile)
        except ValueError as error:
            failure = error
            message, specs = _compile_profile(name, MISSING_PROFILE)
        self._use(name, specs.values())
        self.profiles.want(name, message)
        if failure is not None:
            raise failure

    def set_messages(self) -> tuple[list[IPSetUpdate | IPSetDelta], list[IPSetRemove]]:
        """What to say about sets since the last call: new ones, differences, and those that nobody uses any more."""
        gone, removes = self._sets.collect()
        for spec, members in gone:
            self._membership.detach(spec, members)
        return self._sets.messages(), removes

    def _use(self, owner: PolicyKey | str, specs: Iterable[SetSpec]) -> None:
        old = self._used.pop(owner, frozenset())
        new: set[str] = set()
        for spec in specs:
            new.add(spec.id)
            if spec.id not in old:
                created = self._sets.use(spec)
                if created is not None:
                    self._membership.attach(spec, created)
        for identifier in old - new:
            self._sets.release(identifier)
        if new:
            self._used[owner] = frozenset(new)

    def statistics(self) -> dict[str, int]:
        """How many of each are active."""
        return {"policies": len(self.policies), "profiles": len(self.profiles), "sets": len(self._sets)}


def _compile_profile(name: str, profile: Profile) -> tuple[ProfileUpdate, dict[str, SetSpec]]:
    owner = f"Profile {name}"
    ingress = compile_rules(owner, "ingress", profile.ingress)
    egress = compile_rules(owner, "egress", profile.egress)
    message = ProfileUpdate(name=name, ingress=ingress.rules, egress=egress.rules)
    return message, ingress.sets | egress.sets
