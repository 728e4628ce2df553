"""Where the client finds its cluster and identity."""

import base64
from pathlib import Path

import pytest

from tortie.kube.config import ConfigError, in_cluster, load

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c
  cluster: {{server: "https://10.0.0.1:6443/", certificate-authority-data: "{ca}"}}
contexts:
- name: one
  context: {{cluster: c, user: u, namespace: n}}
- name: two
  context: {{cluster: c, user: files}}
- name: broken
  context: {{cluster: nowhere, user: u}}
users:
- name: u
  user: {{token: t}}
- name: files
  user: {{client-certificate: pki/me.crt, client-key: /abs/me.key, tokenFile: tok}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config"
    file.write_text(KUBECONFIG.format(ca=base64.b64encode(b"PEM").decode()))
    return file


def test_the_current_context_names_cluster_user_and_namespace(path: Path) -> None:
    config = load(str(path))
    assert (config.server, config.ca, config.token, config.namespace) == ("https://10.0.0.1:6443", b"PEM", "t", "n")


def test_relative_files_are_relative_to_the_kubeconfig(path: Path) -> None:
    config = load(str(path), "two")
    assert config.client_certificate == path.parent / "pki/me.crt"
    assert config.client_key == Path("/abs/me.key")
    assert config.token_file == path.parent / "tok"


@pytest.mark.parametrize(
    ("context", "text"),
    [("three", "context 'three' does not exist; contexts are: one, two, broken"), ("broken", "cluster 'nowhere'")],
)
def test_what_is_missing_is_named(path: Path, context: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load(str(path), context)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nope: No such file"):
        load(str(tmp_path / "nope"))
    bad = tmp_path / "bad"
    bad.write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(str(bad))


def test_the_environment_names_the_file_and_the_first_entry_wins(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(path.read_text().replace("10.0.0.1", "10.0.0.2"))
    assert load(environ={"KUBECONFIG": f"{other}:{path}"}).server == "https://10.0.0.2:6443"


def test_nothing_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set KUBECONFIG"):
        load(environ={"HOME": str(tmp_path)})


def test_a_pod_finds_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("kube-system")
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    config = in_cluster(environ=env, directory=tmp_path)
    assert (config.server, config.namespace) == ("https://[fd00::1]:443", "kube-system")
    assert config.token_file == tmp_path / "token"
