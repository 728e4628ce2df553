"""LimitRanges and ResourceQuotas as objects: defaults, and causes for a 422.

In: trees of the two kinds. Out: the defaults that bounds imply, and what is wrong. What they do to other objects is in
`admission.limits` and `admission.quotas`. Pure.
"""

from collections.abc import Iterator
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.quantity import Quantity, parse
from tortie.apiserver.selectors import valid_label_key

Object = dict[str, Any]
_TYPES = ("Container", "PersistentVolumeClaim", "Pod")
_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def default_limits(obj: Object) -> None:
    """A container's bounds imply defaults: the limit is the maximum, the request the limit or else the minimum."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        limit, request = dict(item.get("default") or {}), dict(item.get("defaultRequest") or {})
        for name, amount in (item.get("max") or {}).items():
            limit.setdefault(name, amount)
        for name, amount in limit.items():
            request.setdefault(name, amount)
        for name, amount in (item.get("min") or {}).items():
            request.setdefault(name, amount)
        if limit:
            item["default"] = limit
        if request:
            item["defaultRequest"] = request


def _amounts(tree: Any, at: str, causes: list[Cause]) -> dict[str, Quantity]:
    found = {}
    for name, text in (tree or {}).items():
        if not valid_label_key(name):
            causes.append(errors.invalid_value(f"{at}[{name}]", name, "must be a qualified name"))
        try:
            amount = parse(text)
        except ValueError as error:
            causes.append(errors.invalid_value(f"{at}[{name}]", text, str(error)))
            continue
        if amount.value < 0:
            causes.append(errors.invalid_value(f"{at}[{name}]", text, "must be greater than or equal to 0"))
        found[name] = amount
    return found


def validate_limits(obj: Object, _old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        at = f"spec.limits[{index}]"
        kind = str(item.get("type") or "")
        if kind not in _TYPES and "/" not in kind:
            causes.append(errors.not_supported(f"{at}.type", kind, list(_TYPES)))
        if kind in seen:
            causes.append(errors.duplicate(f"{at}.type", kind))
        seen.add(kind)
        read = {f: _amounts(item.get(f), f"{at}.{f}", causes) for f in ("min", "max", "default", "defaultRequest")}
        ratio = _amounts(item.get("maxLimitRequestRatio"), f"{at}.maxLimitRequestRatio", causes)
        if kind == "Pod":
            for field in ("default", "defaultRequest"):
                if read[field]:
                    causes.append(errors.forbidden_field(f"{at}.{field}", "may not be specified when `type` is 'Pod'"))
        if kind == "PersistentVolumeClaim" and "storage" not in {**read["min"], **read["max"]}:
            causes.append(
                errors.required(
                    f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided"
                )
            )
        causes += _ordered(read, at)
        for name, amount in ratio.items():
            if amount.value < 1:
                causes.append(
                    errors.invalid_value(
                        f"{at}.maxLimitRequestRatio[{name}]", str(amount), f"ratio {amount} is less than 1"
                    )
                )
    return causes


def _ordered(read: dict[str, dict[str, Quantity]], at: str) -> Iterator[Cause]:
    for low, high in (("min", "max"), ("min", "defaultRequest"), ("min", "default"), ("defaultRequest", "max"),
                      ("defaultRequest", "default"), ("default", "max")):  # fmt: skip
        for name in read[low].keys() & read[high].keys():
            if read[low][name].value > read[high][name].value:
                place = high if low == "min" and high != "max" else low
                yield errors.invalid_value(
                    f"{at}.{place}[{name}]",
                    str(read[place][name]),
                    f"{low} value {read[low][name]} is greater than {high} value {read[high][name]}",
                )


def default_quota(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def validate_quota(obj: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    spec = obj.get("spec") or {}
    _amounts(spec.get("hard"), "spec.hard", causes)
    scopes = spec.get("scopes") or []
    for index, scope in enumerate(scopes):
        if scope not in _SCOPES:
            causes.append(errors.not_supported(f"spec.scopes[{index}]", scope, list(_SCOPES)))
    for pair in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if set(pair) <= set(scopes):
            causes.append(errors.invalid_value("spec.scopes", scopes, "conflicting scopes"))
    if "BestEffort" in scopes and set(spec.get("hard") or ()) - {"pods"}:
        causes.append(errors.invalid_value("spec.scopes", scopes, "unsupported scope applied to resource"))
    for index, term in enumerate((spec.get("scopeSelector") or {}).get("matchExpressions") or ()):
        at = f"spec.scopeSelector.matchExpressions[{index}]"
        operator, values = term.get("operator"), term.get("values") or []
        if term.get("scopeName") not in _SCOPES:
            causes.append(errors.not_supported(f"{at}.scopeName", term.get("scopeName", ""), list(_SCOPES)))
        if operator not in _OPERATORS:
            causes.append(errors.not_supported(f"{at}.operator", operator, list(_OPERATORS)))
        elif (operator in {"In", "NotIn"}) is not bool(values):
            needed = "must be at least one value when `operator` is 'In' or 'NotIn'"
            refused = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            causes.append(
                errors.required(f"{at}.values", needed)
                if not values
                else errors.invalid_value(f"{at}.values", values, refused)
            )
    if old is not None and ((old.get("spec") or {}).get("scopes") or []) != scopes:
        causes.append(errors.invalid_value("spec.scopes", scopes, "field is immutable"))
    return causes


LIMITS = Hooks(default=default_limits, validate=validate_limits)
QUOTA = Hooks(default=default_quota, validate=validate_quota)
