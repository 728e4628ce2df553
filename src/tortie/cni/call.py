"""One call of the CNI protocol, read from environment and standard input, and checked.

For the agent. In: what the executable passed on. Out: a `Call`, or CNIError with the code that the protocol gives to
each kind of mistake (spec/cni-ipam-node.md 1.1 to 1.3). Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.cni.errors import (
    COMMAND_LINE,
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_ENVIRONMENT,
    INVALID_NETWORK_CONFIG,
    CNIError,
)

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
CALICO, CALICO_IPAM = "calico", "calico-ipam"

_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_KNOWN_ARGUMENTS = frozenset(
    {
        "K8S_POD_NAME",
        "K8S_POD_NAMESPACE",
        "K8S_POD_INFRA_CONTAINER_ID",
        "K8S_POD_UID",
        "IP",
        "CNI_TEST_NAMESPACE",
        "IgnoreUnknown",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """netns: the path as the caller wrote it. arguments: CNI_ARGS. config: the network configuration as plain JSON.

    attempt: above 0 when the executable repeats a call during which the agent went away.
    """

    plugin: str
    command: str
    container_id: str
    netns: str
    interface: str
    path: str
    arguments: Mapping[str, str]
    environment: Mapping[str, str]
    config: Mapping[str, Any]
    stdin: bytes
    attempt: int = 0

    @property
    def version(self) -> str:
        """The protocol version of the configuration; 0.2.0 if it names none."""
        return self.config.get("cniVersion") or "0.2.0"

    @property
    def network(self) -> str:
        return str(self.config["name"])


def parse(*, plugin: str, environment: Mapping[str, str], stdin: bytes, attempt: int = 0) -> Call:
    """Raises CNIError."""
    command = environment.get("CNI_COMMAND", "")
    if command not in _REQUIRED:
        raise CNIError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    missing = [name for name in _REQUIRED[command] if not environment.get(name)]
    if missing:
        raise CNIError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    config = _config(stdin)
    container_id = environment.get("CNI_CONTAINERID", "")
    interface = environment.get("CNI_IFNAME", "")
    if command in ("ADD", "DEL", "CHECK"):
        if not _NAME.fullmatch(container_id):
            raise CNIError(
                INVALID_ENVIRONMENT,
                f"invalid characters in containerID: {container_id!r}",
                "allowed: letters, digits, and after the first character also _ . -",
            )
        _check_interface(interface)
    version = config.get("cniVersion") or "0.2.0"
    if version not in VERSIONS:
        raise CNIError(
            INCOMPATIBLE_VERSION,
            f"incompatible CNI versions: config is {version!r}, plugin supports {list(VERSIONS)}",
        )
    if command in ("GC", "STATUS"):
        raise CNIError(INCOMPATIBLE_VERSION, f"config version {version} does not allow {command}; it needs 1.1.0")
    if command == "CHECK" and VERSIONS.index(version) < VERSIONS.index("0.4.0"):
        raise CNIError(INCOMPATIBLE_VERSION, f"config version {version} does not allow CHECK; it needs 0.4.0")
    return Call(
        plugin=plugin,
        command=command,
        container_id=container_id,
        netns=environment.get("CNI_NETNS", ""),
        interface=interface,
        path=environment.get("CNI_PATH", ""),
        arguments=_arguments(environment.get("CNI_ARGS", "")),
        environment=environment,
        config=config,
        stdin=stdin,
        attempt=attempt,
    )


def _config(stdin: bytes) -> Mapping[str, Any]:
    try:
        config = msgspec.json.decode(stdin, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CNIError(DECODING_FAILURE, f"error unmarshall network config: {error}") from error
    name = config.get("name")
    if not isinstance(name, str) or not name:
        raise CNIError(INVALID_NETWORK_CONFIG, "missing network name")
    if not _NAME.fullmatch(name):
        raise CNIError(
            INVALID_NETWORK_CONFIG,
            f"invalid characters found in network name: {name!r}",
            "allowed: letters, digits, and after the first character also _ . -",
        )
    if not isinstance(config.get("cniVersion", ""), str):
        raise CNIError(DECODING_FAILURE, f"cniVersion must be a text, not {config['cniVersion']!r}")
    return config


def _check_interface(name: str) -> None:
    if len(name.encode()) > 15:
        raise CNIError(INVALID_ENVIRONMENT, f"interface name is too long: {name!r}; at most 15 characters")
    if name in (".", ".."):
        raise CNIError(INVALID_ENVIRONMENT, "interface name is . or ..")
    if any(character in "/:" or character.isspace() for character in name):
        raise CNIError(INVALID_ENVIRONMENT, f"interface name contains / or : or whitespace characters: {name!r}")


def _arguments(text: str) -> Mapping[str, str]:
    arguments: dict[str, str] = {}
    for part in text.split(";") if text else ():
        if part.count("=") != 1:
            raise CNIError(COMMAND_LINE, f"CNI_ARGS: invalid pair {part!r}; each is KEY=VALUE, joined by ;")
        key, value = part.split("=")
        arguments[key] = value
    unknown = sorted(set(arguments) - _KNOWN_ARGUMENTS)
    if unknown and arguments.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise CNIError(COMMAND_LINE, f"CNI_ARGS: unknown args {unknown}; IgnoreUnknown=1 allows them")
    return arguments
