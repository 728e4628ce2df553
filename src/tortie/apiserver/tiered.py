"""Rights on policies by tier: which questions to ask, and what their answers mean.

In: verb, resource, tier and name of a request on one of the four tiered policy kinds, or its selectors. Out: the three
access questions, the decision, and the refusal's words. Pure; the embedded server, the aggregated server and the
webhook server ask the questions each in their own way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tortie.apiserver import errors
from tortie.apiserver.errors import StatusError
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.selectors import parse_labels

GROUP = "projectcalico.org"
TIER_LABEL = "projectcalico.org/tier"
TIER_FIELD = "spec.tier"
DEFAULT = "default"
PLURALS = frozenset(
    {"networkpolicies", "globalnetworkpolicies", "stagednetworkpolicies", "stagedglobalnetworkpolicies"}
)
"""StagedKubernetesNetworkPolicy names no tier: plain RBAC holds for it."""


class Checks(NamedTuple):
    """The three questions. A request is allowed when `tier` and one of the others are."""

    tier: Attributes
    policy: Attributes
    whole_tier: Attributes


@dataclass(frozen=True, slots=True)
class Decision:
    """allowed: the answer. gets_tier: whether the user may get the tier, for the refusal's words."""

    allowed: bool
    gets_tier: bool


def tier_of(obj: Mapping[str, Any]) -> str:
    """The tier of a policy, which may not have been checked yet; default when it names none."""
    spec = obj.get("spec")
    tier = spec.get("tier") if isinstance(spec, dict) else None
    return str(tier) if tier else DEFAULT


def checks(verb: str, plural: str, tier: str, *, name: str = "", namespace: str = "", subresource: str = "") -> Checks:
    """The questions for one tier. `name` is the one of the request to the letter, empty for list, watch and
    deletecollection: RBAC compares `TIER.*` and a prefixed policy name as plain names."""
    resource = f"tier.{plural}"
    return Checks(
        Attributes("get", GROUP, "tiers", "", tier),
        Attributes(verb, GROUP, resource, subresource, name, namespace),
        Attributes(verb, GROUP, resource, subresource, f"{tier}.*", namespace),
    )


def decide(answers: Sequence[bool]) -> Decision:
    """The decision from the answers to `checks`, in their order."""
    gets_tier, policy, whole_tier = answers
    return Decision(gets_tier and (policy or whole_tier), gets_tier)


def refusal(
    user: str, verb: str, plural: str, tier: str, *, name: str = "", namespace: str = "", gets_tier: bool = True
) -> StatusError:
    """The 403 of a denied request."""
    return errors.forbidden(
        GROUP, plural, name, why(user, verb, plural, tier, namespace=namespace, gets_tier=gets_tier)
    )


def why(user: str, verb: str, plural: str, tier: str, *, namespace: str = "", gets_tier: bool = True) -> str:
    """The sentence that says who lacks what."""
    where = f' and namespace "{namespace}"' if namespace else ""
    note = "" if gets_tier else " (user cannot get tier)"
    return f'User "{user}" cannot {verb} {errors.qualified(plural, GROUP)} in tier "{tier}"{where}{note}'


def selected_tiers(label_selector: str, field_selector: str) -> list[str] | None:
    """The tiers that the selectors of a list, watch or deletecollection name, sorted; None when they name none.

    The field wins over the label. Raises StatusError 400 for operators that name no tiers.
    """
    field = _from_field(field_selector)
    if field is not None:
        return field
    selector = parse_labels(label_selector)
    found: set[str] | None = None
    for requirement in selector.requirements if selector is not None else ():
        if requirement.key != TIER_LABEL:
            continue
        if requirement.operator != "in":
            spelled = _SPELLED.get(requirement.operator, requirement.operator)
            raise errors.bad_request(
                f"label selector on {TIER_LABEL} has operator {spelled}: only =, == and in are allowed there"
            )
        found = set(requirement.values) if found is None else found & requirement.values
    return None if found is None else sorted(found)


_SPELLED = {"notin": "!= or notin", "!": "!", "exists": "exists", "gt": ">", "lt": "<"}


def _from_field(text: str) -> list[str] | None:
    found: list[str] | None = None
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name.strip().rstrip("!") != TIER_FIELD:
            continue
        if not equals or name.rstrip().endswith("!"):
            raise errors.bad_request(f"field selector {part.strip()!r}: only = and == are allowed for {TIER_FIELD}")
        tier = value.removeprefix("=").strip() or DEFAULT
        found = [tier] if found in (None, [tier]) else []
    return found
