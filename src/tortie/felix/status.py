"""Which pods are ready to talk, as files that the CNI agent waits for (spec/felix.md 5.3, spec/cni-ipam-node.md 1.13).

In: the endpoints that the dataplane reports up, with the endpoint messages that it has applied. Out: one small file
for each, made only after the kernel has the pod's rules, and gone when it has them no longer.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from tortie.felix.messages import WorkloadEndpointUpdate
from tortie.model.dataplane import WorkloadEndpointKey
from tortie.service.log import get_logger

_TEMPORARY = ".writing-"
_log = get_logger("felix.status")


class _Content(msgspec.Struct, frozen=True, rename="camel"):
    iface_name: str
    mac: str
    ipv4_nets: tuple[str, ...]
    ipv6_nets: tuple[str, ...]
    bgp_peer_name: str = ""


def file_name(key: WorkloadEndpointKey) -> str:
    """Orchestrator, workload and endpoint, each escaped as a part of a URL path, with blanks between."""
    return " ".join(quote(part, safe="") for part in (key.orchestrator, key.workload, key.endpoint))


def content(update: WorkloadEndpointUpdate) -> bytes:
    """What the file of an endpoint says."""
    return msgspec.json.encode(
        _Content(
            iface_name=update.interface,
            mac=update.mac,
            ipv4_nets=update.ipv4_nets,
            ipv6_nets=update.ipv6_nets,
        )
    )


class StatusFiles:
    """The files of one directory, which is ours alone. Call `sync` with the whole truth whenever it may have changed,
    and now and then: it repairs what others did to the files."""

    def __init__(self, prefix: Path) -> None:
        self._directory = prefix / "endpoint-status"
        self._written: dict[str, bytes] = {}
        self._swept = False
        self._failing = False

    def sweep(self) -> None:
        """Takes away what an earlier process left: nothing is up before the dataplane says so."""
        self._written.clear()
        self._swept = self._reconcile({}, everything=True)

    def sync(self, up: Mapping[WorkloadEndpointKey, WorkloadEndpointUpdate], *, everything: bool = False) -> bool:
        """Brings the files in line with the endpoints that are up. everything: look at the directory too, instead of
        trusting what was written before. False if something failed and should be tried again."""
        wanted = {file_name(key): content(update) for key, update in up.items()}
        return self._reconcile(wanted, everything=everything or self._failing or not self._swept)

    def _reconcile(self, wanted: Mapping[str, bytes], *, everything: bool) -> bool:
        try:
            if everything:
                self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._written = {path.name: _read(path) for path in self._directory.iterdir()}
                self._swept = True
            for name in self._written.keys() - wanted.keys():
                (self._directory / name).unlink(missing_ok=True)
                del self._written[name]
            for name, text in wanted.items():
                if self._written.get(name) != text:
                    self._write(name, text)
                    self._written[name] = text
        except OSError as error:
            if not self._failing:
                _log.warning("endpoint status files cannot be written", error=str(error))
            self._failing = True
            return False
        self._failing = False
        return True

    def _write(self, name: str, text: bytes) -> None:
        """A reader sees the whole file or none."""
        temporary = self._directory / f"{_TEMPORARY}{hash(name) & 0xFFFF_FFFF:x}"
        temporary.write_bytes(text)
        temporary.chmod(0o644)
        temporary.rename(self._directory / name)

    def statistics(self) -> dict[str, int]:
        """How many files there are."""
        return {"status_files": len(self._written)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
