"""The parameters of Felix, as tables by subject (spec/resources.md 5.2).

For the struct FelixConfiguration, its admission, its conversion to raw parameters, and Felix's own configuration. In:
the tables of this package. Out: `PARAMETERS`, by field name, and `BY_NAME`, by lower-cased parameter name.
"""

from tortie.model.v3.felix_parameters import common, ebpf, kernel, logs, other, process
from tortie.model.v3.felix_parameters.parameter import (
    ConntrackTimeouts,
    HealthTimeout,
    Parameter,
    ProtoPort,
    TableRange,
    snake_case,
)

PARAMETERS: dict[str, Parameter] = {
    parameter.field: parameter
    for table in (process.TABLE, common.TABLE, kernel.TABLE, ebpf.TABLE, logs.TABLE, other.TABLE)
    for parameter in table
}

BY_NAME: dict[str, Parameter] = {parameter.name.lower(): parameter for parameter in PARAMETERS.values()}

__all__ = [
    "BY_NAME",
    "PARAMETERS",
    "ConntrackTimeouts",
    "HealthTimeout",
    "Parameter",
    "ProtoPort",
    "TableRange",
    "snake_case",
]
