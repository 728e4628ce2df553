"""The manifests of the aggregated server and of the webhooks agree with the programs; their roles do what they say."""

import base64
from typing import Any

import pytest
import yaml
from aggregated_world import PASSES, V3, World, policy, tier
from apiserver_http import Http
from click.testing import CliRunner
from tools import ROOT

from tortie.apiserver import pki
from tortie.cli.main import main

MANIFESTS = ROOT / "deploy" / "manifests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def documents(name: str) -> list[dict[str, Any]]:
    text = (MANIFESTS / f"{name}.yaml").read_text()
    bundle = base64.b64encode(pki.make_authority("test").pem).decode()
    return list(yaml.safe_load_all(text.replace("CA_BUNDLE", bundle)))


@pytest.mark.parametrize("name", ["calico-apiserver", "calico-webhooks"])
def test_the_command_of_the_deployment_exists_with_its_flags(name: str) -> None:
    deployment = next(d for d in documents(name) if d["kind"] == "Deployment")
    command = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[0] == "tortie"
    help_text = CliRunner().invoke(main, [command[1], "--help"]).output
    for flag in command[2:]:
        assert flag.partition("=")[0] in help_text


@pytest.mark.parametrize("name", ["calico-apiserver-rbac", "calico-apiserver", "calico-webhooks"])
def test_an_api_server_accepts_them(aggregated: World, name: str) -> None:
    text = yaml.safe_dump_all(documents(name))
    aggregated.front.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)


def test_the_rights_are_the_ones_that_the_lab_applies() -> None:
    lab = ROOT / "src" / "tortie" / "lab" / "manifests" / "calico-apiserver-rbac.yaml"
    assert (MANIFESTS / "calico-apiserver-rbac.yaml").read_text() == lab.read_text()


def bind(http: Http, user: str, *roles: str) -> None:
    for role in roles:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
        body = {"metadata": {"name": f"{user}-{role}"}, "roleRef": reference, "subjects": subjects}
        http.ok("POST", f"{RBAC}/clusterrolebindings", body)


def test_the_roles_for_people_read_everything_and_administer(aggregated: World) -> None:
    admin = aggregated.admin
    bind(admin, "reader", "tigera-ui-user", *PASSES)
    bind(admin, "operator", "tigera-network-admin", *PASSES)
    reader, operator = aggregated.as_user("reader"), aggregated.as_user("operator")
    where = f"{V3}/namespaces/default/networkpolicies"
    operator.ok("POST", f"{V3}/tiers", tier("people"))
    operator.ok("POST", where, policy("by-operator", tier="people"))
    assert "by-operator" in {i["metadata"]["name"] for i in reader.ok("GET", where)["items"]}
    assert reader("POST", where, policy("by-reader")).status == 403
    assert reader("DELETE", f"{where}/by-operator").status == 403
    assert reader("POST", f"{V3}/tiers", tier("mine")).status == 403
    mine = {"group": "user-settings", "description": "d", "layer": {"nodes": []}}
    reader.ok("POST", f"{V3}/uisettings", {"metadata": {"name": "user-settings.r"}, "spec": mine})
    common = {**mine, "group": "cluster-settings"}
    assert (
        reader("POST", f"{V3}/uisettings", {"metadata": {"name": "cluster-settings.r"}, "spec": common}).status == 403
    )
    operator.ok("DELETE", f"{where}/by-operator")
    operator.ok("DELETE", f"{V3}/tiers/people")
