"""Rights on policies by tier: who may write which policy in which tier.

In: a call that writes a policy of one of the four tiered kinds, and its tier. Out: nothing, or a 403. A user needs
get on the tier, and the verb on the pseudo-resource `tier.RESOURCE` under the policy's own name or under the literal
name `TIER.*`; plain RBAC on the resource itself has been checked before.
"""

from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.context import Call
from tortie.apiserver.rbac import Attributes

Object = dict[str, Any]
GROUP = "projectcalico.org"
DEFAULT = "default"


def tier_of(obj: Object) -> str:
    """The tier of a policy, which may not have been checked yet; default when it names none."""
    return str(objects.get(obj, "spec", "tier") or DEFAULT)


def check(call: Call, tier: str, name: str, verb: str = "") -> None:
    """Raises StatusError 403 unless the caller may use `verb` on the policy in the tier."""
    allowed, user = call.context.authorizer.allowed, call.user
    verb = verb or call.info.verb
    plural, namespace, subresource = call.kind.plural, call.info.namespace, call.info.subresource
    gets_tier = allowed(user, Attributes("get", GROUP, "tiers", "", tier))
    if gets_tier:
        for wanted in (name, f"{tier}.*"):
            if allowed(user, Attributes(verb, GROUP, f"tier.{plural}", subresource, wanted, namespace)):
                return
    where = f' and namespace "{namespace}"' if namespace else ""
    note = "" if gets_tier else " (user cannot get tier)"
    qualified = errors.qualified(plural, GROUP)
    why = f'User "{user.name}" cannot {verb} {qualified} in tier "{tier}"{where}{note}'
    raise errors.forbidden(GROUP, plural, name, why)
