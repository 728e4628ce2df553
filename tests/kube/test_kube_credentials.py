"""Credentials that are made on demand: real exec plugins, an OIDC provider, a proxy, impersonation.

What a plain kubeconfig says is in test_kube_config.py.
"""

import asyncio
import base64
import json
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from kube_fake_api import FakeApi, answer
from tools import ApiServer

from tortie.kube import credentials
from tortie.kube.client import Client
from tortie.kube.config import ConfigError, load
from tortie.kube.credentials import CredentialError
from tortie.kube.errors import Unauthorized, Unavailable
from tortie.kube.proxy import bypassed, from_environment
from tortie.model.catalog import CONFIG_MAPS, NAMESPACES

V1, BETA = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"

PLUGIN = """#!{python} -IS
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
with open(here + "/runs", "a") as log:
    log.write(json.dumps({{"args": sys.argv[1:], "info": json.loads(os.environ["KUBERNETES_EXEC_INFO"]),
                           "mine": os.environ.get("MINE", "")}}) + "\\n")
code = open(here + "/behaviour").read()
exec(code)
"""
TOKEN = """
n = len(open(here + "/runs").readlines())
print(json.dumps({"apiVersion": "%s", "kind": "ExecCredential", "status": {"token": "token-%%d" %% n%s}}))
"""


def printed(status: Any) -> str:
    """A plugin's behaviour: it prints this status."""
    credential = {"apiVersion": V1, "kind": "ExecCredential", **({} if status is None else {"status": status})}
    return f"print({json.dumps(credential)!r})"


class Plugin:
    """A script that a kubeconfig names, and a kubeconfig around it."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder, self.server = folder, server
        self.script = folder / "bin" / "login"
        self.script.parent.mkdir()
        self.script.write_text(PLUGIN.format(python=sys.executable))
        self.script.chmod(0o755)
        self.behave(TOKEN % (V1, ""))

    def behave(self, code: str) -> None:
        (self.script.parent / "behaviour").write_text(code)

    @property
    def runs(self) -> list[dict[str, Any]]:
        file = self.script.parent / "runs"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def config(self, *, cluster: dict[str, Any] | None = None, **fields: Any) -> Path:
        entry = {"apiVersion": V1, "command": "./bin/login", "interactiveMode": "Never", **fields}
        return kubeconfig(
            self.folder / "config",
            {"server": self.server, **(cluster or {})},
            {"exec": {k: v for k, v in entry.items() if v is not None}},
        )


def kubeconfig(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    document = {
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    await api.start()
    yield api
    await api.stop()


@pytest.fixture
def plugin(tmp_path: Path, api: FakeApi) -> Plugin:
    return Plugin(tmp_path, f"http://127.0.0.1:{api.port}")


def sent(api: FakeApi) -> list[str]:
    return [h.get("Authorization", "") for h in api.headers]


@pytest.mark.parametrize("version", [V1, BETA])
async def test_a_plugin_runs_once_and_is_told_what_the_kubeconfig_says(
    plugin: Plugin, api: FakeApi, version: str
) -> None:
    plugin.behave(TOKEN % (version, ""))
    path = plugin.config(
        apiVersion=version, args=["--for", "me"], env=[{"name": "MINE", "value": "yes"}], provideClusterInfo=True,
        cluster={
            "certificate-authority-data": base64.b64encode(b"PEM").decode(), "tls-server-name": "api.example",
            "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}],
        },
    )  # fmt: skip
    async with Client(load(str(path))) as client:
        await asyncio.gather(*(client.list(NAMESPACES) for _ in range(5)))
    assert sent(api) == ["Bearer token-1"] * 5
    (run,) = plugin.runs
    assert (run["args"], run["mine"]) == (["--for", "me"], "yes")
    assert run["info"] == {
        "apiVersion": version,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": plugin.server, "tls-server-name": "api.example", "config": {"audience": "a"},
                "certificate-authority-data": base64.b64encode(b"PEM").decode(),
            },
        },
    }  # fmt: skip


async def test_cluster_information_is_kept_from_a_plugin_that_does_not_ask(plugin: Plugin, api: FakeApi) -> None:
    async with Client(load(str(plugin.config()))) as client:
        await client.list(NAMESPACES)
    assert plugin.runs[0]["info"]["spec"] == {"interactive": False}


async def test_an_expired_token_is_fetched_again_and_a_fresh_one_is_not(plugin: Plugin, api: FakeApi) -> None:
    soon = 'time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))'
    code = (TOKEN % (V1, "")).replace("n}}", f'n, "expirationTimestamp": {soon}}}}}')
    plugin.behave(code)
    async with Client(load(str(plugin.config()))) as client:
        await client.list(NAMESPACES)
        await client.list(NAMESPACES)
        assert len(plugin.runs) == 1
        until = time.monotonic() + 5
        while len(plugin.runs) < 2 and time.monotonic() < until:
            await client.list(NAMESPACES)
            await asyncio.sleep(0.05)
    assert sent(api)[0] == "Bearer token-1" and sent(api)[-1] == "Bearer token-2"


async def test_a_refused_token_is_replaced_once(plugin: Plugin, api: FakeApi) -> None:
    api.list_faults.append(answer(401, "Unauthorized"))
    async with Client(load(str(plugin.config()))) as client:
        await client.list(NAMESPACES)
        assert sent(api) == ["Bearer token-1", "Bearer token-2"]
        api.list_faults.extend([answer(401, "Unauthorized")] * 2)
        with pytest.raises(Unauthorized):
            await client.list(NAMESPACES)
        api.watch_faults.append(answer(401, "Unauthorized"))
        with pytest.raises(Unauthorized):
            async for _ in client.watch(NAMESPACES, resource_version="1"):
                pass
        await client.list(NAMESPACES)
    assert sent(api)[-1] == "Bearer token-4"


async def test_a_certificate_from_a_plugin_is_presented_and_renewed(
    shared_api_server: ApiServer, tmp_path: Path
) -> None:
    admin = yaml.safe_load(shared_api_server.kubeconfig.read_text())
    user = admin["users"][0]["user"]
    pair = {
        "clientCertificateData": base64.b64decode(user["client-certificate-data"]).decode(),
        "clientKeyData": base64.b64decode(user["client-key-data"]).decode(),
    }
    plugin = Plugin(tmp_path, shared_api_server.url)
    plugin.behave(printed(pair))
    path = plugin.config(
        cluster={"certificate-authority-data": admin["clusters"][0]["cluster"]["certificate-authority-data"]}
    )
    async with Client(load(str(path))) as client:
        who = json.loads(
            await client.raw(
                "POST",
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                body={"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"},
            )
        )
        assert "system:masters" in who["status"]["userInfo"]["groups"]
        for _ in range(4):
            await client._credentials.refresh()
            await client.list(NAMESPACES)
    assert len(plugin.runs) == 5


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("sys.exit('I lost the key')", "ended with 1: I lost the key"),
        ("print('secret{')", "not JSON"),
        ("print('{}')", "not an ExecCredential"),
        (TOKEN % (BETA, ""), "it answered in apiVersion"),
        (printed(None), "no status"),
        (printed({}), "neither a token"),
        (printed({"clientKeyData": "x"}), "must come together"),
        (TOKEN % (V1, ', "expirationTimestamp": "tomorrow"'), "not an RFC 3339 time"),
        ("time.sleep(60)", "no answer within"),
    ],
)  # fmt: skip
async def test_a_plugin_that_fails_says_how_and_may_work_the_next_time(
    plugin: Plugin, api: FakeApi, code: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_SECONDS", 0.7)
    plugin.behave(code)
    async with Client(load(str(plugin.config()))) as client:
        with pytest.raises(Unavailable, match=text) as caught:
            await client.list(NAMESPACES)
        assert "secret" not in str(caught.value)
        plugin.behave(TOKEN % (V1, ""))
        monkeypatch.setattr(credentials, "PLUGIN_SECONDS", 30.0)
        await client.list(NAMESPACES)


async def test_a_missing_plugin_shows_its_hint(plugin: Plugin, api: FakeApi) -> None:
    path = plugin.config(command="./bin/absent", installHint="get it from the shelf")
    async with Client(load(str(path))) as client:
        with pytest.raises(Unavailable, match="No such file or directory\nget it from the shelf"):
            await client.list(NAMESPACES)


async def test_a_plugin_that_must_talk_to_somebody_is_not_run_without_a_terminal(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(str(plugin.config(interactiveMode="Always")))
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(CredentialError, match="interactiveMode Always"):
            await credentials.of(config).authorization()
    assert not plugin.runs


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "exec.apiVersion"),
        ({"command": None}, "exec.command is missing"),
        ({"interactiveMode": None}, "interactiveMode is missing"),
        ({"interactiveMode": "Often"}, "it must be one of Never, IfAvailable, Always"),
    ],
)
def test_an_exec_entry_that_cannot_work_is_named(plugin: Plugin, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load(str(plugin.config(**change)))


# --- OIDC ------------------------------------------------------------------------------------------------------------


def jwt(expires: float, number: int = 0) -> str:
    def part(data: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'exp': int(expires), 'n': number})}.x"


class Provider:
    """An OIDC provider with one refresh token that changes with each use."""

    def __init__(self) -> None:
        self.refresh, self.forms, self.basic = "refresh-0", [], True
        self.tokens: list[str] = []

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/realm/.well-known/openid-configuration", self.discover)
        app.router.add_post("/token", self.token)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def discover(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": f"{self.url}/realm", "token_endpoint": f"{self.url}/token"})

    async def token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        self.forms.append(form)
        header = base64.b64encode(b"client:hush").decode()
        known = (
            request.headers.get("Authorization") == f"Basic {header}"
            if self.basic
            else form.get("client_secret") == "hush"
        )
        if not known or form["refresh_token"] != self.refresh or form["grant_type"] != "refresh_token":
            return web.json_response({"error": "invalid_grant"}, status=401)
        self.refresh = f"refresh-{len(self.tokens) + 1}"
        self.tokens.append(jwt(time.time() + 3600, len(self.tokens)))
        return web.json_response({"id_token": self.tokens[-1], "refresh_token": self.refresh})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    await provider.start()
    yield provider
    await provider.runner.cleanup()


def oidc(path: Path, api: FakeApi, provider: Provider, token: str, **more: str) -> Path:
    settings = {
        "idp-issuer-url": f"{provider.url}/realm", "client-id": "client", "client-secret": "hush",
        "id-token": token, "refresh-token": "refresh-0", **more,
    }  # fmt: skip
    user = {"auth-provider": {"name": "oidc", "config": settings}}
    return kubeconfig(path, {"server": f"http://127.0.0.1:{api.port}"}, user)


async def test_an_id_token_that_is_still_good_is_used_as_it_is(
    tmp_path: Path, api: FakeApi, provider: Provider
) -> None:
    token = jwt(time.time() + 100)
    async with Client(load(str(oidc(tmp_path / "c", api, provider, token)))) as client:
        await client.list(NAMESPACES)
    assert sent(api) == [f"Bearer {token}"] and not provider.forms


@pytest.mark.parametrize("basic", [True, False])
async def test_an_expired_id_token_is_renewed_and_written_back(
    tmp_path: Path, api: FakeApi, provider: Provider, basic: bool
) -> None:
    provider.basic = basic
    path = oidc(tmp_path / "c", api, provider, jwt(time.time() - 5))
    path.chmod(0o600)
    async with Client(load(str(path))) as client:
        await asyncio.gather(*(client.list(NAMESPACES) for _ in range(3)))
        api.list_faults.append(answer(401, "Unauthorized"))
        await client.list(NAMESPACES)
    assert sent(api) == [f"Bearer {provider.tokens[0]}"] * 4 + [f"Bearer {provider.tokens[1]}"]
    stored = yaml.safe_load(path.read_text())["users"][0]["user"]["auth-provider"]["config"]
    assert (stored["id-token"], stored["refresh-token"]) == (provider.tokens[1], "refresh-2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load(str(path)).oidc is not None


async def test_a_provider_that_refuses_or_is_away_is_named(tmp_path: Path, api: FakeApi, provider: Provider) -> None:
    path = oidc(tmp_path / "c", api, provider, "", **{"refresh-token": "stolen"})
    async with Client(load(str(path))) as client:
        with pytest.raises(Unavailable, match="HTTP 401"):
            await client.list(NAMESPACES)
    await provider.runner.cleanup()
    async with Client(load(str(path))) as client:
        with pytest.raises(Unavailable, match="OIDC provider"):
            await client.list(NAMESPACES)
    path = oidc(tmp_path / "d", api, provider, jwt(0), **{"refresh-token": ""})
    async with Client(load(str(path))) as client:
        with pytest.raises(Unavailable, match="log in again"):
            await client.list(NAMESPACES)


def test_other_auth_providers_are_refused_by_name(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", {"server": "https://a"}, {"auth-provider": {"name": "gcp"}})
    with pytest.raises(ConfigError, match="'gcp' is not known; use an exec plugin"):
        load(str(path))


# --- proxies, impersonation, token files -----------------------------------------------------------------------------


async def proxy_server() -> tuple[asyncio.Server, list[str]]:
    """An HTTP proxy that knows CONNECT, and the heads of the requests that it got."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        method, target, _ = head.split(" ", 2)
        assert method == "CONNECT", head
        host, _, port = target.rpartition(":")
        back, forth = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, forth), pump(back, writer), return_exceptions=True)

    return await asyncio.start_server(serve, "127.0.0.1", 0), heads


async def test_requests_and_watches_go_through_the_proxy_of_the_cluster(
    shared_api_server: ApiServer, tmp_path: Path
) -> None:
    server, heads = await proxy_server()
    port = server.sockets[0].getsockname()[1]
    document = yaml.safe_load(shared_api_server.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["proxy-url"] = f"http://me:pass@127.0.0.1:{port}"
    document["clusters"][0]["cluster"]["tls-server-name"] = "kubernetes.default.svc"
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    async with Client(load(str(path))) as client:
        assert (await client.list(NAMESPACES)).items
        async for event in client.watch(NAMESPACES, resource_version="0"):
            assert event.type == "ADDED"
            break
    server.close()
    assert heads and all(h.startswith(f"CONNECT 127.0.0.1:{shared_api_server.port} ") for h in heads)
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:pass').decode()}" in heads[0]


@pytest.mark.parametrize(
    ("server", "environ", "proxy"),
    [
        ("https://api.example", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example", {"https_proxy": "p:1"}, "http://p:1"),
        ("http://api.example", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://[::1]:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://localhost", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://api.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other, .example"}, None),
        ("https://api.example", {"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, None),
    ],
)
def test_the_environment_may_name_a_proxy(server: str, environ: dict[str, str], proxy: str | None) -> None:
    assert from_environment(server, environ) == proxy


@pytest.mark.parametrize(
    ("entry", "direct"),
    [
        ("10.0.0.0/8", True), ("10.1.2.3", True), ("10.1.2.4", False), ("10.1.2.3:6443", True), ("10.1.2.3:80", False),
        ("nonsense/99", False), ("", False), (" , ,10.1.2.3", True),
    ],
)  # fmt: skip
def test_no_proxy_knows_addresses_networks_and_ports(entry: str, direct: bool) -> None:
    assert bypassed("10.1.2.3", 6443, entry) is direct


def test_a_proxy_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", {"server": "https://a", "proxy-url": "socks5://b:1"}, {})
    with pytest.raises(ConfigError, match="cluster 'it': proxy 'socks5://b:1': must be http"):
        load(str(path))


async def test_impersonation_is_asked_for_with_each_request(tmp_path: Path, api: FakeApi) -> None:
    user = {
        "token": "t", "as": "jane", "as-uid": "7", "as-groups": ["a", "b"],
        "as-user-extra": {"example.com/Team": ["x", "y"]},
    }  # fmt: skip
    path = kubeconfig(tmp_path / "c", {"server": f"http://127.0.0.1:{api.port}"}, user)
    config = load(str(path))
    assert config.impersonate.headers() == [
        ("Impersonate-User", "jane"), ("Impersonate-Uid", "7"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"),
        ("Impersonate-Extra-example.com%2FTeam", "x"), ("Impersonate-Extra-example.com%2FTeam", "y"),
    ]  # fmt: skip
    async with Client(config) as client:
        await client.list(NAMESPACES)
    assert api.headers[0]["Impersonate-User"] == "jane" and api.headers[0]["Impersonate-Group"] in {"a", "b"}
    alone = kubeconfig(tmp_path / "d", {"server": "https://a"}, {"as-groups": ["a"]})
    with pytest.raises(ConfigError, match="need as"):
        load(str(alone))


async def test_a_token_file_is_read_again_after_a_refusal_and_wins_over_a_token(tmp_path: Path, api: FakeApi) -> None:
    (tmp_path / "token").write_text("first\n")
    user = {"token": "static", "tokenFile": "token"}
    path = kubeconfig(tmp_path / "c", {"server": f"http://127.0.0.1:{api.port}"}, user)

    def rotate(_api: FakeApi, request: web.Request) -> Any:
        (tmp_path / "token").write_text("second")
        return answer(401, "Unauthorized")(_api, request)

    api.list_faults.append(rotate)
    async with Client(load(str(path))) as client:
        await client.list(NAMESPACES)
    assert sent(api) == ["Bearer first", "Bearer second"]


def test_of_several_files_the_first_with_a_name_wins_and_missing_ones_do_not_matter(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first = {"current-context": "", "clusters": [{"name": "c", "cluster": {"server": "https://one"}}]}
    second = {
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": "https://two"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}},
                     {"name": "y", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        "users": [{"name": "u", "user": {"tokenFile": "t"}}],
    }  # fmt: skip
    (folders[0] / "config").write_text(yaml.safe_dump(first))
    (folders[1] / "config").write_text(yaml.safe_dump(second))
    listed = ":".join([str(tmp_path / "absent"), *(str(f / "config") for f in folders)])
    config = load(environ={"KUBECONFIG": listed})
    assert (config.server, config.context, config.token_file) == ("https://one", "x", folders[1] / "t")
    assert load(context="y", environ={"KUBECONFIG": listed}).namespace == "n"


# --- apply -----------------------------------------------------------------------------------------------------------


async def test_apply_makes_owns_and_gives_up_fields(shared_api_server: ApiServer) -> None:
    async with Client(load(str(shared_api_server.kubeconfig))) as client:

        def wanted(**data: str) -> dict[str, Any]:
            return {"metadata": {"name": "applied", "namespace": "default", "resourceVersion": "1"}, "data": data}

        made = await client.apply(CONFIG_MAPS, wanted(a="1", b="2"), field_manager="one")
        assert made["data"] == {"a": "1", "b": "2"}
        both = await client.apply(CONFIG_MAPS, wanted(c="3"), field_manager="two")
        assert both["data"] == {"a": "1", "b": "2", "c": "3"}
        with pytest.raises(Exception, match='conflict with "one"') as caught:
            await client.apply(CONFIG_MAPS, wanted(a="9"), field_manager="two", force=False)
        assert [c.field for c in caught.value.details.causes] == [".data.a"]  # type: ignore[attr-defined]  # an ApiError
        taken = await client.apply(CONFIG_MAPS, wanted(a="9"), field_manager="two")
        assert taken["data"] == {"a": "9", "b": "2"}
        with pytest.raises(ValueError, match=r"metadata\.name"):
            await client.apply(CONFIG_MAPS, {"data": {}}, field_manager="one")
