"""Who we are, request by request: static tokens, token files, exec plugins, OIDC providers.

In: a `ClusterConfig`. Out: the Authorization header to send now and, from plugins, a client certificate. What a plugin
or provider gave is kept until it expires or the server refuses it.
"""

import asyncio
import base64
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from tortie.kube.config import ClusterConfig, ConfigError, ExecPlugin, TokenSource

PLUGIN_SECONDS = 60.0
_GROUP = "client.authentication.k8s.io"


class CredentialError(ConfigError):
    """Credentials cannot be had now; the text says from whom and why."""


class Credentials(Protocol):
    """certificate: PEM of a client certificate and its key, where the source gives one."""

    @property
    def certificate(self) -> tuple[bytes, bytes] | None: ...

    async def authorization(self) -> str | None:
        """The value of the Authorization header. Raises CredentialError."""

    async def refresh(self) -> bool:
        """After a 401: whether another attempt makes sense."""


def of(config: ClusterConfig) -> Credentials:
    """The credentials of a configuration."""
    if config.exec is not None:
        return ExecCredentials(config, config.exec)
    if config.oidc is not None:
        from tortie.kube.oidc import OidcCredentials  # late: few users need it

        return OidcCredentials(config.oidc)
    return StaticCredentials(config)


class StaticCredentials:
    """What the kubeconfig says, token files read again as they rotate."""

    certificate = None

    def __init__(self, config: ClusterConfig) -> None:
        self._tokens = TokenSource(config)

    async def authorization(self) -> str | None:
        return self._tokens.authorization()

    async def refresh(self) -> bool:
        return self._tokens.refresh()


class ExecCredentials:
    """Runs the plugin at first use, when its credential has expired, and after a 401."""

    def __init__(self, config: ClusterConfig, plugin: ExecPlugin, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._plugin = plugin
        self._clock = clock
        self._lock = asyncio.Lock()
        self._header: str | None = None
        self._expires = 0.0
        self._have = False
        self._runs = 0
        self.certificate: tuple[bytes, bytes] | None = None

    async def authorization(self) -> str | None:
        if not self._have or self._clock() >= self._expires:
            runs = self._runs
            async with self._lock:
                if runs == self._runs:  # nobody else ran it while we waited
                    self._take(_credential(await self._run(), self._plugin))
        return self._header

    async def refresh(self) -> bool:
        self._have = False
        return True

    def _take(self, status: dict[str, Any]) -> None:
        self._runs += 1
        token = status.get("token")
        self._header = f"Bearer {token}" if token else None
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        self.certificate = (certificate.encode(), key.encode()) if certificate and key else None
        until = status.get("expirationTimestamp")
        self._expires = datetime.fromisoformat(until).timestamp() if until else float("inf")
        self._have = True

    async def _run(self) -> bytes:
        plugin = self._plugin
        interactive = self._interactive()
        info = {
            "apiVersion": plugin.api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": interactive, **({"cluster": self._cluster()} if plugin.provide_cluster else {})},
        }
        environment = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.path,
                *plugin.args,
                stdin=None if interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if interactive else asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=not interactive,
            )
        except OSError as error:
            hint = f"\n{plugin.install_hint}" if plugin.install_hint else ""
            raise CredentialError(f"exec plugin {plugin.command}: {error.strerror}{hint}") from error
        try:
            async with asyncio.timeout(None if interactive else PLUGIN_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            raise CredentialError(f"exec plugin {plugin.command}: no answer within {PLUGIN_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                _end(process, group=not interactive)
                await process.wait()
        if process.returncode:
            text = (err or b"").decode("utf-8", "replace").strip()[-500:]
            raise CredentialError(
                f"exec plugin {plugin.command} ended with {process.returncode}" + (f": {text}" if text else "")
            )
        return out

    def _interactive(self) -> bool:
        """Whether the plugin may talk to the user."""
        mode = self._plugin.interactive_mode
        terminal = mode != "Never" and sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
        if mode == "Always" and not terminal:
            raise CredentialError(
                f"exec plugin {self._plugin.command} has interactiveMode Always, and standard input is no terminal"
            )
        return terminal

    def _cluster(self) -> dict[str, Any]:
        """The cluster as plugins are told about it (provideClusterInfo)."""
        config = self._config
        ca = config.ca.read_bytes() if config.ca is not None and not isinstance(config.ca, bytes) else config.ca
        told: dict[str, Any] = {
            "server": config.server,
            "tls-server-name": config.server_name,
            "insecure-skip-tls-verify": config.insecure or None,
            "certificate-authority-data": base64.b64encode(ca).decode() if ca else None,
            "proxy-url": config.proxy_url,
            "config": self._plugin.cluster_config,
        }
        return {key: value for key, value in told.items() if value is not None}


def _end(process: asyncio.subprocess.Process, *, group: bool) -> None:
    try:
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        return


def _credential(out: bytes, plugin: ExecPlugin) -> dict[str, Any]:
    """`status` of the ExecCredential that a plugin printed. Raises CredentialError; never shows what was printed."""
    where = f"exec plugin {plugin.command}"
    try:
        credential = json.loads(out)
    except ValueError:
        raise CredentialError(f"{where}: its output is not JSON") from None
    if not isinstance(credential, dict) or credential.get("kind") != "ExecCredential":
        raise CredentialError(f"{where}: its output is not an ExecCredential")
    if credential.get("apiVersion") != plugin.api_version:
        raise CredentialError(
            f"{where}: it answered in apiVersion {credential.get('apiVersion')!r}; the kubeconfig asks for "
            f"{plugin.api_version!r}"
        )
    status = credential.get("status")
    if not isinstance(status, dict):
        raise CredentialError(f"{where}: its output has no status")
    certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
    if bool(certificate) is not bool(key):
        raise CredentialError(f"{where}: clientCertificateData and clientKeyData must come together")
    if not status.get("token") and not certificate:
        raise CredentialError(f"{where}: its output has neither a token nor a certificate")
    until = status.get("expirationTimestamp")
    try:
        if until:
            datetime.fromisoformat(until)
    except (TypeError, ValueError):
        raise CredentialError(f"{where}: expirationTimestamp {until!r} is not an RFC 3339 time") from None
    return status
