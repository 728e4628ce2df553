"""One validation rule of a CustomResourceDefinition. In: nothing. Out: the struct `Rule` for the tables beside it."""

from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"]


@dataclass(frozen=True, slots=True)
class Rule:
    """rule: an expression in CEL that must be true of the place where the rule stands, which it calls `self`.

    field: path below that place of the field at fault, such as `.spec.cidr`; reason: the kind of error, if not Invalid.
    """

    rule: str
    message: str
    field: str = ""
    reason: Reason | None = None

    def as_validation(self) -> dict[str, Any]:
        """As an entry of x-kubernetes-validations."""
        written: dict[str, Any] = {"rule": self.rule, "message": self.message}
        if self.reason:
            written["reason"] = self.reason
        if self.field:
            written["fieldPath"] = self.field
        return written


Rules = dict[str, tuple[Rule, ...]]
"""Path of a place in an object, such as `spec.ingress[].source` -> what must be true of it. "" is the object."""
