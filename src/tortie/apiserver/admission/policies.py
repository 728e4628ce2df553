"""The server's admission policies: nothing until a binding exists, then the engine that evaluates them.

In: the attributes of a request, from `admission`. Out: what `engine` decides. The engine brings the whole of CEL with
it, so a server that has no policies does without.
"""

from typing import TYPE_CHECKING, Any

from tortie.apiserver.admission.attributes import Attributes
from tortie.apiserver.admission.matching import GROUP
from tortie.apiserver.context import Call, Context
from tortie.apiserver.kinds import Kind

if TYPE_CHECKING:
    from tortie.apiserver.admission.engine import PolicyEngine

Object = dict[str, Any]
_BINDINGS = (f"{GROUP}/validatingadmissionpolicybindings", f"{GROUP}/mutatingadmissionpolicybindings")


class StoredPolicies:
    """Implements `admission.Policies` over the policies in the store."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._made: PolicyEngine | None = None

    def statistics(self) -> dict[str, int]:
        return self._made.statistics() if self._made is not None else {}

    def concern(self, kind: Kind, operation: str, subresource: str) -> bool:
        """Whether some policy with a binding may match."""
        if self._made is None and not any(self._context.store.collection(name).records for name in _BINDINGS):
            return False
        return self._engine.concern(kind, operation, subresource)

    @property
    def _engine(self) -> "PolicyEngine":
        if self._made is None:
            from tortie.apiserver.admission.engine import PolicyEngine  # late: it brings CEL

            self._made = PolicyEngine(self._context)
        return self._made

    async def mutate(self, call: Call, attributes: Attributes, *, again: bool) -> Object | None:
        """The object after every mutating policy. again: only those that want to see changes of webhooks."""
        return await self._engine.mutate(call, attributes, again=again)

    async def validate(self, call: Call, attributes: Attributes) -> None:
        """Raises StatusError when a policy refuses."""
        await self._engine.validate(call, attributes)
