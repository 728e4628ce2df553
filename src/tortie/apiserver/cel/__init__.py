"""CEL, the Common Expression Language, as Kubernetes has it.

For rules of CustomResourceDefinitions, match conditions and admission policies. In: expressions and the static types
of their variables, then plain JSON values. Out: `Program`s, which evaluate at a bounded cost; `CelError` says what is
wrong and where.

Written here because no library fits (looked at in November 2026): the binding of CEL C++ (cel-expr-python 0.1) takes
50 MB on disk and lacks comprehensions with two variables; the binding of the Rust interpreter
(common-expression-language 0.10) has no optional syntax and fails where a macro has to absorb an error; cel-python 0.5
has neither optional types nor two variables. None has Kubernetes' libraries or its accounting of cost.
"""

from tortie.apiserver.cel.calls import Receiver
from tortie.apiserver.cel.loops import Lazy
from tortie.apiserver.cel.program import COST_LIMIT, Messages, Program, compile
from tortie.apiserver.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
    object_of,
    optional_of,
)
from tortie.apiserver.cel.values import CelError, CostExceeded, KeyedList, Meter

__all__ = [
    "BOOL",
    "BYTES",
    "COST_LIMIT",
    "DOUBLE",
    "DURATION",
    "DYN",
    "INT",
    "NULL",
    "STRING",
    "TIMESTAMP",
    "CelError",
    "CostExceeded",
    "KeyedList",
    "Lazy",
    "Messages",
    "Meter",
    "Program",
    "Receiver",
    "Type",
    "compile",
    "list_of",
    "map_of",
    "object_of",
    "optional_of",
]
