"""Tiers: the groups in which policies are evaluated, in order.

For admission, conversion and the tier controller. In: JSON of projectcalico.org/v3. Out: the struct `Tier` and the
table of built-in tiers, whose order and default action are fixed (spec/resources.md 1.4).
"""

from typing import Annotated

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import Condition, ObjectMeta

DEFAULT_TIER = "default"
DEFAULT_TIER_ORDER = 1_000_000.0

BUILT_IN_TIERS: dict[str, tuple[float, str]] = {
    "kube-admin": (1_000.0, "Pass"),
    "default": (DEFAULT_TIER_ORDER, "Deny"),
    "kube-baseline": (10_000_000.0, "Pass"),
}
"""name -> (order, default action)"""


class TierSpec(ApiStruct, frozen=True, kw_only=True):
    order: Annotated[
        float | None, doc("Place among the tiers: lower comes first. A tier without an order counts as 1000000.")
    ] = None
    default_action: Annotated[
        str,
        doc(
            "What happens at the end of the tier to traffic that none of its rules decided, if any of its policies"
            " selects the endpoint: Deny drops it, Pass goes on to the next tier.",
            enum=["Deny", "Pass"],
            default="Deny",
        ),
    ] = ""


class TierStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[
        tuple[Condition, ...],
        doc("Ready: whether policies may be added. False with reason Terminating while a deletion waits."),
    ] = ()


class Tier(Object, frozen=True, kw_only=True):
    """A group of policies that is evaluated as one, before the tiers of higher order."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("Tier")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[TierSpec, doc("Place and default action of the tier.")] = TierSpec()
    status: Annotated[TierStatus | None, doc("What the system observes of the tier.")] = None
