"""Other IPAM plugins, started the way the CNI specification says.

For the agent, when ipam.type is not calico-ipam (host-local, for example). In: a plugin's name, the call, the network
configuration to hand over. Out: the plugin's result, or its error with its own code (spec/cni-ipam-node.md 1.17).
"""

import asyncio
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tortie.cni.call import Call
from tortie.cni.errors import DECODING_FAILURE, CNIError, PluginError
from tortie.cni.result import Result, decode

_TIMEOUT = 60.0
_POD_CIDR, _POD_CIDR_V6 = "usepodcidr", "usepodcidripv6"


async def run(plugin: str, call: Call, config: Mapping[str, Any], *, command: str) -> Result | None:
    """Raises CNIError. The result is None for DEL and CHECK."""
    path = _find(plugin, call.path)
    arguments = call.environment.get("CNI_ARGS", "")
    environment = {
        "PATH": call.environment.get("PATH", os.defpath),
        **{key: value for key, value in call.environment.items() if key.startswith("CNI_")},
        "CNI_COMMAND": command,
        "CNI_ARGS": f"IgnoreUnknown=1;{arguments}" if arguments else "IgnoreUnknown=1",
    }
    process = await asyncio.create_subprocess_exec(
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            out, err = await process.communicate(msgspec.json.encode(config))
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PluginError(f"IPAM plugin {plugin} did not end within {_TIMEOUT:.0f} s") from None
    if process.returncode != 0:
        raise _failure(plugin, out, err, process.returncode)
    if command != "ADD":
        return None
    return decode(_json(plugin, out))


def with_pod_cidrs(config: Mapping[str, Any], pod_cidrs: Sequence[str] | None) -> dict[str, Any]:
    """The configuration with `usePodCidr` and `usePodCidrIPv6` replaced by the node's ranges. pod_cidrs None: the
    node is not looked up (DEL), and 0.0.0.0/0 and ::/0 stand in. Raises PluginError if the node has no such range."""
    ipam = dict(config.get("ipam") or {})
    if isinstance(ipam.get("subnet"), str):
        ipam["subnet"] = _replaced(ipam["subnet"], pod_cidrs)
    if isinstance(ipam.get("ranges"), list):
        ipam["ranges"] = [
            [
                {**entry, "subnet": _replaced(entry["subnet"], pod_cidrs)} if "subnet" in entry else entry
                for entry in range_set
            ]
            for range_set in ipam["ranges"]
        ]
    return {**config, "ipam": ipam}


def uses_pod_cidr(config: Mapping[str, Any]) -> bool:
    ipam = config.get("ipam") or {}
    subnets = [ipam.get("subnet")] + [entry.get("subnet") for part in ipam.get("ranges") or () for entry in part]
    return any(isinstance(each, str) and each.lower() in (_POD_CIDR, _POD_CIDR_V6) for each in subnets)


def _replaced(subnet: str, pod_cidrs: Sequence[str] | None) -> str:
    version = {_POD_CIDR: 4, _POD_CIDR_V6: 6}.get(subnet.lower())
    if version is None:
        return subnet
    if pod_cidrs is None:
        return "0.0.0.0/0" if version == 4 else "::/0"
    for cidr in pod_cidrs:
        if ipaddress.ip_network(cidr, strict=False).version == version:
            return cidr
    raise PluginError(f"ipam subnet {subnet}: the node has no IPv{version} range in spec.podCIDRs")


def _find(plugin: str, path: str) -> Path:
    if not plugin or "/" in plugin:
        raise PluginError(f"ipam.type {plugin!r} must name an IPAM plugin, such as calico-ipam or host-local")
    for directory in path.split(":"):
        candidate = Path(directory or ".", plugin)
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise PluginError(f"IPAM plugin {plugin!r} is not an executable in {path!r} (CNI_PATH)")


def _failure(plugin: str, out: bytes, err: bytes, status: int | None) -> CNIError:
    try:
        body = msgspec.json.decode(out, type=dict[str, Any])
        return CNIError(int(body["code"]), f"IPAM plugin {plugin}: {body.get('msg', '')}", str(body.get("details", "")))
    except (msgspec.DecodeError, KeyError, ValueError, TypeError):
        text = (err or out).decode(errors="replace").strip()[-400:]
        return PluginError(f"IPAM plugin {plugin} ended with status {status}: {text or 'no output'}")


def _json(plugin: str, out: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(out, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise CNIError(DECODING_FAILURE, f"IPAM plugin {plugin} printed no result: {error}") from error
