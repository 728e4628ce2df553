"""A chain as the renderers produce it and the table writer compares it: rules plus the small sets they own.

Renderers (`policies`, `endpoints`, `static`) build `Chain`s; `table` asks for their encoded rules, which are computed
once, and for the names they refer to. `text()` is the same chain in nft's language, for golden files and reports.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tortie.net.nft.match import AddressPortSet, AddressSet, InterfaceAddressSet, PortSet, ProtocolSet
from tortie.net.nft.statement import COMMENT_LIMIT, COUNTER, DROP, InterfaceMap, Part, Rule, Verdict, chain_hashes
from tortie.net.nft.transaction import Hook, SetType, comment_data

Version = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class ContentSet:
    """A constant set that rules use; its name follows from its content. elements: encoded; shown: as text."""

    name: str
    type: SetType
    elements: tuple[bytes, ...]
    shown: tuple[str, ...]

    def text(self) -> str:
        return f"set {self.name} {{ {self.type.text()} elements = {{ {', '.join(self.shown)} }} }}"


@dataclass(frozen=True)
class Chain:
    """owner: what a user would call the thing this chain enforces, for comments and problem reports."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    sets: tuple[ContentSet, ...] = field(default=(), compare=False)
    owner: str = field(default="", compare=False)

    @cached_property
    def encoded(self) -> tuple[tuple[bytes, bytes], ...]:
        """Expressions and user data of each rule. Raises ValueError or struct.error for impossible values."""
        bodies = [rule.encode() for rule in self.rules]
        return tuple(
            (body, comment_data(_comment(digest, rule.comment)))
            for body, digest, rule in zip(bodies, chain_hashes(bodies), self.rules, strict=True)
        )

    @cached_property
    def user_data(self) -> list[bytes]:
        return [data for _, data in self.encoded]

    @cached_property
    def targets(self) -> frozenset[str]:
        """Chains that this one jumps or goes to."""
        return frozenset(part.chain for part in self._parts() if isinstance(part, Verdict) and part.chain)

    @cached_property
    def uses(self) -> frozenset[str]:
        """Sets and maps that this chain looks things up in."""
        names = set()
        for part in self._parts():
            if isinstance(part, AddressSet | AddressPortSet | PortSet | ProtocolSet | InterfaceAddressSet):
                names.add(part.name)
            elif isinstance(part, InterfaceMap):
                names.add(part.map)
        return frozenset(names)

    def _parts(self) -> Iterator[Part]:
        for rule in self.rules:
            yield from rule.parts

    def text(self) -> str:
        lines = [f"chain {self.name} {{"]
        if self.hook is not None:
            lines.append(f"\t{self.hook.text()}")
        lines += [f"\t{rule.text()}" for rule in self.rules]
        return "\n".join([*[content.text() for content in self.sets], *lines, "}"])


def _comment(digest: str, words: str) -> str:
    return f"cali:{digest}; {words}"[: COMMENT_LIMIT - 1] if words else f"cali:{digest};"


def stand_in(chain: Chain | str, reason: str) -> Chain:
    """What is enforced in place of a chain that cannot be: every packet that gets there is dropped."""
    words = f"stand-in: {reason}"
    parts: tuple[Part, ...] = (COUNTER, DROP)
    if isinstance(chain, str):
        return Chain(name=chain, rules=(Rule(parts, words),))
    return Chain(name=chain.name, rules=(Rule(parts, words),), hook=chain.hook, owner=chain.owner)
