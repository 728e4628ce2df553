"""Selectors with their scope: which namespace, which service accounts (spec/resources.md 4.5).

For the conversion of policies and rules. In: selector texts as users write them. Out: expression trees whose canonical
text means the same without any context. A selector that cannot be read raises SelectorError; leaving it out would
widen what it was meant to narrow.
"""

import re
from collections.abc import Iterable

from tortie.model.selector import parse
from tortie.model.selector_nodes import All, And, Compare, Global, Has, InSet, Node, Not, Or, prefixed

NAMESPACE_PREFIX = "pcns."
SERVICE_ACCOUNT_PREFIX = "pcsa."
"""Labels of namespaces and service accounts reach endpoints under these prefixes, by way of profiles."""

NAMESPACE_LABEL = "projectcalico.org/namespace"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"

_LABEL = re.compile(r"[A-Za-z0-9_./-]{1,512}")

IN_KUBERNETES = Compare(ORCHESTRATOR_LABEL, "==", "k8s")
NAMESPACED = Has(NAMESPACE_LABEL)
_WITH_SERVICE_ACCOUNT = Has(SERVICE_ACCOUNT_LABEL)


def label(key: str) -> str:
    """The key, if a selector can name it. Raises ValueError."""
    if not _LABEL.fullmatch(key):
        raise ValueError(f"{key!r} is not the key of a label")
    return key


def literal(value: str) -> str:
    """The value, if a selector can quote it. Raises ValueError."""
    if '"' in value and "'" in value:
        raise ValueError(f"{value!r} has both kinds of quotes, which no selector can write")
    return value


def own_namespace(namespace: str) -> Node:
    return Compare(NAMESPACE_LABEL, "==", namespace)


def every(*nodes: Node | None) -> Node | None:
    """All of those that are there; None if none is."""
    present = tuple(node for node in nodes if node is not None)
    if len(present) < 2:
        return present[0] if present else None
    return And(present)


def read(text: str) -> Node | None:
    """The tree of a selector, None if the text is empty. Raises SelectorError."""
    return parse(text).root if text else None


def in_namespaces(text: str) -> Node | None:
    """A namespaceSelector: on namespace labels; all() means any namespace, global() none. Raises SelectorError."""
    node = read(text)
    return None if node is None else replaced(prefixed(node, NAMESPACE_PREFIX), NAMESPACED)


def as_service_accounts(text: str, names: Iterable[str] = ()) -> Node | None:
    """A match on service accounts, by selector on their labels and by name. Raises ValueError."""
    node = read(text)
    by_label = None if node is None else replaced(prefixed(node, SERVICE_ACCOUNT_PREFIX), _WITH_SERVICE_ACCOUNT)
    name_set = frozenset(map(literal, names))
    return every(by_label, InSet(SERVICE_ACCOUNT_LABEL, name_set, negated=False) if name_set else None)


def replaced(node: Node, everything: Node) -> Node:
    """The tree with all() replaced by `everything` and global() by "belongs to no namespace"."""
    match node:
        case All():
            return everything
        case Global():
            return Not(NAMESPACED)
        case Not(operand):
            return Not(replaced(operand, everything))
        case And(operands):
            return And(tuple(replaced(operand, everything) for operand in operands))
        case Or(operands):
            return Or(tuple(replaced(operand, everything) for operand in operands))
        case _:
            return node
