"""The bits of the packet mark that Felix owns (spec/felix.md 3.5).

The renderers take them from the configuration; nothing else of the mark is ever touched.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marks:
    """accept survives between hooks; passed ends a tier without a verdict."""

    accept: int = 0x10000
    passed: int = 0x20000

    @property
    def both(self) -> int:
        return self.accept | self.passed

    @classmethod
    def of_mask(cls, mask: int) -> "Marks":
        """The lowest bits of `mask`, in fixed order. Raises ValueError if it has fewer than two."""
        bits = [1 << position for position in range(32) if mask >> position & 1]
        if len(bits) < 2:
            raise ValueError(f"mark mask 0x{mask:x} has {len(bits)} bits, at least 2 are needed")
        return cls(accept=bits[0], passed=bits[1])
