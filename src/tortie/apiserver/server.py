"""Puts the API server together: storage, registry, security, HTTP, and its life from start to stop.

In: `Settings` from the command line. Out: a running server; `StartError` says in one sentence why it cannot run.
"""

import asyncio
import contextlib
import ctypes
import errno
import gc
import ipaddress
import logging
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from tortie.apiserver import bootstrap, calico, custom, negotiate, pki, restore
from tortie.apiserver.admission import Admission
from tortie.apiserver.admission.policies import StoredPolicies
from tortie.apiserver.allocate import Allocators
from tortie.apiserver.authn import Authenticator
from tortie.apiserver.authz import Authorizer
from tortie.apiserver.builtin import catalog
from tortie.apiserver.context import Context
from tortie.apiserver.errors import StatusError
from tortie.apiserver.expiry import Expiry
from tortie.apiserver.http import Api
from tortie.apiserver.journal import Journal, JournalError
from tortie.apiserver.oidc import Oidc, OidcError, OidcSettings
from tortie.apiserver.oidc import check as check_oidc
from tortie.apiserver.paths import Paths
from tortie.apiserver.proxying.aggregator import Aggregator
from tortie.apiserver.records import Collection, Event
from tortie.apiserver.registry import Registry
from tortie.apiserver.signing.controller import Signer
from tortie.apiserver.store import Store
from tortie.apiserver.subresources import Subresources
from tortie.apiserver.tokens import Tokens

HOUSEKEEPING_SECONDS = 15.0
_log = logging.getLogger("tortie.apiserver")
_SWITCH_SECONDS = 0.0005  # the journal's thread must not wait long for the interpreter while requests are many


class StartError(Exception):
    """Why the server cannot start, in one sentence."""


@dataclass(frozen=True, slots=True)
class Settings:
    """data_dir: database and PKI. listen: (host, port) pairs. advertise: addresses put into Service kubernetes.
    native: projectcalico.org/v3 is served here; False leaves it to an aggregated API server.
    oidc: whose ID tokens are taken, beside the cluster's own tokens."""

    data_dir: Path
    listen: Sequence[tuple[str, int]] = (("127.0.0.1", 6443),)
    advertise: Sequence[str] = ()
    service_cidrs: Sequence[str] = ("10.96.0.0/16",)
    native: bool = True
    oidc: OidcSettings | None = None


class Server:
    """One API server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.context: Context

    async def start(self) -> None:
        """Opens the database, makes what is missing, and listens. Raises StartError."""
        settings = self.settings
        hosts = self._hosts()
        if settings.oidc is not None:
            try:
                check_oidc(settings.oidc)
            except OidcError as error:
                raise StartError(str(error)) from error
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            restore.finish(settings.data_dir)
            keys = pki.ensure(settings.data_dir, hosts)
            journal = Journal(settings.data_dir / "store.db")
        except JournalError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            raise StartError(_explain(error, settings.data_dir)) from error
        except ValueError as error:
            raise StartError(f"cannot read the keys in {settings.data_dir / 'pki'}: {error}") from error
        store = Store(journal)
        registry = Registry()
        for kind, priority in [*catalog.kinds(), *((kind, 0) for kind in calico.kinds(native=settings.native))]:
            registry.add(kind, version_priority=priority)
            if kind.stored:
                store.collection(kind.collection).index_fields = kind.fields
        try:
            store.load()
        except JournalError as error:
            raise StartError(str(error)) from error
        allocators = Allocators(tuple(settings.service_cidrs))
        for record in store.collection("/services").select(None):
            allocators.remember(record.decode())
        store.on_event.append(_release_addresses(allocators))
        journal.start(asyncio.get_running_loop())
        context = Context(
            store=store,
            registry=registry,
            now=time.time,
            advertise=tuple(settings.advertise) or self._default_advertise(),
            native=settings.native,
        )
        context.data_dir, context.pki, context.allocators = settings.data_dir, keys, allocators
        context.authorizer = Authorizer(context)
        context.tokens = Tokens(context, Oidc(settings.oidc) if settings.oidc is not None else None)
        context.admission = Admission(context, StoredPolicies(context))
        context.aggregator = aggregator = Aggregator(context)
        self.context = context
        sys.setswitchinterval(_SWITCH_SECONDS)
        custom.serve_all(context)
        custom.watch_empty(context)
        await self._listen(context)
        pki.write_admin_kubeconfig(keys, settings.data_dir / "admin.kubeconfig", f"https://127.0.0.1:{self.port}")
        context.port = self.port
        await bootstrap.run(context)
        await custom.resume(context)
        context.admission.quotas.resume()
        await aggregator.keep_local()
        self._tasks.append(asyncio.create_task(aggregator.run(), name="API services"))
        self._tasks.append(asyncio.create_task(Signer(context).run(), name="certificates"))
        context.ready = True
        self._tasks.append(asyncio.create_task(self._keep_house(store), name="housekeeping"))
        gc.collect()
        gc.freeze()

    def _hosts(self) -> list[str]:
        hosts = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                 "kubernetes.default.svc.cluster.local", "127.0.0.1", "::1"]  # fmt: skip
        hosts += [host for host, _ in self.settings.listen if host not in {"0.0.0.0", "::"}]  # noqa: S104 - compared, not bound
        hosts += list(self.settings.advertise)
        for cidr in self.settings.service_cidrs:
            hosts.append(str(ipaddress.ip_network(cidr)[1]))
        return list(dict.fromkeys(hosts))

    def _default_advertise(self) -> tuple[str, ...]:
        for host, _ in self.settings.listen:
            if host not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
                return (host,)
        return ("127.0.0.1",)

    async def _listen(self, context: Context) -> None:
        api = Api(context, Authenticator(context), context.authorizer.check, Paths(context), Subresources())
        app = web.Application(client_max_size=negotiate.BODY_LIMIT)
        app.router.add_route("*", "/{tail:.*}", api.handle)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=120, shutdown_timeout=1.0)
        await self._runner.setup()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(*context.pki.pair("apiserver"))
        tls.load_verify_locations(context.pki.ca)
        tls.load_verify_locations(cadata=context.pki.front_proxy.pem.decode())
        tls.verify_mode = ssl.CERT_OPTIONAL
        for host, port in self.settings.listen:
            wanted = port or self.port
            try:
                site = web.TCPSite(self._runner, host, wanted, ssl_context=tls, backlog=1024)
                await site.start()
            except OSError as error:
                raise StartError(_explain_listen(error, host, wanted)) from error
            if not self.port:
                assert site._server is not None
                self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def _keep_house(self, store: Store) -> None:
        expiry = Expiry(store)
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            store.compact()
            try:
                await expiry.sweep()
            except StatusError as error:
                _log.warning("old events stay for now: %s", error.message)
            _give_back_memory()

    async def stop(self) -> None:
        """Ends watches, closes connections, and the database last."""
        self.context.ready = False
        for task in (*self._tasks, *self.context.tasks):
            task.cancel()
        for collection in self.context.store.collections.values():
            for watcher in tuple(collection.watchers):
                watcher.close("")
        if self._runner is not None:
            await self._runner.cleanup()
        if self.context.aggregator is not None:
            await self.context.aggregator.close()
        if self.context.admission is not None:
            await self.context.admission.close()
        await self.context.store.close()


def _give_back_memory() -> None:
    """Hands freed memory back to the system: long lists leave much of it behind."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _release_addresses(allocators: Allocators) -> Callable[[Collection, Event], None]:
    def listen(collection: Collection, event: Event) -> None:
        if collection.name == "/services" and event.old is not None:
            allocators.release_difference(event.old.decode(), event.new.decode() if event.new else None)

    return listen


def _explain(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space is left on the disk of {path}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"no permission to write in {error.filename or path}"
    return f"cannot use the data folder {path}: {error.strerror or error}"


def _explain_listen(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; stop it, or choose another with --listen"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"no permission to listen on {host}:{port}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host}"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
