"""Which of the two API servers an object is written to, for the few rules that depend on it.

For admission and whoever calls it. In: nothing. Out: `ServingMode`.

Native: the API server stores projectcalico.org/v3 objects as they are, and a CustomResourceDefinition's schema, rules
and webhooks are all that checks and completes them. Aggregated: an extension server stands in between; it has rules of
its own for names, reads scalars in all their spellings, and writes more defaults (spec/resources.md 0.1,
spec/apiserver-controllers-clis.md 1.1, 1.5, 1.10). Where the sheets name no difference there is none.
"""

from enum import StrEnum


class ServingMode(StrEnum):
    NATIVE = "native"
    AGGREGATED = "aggregated"
