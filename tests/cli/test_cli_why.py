"""`tortie why`: what users type, what they read, and the exit status that scripts go by."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tools import ApiServer

from tortie.cli.targets import split_port
from tortie.cli.why import command

DB_POLICY = "NetworkPolicy (Kubernetes) shop/db"
MANIFESTS = Path(__file__).with_name("why_manifests.yaml")


def why(*arguments: str, manifests: Path | None = MANIFESTS) -> Result:
    given = ["--from", str(manifests)] if manifests is not None else []
    return CliRunner().invoke(command, [*arguments, *given])


def document(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(why(*arguments, "-o", "json").stdout)
    return found


def test_an_allowed_connection_names_the_policy_and_rule_and_exits_0() -> None:
    result = why("shop/web", "shop/db:5432")
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first == "ALLOWED  TCP from pod shop/web (192.168.0.1) to pod shop/db (192.168.0.2) port 5432"
    assert (
        '  ingress: NetworkPolicy (Kubernetes) shop/db, rule 0: allow TCP from app == "web" in namespace shop '
        "to ports pg" in rest
    )


def test_a_tiers_default_is_named_with_the_policies_that_brought_it_and_exits_1() -> None:
    result = why("shop/web", "shop/db:9187")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("DENIED")
    assert lines[1] == (
        "  by the default of tier default: no rule of the policies that select it matched "
        "(NetworkPolicy (Kubernetes) shop/db)"
    )
    assert lines[2] == "  at ingress policy of shop/db (node n1)"


def test_a_denying_rule_is_named() -> None:
    result = why("shop/web", "203.0.113.7:443")
    assert result.exit_code == 1
    assert "  by GlobalNetworkPolicy security.no-internet, rule 0: deny to not nets 192.168.0.0/16" in result.stdout


def test_the_trace_shows_every_tier_and_policy_that_was_asked() -> None:
    text = why("shop/web", "shop/db:9187").stdout
    trace = text.partition("\n\n")[2]
    assert [line.split(":")[0].rstrip() for line in trace.splitlines() if line] == [
        "egress policy of shop/web (node n1)",
        "  tier security",
        "    pass     GlobalNetworkPolicy security.no-internet rule 1",
        "  profiles",
        "    allow    profile kns.shop rule 0",
        "ingress policy of shop/db (node n1)",
        "  tier default",
        "    no-match NetworkPolicy (Kubernetes) shop/db",
        f"    deny     no rule matched; the tier's default action is Deny (selected by {DB_POLICY})",
    ]


def test_output_into_a_pipe_has_no_colours() -> None:
    assert "\x1b" not in why("shop/web", "shop/db:5432").stdout


def test_json_says_the_same() -> None:
    found = document("shop/web", "shop/db:9187")
    assert found["allowed"] is False
    [connection] = found["connections"]
    assert connection["decidedBy"]["tier"] == "default"
    assert connection["decidedBy"]["selectedBy"] == [
        {"kind": "KubernetesNetworkPolicy", "namespace": "shop", "name": "db"}
    ]
    assert [stage["direction"] for stage in connection["trace"]] == ["egress", "ingress"]
    assert connection["packet"]["dstPort"] == 9187


# --- names of ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop/web:80", ("shop/web", "80")),
        ("shop/web", ("shop/web", "")),
        ("10.0.0.1:http", ("10.0.0.1", "http")),
        ("fd00::1", ("fd00::1", "")),
        ("[fd00::1]:80", ("fd00::1", "80")),
        ("service/shop/db:pg", ("service/shop/db", "pg")),
    ],
)
def test_a_port_follows_a_colon_and_ipv6_needs_brackets(text: str, expected: tuple[str, str]) -> None:
    assert split_port(text) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("web", "db:5432", "-n", "shop"),
        ("pod/shop/web", "pod/shop/db:pg"),
        ("192.168.0.1", "192.168.0.2:5432"),
        ("fd00::1", "[fd00::2]:5432"),
        ("shop/web", "shop/db:5432", "--ip-version", "6"),
    ],
)
def test_ends_have_many_names(arguments: tuple[str, ...]) -> None:
    assert why(*arguments).exit_code == 0


def test_a_service_is_all_its_backends() -> None:
    result = why("shop/web", "service/shop/db")
    assert result.exit_code == 0
    assert result.stdout.count("ALLOWED") == 2
    assert "addressed as 10.96.0.20:15432" in result.stdout
    assert "2 of 2 backends can be reached." in result.stdout
    assert why("shop/web", "10.96.0.20:15432").exit_code == 0


def test_a_pod_of_the_host_network_is_its_node() -> None:
    found = document("shop/agent", "shop/db:9187")
    assert found["allowed"] is True
    assert "its own pods" in found["connections"][0]["note"]
    assert document("shop/agent", "shop/db:9187")["connections"][0]["source"].endswith("(host network of node n1)")


def test_a_pod_to_its_own_node_depends_on_felixs_action() -> None:
    assert why("shop/web", "node/n1:22").exit_code == 1
    assert "no-internet" in why("shop/web", "node/n1:22").stdout
    assert why("shop/db", "node/n1:22", "--endpoint-to-host-action", "accept").exit_code == 1  # egress denies it


def test_icmp_needs_no_port() -> None:
    assert why("shop/web", "shop/db", "--protocol", "icmp").exit_code == 1
    assert why("shop/db", "shop/web", "--protocol", "icmp").exit_code == 0


# --- questions that have no answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("shop/nobody", "shop/db:80"), "namespace shop has shop/db, shop/web"),
        (("nowhere/x", "shop/db:80"), "namespaces with pods: shop"),
        (("shop/web", "shop/db"), "its named ports are pg=5432, stats=9187"),
        (("shop/web", "shop/db:ssh"), "no port named 'ssh'"),
        (("shop/web", "shop/db:99999"), "not between 1 and 65535"),
        (("shop/web", "service/shop/none"), "there is no service shop/none"),
        (("shop/web", "service/shop/db:80"), "It has 15432 (pg)"),
        (("shop/web", "node/n9:80"), "there are n1"),
        (("service/shop/db", "shop/web:80"), "connections come from"),
        (("shop/web", "192.168.0.2:80", "--ip-version", "6"), "have no IPv6 addresses in common"),
        (("shop/web", "shop/db:80", "--protocol", "icmp"), "makes no sense"),
    ],
)
def test_what_cannot_be_answered_says_what_is_known_and_exits_2(arguments: tuple[str, ...], hint: str) -> None:
    result = why(*arguments)
    assert result.exit_code == 2
    assert hint in result.stderr


def test_a_manifest_that_an_api_server_would_refuse_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\nspec: {selector: '=='}\n"
    )
    result = why("a", "b", manifests=path)
    assert result.exit_code == 2
    assert "bad.yaml document 1: GlobalNetworkPolicy x: spec.selector" in result.stderr
    path.write_text("a: [")
    assert "is not YAML" in why("a", "b", manifests=path).stderr


def test_pods_without_addresses_get_some_and_the_answer_says_so(tmp_path: Path) -> None:
    (tmp_path / "pods.yaml").write_text(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: a}}, spec: {containers: []}}\n"
        "- {apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: b}}, spec: {containers: []}}\n"
    )
    (tmp_path / "policy.yaml").write_text(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n"
        "spec: {podSelector: {matchLabels: {app: b}}, egress: [{}]}\n"
    )
    result = why("a", "b:80", manifests=tmp_path)
    assert result.exit_code == 1
    assert "note: pod default/a is assumed to run on node node with addresses 100.64.0.1 and fd64::1" in result.stdout
    assert "note: namespace default is assumed to exist" in result.stdout
    assert why("b", "a:80", manifests=tmp_path).exit_code == 0


def test_no_cluster_configuration_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    result = why("a", "b:80", manifests=None)
    assert result.exit_code == 2
    assert "KUBECONFIG" in result.stderr


# --- a cluster -----------------------------------------------------------------------------------------------------


def test_a_cluster_answers_as_its_manifests_do(api_server: ApiServer) -> None:
    documents = MANIFESTS.read_text()
    api_server.kubectl("apply", "-f", "-", stdin=documents)
    for name, addresses in (("web", ("192.168.0.1", "fd00::1")), ("db", ("192.168.0.2", "fd00::2"))):
        status = {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses], "phase": "Running"}
        api_server.kubectl(
            "patch", "pod", "-n", "shop", name, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip
    for arguments in (
        ("shop/web", "shop/db:5432"),
        ("shop/web", "shop/db:9187"),
        ("shop/web", "203.0.113.7:443"),
        ("shop/web", "service/shop/db"),
    ):
        from_cluster = why(*arguments, "--kubeconfig", str(api_server.kubeconfig), manifests=None)
        assert from_cluster.stderr == ""
        assert from_cluster.stdout == why(*arguments).stdout
        assert from_cluster.exit_code == why(*arguments).exit_code


def test_a_workloads_name_stands_for_any_of_its_pods_and_a_plain_name_for_its_service(tmp_path: Path) -> None:
    text = MANIFESTS.read_text().replace(
        "{name: web, namespace: shop,", "{name: web-6d4cf56db6-x2x7q, namespace: shop,"
    )
    manifests = tmp_path / "world.yaml"
    manifests.write_text(text)
    result = why("shop/web", "shop/db:5432", manifests=manifests)
    assert result.exit_code == 0
    assert "from pod shop/web-6d4cf56db6-x2x7q" in result.stdout
    # A pod called db exists, so `shop/db` is the pod; without it, the name is the service's.
    manifests.write_text(
        text.replace(
            "{name: db, namespace: shop, labels: {app: db}}\nspec:\n  nodeName",
            "{name: db-0, namespace: shop, labels: {app: db}}\nspec:\n  nodeName",
        )
    )
    result = why("shop/web", "shop/db:15432", manifests=manifests)
    assert "addressed as 10.96.0.20:15432" in result.stdout
