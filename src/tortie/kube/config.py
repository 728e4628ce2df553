"""Where the API server is and how we prove who we are.

In: a kubeconfig file (argument, KUBECONFIG, ~/.kube/config) or the service account that a pod finds mounted.
Out: a `ClusterConfig` for the client; certificates and keys stay in memory, token files are read again as they rotate.
How credentials are had from plugins and providers is in `credentials`; here is what the file says about them.
"""

import base64
import contextlib
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from tortie.kube import proxy

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(ValueError):
    """A kubeconfig that cannot be used; the text names the file and the entry."""


@dataclass(frozen=True, slots=True, repr=False)
class ExecPlugin:
    """A program that prints credentials. path: what to run, command: as the kubeconfig names it."""

    api_version: str
    command: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    install_hint: str = ""
    interactive_mode: str = "IfAvailable"
    provide_cluster: bool = False
    cluster_config: Any = None


@dataclass(frozen=True, slots=True, repr=False)
class OidcProvider:
    """The auth-provider `oidc` of a user. source: the file that renewed tokens are written back to."""

    issuer: str
    client_id: str
    client_secret: str
    id_token: str
    refresh_token: str
    ca: bytes | Path | None
    source: Path
    user: str


@dataclass(frozen=True, slots=True, repr=False)
class Impersonation:
    """Whom the user acts as."""

    user: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """The headers that ask for it."""
        found = [("Impersonate-User", self.user)] if self.user else []
        if self.uid:
            found.append(("Impersonate-Uid", self.uid))
        found += [("Impersonate-Group", group) for group in self.groups]
        found += [(f"Impersonate-Extra-{quote(k, safe='')}", v) for k, values in self.extra for v in values]
        return found


@dataclass(frozen=True, slots=True, repr=False)
class ClusterConfig:
    """One cluster and one identity. server: base URL without a trailing slash. ca, client_certificate, client_key:
    PEM bytes or paths of files. proxy_url: the HTTP proxy that leads to the server. calico_api_group: CALICO_API_GROUP,
    by which an administrator says how Calico's objects are served; the server is asked otherwise."""

    server: str
    ca: bytes | Path | None = None
    insecure: bool = False
    server_name: str | None = None
    client_certificate: bytes | Path | None = None
    client_key: bytes | Path | None = None
    token: str | None = None
    token_file: Path | None = None
    username: str | None = None
    password: str | None = None
    namespace: str = "default"
    exec: ExecPlugin | None = None
    oidc: OidcProvider | None = None
    impersonate: Impersonation = Impersonation()
    proxy_url: str | None = None
    source: str = ""
    context: str | None = None
    calico_api_group: str = ""

    def __repr__(self) -> str:
        return f"ClusterConfig(server={self.server!r}, source={self.source!r})"

    def ssl_context(self, pair: tuple[bytes, bytes] | None = None) -> ssl.SSLContext | None:
        """A fresh TLS context from the current content of the files; None for plain HTTP. pair: PEM of a client
        certificate and its key instead of the configured ones."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif isinstance(self.ca, bytes):
            context.load_verify_locations(cadata=self.ca.decode("ascii", "replace"))
        elif self.ca is not None:
            context.load_verify_locations(cafile=str(self.ca))
        else:
            context.load_default_certs()
        own_certificate, own_key = pair or (self.client_certificate, self.client_key)
        if own_certificate is not None and own_key is not None:
            with _as_file(own_certificate) as certificate, _as_file(own_key) as key:
                context.load_cert_chain(certificate, key)
        return context

    def files(self) -> list[Path]:
        """The certificate files whose change asks for a new TLS context."""
        return [f for f in (self.ca, self.client_certificate, self.client_key) if isinstance(f, Path)]


class TokenSource:
    """The bearer token to send now. A token file is read again after `max_age` seconds or when told to."""

    def __init__(self, config: ClusterConfig, *, max_age: float = 10.0) -> None:
        self._config = config
        self._max_age = max_age
        self._token = config.token
        self._read_at = float("-inf")

    def authorization(self, *, now: float | None = None) -> str | None:
        """The value of the Authorization header, or None. An unreadable file keeps the last token."""
        if self._config.token_file is not None:
            now = time.monotonic() if now is None else now
            if now - self._read_at >= self._max_age:
                with contextlib.suppress(OSError):
                    self._token = self._config.token_file.read_text().strip()
                    self._read_at = now
        if self._token:
            return f"Bearer {self._token}"
        if self._config.username is not None:
            pair = f"{self._config.username}:{self._config.password or ''}".encode()
            return "Basic " + base64.b64encode(pair).decode()
        return None

    def refresh(self) -> bool:
        """Forgets the cached token after a 401; False if another one cannot be had."""
        if self._config.token_file is None:
            return False
        old, self._read_at = self._token, float("-inf")
        self.authorization()
        return self._token != old


def load(
    kubeconfig: str | None = None, context: str | None = None, *, environ: Mapping[str, str] | None = None
) -> ClusterConfig:
    """Finds the configuration: the given file; else KUBECONFIG (colon-separated, first entry wins); else the
    in-cluster service account; else ~/.kube/config. Raises ConfigError naming what is missing."""
    env = os.environ if environ is None else environ
    return replace(_found(kubeconfig, context, env), calico_api_group=env.get("CALICO_API_GROUP", ""))


def _found(kubeconfig: str | None, context: str | None, env: Mapping[str, str]) -> ClusterConfig:
    if kubeconfig:
        return _from_files([Path(kubeconfig)], context, env)
    paths = [Path(p) for p in env.get("KUBECONFIG", "").split(os.pathsep) if p]
    if paths:
        return _from_files(paths, context, env)
    if "KUBERNETES_SERVICE_HOST" in env and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(environ=env)
    home = Path(env.get("HOME", "/root")) / ".kube" / "config"
    if home.exists():
        return _from_files([home], context, env)
    raise ConfigError("no cluster configuration: set KUBECONFIG, pass --kubeconfig, or run inside a pod")


def in_cluster(*, environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> ClusterConfig:
    """The configuration of a pod: its service account's token and CA, and the address from the environment."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("KUBERNETES_SERVICE_HOST is not set: not inside a pod")
    namespace_file = directory / "namespace"
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return ClusterConfig(
        server=server,
        proxy_url=_proxy(server, None, environ, str(directory)),
        ca=directory / "ca.crt",
        token_file=directory / "token",
        namespace=namespace_file.read_text().strip() if namespace_file.exists() else "default",
        source=str(directory),
    )


@dataclass(slots=True)
class _Merged:
    current: str = ""
    clusters: dict[str, tuple[dict[str, Any], Path]] = field(default_factory=dict)
    users: dict[str, tuple[dict[str, Any], Path]] = field(default_factory=dict)  # with the file it comes from
    contexts: dict[str, dict[str, Any]] = field(default_factory=dict)


def _from_files(paths: list[Path], context: str | None, env: Mapping[str, str]) -> ClusterConfig:
    merged = _Merged()
    readable = [p for p in paths if p.exists()] or paths[:1]
    for path in readable:
        document = _parse(path)
        merged.current = merged.current or str(document.get("current-context") or "")
        for kind, target in (("cluster", merged.clusters), ("user", merged.users)):
            for entry in document.get(f"{kind}s") or []:
                target.setdefault(entry.get("name", ""), (entry.get(kind) or {}, path))
        for entry in document.get("contexts") or []:
            merged.contexts.setdefault(entry.get("name", ""), entry.get("context") or {})
    return _resolve(merged, context, str(readable[0]), env)


def _resolve(merged: _Merged, context: str | None, source: str, env: Mapping[str, str]) -> ClusterConfig:
    name = context or merged.current
    if not name:
        raise ConfigError(f"{source}: no current-context; contexts are: {', '.join(merged.contexts) or 'none'}")
    if name not in merged.contexts:
        raise ConfigError(f"{source}: context {name!r} does not exist; contexts are: {', '.join(merged.contexts)}")
    chosen = merged.contexts[name]
    cluster_name, user_name = str(chosen.get("cluster", "")), str(chosen.get("user", ""))
    if cluster_name not in merged.clusters:
        raise ConfigError(f"{source}: context {name!r} names cluster {cluster_name!r}, which does not exist")
    cluster, cluster_file = merged.clusters[cluster_name]
    user, user_file = merged.users.get(user_name, ({}, Path()))
    cluster_dir, user_dir = cluster_file.parent, user_file.parent
    if user_name and user_name not in merged.users:
        raise ConfigError(f"{source}: context {name!r} names user {user_name!r}, which does not exist")
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ConfigError(f"{source}: cluster {cluster_name!r} has server {server!r}; it must be an http(s) URL")
    token_file = user.get("tokenFile")
    if user.get("exec") and user.get("auth-provider"):
        raise ConfigError(f"{source}: user {user_name!r} has both exec and auth-provider; only one is possible")
    return ClusterConfig(
        server=server,
        ca=_material(cluster, "certificate-authority", cluster_dir, source),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        server_name=cluster.get("tls-server-name") or None,
        client_certificate=_material(user, "client-certificate", user_dir, source),
        client_key=_material(user, "client-key", user_dir, source),
        token=user.get("token") or None,
        token_file=user_dir / str(token_file) if token_file else None,
        username=user.get("username"),
        password=user.get("password"),
        namespace=str(chosen.get("namespace") or "default"),
        exec=_exec(user.get("exec"), cluster, user_dir, f"{source}: user {user_name!r}"),
        oidc=_oidc(user.get("auth-provider"), user_name, user_file, f"{source}: user {user_name!r}"),
        impersonate=_impersonation(user, f"{source}: user {user_name!r}"),
        proxy_url=_proxy(server, cluster.get("proxy-url"), env, f"{source}: cluster {cluster_name!r}"),
        source=source,
        context=name,
    )


def _proxy(server: str, wanted: Any, env: Mapping[str, str], where: str) -> str | None:
    """The cluster's own proxy, else the environment's."""
    try:
        return proxy.check(str(wanted)) if wanted else proxy.from_environment(server, env)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION = "client.authentication.k8s.io/exec"
_MODES = ("Never", "IfAvailable", "Always")


def _exec(entry: Any, cluster: dict[str, Any], directory: Path, where: str) -> ExecPlugin | None:
    if not entry:
        return None
    version, command, mode = (
        str(entry.get("apiVersion") or ""),
        str(entry.get("command") or ""),
        entry.get("interactiveMode"),
    )
    if version not in _EXEC_VERSIONS:
        raise ConfigError(f"{where}: exec.apiVersion is {version!r}; it must be one of {', '.join(_EXEC_VERSIONS)}")
    if not command:
        raise ConfigError(f"{where}: exec.command is missing")
    if mode is None and version == _EXEC_VERSIONS[0]:
        raise ConfigError(f"{where}: exec.interactiveMode is missing; it must be one of {', '.join(_MODES)}")
    if mode not in {None, "", *_MODES}:
        raise ConfigError(f"{where}: exec.interactiveMode is {mode!r}; it must be one of {', '.join(_MODES)}")
    extensions = {e.get("name"): e.get("extension") for e in cluster.get("extensions") or () if isinstance(e, dict)}
    relative = "/" in command and not command.startswith("/")
    return ExecPlugin(
        api_version=version,
        command=command,
        path=str(directory / command) if relative else command,
        args=tuple(str(a) for a in entry.get("args") or ()),
        env=tuple((str(e.get("name", "")), str(e.get("value", ""))) for e in entry.get("env") or ()),
        install_hint=str(entry.get("installHint") or ""),
        interactive_mode=mode or "IfAvailable",
        provide_cluster=bool(entry.get("provideClusterInfo")),
        cluster_config=extensions.get(_EXEC_EXTENSION),
    )


def _oidc(entry: Any, user: str, file: Path, where: str) -> OidcProvider | None:
    if not entry:
        return None
    if entry.get("name") != "oidc":
        raise ConfigError(
            f"{where}: auth-provider {entry.get('name')!r} is not known; use an exec plugin (oidc is the only one left)"
        )
    settings = entry.get("config") or {}
    for name in ("idp-issuer-url", "client-id"):
        if not settings.get(name):
            raise ConfigError(f"{where}: auth-provider.config.{name} is missing")
    return OidcProvider(
        issuer=str(settings["idp-issuer-url"]),
        client_id=str(settings["client-id"]),
        client_secret=str(settings.get("client-secret") or ""),
        id_token=str(settings.get("id-token") or ""),
        refresh_token=str(settings.get("refresh-token") or ""),
        ca=_material(settings, "idp-certificate-authority", file.parent, where),
        source=file,
        user=user,
    )


def _impersonation(user: dict[str, Any], where: str) -> Impersonation:
    extra = user.get("as-user-extra") or {}
    found = Impersonation(
        user=str(user.get("as") or ""),
        uid=str(user.get("as-uid") or ""),
        groups=tuple(str(g) for g in user.get("as-groups") or ()),
        extra=tuple((str(k), tuple(str(v) for v in values or ())) for k, values in extra.items()),
    )
    if not found.user and (found.uid or found.groups or found.extra):
        raise ConfigError(f"{where}: as-uid, as-groups and as-user-extra need as")
    return found


def as_pem(material: bytes | Path) -> str:
    """Certificates as text, from memory or a file."""
    return (material if isinstance(material, bytes) else material.read_bytes()).decode("ascii", "replace")


def _material(entry: dict[str, Any], name: str, directory: Path, source: str) -> bytes | Path | None:
    data = entry.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except ValueError as error:
            raise ConfigError(f"{source}: {name}-data is not base64") from error
    path = entry.get(name)
    return directory / str(path) if path else None


def _parse(path: Path) -> dict[str, Any]:
    import yaml  # late: a process without a kubeconfig does not need it

    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"kubeconfig {path}: {error.strerror}") from error
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise ConfigError(f"kubeconfig {path} is not YAML{f' (line {where.line + 1})' if where else ''}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"kubeconfig {path}: expected a mapping, found {type(document).__name__}")
    return cast(dict[str, Any], document)


@contextlib.contextmanager
def _as_file(material: bytes | Path) -> Any:
    """A path that OpenSSL can read: the file itself, or memory that never touches a disk."""
    if isinstance(material, Path):
        yield str(material)
        return
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, material)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
