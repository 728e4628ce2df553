"""Which proxy leads to a server, as the environment says it.

In: the server's URL and HTTPS_PROXY, HTTP_PROXY, NO_PROXY (either case). Out: the proxy's URL, or None. Pure. NO_PROXY
lists hosts, domains with or without a leading dot, addresses and networks, each with an optional port; loopback never
goes through a proxy.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def from_environment(server: str, environ: Mapping[str, str]) -> str | None:
    """The proxy for a server. Raises ValueError for one that is not an http or https URL."""
    parts = urlsplit(server)
    name = f"{parts.scheme}_proxy"
    found = environ.get(name) or environ.get(name.upper()) or ""
    if not found or not parts.hostname:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if bypassed(parts.hostname, port, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    return check(found if "://" in found else f"http://{found}")


def check(url: str) -> str:
    """The URL, if it can be used. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"proxy {url!r}: must be http://HOST[:PORT] or https://HOST[:PORT]")
    return url


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Whether a server is reached directly."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in (e.strip().lower() for e in no_proxy.split(",")):
        if not entry:
            continue
        if entry == "*":
            return True
        name, wanted = _split(entry)
        if wanted and wanted != port:
            continue
        if address is not None:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                continue
        elif host.lower() == name.lstrip(".") or host.lower().endswith("." + name.lstrip("*").lstrip(".")):
            return True
    return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _split(entry: str) -> tuple[str, int]:
    """A NO_PROXY entry as name and port, 0 for any."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdigit() else 0
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and ":" not in name:
        return name, int(port)
    return entry, 0
