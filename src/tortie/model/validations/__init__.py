"""What a CustomResourceDefinition checks beyond its schema, as rules in CEL (spec/resources.md 1.4, 2).

For `tortie.model.definitions`. In: the tables of this package, by subject. Out: `rules` of one resource. They say what
`tortie.model.admission` says in Python as far as CEL can at a bounded cost; the tests hold the two together.
"""

from typing import Any

from tortie.model.resource import Resource
from tortie.model.validations import addresses, bgp, configuration, enterprise, policies
from tortie.model.validations.rule import Limit, Rule, Rules

__all__ = ["Limit", "Rule", "Rules", "rules"]

_TABLES: dict[str, Rules] = {
    **policies.TABLES,
    **addresses.TABLES,
    **bgp.TABLES,
    **configuration.TABLES,
    **enterprise.TABLES,
}


_STORED = frozenset(
    {
        *policies.TABLES,
        *bgp.TABLES,
        "felixconfigurations",
        "hostendpoints",
        "ippools",
    }
)
"""Kinds whose definitions in group crd.projectcalico.org carry the rules too; what is stored of the others was checked
by the aggregated API server alone."""


def rules(resource: Resource[Any], *, stored: bool = False) -> Rules:
    """The rules of a resource by the place where they stand; empty if it has none.

    stored: those of the definition that an aggregated API server stores its objects by.
    """
    if stored and resource.plural not in _STORED:
        return {}
    return _TABLES.get(resource.plural, {})
