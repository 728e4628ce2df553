"""What a new cluster needs before anything runs in it: identities, rights, address pools, configuration, names.

In: a ready API server and the layout. Out: objects applied server-side (so that running it again changes nothing),
and a kubeconfig for each component of each node.
"""

import base64
import json
import string
from pathlib import Path
from typing import Any

import yaml

from tortie.kube.client import Client
from tortie.kube.errors import NotFound
from tortie.lab import nodes
from tortie.lab.layout import OUTSIDE_DNS_V4, OUTSIDE_DNS_V6, POD_CIDR_V4, POD_CIDR_V6, Layout
from tortie.lab.state import LabError
from tortie.model.resource import Resource

MANAGER = "tortie-lab"
CALICO_ACCOUNT = ("kube-system", "calico-node")
_TOKEN_SECONDS = 365 * 24 * 3600
_HERE = Path(__file__).parent


class Discovery:
    """Which resource serves a kind; asks the API server once for each group and version."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], Resource[dict[str, Any]]] = {}

    async def resource(self, api_version: str, kind: str) -> Resource[dict[str, Any]]:
        """Raises LabError if the API server does not serve the kind."""
        if (api_version, kind) not in self._known:
            group, _, version = api_version.rpartition("/")
            path = f"/apis/{api_version}" if group else f"/api/{version}"
            body = json.loads(await self._client.raw("GET", path))
            for entry in body["resources"]:
                if "/" not in entry["name"]:
                    self._known[(api_version, entry["kind"])] = Resource(
                        group=group,
                        version=version,
                        kind=entry["kind"],
                        plural=entry["name"],
                        namespaced=entry["namespaced"],
                        type=dict[str, Any],
                    )
        try:
            return self._known[(api_version, kind)]
        except KeyError:
            raise LabError(f"The API server does not serve {kind} of {api_version}.") from None


async def apply(client: Client, discovery: Discovery, documents: list[dict[str, Any]]) -> None:
    """Applies objects in the given order, server-side, as the lab."""
    for document in documents:
        resource = await discovery.resource(document["apiVersion"], document["kind"])
        metadata = document["metadata"]
        await client.patch(
            resource,
            metadata["name"],
            document,
            namespace=metadata.get("namespace") if resource.namespaced else None,
            patch_type="apply",
            field_manager=MANAGER,
            force=True,
        )


def load_manifests(text: str, substitutions: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The documents of a YAML text, `${NAME}` replaced."""
    if substitutions:
        text = string.Template(text).substitute(substitutions)
    return [document for document in yaml.safe_load_all(text) if document]


def cluster_objects(layout: Layout) -> list[dict[str, Any]]:
    """Rights, pools and configuration, in an order in which each finds what it refers to."""
    documents = load_manifests((_HERE / "manifests" / "rbac.yaml").read_text())
    documents += load_manifests((_HERE / "manifests" / "calico-rbac.yaml").read_text())
    return [*documents, *_pools(layout), *_configuration(layout)]


def dns_objects(layout: Layout) -> list[dict[str, Any]]:
    """The cluster's name service."""
    services = layout.dns_services
    return load_manifests(
        (_HERE / "manifests" / "dns.yaml").read_text(),
        {
            "OUTSIDE_DNS": OUTSIDE_DNS_V4 if layout.spec.ipv4 else OUTSIDE_DNS_V6,
            "DNS_SERVICE": services[0],
            "DNS_SERVICES": json.dumps(services),
            "IP_FAMILY_POLICY": "RequireDualStack" if len(services) == 2 else "SingleStack",
        },
    )


def demo_objects() -> list[dict[str, Any]]:
    """The demo shop."""
    documents = []
    for path in sorted((_HERE / "demo").glob("*.yaml")):
        documents += load_manifests(path.read_text())
    return documents


def _pools(layout: Layout) -> list[dict[str, Any]]:
    modes = {"none": "Never", "vxlan": "Always", "vxlan-cross-subnet": "CrossSubnet"}
    mode = modes[layout.spec.encapsulation]
    wanted = [("default-ipv4-ippool", POD_CIDR_V4, layout.spec.ipv4, 26)]
    wanted.append(("default-ipv6-ippool", POD_CIDR_V6, layout.spec.ipv6, 122))
    return [
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": name},
            "spec": {
                "cidr": cidr,
                "blockSize": size,
                "ipipMode": "Never",
                "vxlanMode": mode,
                "natOutgoing": True,
                "nodeSelector": "all()",
            },
        }
        for name, cidr, wanted_family, size in wanted
        if wanted_family
    ]


def _configuration(layout: Layout) -> list[dict[str, Any]]:
    bgp = layout.spec.encapsulation == "none"
    return [
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "BGPConfiguration",
            "metadata": {"name": "default"},
            "spec": {"nodeToNodeMeshEnabled": bgp, "asNumber": 64512},
        }
    ]


async def service_account_token(client: Client, namespace: str, name: str) -> str:
    """A token of a service account, through the TokenRequest API. Raises LabError if the account does not exist."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    try:
        answer = await client.raw(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            body=json.dumps(body).encode(),
        )
    except NotFound as error:
        raise LabError(f"Service account {namespace}/{name} is missing; `tortie lab up` applies it.") from error
    token: str = json.loads(answer)["status"]["token"]
    return token


def kubeconfig_text(*, server: str, authority_pem: bytes, user: dict[str, str]) -> str:
    """A kubeconfig of one cluster and one user; JSON, which is YAML too."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "lab",
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": base64.b64encode(authority_pem).decode(),
                    },
                }
            ],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
            "current-context": "lab",
        },
        indent=1,
    )


def has_credentials(layout: Layout, node: str) -> bool:
    """Whether the node has all of its kubeconfigs already."""
    return all(nodes.kubeconfig_path(layout, node, owner).exists() for owner in ("calico", "kubelet", "proxy"))
