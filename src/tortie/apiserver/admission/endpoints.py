"""Where a Service's ready endpoints listen, for requests that this server makes itself.

In: stored Services and EndpointSlices. Out: `host:port` texts to try in turn; `Unreachable` says why there is none.
"""

import ipaddress
import random

from tortie.apiserver.context import Context

_SERVICE_LABEL = "kubernetes.io/service-name"


class Unreachable(Exception):
    """Why no address is known."""


def addresses(context: Context, namespace: str, name: str, port: int) -> list[str]:
    """Every ready endpoint of one port of a Service, in random order. Raises Unreachable."""
    service = context.read("/services", namespace, name)
    if service is None:
        raise Unreachable(f'service "{name}" not found')
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [_host(str(spec.get("externalName", "")), port)]
    wanted = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if wanted is None:
        raise Unreachable(f'no service port {port} found for service "{name}"')
    found = []
    for record in context.store.collection("discovery.k8s.io/endpointslices").select(namespace):
        if record.labels.get(_SERVICE_LABEL) != name:
            continue
        tree = record.decode()
        ports = [p["port"] for p in tree.get("ports") or () if (p.get("name") or "") == (wanted.get("name") or "")]
        for endpoint in tree.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True) is not False:
                found += [_host(str(a), int(p)) for a in endpoint.get("addresses") or () for p in ports if p]
    if not found:
        raise Unreachable(f'no endpoints available for service "{name}"')
    random.shuffle(found)
    return found


def _host(address: str, port: int) -> str:
    try:
        return f"[{address}]:{port}" if ipaddress.ip_address(address).version == 6 else f"{address}:{port}"
    except ValueError:
        return f"{address}:{port}"
