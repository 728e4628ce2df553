"""The difference between a table as it should be and as it is, as messages of one transaction (spec/felix.md 3.1).

A `TableState` comes in; messages are appended to the transaction in the order in which the kernel must see them: sets,
chains, rules, map entries, then what goes, referrers first. The returned `Plan` tells the table what to `settle`.
"""

import struct
from dataclasses import dataclass, field

from tortie.felix.dataplane import names
from tortie.felix.dataplane.chain import Chain
from tortie.felix.dataplane.table import TableState
from tortie.net.nft import transaction as nft
from tortie.net.nft.transaction import Transaction


class RenderError(ValueError):
    """A chain holds a value that no kernel rule can express."""

    def __init__(self, chain: str, reason: str) -> None:
        super().__init__(f"chain {chain}: {reason}")
        self.chain = chain
        self.reason = reason


@dataclass(slots=True)
class Plan:
    """What a transaction does to one table: name -> new content, None for what goes. whole: it starts from nothing."""

    whole: bool
    chains: dict[str, Chain | None] = field(default_factory=dict)
    sets: dict[str, nft.SetType | None] = field(default_factory=dict)
    maps: dict[str, dict[str, str] | None] = field(default_factory=dict)


def plan(table: TableState, out: Transaction) -> Plan:
    """Raises RenderError, after which the transaction is of no use."""
    made = Plan(whole=not table.exists)
    graph = table.graph
    dirty, dirty_sets, dirty_maps = set(graph.dirty), set(graph.dirty_sets), set(table.dirty_maps)
    if made.whole:
        # Added first, since only what exists can be deleted.
        out.add_table(table.family, names.TABLE)
        out.delete_table(table.family, names.TABLE)
        out.add_table(table.family, names.TABLE)
        dirty |= graph.live | set(graph.referred())
        dirty_sets |= set(graph.used())
        dirty_maps |= table.maps.keys()
    gone = _write(made, table, out, dirty, dirty_sets, dirty_maps)
    _remove(made, table, out, gone, dirty_sets, dirty_maps)
    return made


def _write(
    made: Plan, table: TableState, out: Transaction, dirty: set[str], dirty_sets: set[str], dirty_maps: set[str]
) -> list[str]:
    """Returns the chains that should go."""
    family = table.family
    changed: list[Chain] = []
    gone: list[str] = []
    for name in sorted(dirty):
        chain = table.effective(name)
        if chain is None:
            if not made.whole and name in table.written:
                gone.append(name)
            continue
        try:
            differs = table.written.get(name) != chain.user_data
        except (ValueError, struct.error, OverflowError) as error:
            raise RenderError(name, str(error)) from error
        if made.whole or differs:
            changed.append(chain)
    for name in sorted(dirty_sets):
        _write_set(made, table, out, name)
    for chain in changed:
        if made.whole or chain.name not in table.written:
            out.add_chain(family, names.TABLE, chain.name, ("chain", family, chain.name), chain.hook)
    for name in sorted(dirty_maps):
        if name in table.maps and (made.whole or name not in table.written_maps):
            out.add_set(family, names.TABLE, name, nft.INTERFACE_VERDICTS, ("map", family, name))
    for chain in changed:
        subject = ("chain", family, chain.name)
        if not made.whole and chain.name in table.written:
            out.flush_chain(family, names.TABLE, chain.name, subject)
        out.add_rules(family, names.TABLE, chain.name, chain.encoded, subject)
        made.chains[chain.name] = chain
    for name in sorted(dirty_maps):
        if name in table.maps:
            _write_map(made, table, out, name)
    return gone


def _write_set(made: Plan, table: TableState, out: Transaction, name: str) -> None:
    """A set that is as it should be is passed over."""
    family, subject = table.family, ("set", table.family, name)
    if name in table.broken_sets or not table.graph.is_used(name):
        return
    known = not made.whole and name in table.written_sets
    entry = table.sets.get(name)
    if entry is not None:
        if known and not entry.fresh:
            out.delete_elements(family, names.TABLE, name, entry.with_sign(-1), subject)
            out.add_elements(family, names.TABLE, name, entry.with_sign(1), subject)
        else:
            if known:
                out.flush_elements(family, names.TABLE, name, subject)
            else:
                out.add_set(family, names.TABLE, name, entry.members.type, subject)
            out.add_elements(family, names.TABLE, name, entry.members.elements(), subject)
        made.sets[name] = entry.members.type
    elif name in table.graph.content and not known:
        content = table.graph.content[name]
        out.add_set(family, names.TABLE, name, content.type, subject)
        out.add_elements(family, names.TABLE, name, content.elements, subject)
        made.sets[name] = content.type


def _write_map(made: Plan, table: TableState, out: Transaction, name: str) -> None:
    family, subject = table.family, ("map", table.family, name)
    entries = table.maps[name]
    old = {} if made.whole else table.written_maps.get(name, {})
    gone = [nft.interface_goto(key, chain) for key, chain in old.items() if entries.get(key) != chain]
    new = [nft.interface_goto(key, chain) for key, chain in entries.items() if old.get(key) != chain]
    out.delete_elements(family, names.TABLE, name, gone, subject)
    out.add_elements(family, names.TABLE, name, new, subject)
    made.maps[name] = entries


def _remove(
    made: Plan, table: TableState, out: Transaction, gone: list[str], dirty_sets: set[str], dirty_maps: set[str]
) -> None:
    if made.whole:
        return
    family = table.family
    for name in gone:
        out.flush_chain(family, names.TABLE, name, ("chain", family, name))
        made.chains[name] = None
    for name in sorted(dirty_maps):
        if name not in table.maps and name in table.written_maps:
            out.delete_set(family, names.TABLE, name, ("map", family, name))
            made.maps[name] = None
    for name in gone:
        out.delete_chain(family, names.TABLE, name, ("chain", family, name))
    for name in sorted(dirty_sets):
        wanted = table.graph.is_used(name) and name not in table.broken_sets
        if name in table.written_sets and name not in made.sets and not (wanted and _is_known(table, name)):
            out.delete_set(family, names.TABLE, name, ("set", family, name))
            made.sets[name] = None


def _is_known(table: TableState, name: str) -> bool:
    return name in table.sets or name in table.graph.content
