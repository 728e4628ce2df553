"""Sets of addresses as sorted, merged ranges of integers, for reservations.

For block arithmetic, which asks for each candidate address whether it is reserved. In: the CIDRs and addresses of
IPReservation objects. Out: an immutable set with a membership test in O(log n) and a test for whole blocks.
"""

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable


class Ranges:
    """Addresses of one family. Texts that do not parse are skipped, white space is trimmed (spec 2.1)."""

    def __init__(self, texts: Iterable[str], *, version: int) -> None:
        spans = []
        for text in texts:
            try:
                network = ipaddress.ip_network(text.strip(), strict=False)
            except ValueError:
                continue
            if network.version == version:
                spans.append((int(network.network_address), int(network.broadcast_address)))
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in sorted(spans):
            if self._ends and first <= self._ends[-1] + 1:
                self._ends[-1] = max(self._ends[-1], last)
            else:
                self._starts.append(first)
                self._ends.append(last)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __contains__(self, address: int) -> bool:
        position = bisect_right(self._starts, address) - 1
        return position >= 0 and address <= self._ends[position]

    def covers(self, first: int, last: int) -> bool:
        """True if every address from first to last is in the set."""
        position = bisect_right(self._starts, first) - 1
        return position >= 0 and last <= self._ends[position]

    def end_of_cover(self, address: int) -> int | None:
        """The last address of the range that holds `address`; None if none does."""
        position = bisect_right(self._starts, address) - 1
        return self._ends[position] if position >= 0 and address <= self._ends[position] else None


NOTHING = Ranges((), version=4)
"""No reservation, for either family."""
