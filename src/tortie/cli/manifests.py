"""Manifests as a cluster would hold them: for asking what policy does before anything is applied.

In: YAML files, or directories of them. Out: decoded objects with what an API server and its controllers would add, as
far as policy depends on it: defaults, namespaces that are only mentioned, addresses of pods. Whatever is assumed is
noted.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tortie.cli.world import Loaded, build, source_of
from tortie.model.admission import admit
from tortie.model.catalog import CALICO_GROUP
from tortie.syncer.sources import Source

Object = dict[str, Any]
_ASSUMED_V4 = ipaddress.ip_network("100.64.0.0/10")
_ASSUMED_V6 = ipaddress.ip_network("fd64::/64")
_ASSUMED_NODE = "node"
_SUFFIXES = (".yaml", ".yml", ".json")
_TIERS: tuple[Object, ...] = (
    {"metadata": {"name": "default"}, "spec": {"order": 1_000_000, "defaultAction": "Deny"}},
    {"metadata": {"name": "kube-admin"}, "spec": {"order": 1_000, "defaultAction": "Pass"}},
    {"metadata": {"name": "kube-baseline"}, "spec": {"order": 10_000_000, "defaultAction": "Pass"}},
)


class ManifestError(ValueError):
    """A manifest cannot be used; the text names the file and the object."""


def from_files(paths: Iterable[Path]) -> Loaded:
    """A world from manifests. Raises ManifestError, also for an object that a real API server would refuse."""
    documents = [(where, document) for path in paths for where, document in _documents(path)]
    notes: list[str] = []
    _complete(documents, notes)
    objects: list[tuple[Source, Any]] = []
    for where, document in documents:
        source = source_of(str(document.get("apiVersion")), str(document.get("kind")))
        if source is not None:
            objects.append((source, _decode(source, document, where)))
    loaded = build(objects)
    loaded.notes[:0] = notes
    return loaded


def _documents(path: Path) -> Iterator[tuple[str, Object]]:
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.suffix in _SUFFIXES and child.is_file():
                yield from _documents(child)
        return
    try:
        found = list(yaml.load_all(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{path} is not YAML: {error}") from error
    for number, document in enumerate(found, 1):
        where = f"{path} document {number}"
        if document is None:
            continue
        if not isinstance(document, dict):
            raise ManifestError(f"{where}: expected an object, found {type(document).__name__}")
        items = document.get("items") if str(document.get("kind", "")).endswith("List") else None
        for item in items if isinstance(items, list) else [document]:
            yield where, item


def _decode(source: Source, document: Object, where: str) -> Any:
    resource = source.resource
    name = document.get("metadata", {}).get("name", "")
    if resource.namespaced:
        document.setdefault("metadata", {}).setdefault("namespace", "default")
    if resource.group == CALICO_GROUP:
        admission = admit(resource, document, None)
        if admission.errors:
            reasons = "; ".join(f"{error.path}: {error.message}" for error in admission.errors)
            raise ManifestError(f"{where}: {resource.kind} {name}: {reasons}")
        document = admission.object
    try:
        return msgspec.convert(document, resource.type)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{where}: {resource.kind} {name}: {error}") from error


def _complete(documents: list[tuple[str, Object]], notes: list[str]) -> None:
    """Adds what a cluster would have added."""
    kinds: dict[str, list[Object]] = {}
    for _, document in documents:
        kinds.setdefault(f"{document.get('apiVersion')}/{document.get('kind')}", []).append(document)
        document.setdefault("metadata", {})
    for policy in kinds.get("networking.k8s.io/v1/NetworkPolicy", []):
        spec = policy.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    pods = kinds.get("v1/Pod", [])
    for number, pod in enumerate(pods, 1):
        _complete_pod(pod, number, notes)
    known = {namespace["metadata"].get("name") for namespace in kinds.get("v1/Namespace", [])}
    for namespace in kinds.get("v1/Namespace", []):
        name = namespace["metadata"].get("name", "")
        _labels(namespace).setdefault("kubernetes.io/metadata.name", name)
    for name in sorted({pod["metadata"].get("namespace", "default") for pod in pods} - known):
        notes.append(f"namespace {name} is assumed to exist, without labels of its own")
        labels = {"kubernetes.io/metadata.name": name}
        documents.append(("", _made("v1", "Namespace", {"metadata": {"name": name, "labels": labels}})))
    tiers = {tier["metadata"].get("name") for tier in kinds.get(f"{CALICO_GROUP}/v3/Tier", [])}
    for tier in _TIERS:
        if tier["metadata"]["name"] not in tiers:
            documents.append(("", _made(f"{CALICO_GROUP}/v3", "Tier", tier)))


def _complete_pod(pod: Object, number: int, notes: list[str]) -> None:
    metadata, spec, status = pod["metadata"], pod.setdefault("spec", {}), pod.setdefault("status", {})
    spec.setdefault("serviceAccountName", "default")
    name = f"{metadata.get('namespace', 'default')}/{metadata.get('name', '')}"
    if not spec.get("nodeName"):
        spec["nodeName"] = _ASSUMED_NODE
    if not (status.get("podIPs") or status.get("podIP") or spec.get("hostNetwork")):
        addresses = [str(net.network_address + number) for net in (_ASSUMED_V4, _ASSUMED_V6)]
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
        notes.append(
            f"pod {name} is assumed to run on node {spec['nodeName']} with addresses {' and '.join(addresses)}"
        )


def _labels(document: Object) -> dict[str, str]:
    metadata = document["metadata"]
    if not isinstance(metadata.get("labels"), dict):
        metadata["labels"] = {}
    labels: dict[str, str] = metadata["labels"]
    return labels


def _made(api_version: str, kind: str, rest: Object) -> Object:
    return {"apiVersion": api_version, "kind": kind, **rest}
