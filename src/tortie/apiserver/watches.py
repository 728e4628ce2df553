"""Watch requests: past events, live events, bookmarks, initial events.

In: the query of a watch and the store's events. Out: lines of JSON written to the client's stream, each event once
and in order. A watch ends when its time is up, when its client is too slow, or when its resource is gone.
"""

import asyncio
import contextlib
import random
import time
from typing import Any

from aiohttp import web

from tortie.apiserver import conversion, errors, lists, render
from tortie.apiserver.context import Call
from tortie.apiserver.errors import StatusError
from tortie.apiserver.lists import Selection
from tortie.apiserver.negotiate import Output, warning_headers
from tortie.apiserver.records import Event, Record, Watcher

Object = dict[str, Any]
BOOKMARK_SECONDS = 55.0


def check_options(call: Call) -> bool:
    """Whether the initial events are wanted as a streaming list. Raises StatusError 422."""
    query = call.query
    initial = query.get("sendInitialEvents", "")
    match = query.get("resourceVersionMatch", "")
    causes = []
    if not initial:
        if match:
            causes.append(
                errors.forbidden_field(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )
            )
    elif match != "NotOlderThan":
        if match:
            causes.append(errors.not_supported("resourceVersionMatch", match, ["NotOlderThan"]))
        else:
            causes.append(
                errors.forbidden_field(
                    "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                )
            )
    if initial and not call.kind.bookmarks:
        causes = [errors.forbidden_field("sendInitialEvents", "this resource has no watch with initial events")]
    if causes:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", causes)
    return initial in {"1", "true", "True"}


def matched(event: Event, chosen: Selection) -> tuple[str, Record] | None:
    """What the event means to a watcher with a selection: the change and the state to send, or nothing."""
    before = event.old is not None and chosen.matches(event.old)
    after = event.new is not None and chosen.matches(event.new)
    if after:
        assert event.new is not None
        return ("MODIFIED" if before else "ADDED"), event.new
    if before:
        assert event.old is not None
        return "DELETED", event.old
    return None


class _Stream:
    """One watch: its cursor, its shape, its client."""

    def __init__(self, call: Call, output: Output, chosen: Selection) -> None:
        self.call = call
        self.output = output
        self.chosen = chosen
        self.first = True
        self.seen = 0

    async def lines(self, events: list[Event]) -> bytes:
        found = []
        for event in events:
            if event.revision > self.seen:
                self.seen = event.revision
                change = matched(event, self.chosen)
                if change is not None:
                    found.append((event, *change))
        return await self._written(found)

    async def initial(self, records: list[Record]) -> bytes:
        return await self._written([(Event(r.revision, r.key, None, r, 0.0), "ADDED", r) for r in records])

    async def _written(self, found: list[tuple[Event, str, Record]]) -> bytes:
        kind = self.call.kind
        shown = await conversion.records(kind, [record for _, _, record in found])
        out = []
        for (event, change, _), record in zip(found, shown, strict=True):
            now = self.call.context.now()
            out.append(render.line(kind, event, record, change, self.output, now, first=self.first))
            self.first = False
        return b"".join(out)


async def serve(call: Call, request: web.Request, output: Output) -> web.StreamResponse:
    """Answers a watch until it ends. Raises StatusError before the first byte only."""
    streaming_list = check_options(call)
    query = call.query
    store = call.store
    chosen = lists.selection(call)
    bookmarks = call.kind.bookmarks and query.get("allowWatchBookmarks") in {"1", "true", "True"}
    seconds = float(lists.number(query, "timeoutSeconds") or random.randint(1800, 3600))  # noqa: S311 - spreads load
    collection = call.context.collection(call.kind)
    start = await lists.reach(store, collection, query.get("resourceVersion", ""))
    oldest, newest = store.oldest(collection), store.newest(collection)
    if start and start < oldest and not streaming_list:
        raise errors.expired(f"too old resource version: {start} ({oldest})")
    with_initial = streaming_list or (start == 0 and query.get("sendInitialEvents", "") == "")
    stream = _Stream(call, output, chosen)
    stream.seen = newest if with_initial or not start else start
    watcher, past = store.watch(collection, stream.seen)
    if call.scope is not None and call.scope.watchers is not None:
        call.scope.watchers.add(watcher)
    try:
        head = b""
        if with_initial:
            head = await stream.initial([r for r in collection.select(chosen.namespace) if chosen.matches(r)])
            if streaming_list:
                head += render.bookmark(call.kind, newest, output, initial_end=True)
        head += await stream.lines(past)
        response = web.StreamResponse(
            headers={"Content-Type": output.content_type, "Cache-Control": "no-cache, private"}
        )
        for value in warning_headers(call.warnings):
            response.headers.add("Warning", value)
        response.enable_chunked_encoding()
        await response.prepare(request)
        if head:
            await response.write(head)
        await _follow(stream, watcher, response, seconds, bookmarks=bookmarks)
    finally:
        store.unwatch(collection, watcher)
        if call.scope is not None and call.scope.watchers is not None:
            call.scope.watchers.discard(watcher)
    return response


async def _follow(
    stream: _Stream, watcher: Watcher, response: web.StreamResponse, seconds: float, *, bookmarks: bool
) -> None:
    store = stream.call.store
    kind = stream.call.kind
    collection = stream.call.context.collection(kind)
    now = time.monotonic()
    deadline = now + seconds
    next_bookmark = now + BOOKMARK_SECONDS if bookmarks else deadline
    try:
        while True:
            now = time.monotonic()
            if now >= deadline:
                if bookmarks and not watcher.events:
                    await response.write(render.bookmark(kind, store.newest(collection), stream.output))
                break
            ready = await watcher.wait(max(0.001, min(deadline, next_bookmark) - now))
            if ready:
                if watcher.events:
                    events = list(watcher.events)
                    watcher.events.clear()
                    data = await stream.lines(events)
                    if data:
                        await response.write(data)
                elif watcher.broken:
                    if watcher.reason:
                        text = f"the watch ended: {watcher.reason}"
                        error = errors.internal(text) if watcher.failed else errors.expired(f"{text}; list again")
                        await response.write(render.error_line(error.status()))
                    break
            elif bookmarks:
                next_bookmark = time.monotonic() + BOOKMARK_SECONDS
                await response.write(render.bookmark(kind, store.newest(collection), stream.output))
        await response.write_eof()
    except StatusError as error:  # a conversion failed: the client lists again, and meets the reason there
        with contextlib.suppress(ConnectionError):
            await response.write(render.error_line(error.status()))
            await response.write_eof()
    except (ConnectionError, asyncio.CancelledError):
        return


__all__ = ["StatusError", "matched", "serve"]
