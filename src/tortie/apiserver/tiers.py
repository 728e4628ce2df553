"""Rights on policies by tier, in the embedded server: its own RBAC answers the questions of `tiered`.

In: a call that writes a policy of one of the four tiered kinds, and its tier. Out: nothing, or a 403. Plain RBAC on
the resource itself has been checked before.
"""

from tortie.apiserver import tiered
from tortie.apiserver.context import Call
from tortie.apiserver.tiered import tier_of

__all__ = ["check", "tier_of"]


def check(call: Call, tier: str, name: str, verb: str = "") -> None:
    """Raises StatusError 403 unless the caller may use `verb` on the policy in the tier."""
    verb = verb or call.info.verb
    plural, namespace, subresource = call.kind.plural, call.info.namespace, call.info.subresource
    asked = tiered.checks(verb, plural, tier, name=name, namespace=namespace, subresource=subresource)
    decision = tiered.decide([call.context.authorizer.allowed(call.user, question) for question in asked])
    if not decision.allowed:
        raise tiered.refusal(
            call.user.name, verb, plural, tier, name=name, namespace=namespace, gets_tier=decision.gets_tier
        )
