"""The manifests for real clusters agree with the program and with what the lab applies."""

import yaml
from click.testing import CliRunner
from node_world import RBAC
from tools import ROOT, ApiServer

from tortie.cli.main import main
from tortie.node.settings import from_environment

MANIFEST = ROOT / "deploy" / "manifests" / "calico-node.yaml"


def container() -> dict:
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    daemon_set = next(d for d in documents if d["kind"] == "DaemonSet")
    return daemon_set["spec"]["template"]["spec"]["containers"][0]


def test_every_command_of_the_manifest_exists():
    one = container()
    commands = [one["command"], one["lifecycle"]["preStop"]["exec"]["command"]]
    commands += [one[f"{probe}Probe"]["exec"]["command"] for probe in ("startup", "liveness", "readiness")]
    for command in commands:
        assert command[0] == "tortie"
        result = CliRunner().invoke(main, [*command[1:], "--help"])
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_environment_of_the_manifest_is_accepted():
    environment = {e["name"]: e.get("value", "") for e in container()["env"]}
    settings = from_environment({**environment, "NODENAME": "n", "CALICO_NETWORKING_BACKEND": "bird"})
    assert settings.bird
    assert settings.wait_for_datastore


def test_the_rights_are_the_ones_that_the_lab_applies():
    lab = ROOT / "src" / "tortie" / "lab" / "manifests" / "calico-rbac.yaml"
    assert RBAC.read_text() == lab.read_text()


def test_calico_node_may_do_its_work_and_no_more(api_server: ApiServer):
    api_server.kubectl("apply", "--validate=false", "-f", str(RBAC))

    def may(verb: str, what: str, account: str = "calico-node", namespace: str = "kube-system") -> bool:
        user = f"system:serviceaccount:kube-system:{account}"
        answer = api_server.kubectl("auth", "can-i", verb, what, f"--as={user}", "-n", namespace, check=False)
        return answer.stdout.strip() == "yes"

    assert may("watch", "pods")
    assert may("create", "ipamblocks.projectcalico.org")
    assert may("get", "secrets/bgp-secrets")
    assert may("get", "pods", account="calico-cni-plugin")
    for verb, what in (
        ("delete", "pods"),
        ("create", "pods"),
        ("update", "nodes"),
        ("get", "secrets/other"),
        ("list", "secrets"),
        ("update", "globalnetworkpolicies.projectcalico.org"),
        ("delete", "ippools.projectcalico.org"),
        ("create", "clusterrolebindings"),
    ):
        assert not may(verb, what), f"{verb} {what}"
    assert not may("get", "secrets/bgp-secrets", namespace="default")
    assert not may("list", "pods", account="calico-cni-plugin")
