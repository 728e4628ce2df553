"""FelixConfiguration: the settings of the policy agent.

For Felix and admission. In: JSON of projectcalico.org/v3 and the parameter tables beside this module. Out: the struct
`FelixConfiguration`, whose spec has one optional field for each parameter (None: not set here).
"""

from typing import Annotated, Any

import msgspec

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import ObjectMeta
from tortie.model.v3.felix_parameters import PARAMETERS, snake_case


def _build_spec() -> type[msgspec.Struct]:
    """The spec as a struct, from the table: one optional field for each parameter, with its description."""
    fields: list[tuple[str, Any, Any]] = [
        (snake_case(name), Annotated[p.type | None, doc(p.description, **p.keywords)], None)
        for name, p in PARAMETERS.items()
    ]
    names = {snake_case(name): name for name in PARAMETERS}
    return msgspec.defstruct(
        "FelixConfigurationSpec",
        fields,
        bases=(ApiStruct,),
        module=__name__,
        namespace={"__doc__": "One optional field for each parameter of Felix."},
        frozen=True,
        kw_only=True,
        omit_defaults=True,
        rename=names,
    )


FelixConfigurationSpec: Any = _build_spec()


class FelixConfiguration(Object, frozen=True, kw_only=True):
    """Settings of Felix: for all nodes in the object default, for one in node.<name>, for several by nodeSelector."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("FelixConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[FelixConfigurationSpec, doc("The settings.")] = FelixConfigurationSpec()
