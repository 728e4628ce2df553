"""What a user may do, as the API server behind decides it: SubjectAccessReviews, remembered for a while.

In: users and requests, or single questions (the three of a tier). Out: yes or no, or a 403. The same question is asked
once at a time, and its answer, yes or no, holds for ten seconds (spec/apiserver-controllers-clis.md 1.2).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tortie.apiserver import authz, errors
from tortie.apiserver.authz import MASTERS
from tortie.apiserver.context import Call, User
from tortie.apiserver.errors import StatusError
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.requests import RequestInfo
from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.model.resource import Resource

SECONDS = 10.0
_LIMIT = 8192
_OPEN = frozenset({"/healthz", "/livez", "/healthz/ping", "/livez/ping"})
_GROUP = "authorization.k8s.io"
ACCESS_REVIEWS: Resource[dict[str, Any]] = Resource(
    _GROUP, "v1", "SubjectAccessReview", "subjectaccessreviews", False, dict[str, Any]
)

_Question = tuple[str, tuple[str, ...], str, tuple[tuple[str, tuple[str, ...]], ...], Attributes]


class Access:
    """The questions of one server. seconds: how long an answer holds."""

    def __init__(
        self, client: Client, *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._seconds = seconds
        self._clock = clock
        self._answers: dict[_Question, tuple[float, bool]] = {}
        self._asking: dict[_Question, asyncio.Task[bool]] = {}
        self.asked = 0

    async def check(self, user: User, info: RequestInfo) -> None:
        """Raises StatusError 403 unless the request is allowed."""
        if not info.is_resource:
            path = info.path.rstrip("/") or "/"
            if path not in _OPEN and not await self.allowed(user, Attributes(info.verb, path=path)):
                raise StatusError(
                    403, "Forbidden", f'forbidden: User "{user.name}" cannot {info.verb} path "{path}"', details={}
                )
            return
        wanted = authz.attributes(info)
        if not await self.allowed(user, wanted):
            raise authz.refusal(user, wanted)

    async def ask(self, call: Call, wanted: Attributes) -> bool:
        """Whether the caller may do it."""
        return await self.allowed(call.user, wanted)

    async def allowed(self, user: User, wanted: Attributes) -> bool:
        """Whether the user may do it. Raises StatusError 503 when nobody answers."""
        if MASTERS in user.groups:
            return True
        extra = tuple(sorted((key, tuple(values)) for key, values in user.extra.items()))
        question = (user.name, user.groups, user.uid, extra, wanted)
        found = self._answers.get(question)
        if found is not None and found[0] > self._clock():
            return found[1]
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._ask(user, wanted), name="access review")
            task.add_done_callback(lambda done: self._answered(question, done))
        return await asyncio.shield(task)

    def _answered(self, question: _Question, task: asyncio.Task[bool]) -> None:
        self._asking.pop(question, None)
        if task.cancelled() or task.exception() is not None:
            return
        self._answers.pop(question, None)
        while len(self._answers) >= _LIMIT:
            self._answers.pop(next(iter(self._answers)))
        self._answers[question] = (self._clock() + self._seconds, task.result())

    async def _ask(self, user: User, wanted: Attributes) -> bool:
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra.items()}
        if wanted.path:
            spec["nonResourceAttributes"] = {"path": wanted.path, "verb": wanted.verb}
        else:
            given = {
                "verb": wanted.verb,
                "group": wanted.group,
                "version": "v3",
                "resource": wanted.resource,
                "subresource": wanted.subresource,
                "name": wanted.name,
                "namespace": wanted.namespace,
            }
            spec["resourceAttributes"] = {key: value for key, value in given.items() if value}
        self.asked += 1
        review = {"apiVersion": f"{_GROUP}/v1", "kind": "SubjectAccessReview", "spec": spec}
        try:
            answer = await self._client.create(ACCESS_REVIEWS, review)
        except ApiError as error:
            raise errors.unavailable(f"access cannot be reviewed now: {error.message}") from None
        status = answer.get("status") or {}
        return bool(status.get("allowed")) and not status.get("denied")
