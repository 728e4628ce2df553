"""UDP has no end of a connection: entries of the connection tracker must not outlive the backend they lead to.

In: for each address and port of a UDP service its right backends. Out: deleted entries, through Debian's conntrack
program, so that a client's next packet meets the rules again.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TUPLE = re.compile(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One tracked UDP flow: as the client sent it, and who answers."""

    source: str
    destination: str
    source_port: int
    destination_port: int
    answers: str


def parse(listing: str) -> list[Entry]:
    """The lines of `conntrack -L -p udp`."""
    entries = []
    for line in listing.splitlines():
        tuples = _TUPLE.findall(line)
        if len(tuples) >= 2:
            (source, destination, sport, dport), reply = tuples[0], tuples[1]
            entries.append(Entry(source, destination, int(sport), int(dport), reply[0]))
    return entries


def stale(
    entries: Iterable[Entry], services: Mapping[tuple[str, int], frozenset[str]], node_addresses: frozenset[str]
) -> list[Entry]:
    """The entries that lead from a service's address to something that is not one of its backends (any more). Address
    "" in services stands for the node's own addresses."""
    result = []
    for entry in entries:
        backends = services.get((entry.destination, entry.destination_port))
        if backends is None and entry.destination in node_addresses:
            backends = services.get(("", entry.destination_port))
        if backends is not None and entry.answers not in backends:
            result.append(entry)
    return result


def clean(
    family: str, services: Mapping[tuple[str, int], frozenset[str]], node_addresses: frozenset[str]
) -> list[Entry]:
    """Lists this network namespace's UDP entries and deletes the stale ones; gives what was deleted."""
    version = "ipv4" if family == "ip" else "ipv6"
    listing = subprocess.run(
        ["conntrack", "-L", "-f", version, "-p", "udp"], capture_output=True, text=True, timeout=10, check=False
    )
    deleted = []
    for entry in stale(parse(listing.stdout), services, node_addresses):
        command = ["conntrack", "-D", "-f", version, "-p", "udp", "--orig-src", entry.source]
        command += ["--orig-dst", entry.destination]
        command += ["--orig-port-src", str(entry.source_port), "--orig-port-dst", str(entry.destination_port)]
        if subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0:
            deleted.append(entry)
    return deleted
