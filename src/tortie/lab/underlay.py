"""The lab's wires: a bridge in a namespace of its own, one port for each node, the outside world, and this machine.

In: the layout. Out: namespaces, links and addresses, made where they are missing. The machine's own namespace gets one
link and a blackhole for each range of the lab; nothing is forwarded to its uplink.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from tortie.lab.layout import (
    CONTROL_HOST,
    FABRIC,
    GATEWAY_HOST,
    OUTSIDE,
    OUTSIDE_DNS_V4,
    OUTSIDE_DNS_V6,
    OUTSIDE_V4,
    OUTSIDE_V6,
    OUTSIDE_WEB_V4,
    OUTSIDE_WEB_V6,
    Layout,
)
from tortie.lab.state import LabError

MTU = 1500


def ensure(layout: Layout) -> None:
    """Makes what is missing of the underlay; leaves alone what is there."""
    _check_ranges(layout)
    existing = set(namespaces())
    for name in layout.namespaces:
        if name not in existing:
            _run(["ip", "netns", "add", name])
    fabric = layout.namespace(FABRIC)
    if not _has_link(fabric, "br0"):
        _batch(
            fabric,
            ["link set lo up", "link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up"],
        )
    _ensure_machine_port(layout)
    _ensure_port(layout, OUTSIDE, GATEWAY_HOST)
    _ensure_outside(layout)
    for node in layout.spec.node_names:
        _ensure_port(layout, node, layout.node_host(node))
        _ensure_default_routes(layout, node)
    _ensure_blackholes(layout)


def remove(layout: Layout) -> None:
    """Removes every namespace, link and route of the lab; what is already gone is no error."""
    remove_namespaces(layout.spec.name)
    remove_link(layout.management_link)
    remove_blackholes({layout.blackhole_metric})


def remove_link(name: str) -> None:
    """Removes a link of the machine's own namespace; one that is gone, or goes meanwhile, is no error."""
    if not _has_link(None, name):
        return
    try:
        _run(["ip", "link", "del", name])
    except LabError:
        # The kernel ends a namespace at a moment of its own, and with it both ends of the pair.
        if _has_link(None, name):
            raise


def remove_blackholes(metrics: set[int]) -> None:
    """Removes the blackholes with these metrics, which only labs use."""
    for family in ("-4", "-6"):
        for route in _json(["ip", family, "-j", "route", "show", "type", "blackhole"]):
            if route.get("metric") in metrics:
                _run(["ip", family, "route", "del", "blackhole", str(route["dst"]), "metric", str(route["metric"])])


def remove_namespaces(lab: str) -> None:
    """Removes the namespaces of a lab whose other state may be lost; links in them go with them."""
    for name in namespaces():
        if name.startswith(f"tortie-{lab}-"):
            _run(["ip", "netns", "del", name])


def namespaces() -> list[str]:
    """The named network namespaces of this machine."""
    directory = Path("/run/netns")
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def _check_ranges(layout: Layout) -> None:
    """Raises LabError if this machine already uses an address range that the lab needs."""
    ours = {layout.management_link}
    wanted = [layout.subnet_v4, layout.subnet_v6]
    for family in ("-4", "-6"):
        for route in _json(["ip", family, "-j", "route", "show"]):
            device = str(route.get("dev", ""))
            if device in ours or route.get("type") == "blackhole":
                continue
            for subnet in wanted:
                if route.get("dst") == str(subnet):
                    raise LabError(
                        f"This machine already has a route to {subnet} by {device}, the range of the lab's network; "
                        f"remove it or take another lab index with --name."
                    )


def _ensure_port(layout: Layout, machine: str, host: int) -> None:
    namespace = layout.namespace(machine)
    if _has_link(namespace, "eth0"):
        return
    fabric = layout.namespace(FABRIC)
    port = f"p-{machine}"[:15]
    _batch(
        fabric,
        [
            f"link add {port} mtu {MTU} type veth peer name eth0 netns {namespace} mtu {MTU}",
            f"link set {port} master br0 up",
        ],
    )
    commands = ["link set lo up", "link set eth0 up"]
    if layout.spec.ipv4:
        commands.append(f"addr add {layout.address_v4(host)}/{layout.subnet_v4.prefixlen} dev eth0")
    if layout.spec.ipv6:
        commands.append(f"addr add {layout.address_v6(host)}/{layout.subnet_v6.prefixlen} dev eth0 nodad")
    _batch(namespace, commands)


def _ensure_machine_port(layout: Layout) -> None:
    link = layout.management_link
    if _has_link(None, link):
        return
    fabric = layout.namespace(FABRIC)
    commands = [
        f"link add {link} mtu {MTU} type veth peer name p-machine netns {fabric} mtu {MTU}",
        f"link set {link} up",
    ]
    if layout.spec.ipv4:
        commands.append(f"addr add {layout.address_v4(CONTROL_HOST)}/{layout.subnet_v4.prefixlen} dev {link}")
    if layout.spec.ipv6:
        commands.append(f"addr add {layout.address_v6(CONTROL_HOST)}/{layout.subnet_v6.prefixlen} dev {link} nodad")
    _batch(None, commands)
    _batch(fabric, ["link set p-machine master br0 up"])


def _ensure_default_routes(layout: Layout, node: str) -> None:
    namespace = layout.namespace(node)
    if layout.spec.ipv4:
        _batch(namespace, [f"route replace default via {layout.address_v4(GATEWAY_HOST)} dev eth0"])
    if layout.spec.ipv6:
        _batch(namespace, [f"-6 route replace default via {layout.address_v6(GATEWAY_HOST)} dev eth0"])


def _ensure_outside(layout: Layout) -> None:
    """Gives the outside world its addresses; it answers for every address of the documentation ranges."""
    namespace = layout.namespace(OUTSIDE)
    commands = []
    if layout.spec.ipv4:
        commands += [f"addr replace {address}/32 dev lo" for address in (OUTSIDE_DNS_V4, OUTSIDE_WEB_V4)]
        commands += [f"route replace local {cidr} dev lo" for cidr in OUTSIDE_V4]
    if layout.spec.ipv6:
        commands += [f"addr replace {address}/128 dev lo nodad" for address in (OUTSIDE_DNS_V6, OUTSIDE_WEB_V6)]
        commands += [f"-6 route replace local {cidr} dev lo" for cidr in OUTSIDE_V6]
    for command in commands:
        _batch(namespace, [command])


def _ensure_blackholes(layout: Layout) -> None:
    for cidr in layout.blackholes:
        family = "-6" if ":" in cidr else "-4"
        _run(["ip", family, "route", "replace", "blackhole", cidr, "metric", str(layout.blackhole_metric)])


def _has_link(namespace: str | None, link: str) -> bool:
    prefix = ["ip", "-n", namespace] if namespace else ["ip"]
    result = subprocess.run([*prefix, "link", "show", "dev", link], capture_output=True, check=False)
    return result.returncode == 0


def _batch(namespace: str | None, commands: list[str]) -> None:
    prefix = ["ip", "-n", namespace] if namespace else ["ip"]
    for command in commands:
        arguments = command.split()
        # Family options belong before the object.
        options = [a for a in arguments if a in ("-4", "-6")]
        _run([*prefix, *options, *(a for a in arguments if a not in ("-4", "-6"))])


def _run(argv: list[str]) -> None:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` failed: {result.stderr.strip() or result.stdout.strip()}")


def _json(argv: list[str]) -> list[dict[str, Any]]:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0 or not result.stdout.strip():
        return []
    loaded: list[dict[str, Any]] = json.loads(result.stdout)
    return loaded
