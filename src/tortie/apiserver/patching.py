"""PATCH requests: picks the patch by its media type and runs it under the object's lock.

In: a call and its raw body. Out: the new object, and whether server-side apply created it.
"""

from typing import Any

from aiohttp import web

from tortie.apiserver import errors, negotiate, writes
from tortie.apiserver.context import Call
from tortie.apiserver.errors import StatusError
from tortie.apiserver.patches.merge import PatchError, json_patch, merge_patch
from tortie.apiserver.patches.strategic import strategic_merge

Object = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def accepted(call: Call) -> tuple[str, ...]:
    """The patch types of the call's kind."""
    if call.kind.custom:
        return (JSON_PATCH, MERGE_PATCH, APPLY)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)


async def read(call: Call, request: web.Request) -> tuple[str, Any]:
    """The patch's type and its decoded body."""
    from tortie.apiserver.http import read_body

    kind = negotiate.check_body_type(request.headers.get("Content-Type", ""), accepted(call))
    return kind, negotiate.decode(await read_body(request))[0]


async def patch(call: Call, request: web.Request, *, subresource: str = "") -> tuple[Object, bool]:
    """Applies the patch of the request. Raises StatusError."""
    from tortie.apiserver.http import read_body

    kind = negotiate.check_body_type(request.headers.get("Content-Type", ""), accepted(call))
    body, duplicates = negotiate.decode(
        await read_body(request), find_duplicates=call.query.get("fieldValidation") in {"Strict", "Warn"}
    )
    if kind == APPLY:
        from tortie.apiserver import apply

        return await apply.apply(call, body, subresource=subresource)
    if call.query.get("force"):
        raise errors.invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            [errors.forbidden_field("force", "may not be specified for non-apply patch")],
        )

    def change(old: Object) -> Object:
        return writes.fit(call, run(call, kind, old, body), duplicates)

    return await writes.update(call, change, subresource=subresource), False


def run(call: Call, kind: str, old: Object, body: Any) -> Any:
    """The old object patched; patch errors become Status errors."""
    try:
        if kind == JSON_PATCH:
            return json_patch(old, body)
        if kind == MERGE_PATCH:
            if not isinstance(body, dict):
                raise PatchError("a merge patch must be an object", 400)
            return merge_patch(old, body)
        return strategic_merge(old, body, call.kind.schema)
    except PatchError as error:
        raise _refusal(call, error) from None


def _refusal(call: Call, error: PatchError) -> StatusError:
    if error.code == 400:
        return errors.bad_request(str(error))
    if error.code == 413:
        return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {error}")
    return StatusError(
        422,
        "Invalid",
        f"the server rejected our request due to an error in our request: {error}",
        details={"name": call.info.name, "group": call.kind.group, "kind": call.kind.plural},
    )
