"""List requests: which revision, which records, which page.

In: the query of a list. Out: records and the list's metadata. Pages are pinned to the revision of the first page;
older revisions are rebuilt from the history that watches use.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from tortie.apiserver import errors
from tortie.apiserver.context import Call, Scope
from tortie.apiserver.kinds import Kind
from tortie.apiserver.records import Collection, Key, Record
from tortie.apiserver.selectors import FieldSelector, FieldTerm, LabelSelector, parse_fields, parse_labels
from tortie.apiserver.storage import Storage

Object = dict[str, Any]
WAIT_SECONDS = 3.0

_TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records a request means."""

    namespace: str | None
    labels: LabelSelector | None
    fields: FieldSelector | None
    scope: Scope | None = None

    def matches(self, record: Record) -> bool:
        if self.namespace is not None and record.key[0] != self.namespace:
            return False
        if self.labels is not None and not self.labels.matches(record.labels):
            return False
        if self.fields is not None and not self.fields.matches(record.key[0], record.key[1], record.fields):
            return False
        return self.scope is None or self.scope.covers(record)

    @property
    def filtered(self) -> bool:
        return self.labels is not None or self.fields is not None or self.scope is not None


def selection(call: Call) -> Selection:
    """Reads labelSelector and fieldSelector. Raises StatusError 400."""
    kind = call.kind
    fields = parse_fields(call.query.get("fieldSelector", ""), kind.selectable, namespaced=kind.namespaced)
    if call.info.verb == "watch" and call.info.name:
        own = FieldTerm("metadata.name", True, call.info.name)
        fields = FieldSelector((*(fields.terms if fields else ()), own))
    return Selection(
        (call.info.namespace or None) if kind.namespaced else None,
        parse_labels(call.query.get("labelSelector", "")),
        fields,
        call.scope,
    )


def number(query: Mapping[str, str], name: str) -> int:
    """A whole number of the query; absent is 0. Raises StatusError 400."""
    text = query.get(name, "")
    if not text:
        return 0
    if not text.isdigit():
        raise errors.bad_request(f"{name}: Invalid value: {text!r}: must be a whole number that is not negative")
    return int(text)


def revision(text: str) -> int:
    """A resourceVersion of the query. Raises StatusError 400."""
    if not text.isdigit():
        raise errors.invalid(
            "meta.k8s.io",
            "ListOptions",
            "",
            [errors.invalid_value("resourceVersion", text, "must be the number that a list or an object gave")],
        )
    return int(text)


def _refuse(causes: list[errors.Cause]) -> errors.StatusError:
    return errors.invalid("meta.k8s.io", "ListOptions", "", causes)


def check_options(query: Mapping[str, str]) -> None:
    """The rules between resourceVersion, resourceVersionMatch, continue and sendInitialEvents for a list."""
    match = query.get("resourceVersionMatch", "")
    version = query.get("resourceVersion", "")
    if query.get("sendInitialEvents"):
        raise _refuse([errors.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")])
    if not match:
        return
    if match not in {"Exact", "NotOlderThan"}:
        raise _refuse([errors.not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan"])])
    if query.get("continue"):
        raise _refuse(
            [
                errors.forbidden_field(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"
                )
            ]
        )
    if not version:
        raise _refuse(
            [
                errors.forbidden_field(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            ]
        )
    if match == "Exact" and version == "0":
        raise _refuse(
            [
                errors.forbidden_field(
                    "resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
                )
            ]
        )


async def reach(store: Storage, collection: Collection, text: str, key: Key | None = None) -> int:
    """Waits until a read with this resourceVersion may be answered; the revision that it names, 0 if none.

    Absent asks for the newest state there is, 0 for any, and a revision for one that is at least as new; 504 when a
    revision is not reached in a little while.
    """
    if not text:
        await store.fresh(collection, key)
        return 0
    wanted = revision(text)
    if wanted <= store.newest(collection):
        return wanted
    if not await store.reach(collection, wanted, WAIT_SECONDS):
        raise errors.StatusError(
            504,
            "Timeout",
            f"Timeout: Too large resource version: {wanted}, current: {store.newest(collection)}",
            details={
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
            headers={"Retry-After": "1"},
        )
    return wanted


async def select(call: Call) -> tuple[Sequence[Record], Object]:
    """The records of a list request and its metadata. Raises StatusError."""
    query = call.query
    check_options(query)
    chosen = selection(call)
    limit = number(query, "limit") if call.kind.paged else 0
    store = call.store
    collection = call.context.collection(call.kind)
    token = query.get("continue", "") if call.kind.paged else ""
    after: Key | None = None
    at = 0
    if token:
        at, after = _read_token(call, collection, token)
    else:
        wanted = await reach(store, collection, query.get("resourceVersion", ""))
        if query.get("resourceVersionMatch") == "Exact":
            if wanted < store.oldest(collection):
                raise errors.expired(f"The resourceVersion for the provided list is too old: {wanted}")
            at = wanted
    return _page(call.kind, store, chosen, at, after, limit)


def _page(
    kind: Kind, store: Storage, chosen: Selection, at: int, after: Key | None, limit: int
) -> tuple[Sequence[Record], Object]:
    collection = store.collection(kind.collection)
    newest = store.newest(collection)
    shown = at or newest
    meta: Object = {"resourceVersion": str(shown)}
    wanted: Iterator[Key]
    name = chosen.fields.exact("metadata.name") if chosen.fields else None
    if at and at < newest:
        records, order = collection.at(at)
        wanted = (k for k in order if after is None or k > after)
    elif name is not None and (chosen.namespace is not None or not kind.namespaced):
        records = collection.records
        key = (chosen.namespace or "", name)
        wanted = (k for k in ((key,) if key in records and (after is None or key > after) else ()))
    else:
        records = collection.records
        wanted = collection.keys(chosen.namespace, after)
    found = (r for r in map(records.__getitem__, wanted) if chosen.matches(r))
    if not limit:
        return list(found), meta
    page = list(islice(found, limit))
    more = next(found, None)
    if more is not None:
        meta["continue"] = _make_token(shown, page[-1].key)
        if not chosen.filtered:
            meta["remainingItemCount"] = 1 + sum(1 for _ in found)
    return page, meta


def _make_token(at: int, last: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token("meta.k8s.io/v1", at, last))).rstrip(b"=").decode()


def _read_token(call: Call, collection: Collection, text: str) -> tuple[int, Key]:
    version = call.query.get("resourceVersion", "")
    if version and version != "0":
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise errors.bad_request("continue key is not valid: it is not one that this server gave") from None
    if token.rv < 0:
        return 0, token.start
    if token.rv < call.store.oldest(collection):
        raise errors.expired(_TOO_OLD_CONTINUE, _make_token(-1, token.start))
    return token.rv, token.start
