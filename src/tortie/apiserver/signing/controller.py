"""Signs what was approved, approves what kubelets may ask for themselves, and removes old requests.

In: changes of CertificateSigningRequests, and the clock. Out: certificates and Failed conditions in their status,
approvals, deletions. One bad request holds no other up.
"""

import asyncio
import base64
import contextlib
import logging
from typing import Any

from tortie.apiserver import deletes, objects, writes
from tortie.apiserver.builtin.certificates import COLLECTION, GROUP, PLURAL, user_of
from tortie.apiserver.context import SYSTEM, Call, Context
from tortie.apiserver.errors import StatusError
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.records import Collection, Event
from tortie.apiserver.requests import RequestInfo
from tortie.apiserver.signing import issue, requests
from tortie.apiserver.signing.requests import RequestError, condition

Object = dict[str, Any]
MANAGER = "certificate-controller"
SWEEP_SECONDS = 60.0
DECIDED_SECONDS, PENDING_SECONDS = 3600.0, 24 * 3600.0
_log = logging.getLogger("tortie.apiserver")


class Signer:
    """The signers of one server."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._wake = asyncio.Event()
        self._waiting = {record.key[1] for record in context.store.collection(COLLECTION).select(None)}
        context.store.on_event.append(self._listen)

    def _listen(self, collection: Collection, event: Event) -> None:
        if collection.name == COLLECTION and event.new is not None:
            self._waiting.add(event.key[1])
            self._wake.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self.work()
            await self.sweep()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._wake.wait()

    async def work(self) -> None:
        """Looks at every request that changed."""
        self._wake.clear()
        while self._waiting:
            name = self._waiting.pop()
            obj = self.context.read(COLLECTION, "", name)
            if obj is None:
                continue
            try:
                await self._treat(name, obj)
            except StatusError as error:
                if error.reason != "NotFound":
                    _log.warning("CertificateSigningRequest %s: %s", name, error.message)
            except Exception:
                _log.exception("CertificateSigningRequest %s could not be treated", name)

    async def _treat(self, name: str, obj: Object) -> None:
        spec = obj["spec"]
        if spec["signerName"] not in requests.SIGNERS or any(condition(obj, t) for t in ("Denied", "Failed")):
            return
        if (obj.get("status") or {}).get("certificate"):
            return
        if condition(obj, "Approved") is None:
            if self._may_approve(obj):
                text = "Auto approving kubelet client certificate after SubjectAccessReview."
                await self._add(name, "approval", "Approved", "AutoApproved", text)
            return
        try:
            request = requests.parse(spec["request"])
            why = requests.problem(spec["signerName"], request, spec.get("usages") or ())
            if not why:
                made = issue.issue(
                    self.context.pki.authority,
                    request,
                    spec["usages"],
                    seconds=spec.get("expirationSeconds"),
                    now=self.context.now(),
                )
        except (RequestError, ValueError, TypeError) as error:
            why = str(error)
        if why:
            _log.info("CertificateSigningRequest %s is not signed: %s", name, why)
            await self._add(name, "status", "Failed", "SignerValidationFailure", why)
            return

        def change(current: Object) -> Object:
            current.setdefault("status", {})["certificate"] = base64.b64encode(made).decode()
            return current

        await writes.update(self._call("update", name, "status"), change, subresource="status")

    def _may_approve(self, obj: Object) -> bool:
        """Whether a kubelet asks for its own client certificate and has the right to get it unseen."""
        if obj["spec"]["signerName"] != requests.KUBELET_CLIENT:
            return False
        try:
            request = requests.parse(obj["spec"]["request"])
        except RequestError:
            return False
        if requests.problem(requests.KUBELET_CLIENT, request, obj["spec"].get("usages") or ()):
            return False
        user = user_of(obj)
        own = user.name == requests.common_name(request)
        wanted = [Attributes("create", GROUP, PLURAL, "nodeclient")]
        if own:
            wanted.append(Attributes("create", GROUP, PLURAL, "selfnodeclient"))
        return any(self.context.authorizer.allowed(user, w) for w in wanted)

    async def _add(self, name: str, subresource: str, kind: str, reason: str, message: str) -> None:
        def change(current: Object) -> Object:
            status = current.setdefault("status", {})
            added = {"type": kind, "status": "True", "reason": reason, "message": message}
            status["conditions"] = [*(status.get("conditions") or ()), added]
            return current

        await writes.update(self._call("update", name, subresource), change, subresource=subresource)

    def _call(self, verb: str, name: str, subresource: str = "") -> Call:
        kind = self.context.registry.find(GROUP, "v1", PLURAL)
        assert kind is not None
        info = RequestInfo(True, verb, "", GROUP, "v1", "", PLURAL, name, subresource)
        return Call(self.context, SYSTEM, info, kind, {}, MANAGER)

    async def sweep(self) -> list[str]:
        """Removes what has outlived its use; returns the names."""
        removed = []
        for record in list(self.context.store.collection(COLLECTION).select(None)):
            why = outlived(record.decode(), self.context.now())
            if not why:
                continue
            name = record.key[1]
            try:
                await deletes.delete(self._call("delete", name), deletes.Options())
            except StatusError as error:
                _log.warning("CertificateSigningRequest %s stays for now: %s", name, error.message)
            else:
                _log.info("CertificateSigningRequest %s is removed: %s", name, why)
                removed.append(name)
        return removed


def outlived(obj: Object, now: float) -> str:
    """Why a request is of no more use; empty if it is."""
    created = objects.parse_time(obj["metadata"]["creationTimestamp"])
    for kind in ("Approved", "Denied", "Failed"):
        found = condition(obj, kind)
        if found is None:
            continue
        at = created
        with contextlib.suppress(ValueError):
            at = objects.parse_time(str(found.get("lastUpdateTime")))
        if now - at > DECIDED_SECONDS:
            return f"it was {kind.lower()} more than an hour ago"
    status = obj.get("status") or {}
    if not status.get("conditions"):
        if now - created > PENDING_SECONDS:
            return "nobody decided within a day"
    elif status.get("certificate"):
        with contextlib.suppress(ValueError):
            if issue.expires(base64.b64decode(status["certificate"])) < now:
                return "its certificate has expired"
    return ""
