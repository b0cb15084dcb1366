"""What has happened, over HTTP: the log in pages, and watches as Server-Sent Events.

    GET /log?since=POSITION&limit=N       the updates after a position, oldest first
    GET /watch/{pattern}?since=&initial=&timeout=

Events are those of the HTML standard: `id` is the position, so that an `EventSource` that lost its
connection goes on where it was, by `Last-Event-ID`. Where updates came and none matched, an event
of an `id` alone, which the browser doesn't show, moves that on; where nothing came, a comment shows
that the connection lives. An error that ends a watch is an event `problem`.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct
from starlette.responses import Response, StreamingResponse

from cairndb.chain import Position
from cairndb.errors import CairnError, UsageError
from cairndb.log import running_checksum
from cairndb.notation import dumps
from cairndb.patch_json import entry_json
from cairndb.server.http_forms import EVENTS, JSON, wanted
from cairndb.server.http_problems import POSITION_HEADER, Refusal, described, kind_of
from cairndb.service_access import require_read
from cairndb.watch_follower import Follower
from cairndb.watch_items import Start, parse_position, position_text
from cairndb.watch_json import item_json
from cairndb.watch_start import Wish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request as HttpRequest
    from starlette.types import Receive, Scope, Send

    from cairndb.server.http_site import Site
    from cairndb.service_access import Grant
    from cairndb.watch_items import Change
    from cairndb.watch_tasks import AsyncWatch

Q = TypeVar("Q")

_RETRY_MILLISECONDS: Final = 2000
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Vary": "Authorization, Last-Event-ID",
    "X-Accel-Buffering": "no",  # a proxy is to pass each event on at once
}


class LogQuery(Struct, forbid_unknown_fields=True):
    """What `/log` takes."""

    since: str | None = None
    limit: int = 100


class WatchQuery(Struct, forbid_unknown_fields=True):
    """What `/watch` takes."""

    since: str | None = None
    initial: bool = False
    timeout: float | None = None


class Page(Struct):
    """A part of the log."""

    entries: list[dict[str, Any]]
    position: Position
    """Of the last of them, or where it was asked for."""


class History:
    """The routes of a site that tell what has happened.

    Args:
        site: which.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def log(self, http: HttpRequest) -> Response:
        """A page of the log."""
        require_read(self._site.grant_of(http))
        wanted(http.headers.get("accept"), [JSON])
        query = _query(http, LogQuery)
        most = self._site.limits.log_entries
        if not 1 <= query.limit <= most:
            raise UsageError(f"limit is from 1 to {most}, not {query.limit}")
        page = await asyncio.to_thread(self._page, query)
        position = position_text(page.position)
        content = dumps({"entries": page.entries, "position": position}).encode()
        self._site.check_size(content, "")
        headers = {POSITION_HEADER: position, "Cache-Control": "no-store", "Vary": "Authorization"}
        if len(page.entries) == query.limit:
            following = urlencode({"since": position, "limit": query.limit})
            headers["Link"] = f'<{quote(http.scope["path"])}?{following}>; rel="next"'
        return Response(content, headers=headers, media_type=JSON)

    def _page(self, query: LogQuery) -> Page:
        engine = self._site.service.engine
        engine.check_usable()
        if query.since is None:
            start = Start(engine.store.segments[0].header.first_lsn - 1, None)
        else:
            start = parse_position(query.since)
        hub = self._site.service.hub
        with closing(Follower(engine.directory, start, hub.promised_lsn)) as follower:
            page = Page([], follower.position)
            while len(page.entries) < query.limit and (run := follower.read()) is not None:
                room = query.limit - len(page.entries)
                for lsn in range(run.before_lsn + 1, run.last_lsn + 1)[:room]:
                    encoded, entry = run.entry(lsn)
                    page.entries.append(entry_json(lsn, entry))
                    page.position = Position(lsn, running_checksum(encoded, page.position.running))
            return page

    async def watch(self, http: HttpRequest) -> Response:
        """What changes, as it does."""
        site = self._site
        grant = require_read(site.grant_of(http))
        wanted(http.headers.get("accept"), [EVENTS])
        query = _query(http, WatchQuery)
        since, initial = query.since, query.initial
        resumed = http.headers.get("last-event-id")
        if resumed:  # sent by a browser that connects again, to the same address
            since, initial = resumed, False
        if site.is_draining:
            raise Refusal("closed", "this server is about to end")
        if len(site.watches) >= site.limits.watches:
            raise Refusal("too-many", f"{site.limits.watches} watches are open already")
        pattern = "/" + http.path_params.get("pattern", "")
        watch = site.service.watch(
            Wish(pattern, since, initial, query.timeout, site.limits.silence_seconds)
        )
        if http.method == "HEAD":
            return Response(headers=_HEADERS, media_type=EVENTS)
        events = _Events(site, watch, grant, http.scope["path"])
        await events.begin()
        return events


class _Events(StreamingResponse):
    """One watch that is sent.

    Args:
        site: where.
        watch: not begun.
        grant: of who asked.
        instance: the address that was asked, for problems.
    """

    def __init__(self, site: Site, watch: AsyncWatch, grant: Grant, instance: str) -> None:
        super().__init__(self._stream(), headers=_HEADERS, media_type=EVENTS)
        self._site = site
        self._watch = watch
        self._grant = grant
        self._instance = instance
        self._end = asyncio.Event()

    async def begin(self) -> None:
        """Find where it begins; what is wrong with that is an answer of its own."""
        self._site.watches[self._end] = self._grant
        try:
            await self._watch.__aenter__()
        except BaseException:
            self._site.watches.pop(self._end, None)
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until the watch, the client or the server ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:  # whether the first piece was ever sent or not
            self._site.watches.pop(self._end, None)
            await self._watch.__aexit__(None, None, None)

    async def _stream(self) -> AsyncIterator[str]:
        yield f"retry: {_RETRY_MILLISECONDS}\nid: {self._watch.position}\n\n"
        try:
            async with contextlib.aclosing(self._texts()) as texts:
                async for text in texts:
                    yield text
        except CairnError as error:
            told = self._site.judged(error)
            directory = self._site.service.database.path
            problem = dumps(described(told, kind_of(told), self._instance, directory))
            yield f"event: problem\ndata: {problem}\n\n"

    async def _texts(self) -> AsyncGenerator[str]:
        loop = asyncio.get_running_loop()
        ended = loop.create_task(self._end.wait())
        coming = loop.create_task(self._next())
        try:
            while not ended.done():
                await asyncio.wait(
                    (coming, ended),
                    timeout=self._site.limits.silence_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if coming.done():
                    item = coming.result()
                    if item is None:
                        return
                    coming = loop.create_task(self._next())
                    yield _text(item)
                elif not ended.done():
                    yield ": still here\n\n"
        finally:
            # Not awaited: this may be cancelled itself.
            for task in (ended, coming):
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
                task.cancel()

    async def _next(self) -> Change | None:
        try:
            return await anext(self._watch)
        except StopAsyncIteration:
            return None


def _text(item: Change) -> str:
    if item.kind == "bookmark":
        return f"id: {item.position}\n\n"
    return f"id: {item.position}\nevent: {item.kind}\ndata: {dumps(item_json(item))}\n\n"


def _query(http: HttpRequest, form: type[Q]) -> Q:
    try:
        return msgspec.convert(dict(http.query_params), form, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the query of this address: {error}") from None
