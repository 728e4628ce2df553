"""What a CustomResourceDefinition checks beyond its schema, as rules in CEL (spec/resources.md 1.4, 2).

For `tortie.model.definitions`. In: the tables of this package, by subject. Out: `rules` of one resource. They say what
`tortie.model.admission` says in Python as far as CEL can at a bounded cost; the tests hold the two together.
"""

from tortie.model.resource import Resource
from tortie.model.validations.rule import Rule, Rules

__all__ = ["Rule", "Rules", "rules"]

_TABLES: dict[str, Rules] = {}


def rules(resource: Resource[object]) -> Rules:
    """The rules of a resource by the place where they stand; empty if it has none."""
    return _TABLES.get(resource.plural, {})
