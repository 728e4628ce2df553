"""Kernel settings under /proc/sys/net, of the network namespace of the calling thread.

Callers name a setting with slashes or as parts, since interface names contain dots. A setting of an interface that is
gone raises FileNotFoundError, which callers treat as normal; every other failure is an OSError that names the file.
"""

from pathlib import Path

_ROOT = Path("/proc/sys/net")
# /proc/sys/net resolves to the namespace of the reading thread, not of the process.


def read(name: str) -> str:
    return (_ROOT / name).read_text().strip()


def write(name: str, value: str | int) -> None:
    """name: such as `ipv4/conf/cali1234/proxy_arp`. Raises OSError; FileNotFoundError when the interface is gone."""
    (_ROOT / name).write_text(f"{value}\n")


def ensure(name: str, value: str | int) -> bool:
    """Writes only if the value differs; returns whether it did."""
    if read(name) == str(value):
        return False
    write(name, value)
    return True
