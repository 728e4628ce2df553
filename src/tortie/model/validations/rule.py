"""One validation of a CustomResourceDefinition. In: nothing. Out: the structs for the tables beside it."""

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Limit:
    """Keywords that a definition adds to a field's schema: what costs no evaluation, or bounds the cost of rules."""

    keywords: Mapping[str, Any]


Rules = dict[str, tuple[Rule | Limit, ...]]
"""Path of a place in an object, such as `spec.ingress[].source` -> what must be true of it. "" is the object."""


def limit(**keywords: Any) -> Limit:
    """`x_` becomes `x-`, other `_` become `-`, as in the descriptions of fields."""
    return Limit(
        {(name.replace("_", "-") if name.startswith("x_") else name): value for name, value in keywords.items()}
    )


def forbidden(rule: str, message: str, field: str = "") -> Rule:
    """A field that must not be there when another one is."""
    return Rule(rule, message, field, "FieldValueForbidden")


def required(rule: str, message: str, field: str = "") -> Rule:
    """A field that must be there when another one is."""
    return Rule(rule, message, field, "FieldValueRequired")


def singleton(name: str = "default") -> Rule:
    """For the root of a kind with one object."""
    return Rule(
        f"self.metadata.name == '{name}'", f"the only object of this kind must be named {name}", ".metadata.name"
    )


# --- formats --------------------------------------------------------------------------------------------------------

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL = limit(pattern=f"^{_LABEL}$", maxLength=63)
NAME = limit(pattern=f"^{_LABEL}(\\.{_LABEL})*$", maxLength=253)
OPTIONAL_NAME = limit(pattern=f"^({_LABEL}(\\.{_LABEL})*)?$", maxLength=253)
ADDRESS = limit(anyOf=[{"format": "ipv4"}, {"format": "ipv6"}])
NET = limit(anyOf=[{"format": "cidr"}, {"format": "ipv4"}, {"format": "ipv6"}])
"""Host bits are allowed, and so are bare addresses."""
DURATION = limit(pattern=r"^([+-]?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+|0)?$", maxLength=64)
DOMAIN = limit(
    pattern=r"^([A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?\.)*(\*\.([A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?\.)*)?"
    r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?\.*$",
    maxLength=512,
)
_PORT_NAME = "([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*"
PORT_NAME = limit(pattern=f"^{_PORT_NAME}$", maxLength=15)
INTERFACE = limit(pattern=r"^([A-Za-z0-9_.-]{1,15}|\*)?$")
_16_BITS = "([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
COMMUNITY = f"^(0*{_16_BITS}:0*{_16_BITS}|[0-9]+:[0-9]+:[0-9]+)$"
PORT_NUMBER = f"0*([1-9][0-9]{{0,3}}|{_16_BITS[12:]}"
PORT = limit(minimum=1, maximum=65535, pattern=f"^({PORT_NUMBER}(:{PORT_NUMBER})?|{_PORT_NAME})$", maxLength=15)
"""A number, a range or a name."""
PROTOCOL = limit(
    minimum=1,
    maximum=255,
    pattern="^(TCP|UDP|ICMP|ICMPv6|SCTP|UDPLite|0*([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))$",
)
MAX_CIDR = 47
"""Longer than every usual text of a network; more would make what is asked of each of many networks too dear."""

NO_GLOBAL = Rule("!self.contains('global(')", "global() may be used only in the namespaceSelector of a rule")

MASKED = Rule("[cidr(self)].all(c, c.masked() == c)", "must not have bits set beyond the prefix length")
"""The list makes the API server reckon with one reading of the text instead of two."""
