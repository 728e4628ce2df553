"""An embedded API server in aggregated mode, `tortie calico-apiserver` beside it, and the APIService between them.

The aggregated server has the rights of the manifest for real clusters, and no more. The bindings that let everybody
through to policies and settings are left out, so that tests can grant that too.

For tests of the aggregated server. In: a folder. Out: a `World`: kubectl and HTTP as anybody through the API server in
front, HTTP straight to the aggregated server with the front proxy's certificate; processes end with the block.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from apiserver_http import Http
from tools import ROOT, ApiServer, free_port, start_api_server

from tortie.apiserver import pki
from tortie.model.definitions import definitions

V3 = "/apis/projectcalico.org/v3"
V1 = "/apis/crd.projectcalico.org/v1"
SERVICE = "/api/v1/namespaces/calico-system"


@dataclass(slots=True)
class World:
    """front: the embedded server. aggregated: the server behind it, as something to send requests to."""

    front: ApiServer
    aggregated: ApiServer
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def admin(self) -> Http:
        return Http(self.front)

    def as_user(self, name: str, *groups: str) -> Http:
        """Requests through the API server in front with a client certificate."""
        pair = pki.issue_client_certificate(self._authority("ca"), name, groups)
        return Http(self.front, certificate=(pair.certificate, pair.key))

    def straight(self, common_name: str = "front-proxy-client", *, authority: str = "front-proxy-ca") -> Http:
        """Requests to the aggregated server itself, with a certificate of an authority in the front's folder."""
        pair = pki.issue_client_certificate(self._authority(authority), common_name, ())
        return Http(self.aggregated, certificate=(pair.certificate, pair.key))

    def nobody(self) -> Http:
        """Requests to the aggregated server itself, without a certificate."""
        return Http(self.aggregated, anonymous=True)

    def _authority(self, name: str) -> pki.Authority:
        folder = self.front.data_dir / "pki"
        return pki.load_authority(folder / f"{name}.crt", folder / f"{name}.key")

    def log(self) -> str:
        return (self.folder / "calico-apiserver.log").read_text()


def until(condition: Any, seconds: float = 15.0, what: str = "") -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.02)


def start_aggregated(
    front: ApiServer, folder: Path, *, port: int = 0, environment: dict[str, str] | None = None, ready: bool = True
) -> ApiServer:
    """Starts `tortie calico-apiserver` on loopback, as its service account if there is one, else as administrator."""
    port = port or free_port()
    account = front.data_dir / "calico-apiserver.kubeconfig"
    identity = account if account.exists() else front.kubeconfig
    authority = pki.load_authority(*(front.data_dir / "pki" / f"ca.{suffix}" for suffix in ("crt", "key")))
    names = ["localhost", "127.0.0.1", "calico-api.calico-system.svc"]
    pair = pki.issue_server_certificate(authority, "calico-api", names)
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    with (folder / "calico-apiserver.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tortie.cli.main", "calico-apiserver", "--bind-address", "127.0.0.1",
             "--secure-port", str(port), "--tls-cert-file", str(folder / "tls.crt"),
             "--tls-private-key-file", str(folder / "tls.key"), "--kubeconfig", str(identity)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})},
        )  # fmt: skip
    server = ApiServer(f"https://127.0.0.1:{port}", front.kubeconfig, front.data_dir, port, process)

    def answers() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"calico-apiserver ended:\n{(folder / 'calico-apiserver.log').read_text()}")
        try:
            return not ready or Http(server)("GET", "/readyz").status == 200
        except OSError:
            return False

    try:
        until(answers, 30, "calico-apiserver is ready")
    except BaseException:
        server.stop()
        raise
    return server


def install_definitions(http: Http) -> None:
    """Every CustomResourceDefinition that the aggregated server stores in."""
    for definition in definitions("crd.projectcalico.org"):
        http.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)


PASSES = ("calico-tiered-policy-passthrough", "calico-uisettings-passthrough")


def give_rights(front: ApiServer) -> None:
    """Applies the manifest's rights, and writes the service account's kubeconfig."""
    manifest = (ROOT / "deploy/manifests/calico-apiserver-rbac.yaml").read_text()
    documents = [
        d
        for d in yaml.safe_load_all(manifest)
        if not (d["kind"] == "ClusterRoleBinding" and d["metadata"]["name"] in PASSES)
    ]
    front.kubectl("apply", "--validate=false", "-f", "-", stdin=yaml_of(*documents))
    where = f"{SERVICE}/serviceaccounts/calico-apiserver/token"
    token = Http(front).ok("POST", where, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
    config = yaml.safe_load(front.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    (front.data_dir / "calico-apiserver.kubeconfig").write_text(yaml.safe_dump(config))


def register(http: Http, port: int, authority: bytes) -> None:
    """The Service of the aggregated server with an endpoint on loopback, and the APIService."""
    import base64

    assert http("POST", "/api/v1/namespaces", {"metadata": {"name": "calico-system"}}).status in {201, 409}
    spec = {"ports": [{"name": "apiserver", "port": 443, "targetPort": port}], "clusterIP": "None"}
    http.ok("POST", f"{SERVICE}/services", {"metadata": {"name": "calico-api"}, "spec": spec})
    slice_ = {
        "metadata": {"name": "calico-api-1", "labels": {"kubernetes.io/service-name": "calico-api"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "apiserver", "port": port, "protocol": "TCP"}],
    }
    http.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/calico-system/endpointslices", slice_)
    service = {
        "group": "projectcalico.org",
        "version": "v3",
        "groupPriorityMinimum": 1500,
        "versionPriority": 200,
        "service": {"name": "calico-api", "namespace": "calico-system", "port": 443},
        "caBundle": base64.b64encode(authority).decode(),
    }
    where = "/apis/apiregistration.k8s.io/v1/apiservices"
    http.ok("POST", where, {"metadata": {"name": "v3.projectcalico.org"}, "spec": service})


def available(http: Http) -> bool:
    found = http("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v3.projectcalico.org").json
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """The whole of it, for the length of a block."""
    data = folder / "front"
    data.mkdir(parents=True)
    front = start_api_server(data, args=("--api-mode", "aggregated"))
    try:
        http = Http(front)
        install_definitions(http)
        give_rights(front)
        aggregated = start_aggregated(front, folder)
        try:
            register(http, aggregated.port, (data / "pki" / "ca.crt").read_bytes())
            until(lambda: available(http), 20, "the APIService is available")
            yield World(front, aggregated, folder)
        finally:
            aggregated.stop()
    finally:
        front.stop()


def grant(http: Http, user: str, *rules: dict[str, Any], namespace: str = "") -> None:
    """Gives a user rules, in the whole cluster or a namespace."""
    rbac = "rbac.authorization.k8s.io"
    name = f"{user}-{namespace or 'all'}"
    if namespace:
        base, kind, bindings = f"/apis/{rbac}/v1/namespaces/{namespace}", "Role", "rolebindings"
        roles = "roles"
    else:
        base, kind, roles, bindings = f"/apis/{rbac}/v1", "ClusterRole", "clusterroles", "clusterrolebindings"
    http.ok("POST", f"{base}/{roles}", {"metadata": {"name": name}, "rules": list(rules)})
    reference = {"apiGroup": rbac, "kind": kind, "name": name}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": user}]
    http.ok("POST", f"{base}/{bindings}", {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects})


def policy(name: str, *, tier: str = "", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A NetworkPolicy without rules."""
    body = {"selector": "all()", "types": ["Ingress"], **spec, **({"tier": tier} if tier else {})}
    return {"metadata": {"name": name, **({"labels": labels} if labels else {})}, "spec": body}


def tier(name: str, order: float = 50) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"order": order}}


def yaml_of(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)
