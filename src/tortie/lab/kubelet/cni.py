"""The runtime's side of CNI: finds the network configuration, runs its plugins in order, keeps the results.

In: configuration lists from --cni-conf-dir, plugins from --cni-bin-dir, one attachment from `sandbox`. Out: the final
result of ADD; cached under /var/lib/cni as libcni does, so that CHECK and DEL get what ADD gave (spec/cni-ipam-node
1.2, 1.5, 1.8).
"""

import asyncio
import base64
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from tortie.service.log import get_logger

_KNOWN_VERSIONS = ("1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.3.0", "0.2.0", "0.1.0")
_SUFFIXES = (".conf", ".conflist", ".json")
_TIMEOUT = 220.0
_log = get_logger("kubelet.cni")


class CNIError(Exception):
    """A plugin's error object, or what kept it from running. code: as in the CNI specification, 0 if none was given."""

    def __init__(self, message: str, *, code: int = 0, plugin: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.plugin = plugin


class NetworkList(msgspec.Struct, frozen=True, kw_only=True):
    """One network: its plugins in ADD order. raw: the list as it was read, kept for DEL."""

    name: str
    version: str
    plugins: list[dict[str, Any]]
    disable_check: bool
    raw: bytes


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox's wish to be on the network. netns: empty when it is gone. capabilities: runtimeConfig by name."""

    container_id: str
    netns: str
    namespace: str
    pod: str
    uid: str
    ifname: str = "eth0"
    capabilities: dict[str, Any] = {}

    @property
    def arguments(self) -> str:
        pairs = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": self.namespace,
            "K8S_POD_NAME": self.pod,
            "K8S_POD_INFRA_CONTAINER_ID": self.container_id,
            "K8S_POD_UID": self.uid,
        }
        return ";".join(f"{key}={value}" for key, value in pairs.items())


def parse(text: bytes, *, path: str) -> NetworkList:
    """A configuration list, or a single plugin's configuration as a list of one. Raises CNIError naming the fault."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise CNIError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CNIError(f"{path}: the top level must be an object")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise CNIError(f"{path}: field `name` is missing; it names the network")
    plugins = document.get("plugins", [document] if "type" in document else None)
    if not isinstance(plugins, list) or not plugins:
        raise CNIError(f"{path}: field `plugins` must list at least one plugin")
    for index, plugin in enumerate(plugins):
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str) or not plugin["type"]:
            raise CNIError(f"{path}: plugins[{index}].type is missing; it names the executable")
        if "/" in plugin["type"]:
            raise CNIError(f"{path}: plugins[{index}].type {plugin['type']!r} must be a name without `/`")
    offered = [document.get("cniVersion", "0.2.0"), *document.get("cniVersions", [])]
    version = next((known for known in _KNOWN_VERSIONS if known in offered), None)
    if version is None:
        raise CNIError(f"{path}: none of the versions {offered} is one of {', '.join(_KNOWN_VERSIONS)}")
    return NetworkList(
        name=name, version=version, plugins=plugins, disable_check=bool(document.get("disableCheck")), raw=text
    )


def find(conf_dir: Path) -> NetworkList | None:
    """The network of this node: the first valid configuration in the order of file names; None without one."""
    try:
        files = sorted(entry for entry in conf_dir.iterdir() if entry.suffix in _SUFFIXES)
    except OSError:
        return None
    for file in files:
        with contextlib.suppress(OSError, CNIError):
            return parse(file.read_bytes(), path=str(file))
    return None


def plugin_input(
    network: NetworkList, plugin: dict[str, Any], attachment: Attachment, previous: dict[str, Any] | None
) -> dict[str, Any]:
    """What a plugin reads on stdin: its own part, the list's name and version, the result so far, and the runtime's
    values for the capabilities that it declares."""
    document = {**plugin, "name": network.name, "cniVersion": network.version}
    declared = plugin.get("capabilities") or {}
    values = {key: value for key, value in attachment.capabilities.items() if declared.get(key)}
    if values:
        document["runtimeConfig"] = values
    document.pop("capabilities", None)
    if previous is not None:
        document["prevResult"] = previous
    return document


class Runner:
    """Runs plugin chains. cache: the directory of cached results."""

    def __init__(self, *, bin_dirs: list[Path], cache: Path) -> None:
        self._bin_dirs = bin_dirs
        self._cache = cache

    async def add(self, network: NetworkList, attachment: Attachment) -> dict[str, Any]:
        """Attaches; returns the last plugin's result. Raises CNIError; the caller then sends DEL."""
        result: dict[str, Any] | None = None
        self._write_cache(network, attachment, None)
        began = time.monotonic()
        for plugin in network.plugins:
            answer = await self._run("ADD", plugin, plugin_input(network, plugin, attachment, result), attachment)
            if not isinstance(answer, dict):
                raise CNIError("ADD printed no result", plugin=plugin["type"])
            result = answer
        assert result is not None
        took = round((time.monotonic() - began) * 1000, 1)
        _log.info("network attached", pod=f"{attachment.namespace}/{attachment.pod}", milliseconds=took)
        self._write_cache(network, attachment, result)
        return result

    async def check(self, network: NetworkList, attachment: Attachment) -> None:
        """Asks whether the attachment is still as ADD left it. Raises CNIError when it is not."""
        if network.disable_check or network.version < "0.4.0":
            return
        cached = self._read_cache(network.name, attachment)
        for plugin in network.plugins:
            document = plugin_input(network, plugin, attachment, cached.get("result"))
            await self._run("CHECK", plugin, document, attachment)

    async def delete(self, network: NetworkList | None, attachment: Attachment) -> None:
        """Detaches, in reverse order, with the configuration and the result that ADD had. Raises CNIError."""
        for name in [network.name] if network is not None else self._cached_networks(attachment):
            cached = self._read_cache(name, attachment)
            chain = network
            if "config" in cached:
                chain = parse(base64.b64decode(cached["config"]), path="the cached configuration")
            if chain is None:
                continue
            result = cached.get("result") if chain.version >= "0.4.0" else None
            for plugin in reversed(chain.plugins):
                await self._run("DEL", plugin, plugin_input(chain, plugin, attachment, result), attachment)
            self._cache_file(name, attachment).unlink(missing_ok=True)

    def cached_attachments(self) -> list[Attachment]:
        """Every attachment that had an ADD and no DEL yet, whoever asked for it."""
        found = []
        for file in self._results.iterdir() if self._results.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, KeyError):
                document = json.loads(file.read_bytes())
                arguments = dict(document["cniArgs"])
                found.append(
                    Attachment(
                        container_id=document["containerId"],
                        netns=document.get("netns", ""),
                        namespace=arguments.get("K8S_POD_NAMESPACE", ""),
                        pod=arguments.get("K8S_POD_NAME", ""),
                        uid=arguments.get("K8S_POD_UID", ""),
                        ifname=document["ifName"],
                        capabilities=document.get("capabilityArgs", {}),
                    )
                )
        return found

    async def _run(
        self, command: str, plugin: dict[str, Any], document: dict[str, Any], attachment: Attachment
    ) -> dict[str, Any] | None:
        kind = plugin["type"]
        executable = next((path for d in self._bin_dirs if os.access(path := d / kind, os.X_OK)), None)
        if executable is None:
            places = ", ".join(str(directory) for directory in self._bin_dirs)
            raise CNIError(f"plugin {kind!r} is not an executable in {places}", plugin=kind)
        process = await asyncio.create_subprocess_exec(
            str(executable),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": attachment.container_id,
                "CNI_NETNS": attachment.netns,
                "CNI_IFNAME": attachment.ifname,
                "CNI_ARGS": attachment.arguments,
                "CNI_PATH": ":".join(str(directory) for directory in self._bin_dirs),
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            },
        )
        try:
            async with asyncio.timeout(_TIMEOUT):
                output, errors = await process.communicate(json.dumps(document).encode())
        except TimeoutError as error:
            raise CNIError(f"{command} did not end within {_TIMEOUT:.0f} s", plugin=kind) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        return _answer(command, kind, process.returncode or 0, output, errors)

    @property
    def _results(self) -> Path:
        return self._cache / "results"

    def _cache_file(self, network: str, attachment: Attachment) -> Path:
        return self._results / f"{network}-{attachment.container_id}-{attachment.ifname}"

    def _cached_networks(self, attachment: Attachment) -> list[str]:
        tail = f"-{attachment.container_id}-{attachment.ifname}"
        if not self._results.is_dir():
            return []
        return [file.name.removesuffix(tail) for file in self._results.iterdir() if file.name.endswith(tail)]

    def _write_cache(self, network: NetworkList, attachment: Attachment, result: dict[str, Any] | None) -> None:
        document = {
            "kind": "cniCacheV1",
            "containerId": attachment.container_id,
            "config": base64.b64encode(network.raw).decode(),
            "ifName": attachment.ifname,
            "networkName": network.name,
            "netns": attachment.netns,
            "cniArgs": [pair.split("=", 1) for pair in attachment.arguments.split(";")],
            **({"capabilityArgs": attachment.capabilities} if attachment.capabilities else {}),
            **({"result": result} if result is not None else {}),
        }
        self._results.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._cache_file(network.name, attachment)
        temporary = file.with_name(f".{file.name}")
        temporary.write_text(json.dumps(document))
        temporary.chmod(0o600)
        temporary.replace(file)

    def _read_cache(self, network: str, attachment: Attachment) -> dict[str, Any]:
        try:
            document = json.loads(self._cache_file(network, attachment).read_bytes())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}


def _answer(command: str, kind: str, status: int, output: bytes, errors: bytes) -> dict[str, Any] | None:
    """A plugin's output: a result, nothing (DEL, CHECK), or an error object, which becomes CNIError."""
    document: Any = None
    with contextlib.suppress(ValueError):
        document = json.loads(output) if output.strip() else None
    if status == 0:
        return document if isinstance(document, dict) else None
    if isinstance(document, dict) and "msg" in document:
        details = f": {document['details']}" if document.get("details") else ""
        raise CNIError(f"{document['msg']}{details}", code=int(document.get("code", 0)), plugin=kind)
    text = (errors or output).decode(errors="replace").strip()[-500:]
    raise CNIError(f"{command} ended with status {status}: {text or 'no output'}", plugin=kind)


def addresses(result: dict[str, Any]) -> list[str]:
    """The sandbox's addresses without mask, in the plugin's order, from a result of any version."""
    found = [entry["address"] for entry in result.get("ips", [])]
    if not found:
        found = [result[key]["ip"] for key in ("ip4", "ip6") if key in result]
    return [text.split("/")[0] for text in found]
