"""Asks webhooks about a request: mutating ones in turn, validating ones all at once.

In: the attributes of a request, and the stored configurations. Out: the changed object, warnings and audit annotations
on the call; a refusal, or a failure where the failure policy says so, is a StatusError.
"""

import asyncio
import copy
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tortie.apiserver import errors, objects
from tortie.apiserver.admission import attributes as attributes_of
from tortie.apiserver.admission import conditions, matching
from tortie.apiserver.admission.attributes import Attributes, equivalents
from tortie.apiserver.admission.client import CallError, WebhookClient, operations
from tortie.apiserver.admission.configurations import Configurations, Phase, Webhook
from tortie.apiserver.context import Call, Context
from tortie.apiserver.conversion import between
from tortie.apiserver.errors import StatusError
from tortie.apiserver.kinds import Kind
from tortie.apiserver.patches.merge import PatchError, json_patch

Object = dict[str, Any]
_log = logging.getLogger("tortie.apiserver")
_WARNING_LENGTH, _WARNINGS_LENGTH = 256, 4096
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: "Invalid"}


class Webhooks:
    """The webhooks of one server."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._configurations = Configurations(context)
        self.client = WebhookClient(context)
        self.asked = self.failed = self.refused = 0

    async def close(self) -> None:
        await self.client.close()

    def statistics(self) -> dict[str, int]:
        return {"webhooks_asked": self.asked, "webhooks_failed": self.failed, "webhooks_refused": self.refused}

    def may_ask(self, kind: Kind, operation: str, subresource: str) -> bool:
        """Whether some webhook's rules mean this; selectors and conditions may still say no."""
        phases: tuple[Phase, ...] = ("mutating", "validating")
        return any(
            self._matched(webhook, operation, kind, subresource) is not None
            for phase in phases
            for webhook in self._configurations.webhooks(phase)
        )

    def _matched(self, webhook: Webhook, operation: str, kind: Kind, subresource: str) -> Kind | None:
        if matching.exempt(kind.group, kind.plural):
            return None
        others = equivalents(self._context.registry, kind) if webhook.equivalent else ()
        return matching.match_rules(webhook.rules, operation, kind, others, subresource, equivalent=webhook.equivalent)

    async def _applies(self, webhook: Webhook, call: Call, attributes: Attributes) -> Kind | None:
        """The version of the resource to send, None when the webhook does not want this request.

        Raises StatusError when a condition fails to evaluate and the failure policy is Fail.
        """
        matched = self._matched(webhook, attributes.operation, call.kind, attributes.subresource)
        if matched is None:
            return None
        if not matching.object_matches(webhook.object_selector, attributes):
            return None
        if not matching.namespace_matches(webhook.namespace_selector, attributes, self._labels(attributes)):
            return None
        if webhook.conditions:
            try:
                request = await attributes_of.request(attributes, matched, "")
                if not conditions.hold(webhook.conditions, request, self._authorizer(attributes)):
                    return None
            except conditions.ConditionError as error:
                _log.warning("webhook %s: match conditions: %s", webhook.name, error)
                if webhook.fail:
                    raise errors.forbidden(
                        call.kind.group,
                        call.kind.plural,
                        attributes.name,
                        f'failed to evaluate match conditions of webhook "{webhook.name}": {error}',
                    ) from None
                return None
        return matched

    def _authorizer(self, attributes: Attributes) -> Any:
        from tortie.apiserver.admission.variables import authorizer_of  # late: it brings CEL

        return authorizer_of(self._context.authorizer, attributes)

    def _labels(self, attributes: Attributes) -> Mapping[str, str] | None:
        if not attributes.namespaced:
            return None
        record = self._context.record("/namespaces", "", attributes.namespace)
        return record.labels if record is not None else {}

    async def mutate(self, call: Call, attributes: Attributes) -> Object | None:
        """The object after every mutating webhook; webhooks that want it see later changes of others once more."""
        webhooks = self._configurations.webhooks("mutating")
        current = attributes
        seen: dict[int, Object | None] = {}
        for turn in (0, 1):
            for place, webhook in enumerate(webhooks):
                if turn and not (webhook.reinvoke and place in seen and seen[place] != current.obj):
                    continue
                matched = await self._applies(webhook, call, current)
                if matched is None:
                    continue
                changed = await self._mutate_one(call, webhook, current, matched, f"round_{turn}_index_{place}")
                if changed is not None:
                    labels = (changed.get("metadata") or {}).get("labels") or {}
                    current = replace(current, obj=changed, labels=(labels, *current.labels[1:]))
                seen[place] = current.obj
        return current.obj

    async def _mutate_one(
        self, call: Call, webhook: Webhook, attributes: Attributes, matched: Kind, place: str
    ) -> Object | None:
        """The changed object, None when it stays as it is."""
        mark = {"configuration": webhook.configuration, "webhook": webhook.name, "mutated": False}
        try:
            response = await self._ask(call, webhook, attributes, matched)
            changed = await _patched(call, attributes, matched, operations(response))
        except CallError as error:
            self._failure(call, webhook, error, f"failed-open.mutation.webhook.admission.k8s.io/{place}")
            return None
        mark["mutated"] = changed is not None and changed != attributes.obj
        call.annotate(f"mutation.webhook.admission.k8s.io/{place}", _json(mark))
        if not mark["mutated"]:
            return None
        patch = {**mark, "patch": operations(response), "patchType": "JSONPatch"}
        patch.pop("mutated")
        call.annotate(f"patch.webhook.admission.k8s.io/{place}", _json(patch))
        return changed

    async def validate(self, call: Call, attributes: Attributes) -> None:
        """Asks every validating webhook that wants the request; the first refusal in calling order counts."""
        wanted = []
        for place, webhook in enumerate(self._configurations.webhooks("validating")):
            matched = await self._applies(webhook, call, attributes)
            if matched is not None:
                wanted.append((place, webhook, matched))
        if not wanted:
            return
        tasks = [
            asyncio.create_task(self._validate_one(call, webhook, attributes, matched, place))
            for place, webhook, matched in wanted
        ]
        try:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _validate_one(
        self, call: Call, webhook: Webhook, attributes: Attributes, matched: Kind, place: int
    ) -> None:
        try:
            await self._ask(call, webhook, attributes, matched)
        except CallError as error:
            key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{place}"
            self._failure(call, webhook, error, key)

    async def _ask(self, call: Call, webhook: Webhook, attributes: Attributes, matched: Kind) -> Object:
        """One answer that allows. Raises StatusError when it refuses, CallError when there is none."""
        if attributes.dry_run and not webhook.dry_runnable:
            raise errors.bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        uid = objects.new_uid()
        self.asked += 1
        response = await self.client.ask(webhook, await attributes_of.request(attributes, matched, uid))
        _warn(call, response.get("warnings"))
        annotations = response.get("auditAnnotations")
        if isinstance(annotations, dict):
            for key, value in annotations.items():
                call.annotate(f"{webhook.name}/{key}", str(value))
        if not response.get("allowed"):
            self.refused += 1
            raise _denied(webhook.name, response.get("status"))
        return response

    def _failure(self, call: Call, webhook: Webhook, error: CallError, annotation: str) -> None:
        self.failed += 1
        _log.warning('failed calling webhook "%s" of %s: %s', webhook.name, webhook.configuration, error)
        if webhook.fail:
            raise errors.internal(f'failed calling webhook "{webhook.name}": failed to call webhook: {error}')
        call.annotate(annotation, webhook.name)


async def _patched(call: Call, attributes: Attributes, matched: Kind, patch: list[Any]) -> Object | None:
    """The object in the call's own version after a patch of the version that the webhook saw."""
    if not patch:
        return None
    if attributes.obj is None:
        raise CallError(f"a {attributes.operation} has no object that could be patched")
    shown = copy.deepcopy(await between(attributes.obj, call.kind, matched))
    try:
        changed = json_patch(shown, patch)
    except (PatchError, RecursionError, AttributeError, TypeError) as error:
        raise CallError(f"webhook response.patch cannot be applied: {error}") from None
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata", {}), dict):
        raise CallError("webhook response.patch makes something that is not an object")
    return await between(changed, matched, call.kind)


def _denied(name: str, status: Any) -> StatusError:
    """The refusal as the webhook wants it shown; 403 when it does not say."""
    status = status if isinstance(status, dict) else {}
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code <= 599 else 403
    reason = status.get("reason") if isinstance(status.get("reason"), str) else ""
    message = status.get("message") if isinstance(status.get("message"), str) else ""
    denied = f'admission webhook "{name}" denied the request'
    text = f"{denied}: {message or reason}" if message or reason else f"{denied} without explanation"
    details = status.get("details")
    return StatusError(
        code,
        reason or _REASONS.get(code, ""),
        text,
        details=details if isinstance(details, dict) and details else None,
    )


def _warn(call: Call, warnings: Any) -> None:
    """Warnings of a webhook, within the documented lengths."""
    left = _WARNINGS_LENGTH - sum(len(w) for w in call.warnings)
    for text in warnings if isinstance(warnings, list) else ():
        if not isinstance(text, str) or not text.strip():
            continue
        short = "".join(c if c.isprintable() else " " for c in text)[:_WARNING_LENGTH]
        left -= len(short)
        if left < 0:
            return
        call.warn(short)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
