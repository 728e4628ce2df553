"""matchConditions: CEL expressions that decide whether a webhook is asked at all.

In: a webhook's conditions and the request. Out: whether all hold; `ConditionError` when one could not be evaluated and
none was false. Also the check that a stored condition's expression compiles.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tortie.apiserver import cel

Object = dict[str, Any]
_VARIABLES = ("object", "oldObject", "request", "authorizer")


class ConditionError(Exception):
    """Which condition could not be evaluated, and why."""


@lru_cache(maxsize=1024)
def _program(expression: str) -> "cel.Program":
    from tortie.apiserver import cel  # late: most servers never meet an expression

    return cel.compile(expression, dict.fromkeys(_VARIABLES), result=cel.BOOL)


def problem(expression: str) -> str:
    """Why an expression is no condition; empty when it is one."""
    from tortie.apiserver import cel

    try:
        _program(expression)
    except cel.CelError as error:
        return f"compilation failed: {error}"
    return ""


def hold(conditions: Sequence[tuple[str, str]], request: Mapping[str, Any], authorizer: Any = None) -> bool:
    """Whether every (name, expression) is true. False wins over errors; otherwise an error raises ConditionError."""
    bindings = {
        "object": request.get("object"),
        "oldObject": request.get("oldObject"),
        "request": {k: v for k, v in request.items() if k not in {"object", "oldObject"}},
        "authorizer": authorizer,
    }

    failed: list[str] = []
    for name, expression in conditions:
        try:
            result = _program(expression).evaluate(bindings)
        except Exception as error:
            failed.append(f"{name}: {error}")
            continue
        if result is False:
            return False
        if result is not True:
            failed.append(f"{name}: the expression gave {type(result).__name__}, not a boolean")
    if failed:
        raise ConditionError("; ".join(failed))
    return True
