"""A container's environment and command line, from the pod's spec and what it refers to.

In: the container, the pod's own facts, ConfigMaps and Secrets already read, the Services of the namespace. Out: the
environment in the order that later entries win, and command and arguments with $(NAME) replaced. Pure; what is missing
raises `MissingReference`.
"""

import base64
import re
from collections.abc import Mapping

import msgspec

from tortie.lab.images.catalog import PATH, Image
from tortie.lab.kubelet.api import ConfigMap, Container, EnvVar, Pod, ResourceFieldRef, Secret, Service

_REFERENCE = re.compile(r"\$(\$|\(([^()$\s]+)\))")
_SUFFIXES = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}
_ENV_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


class MissingReference(Exception):
    """An object or key that the container needs is not there; the container waits as CreateContainerConfigError."""


class PodFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the downward API knows besides the object itself."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_cpu: int = 1
    node_memory: int = 0


class References(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that a container's environment names; absent ones are None."""

    config_maps: Mapping[str, ConfigMap | None] = {}
    secrets: Mapping[str, Secret | None] = {}


def referenced(container: Container) -> tuple[set[str], set[str]]:
    """The names of the ConfigMaps and of the Secrets that the environment needs."""
    maps, secrets = set(), set()
    for source in container.env_from:
        if source.config_map_ref:
            maps.add(source.config_map_ref.name)
        if source.secret_ref:
            secrets.add(source.secret_ref.name)
    for variable in container.env:
        if variable.value_from is not None:
            if variable.value_from.config_map_key_ref:
                maps.add(variable.value_from.config_map_key_ref.name)
            if variable.value_from.secret_key_ref:
                secrets.add(variable.value_from.secret_key_ref.name)
    return maps, secrets


def expand(text: str, values: Mapping[str, str]) -> str:
    """$(NAME) becomes the value, $$ becomes $; an unknown name stays as it is written."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def quantity(text: object) -> float:
    """A Kubernetes quantity such as 500m, 64Mi or 1e3. Raises ValueError."""
    value = str(text).strip()
    for length in (2, 1):
        if value[-length:] in _SUFFIXES and len(value) > length and not value[-length:].isdigit():
            return float(value[:-length]) * _SUFFIXES[value[-length:]]
    return float(value)


def field(pod: Pod, path: str, facts: PodFacts) -> str:
    """The value of a downward API field. Raises MissingReference for a path that does not exist."""
    meta, spec = pod.metadata, pod.spec
    simple = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": spec.node_name,
        "spec.serviceAccountName": spec.service_account_name or "default",
        "status.hostIP": facts.host_ips[0] if facts.host_ips else "",
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path in simple:
        return simple[path]
    for prefix, values in (("metadata.labels", meta.labels), ("metadata.annotations", meta.annotations)):
        if path == prefix:
            return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(values.items()))
        if path.startswith(f"{prefix}['") and path.endswith("']"):
            return values.get(path[len(prefix) + 2 : -2], "")
    raise MissingReference(
        f"fieldPath {path!r} is not one of {', '.join(simple)}, metadata.labels, metadata.annotations"
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(
    containers: tuple[Container, ...], own: Container | None, ref: ResourceFieldRef, facts: PodFacts
) -> str:
    """limits.cpu and the like, in units of the divisor, rounded up; without a limit the node's capacity."""
    container = next((c for c in containers if c.name == ref.container_name), own)
    if container is None:
        raise MissingReference(f"container {ref.container_name!r} does not exist")
    kind, _, name = ref.resource.partition(".")
    values = {"limits": container.resources.limits, "requests": container.resources.requests}.get(kind)
    if values is None:
        raise MissingReference(f"resource {ref.resource!r} must begin with limits. or requests.")
    fallback = {"cpu": facts.node_cpu, "memory": facts.node_memory}.get(name, 0) if kind == "limits" else 0
    amount = quantity(values.get(name, fallback))
    divisor = quantity(ref.divisor or "1") or 1.0
    return str(int(-(-amount // divisor)))


def service_variables(services: list[Service]) -> dict[str, str]:
    """The variables that Kubernetes sets for every Service with an address (Docker links style included)."""
    values: dict[str, str] = {}
    for service in sorted(services, key=lambda s: s.metadata.name):
        address = service.spec.cluster_ip
        if address in ("", "None") or not service.spec.ports:
            continue
        name = service.metadata.name.upper().replace("-", "_")
        host = f"[{address}]" if ":" in address else address
        first = service.spec.ports[0]
        values[f"{name}_SERVICE_HOST"] = address
        values[f"{name}_SERVICE_PORT"] = str(first.port)
        for port in service.spec.ports:
            if port.name:
                values[f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
        values[f"{name}_PORT"] = f"{first.protocol.lower()}://{host}:{first.port}"
        for port in service.spec.ports:
            prefix = f"{name}_PORT_{port.port}_{port.protocol}"
            values[prefix] = f"{port.protocol.lower()}://{host}:{port.port}"
            values[f"{prefix}_PROTO"] = port.protocol.lower()
            values[f"{prefix}_PORT"] = str(port.port)
            values[f"{prefix}_ADDR"] = address
    return values


def build(
    pod: Pod,
    container: Container,
    image: Image,
    *,
    hostname: str,
    services: list[Service],
    refs: References,
    facts: PodFacts,
) -> dict[str, str]:
    """The whole environment. Raises MissingReference."""
    values = {"PATH": PATH, "HOSTNAME": hostname, "HOME": "/root"}
    if container.tty:
        values["TERM"] = "xterm"
    values |= service_variables(services)
    values |= image.env
    for source in container.env_from:
        values |= _from_object(source.prefix, source.config_map_ref, source.secret_ref, refs)
    for variable in container.env:
        value = _value(pod, container, variable, values, refs, facts)
        if value is not None:
            values[variable.name] = value
    return values


def _from_object(prefix: str, config_map: object, secret: object, refs: References) -> dict[str, str]:
    from tortie.lab.kubelet.api import EnvFromRef

    values: dict[str, str] = {}
    if isinstance(config_map, EnvFromRef):
        found = refs.config_maps.get(config_map.name)
        if found is None and not config_map.optional:
            raise MissingReference(f'configmap "{config_map.name}" not found')
        values |= found.data if found is not None else {}
    if isinstance(secret, EnvFromRef):
        held = refs.secrets.get(secret.name)
        if held is None and not secret.optional:
            raise MissingReference(f'secret "{secret.name}" not found')
        if held is not None:
            values |= {key: base64.b64decode(text).decode(errors="replace") for key, text in held.data.items()}
    return {prefix + key: text for key, text in values.items() if _ENV_NAME.match(prefix + key)}


def _value(
    pod: Pod, container: Container, variable: EnvVar, so_far: Mapping[str, str], refs: References, facts: PodFacts
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, so_far)
    if source.field_ref is not None:
        return field(pod, source.field_ref.field_path, facts)
    if source.resource_field_ref is not None:
        return resource_field(pod.spec.containers, container, source.resource_field_ref, facts)
    if source.config_map_key_ref is not None:
        key = source.config_map_key_ref
        found = refs.config_maps.get(key.name)
        if found is not None and key.key in found.data:
            return found.data[key.key]
        if key.optional:
            return None
        if found is None:
            raise MissingReference(f'configmap "{key.name}" not found')
        raise MissingReference(f"couldn't find key {key.key} in ConfigMap {pod.metadata.namespace}/{key.name}")
    if source.secret_key_ref is not None:
        key = source.secret_key_ref
        held = refs.secrets.get(key.name)
        if held is not None and key.key in held.data:
            return base64.b64decode(held.data[key.key]).decode(errors="replace")
        if key.optional:
            return None
        if held is None:
            raise MissingReference(f'secret "{key.name}" not found')
        raise MissingReference(f"couldn't find key {key.key} in Secret {pod.metadata.namespace}/{key.name}")
    return ""


def command_line(container: Container, image: Image, values: Mapping[str, str]) -> list[str]:
    """Command and arguments as Kubernetes combines them with the image's: a command of the container's own drops
    the image's arguments too. Raises MissingReference when nothing is left to run."""
    command = [expand(word, values) for word in container.command] or list(image.entrypoint)
    arguments = [expand(word, values) for word in container.args]
    if not container.command and not container.args:
        arguments = list(image.command)
    if not command and not arguments:
        raise MissingReference(f"image {container.image!r} has no command and the container gives none")
    return [*command, *arguments]
