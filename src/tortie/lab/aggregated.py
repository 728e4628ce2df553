"""The lab in API mode "aggregated": calico-apiserver beside the API server, and the APIService that leads to it.

In: the layout, the lab's certificate authority. Out: a service of the control machine, objects to apply, credentials,
and in one sentence each what is still missing.
"""

import base64
from pathlib import Path
from typing import Any

from tortie.apiserver import pki
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.lab import bootstrap, nodes
from tortie.lab.layout import CONTROL, Layout
from tortie.lab.machines import ServiceDefinition
from tortie.model.catalog import TIERS
from tortie.model.definitions import definitions
from tortie.model.packing import STORAGE_GROUP
from tortie.model.resource import Resource

ACCOUNT = ("calico-system", "calico-apiserver")
SERVICE = "calico-api"
_NAMES = ("calico-api.calico-system.svc", "calico-api.calico-system", "calico-api")
_MANIFEST = Path(__file__).parent / "manifests" / "calico-apiserver-rbac.yaml"
API_SERVICES: Resource[dict[str, Any]] = Resource(
    "apiregistration.k8s.io", "v1", "APIService", "apiservices", False, dict[str, Any]
)


def _folder(layout: Layout) -> Path:
    return layout.machine_dir(CONTROL) / "calico-apiserver"


def prepare(layout: Layout, authority: pki.Authority) -> None:
    """Writes the server's certificate, once."""
    folder = _folder(layout)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "tls.key").exists():
        pair = pki.issue_server_certificate(authority, SERVICE, [*_NAMES, layout.control_address])
        nodes.write_secret(folder / "tls.crt", pair.certificate.decode())
        nodes.write_secret(folder / "tls.key", pair.key.decode())


def service(layout: Layout) -> ServiceDefinition:
    """Starts when there is an account to run as."""
    folder = _folder(layout)
    return ServiceDefinition(
        name="calico-apiserver",
        argv=[
            nodes.program(),
            "calico-apiserver",
            *("--bind-address", layout.control_address),
            *("--secure-port", str(layout.spec.calico_api_port)),
            *("--tls-cert-file", str(folder / "tls.crt")),
            *("--tls-private-key-file", str(folder / "tls.key")),
            *("--kubeconfig", str(folder / "kubeconfig")),
        ],
        wait_for=folder / "kubeconfig",
    )


def objects(layout: Layout, authority: pki.Authority) -> list[dict[str, Any]]:
    """Where objects are stored, the server's rights, and how it is reached."""
    namespace, port = ACCOUNT[0], layout.spec.calico_api_port
    address = layout.control_address
    labels = {"kubernetes.io/service-name": SERVICE}
    return [
        *definitions(STORAGE_GROUP),
        *bootstrap.load_manifests(_MANIFEST.read_text()),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": namespace},
            "spec": {"ports": [{"name": "apiserver", "port": 443, "protocol": "TCP", "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{SERVICE}-lab", "namespace": namespace, "labels": labels},
            "addressType": "IPv6" if ":" in address else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "apiserver", "port": port, "protocol": "TCP"}],
        },
        {
            "apiVersion": API_SERVICES.api_version,
            "kind": API_SERVICES.kind,
            "metadata": {"name": f"{TIERS.version}.{TIERS.group}"},
            "spec": {
                "group": TIERS.group,
                "version": TIERS.version,
                "groupPriorityMinimum": 1500,
                "versionPriority": 200,
                "service": {"name": SERVICE, "namespace": namespace, "port": 443},
                "caBundle": base64.b64encode(authority.pem).decode(),
            },
        },
    ]


async def credentials(layout: Layout, client: Client, authority: pki.Authority) -> None:
    """The server's kubeconfig, once its account exists."""
    path = _folder(layout) / "kubeconfig"
    if path.exists():
        return
    token = await bootstrap.service_account_token(client, *ACCOUNT)
    text = bootstrap.kubeconfig_text(server=layout.local_url, authority_pem=authority.pem, user={"token": token})
    nodes.write_secret(path, text)


async def problems(client: Client) -> list[str]:
    """Why projectcalico.org/v3 cannot be used yet."""
    try:
        found = await client.get(API_SERVICES, f"{TIERS.version}.{TIERS.group}")
        for condition in (found.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "Available" and condition.get("status") != "True":
                return [str(condition.get("message") or condition.get("reason"))]
        await client.get(TIERS.untyped(), "default")
    except ApiError as error:
        return [str(error)]
    return []
