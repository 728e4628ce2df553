"""Where a Service's ready endpoints listen, for requests that this server makes itself.

In: stored Services, EndpointSlices and Endpoints; a service's place and port. Out: addresses to try in turn, in random
order; `Unreachable` says why there is none. There is no service proxy beside this server, so it dials endpoints.
"""

import ipaddress
import random
from typing import Any

from tortie.apiserver.context import Context

Object = dict[str, Any]
Address = tuple[str, int]
_SERVICE_LABEL = "kubernetes.io/service-name"


class Unreachable(Exception):
    """Why no address is known. `reason` is what the condition of an APIService shows; `message` its text."""

    def __init__(self, text: str, reason: str, message: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.message = message


def addresses(context: Context, namespace: str, name: str, port: int) -> list[Address]:
    """Every ready endpoint of one port of a Service. Raises Unreachable."""
    place = f'service/{name} in "{namespace}"'
    service = context.read("/services", namespace, name)
    if service is None:
        raise Unreachable(f'service "{name}" not found', "ServiceNotFound", f"{place} is not present")
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [(str(spec.get("externalName", "")), port)]
    wanted = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if wanted is None:
        text = f'no service port {port} found for service "{name}"'
        raise Unreachable(text, "ServicePortError", f"{place} is not listening on port {port}")
    port_name = str(wanted.get("name") or "")
    slices, found = _from_slices(context, namespace, name, port_name)
    mirrored = context.read("/endpoints", namespace, name)
    if not found and mirrored is not None:
        found = _from_endpoints(mirrored, port_name)
    if found:
        found = list(dict.fromkeys(found))
        random.shuffle(found)
        return found
    text = f'no endpoints available for service "{name}"'
    if not slices and mirrored is None:
        raise Unreachable(text, "EndpointsNotFound", f"cannot find endpointslices for {place}")
    missing = f'endpoints for {place} have no addresses with port name "{port_name}"'
    raise Unreachable(text, "MissingEndpoints", missing)


def _from_slices(context: Context, namespace: str, name: str, port_name: str) -> tuple[bool, list[Address]]:
    """Whether the service has slices, and the ready addresses in them."""
    seen, found = False, []
    for record in context.store.collection("discovery.k8s.io/endpointslices").select(namespace):
        if record.labels.get(_SERVICE_LABEL) != name:
            continue
        seen = True
        tree = record.decode()
        ports = [
            int(p["port"]) for p in tree.get("ports") or () if (p.get("name") or "") == port_name and p.get("port")
        ]
        for endpoint in tree.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True) is False:
                continue
            found += [(str(address), port) for address in endpoint.get("addresses") or () for port in ports]
    return seen, found


def _from_endpoints(tree: Object, port_name: str) -> list[Address]:
    return [
        (str(address["ip"]), int(port["port"]))
        for subset in tree.get("subsets") or ()
        for port in subset.get("ports") or ()
        if (port.get("name") or "") == port_name
        for address in subset.get("addresses") or ()
    ]


def url_host(address: Address) -> str:
    """`host:port` as a URL has it."""
    host, port = address
    try:
        return f"[{host}]:{port}" if ipaddress.ip_address(host).version == 6 else f"{host}:{port}"
    except ValueError:
        return f"{host}:{port}"
