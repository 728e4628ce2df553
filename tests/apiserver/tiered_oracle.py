"""What rights by tier allow, written from the rules alone, and the grants and requests to try them with.

For the matrix test. In: nothing. Out: grants as data (and as RBAC rules to give), and a small oracle: may a user with
this grant do that? It shares nothing with the server: each rule of the specification is one line here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

GROUP = "projectcalico.org"
KINDS = {  # plural: namespaced
    "networkpolicies": True,
    "globalnetworkpolicies": False,
    "stagednetworkpolicies": True,
    "stagedglobalnetworkpolicies": False,
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
TIERS = ("default", "mx-net", "mx-dev", "mx-empty")


@dataclass(frozen=True)
class Right:
    """Verbs on tier.KIND, for some names or all, in one namespace or all."""

    verbs: tuple[str, ...] = VERBS
    names: tuple[str, ...] = ()
    namespace: str = ""
    other_kind: bool = False


@dataclass(frozen=True)
class Grant:
    """tiers: those that the user may get, "*" for all. outer: whether the kind itself is allowed too."""

    tiers: tuple[str, ...] = ()
    rights: tuple[Right, ...] = ()
    outer: bool = True

    def rules(self, plural: str) -> list[tuple[str, dict[str, Any]]]:
        """(namespace or "", RBAC rule) to give for one kind."""
        found = []
        if self.outer:
            found.append(("", _rule(plural, VERBS)))
        for tier in self.tiers:
            found.append(("", _rule("tiers", ("get",), () if tier == "*" else (tier,))))
        for right in self.rights:
            kind = next(k for k in KINDS if k != plural) if right.other_kind else plural
            found.append((right.namespace, _rule(f"tier.{kind}", right.verbs, right.names)))
        return found

    def allows(self, verb: str, tier: str, name: str, namespace: str) -> bool:
        """Check A and one of the checks B and C."""
        gets = "*" in self.tiers or tier in self.tiers
        return self.outer and gets and any(self._has(verb, asked, namespace) for asked in (name, f"{tier}.*"))

    def _has(self, verb: str, name: str, namespace: str) -> bool:
        return any(
            verb in right.verbs
            and not right.other_kind
            and (not right.names or name in right.names)
            and (not right.namespace or right.namespace == namespace)
            for right in self.rights
        )


def _rule(resource: str, verbs: Iterable[str], names: Iterable[str] = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [GROUP], "resources": [resource], "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


GRANTS: dict[str, Grant] = {
    "nothing": Grant(outer=False),
    "only-the-kind": Grant(),
    "only-the-tier": Grant(("mx-net",)),
    "all-rights-no-tier": Grant((), (Right(),)),
    "all": Grant(("*",), (Right(),)),
    "all-without-the-kind": Grant(("*",), (Right(),), outer=False),
    "one-tier-by-get": Grant(("mx-net",), (Right(),)),
    "one-tier-by-name": Grant(("*",), (Right(names=("mx-net.*",)),)),
    "two-tiers": Grant(("mx-net", "default"), (Right(names=("mx-net.*", "default.*")),)),
    "other-tiers-name": Grant(("mx-net",), (Right(names=("mx-dev.*",)),)),
    "no-globs": Grant(("*",), (Right(names=("mx-n*", "*", "mx-net.p*", "mx-net*")),)),
    "bare-name": Grant(("*",), (Right(names=("p",)),)),
    "old-name": Grant(("*",), (Right(names=("mx-net.p",)),)),
    "reads-everything": Grant(("*",), (Right(verbs=("get", "list", "watch")),)),
    "writes-one-reads-all": Grant(
        ("*",), (Right(verbs=("get", "list", "watch")), Right(names=("mx-dev.*",), verbs=VERBS[3:]))
    ),
    "one-namespace": Grant(("*",), (Right(namespace="mx-a"),)),
    "one-namespace-one-tier": Grant(("*",), (Right(names=("mx-net.*",), namespace="mx-a"),)),
    "another-kind": Grant(("*",), (Right(other_kind=True),)),
    "the-empty-tier": Grant(("mx-empty",), (Right(names=("mx-empty.*",)),)),
    "only-updates": Grant(("*",), (Right(verbs=("update",)),)),
    "only-patches": Grant(("*",), (Right(verbs=("patch",)),)),
}

# (labelSelector, fieldSelector) -> the tiers that it names; None: no tier is named; ValueError: it must be refused.
SELECTORS: dict[tuple[str, str], tuple[str, ...] | type[ValueError] | None] = {
    ("", ""): None,
    ("mx", ""): None,
    ("", "spec.tier=mx-net"): ("mx-net",),
    ("", "spec.tier==mx-dev"): ("mx-dev",),
    ("", "spec.tier!=mx-net"): ValueError,
    ("projectcalico.org/tier=mx-net", ""): ("mx-net",),
    ("projectcalico.org/tier==default", ""): ("default",),
    ("projectcalico.org/tier in (mx-net,mx-dev)", ""): ("mx-net", "mx-dev"),
    ("projectcalico.org/tier in (mx-empty)", ""): ("mx-empty",),
    ("projectcalico.org/tier!=mx-net", ""): ValueError,
    ("projectcalico.org/tier notin (mx-net)", ""): ValueError,
    ("projectcalico.org/tier", ""): ValueError,
    ("!projectcalico.org/tier", ""): ValueError,
    ("projectcalico.org/tier=mx-dev", "spec.tier=mx-net"): ("mx-net",),
}
CONTRADICTION = ("projectcalico.org/tier=mx-dev", "spec.tier=mx-net")
"""The field decides which tier must be allowed, and nothing is in both."""


def scope(
    grant: Grant, verb: str, selectors: tuple[str, str], namespace: str, every_tier: Iterable[str]
) -> set[str] | int:
    """The tiers that a list, watch or deletecollection is about, or the code of its refusal."""
    if not grant.outer:
        return 403
    named = SELECTORS[selectors]
    if named is ValueError:
        return 400
    tiers = tuple(every_tier) if named is None else named
    assert isinstance(tiers, tuple)
    allowed = {tier for tier in tiers if grant.allows(verb, tier, "", namespace)}
    if named is None:
        return allowed or 403
    return allowed if len(allowed) == len(tiers) else 403
