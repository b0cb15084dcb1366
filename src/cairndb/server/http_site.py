"""What all parts of the HTTP server share: who asks, how much is taken, and how answers leave.

An application that mounts the server brings the event loop, so nothing here needs one before the
first request. Where a request is handled, and that its answer waits until it is promised, is
settled in `running`; this awaits both.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from cairndb.errors import DatabaseFailed, UsageError
from cairndb.server.http_problems import Refusal
from cairndb.server.running import Promises, Runner
from cairndb.service import Answer, wrapped
from cairndb.service_access import EVERYTHING, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from starlette.requests import HTTPConnection
    from starlette.requests import Request as HttpRequest

    from cairndb.server.metrics import Metrics
    from cairndb.service import Middleware, Request, Service
    from cairndb.service_access import Grant


class HttpLimits(Struct, frozen=True, kw_only=True):
    """How much is taken of whom.

    Args:
        body_bytes: of a request's body.
        body_seconds: for a body to arrive.
        answer_bytes: of a response.
        write_seconds: for a client to make room for more of a response; then it is cut off. Of a
            watch that is noticed when it has something to send, if only that it lives.
        requests: under way at once.
        watches: open at once.
        silence_seconds: after which a watch shows that it is alive.
        log_entries: in a page of the log.
    """

    body_bytes: int = 16 << 20
    body_seconds: float = 30.0
    answer_bytes: int = 256 << 20
    write_seconds: float = 60.0
    requests: int = 1000
    watches: int = 256
    silence_seconds: float = 15.0
    log_entries: int = 1000


class Access(Struct, frozen=True, kw_only=True):
    """Who may ask.

    Args:
        authenticate: what a token allows; None for one that isn't known. Without, no tokens are
            needed.
        nobody: what may be done without a token, where tokens are known: nothing, or for a socket
            whose peers are known otherwise, what these may do.
        origins: of pages on other servers that may ask, as `https://app.example`; `*` for all.
        hosts: names that this server goes by, without ports; empty for any. Where no tokens are
            needed it keeps pages away that have their own name lead to this machine.
    """

    authenticate: Callable[[str], Grant | None] | None = None
    nobody: Grant | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Site:
    """A database that is served over HTTP.

    Args:
        service: its operations.
        metrics: where they are counted.
        limits: how much is taken.
        access: who may ask.
        middleware: around the operations, the first outermost.
        runner: where they run, if somebody else asks for them too; else made when needed.
        promises: which answers may leave; given with `runner`.

    Attributes:
        requests: how many are under way.
        watches: of each that is open what ends it, and who began it.
        is_draining: whether it is about to end.
    """

    def __init__(
        self,
        service: Service,
        metrics: Metrics,
        limits: HttpLimits,
        access: Access,
        *,
        middleware: Sequence[Middleware] = (),
        runner: Runner | None = None,
        promises: Promises | None = None,
    ) -> None:
        # Set once:
        self.service = service
        self.metrics = metrics
        self.limits = limits
        self.access = access
        self._handler = wrapped(service.handle, [metrics.counted, *middleware])
        # Written in the loop:
        self._running: tuple[Runner, Promises] | None = None
        # That these were made for; None if they were given.
        self._loop: asyncio.AbstractEventLoop | None = None
        if runner is not None and promises is not None:
            self._running = runner, promises
        self.requests = 0
        self.watches: dict[asyncio.Event, Grant] = {}
        self.is_draining = False

    def drain(self) -> None:
        """Be ready no more, and end all watches; what else has begun goes on. In the loop."""
        self.is_draining = True
        for end in self.watches:
            end.set()

    def revoke(self, grants: Collection[Grant]) -> None:
        """End the watches of those who aren't allowed anything any more. In the loop."""
        for end, grant in self.watches.items():
            if grant in grants:
                end.set()

    def grant_of(self, connection: HTTPConnection) -> Grant | None:
        """What somebody who asks may do.

        Raises:
            Unauthenticated: the token isn't known.
        """
        access = self.access
        if access.authenticate is None:
            return access.nobody or EVERYTHING
        header = connection.headers.get("authorization")
        if header is None:
            return access.nobody
        scheme, _, token = header.partition(" ")
        grant = access.authenticate(token.strip()) if scheme.lower() == "bearer" else None
        if grant is None:
            raise Unauthenticated("this token isn't known here: 'Authorization: Bearer TOKEN'")
        return grant

    def judged(self, error: Exception) -> Exception:
        """What is told of an error: of a database that can't be used any more, why that is."""
        refusal = self.service.engine.refusal
        if refusal is None or type(error) not in {UsageError, DatabaseFailed}:
            return error
        reason = refusal()
        return reason if isinstance(reason, DatabaseFailed) else Refusal("closed", str(reason))

    async def perform(self, request: Request) -> Answer:
        """Have an operation done, and return its answer when it may be shown.

        Cancelled, it only stops waiting: what has begun stands.
        """
        runner, promises = self._parts()
        loop = asyncio.get_running_loop()
        handled: asyncio.Future[Answer] = loop.create_future()
        runner.submit(request, lambda answer: _settle(handled, answer))
        answer = await handled
        if answer.position is None or promises.allow(answer.position.lsn):
            return answer
        promised: asyncio.Future[None] = loop.create_future()
        promises.when(answer.position.lsn, lambda: _settle(promised, None))
        await promised
        if not promises.allow(answer.position.lsn):
            return Answer(error=promises.failure)
        return answer

    def _parts(self) -> tuple[Runner, Promises]:
        loop, running = asyncio.get_running_loop(), self._running
        if running is None or self._loop not in {None, loop}:
            if running is not None:  # of a loop that has been left
                running[0].close()
            running = Runner(self._handler, loop), Promises(self.service.engine, loop)
            self._running, self._loop = running, loop
        return running

    async def body(self, request: HttpRequest) -> bytes:
        """A request's body.

        Raises:
            Refusal: it is too large, or doesn't come in time.
        """
        most = self.limits.body_bytes
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:19]) > most:
            raise _too_large(most)
        pieces, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for piece in request.stream():
                    size += len(piece)
                    if size > most:
                        raise _too_large(most)
                    pieces.append(piece)
        except TimeoutError:
            raise Refusal(
                "body-too-slow", f"send it within {self.limits.body_seconds:g} seconds"
            ) from None
        return b"".join(pieces)

    def check_size(self, data: bytes, consequence: str) -> None:
        """Raise `Refusal` if an answer is larger than is sent.

        Args:
            data: the answer.
            consequence: what has happened by now.
        """
        most = self.limits.answer_bytes
        if len(data) > most:
            raise Refusal(
                "answer-too-large",
                f"the answer has {len(data):,} bytes, and at most {most:,} are sent: ask for a "
                f"part of it. {consequence}",
            )


def _settle(future: asyncio.Future[Answer] | asyncio.Future[None], value: object) -> None:
    if not future.done():  # or nobody waits any more
        future.set_result(value)  # type: ignore[arg-type]


def _too_large(most: int) -> Refusal:
    return Refusal("body-too-large", f"at most {most:,} bytes are taken")
