"""HTTP connections: what a slow or idle client may take up, and how they end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cairndb.server.web import PEER_GRANT, WebServer
from cairndb.service_access import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.requests import Request

SECONDS = 30.0


class Site:
    """A server with a route that answers when it is let."""

    def __init__(self, **limits: Any) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        routes = [Route("/", self.at_once), Route("/wait", self.wait, methods=["GET", "POST"])]
        given = {"connections": 100, "idle_seconds": 0.0, "slow_seconds": 0.0} | limits
        self.server = WebServer(Starlette(routes=routes), **given)

    async def at_once(self, http: Request) -> Response:
        """Say what may be done without a token."""
        grant = http.scope["state"][PEER_GRANT]
        return PlainTextResponse(grant.name if grant else "nobody")

    async def wait(self, _: Request) -> Response:
        """Answer when it is let."""
        self.begun.set()
        await self.go.wait()
        return PlainTextResponse("done")

    @asynccontextmanager
    async def listening(self, path: Path | None = None) -> AsyncIterator[Ask]:
        """While it listens: what connects to it."""
        loop = asyncio.get_running_loop()
        if path is None:
            listening = await loop.create_server(self.server.protocol, "127.0.0.1", 0)
            port = listening.sockets[0].getsockname()[1]
            yield lambda: _connected(asyncio.open_connection("127.0.0.1", port))
        else:
            listening = await loop.create_unix_server(self.server.protocol, str(path))
            yield lambda: _connected(asyncio.open_unix_connection(str(path)))
        listening.close()
        self.server.cut()
        await asyncio.sleep(0)


class Client:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, text: str) -> None:
        """Send something, part of a request perhaps."""
        self.writer.write(text.encode())

    def ask(self, path: str) -> None:
        """Send a request."""
        self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")

    async def answer(self) -> str:
        """The status line and the body of an answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        body = await self.reader.readexactly(length)
        assert "\r\ndate: " in head
        return f"{head.split()[1]} {body.decode()}"

    async def ended(self) -> bytes:
        """Return when the other side has closed: what came until then."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            self.writer.close()


async def _connected(opening: Awaitable[Any]) -> Client:
    return Client(*await opening)


if TYPE_CHECKING:
    Ask = Callable[[], Awaitable[Client]]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in a loop, within a deadline."""

    async def within() -> None:
        async with asyncio.timeout(SECONDS):
            await test()

    asyncio.run(within())


@pytest.mark.parametrize("text", ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n"])
def test_who_does_not_ask_in_time_is_closed(text: str) -> None:
    """A head must have come within so long, however it is dribbled."""

    async def test() -> None:
        site = Site(slow_seconds=0.05)
        async with site.listening() as connect:
            client = await connect()
            client.send(text)
            assert await client.ended() == b""
            assert site.server.cut_slow == 1
            assert len(site.server.connections) == 0

    run(test)


def test_who_asks_again_too_slowly_is_closed() -> None:
    """The limit is for each request of a connection; a method's own time isn't limited by it."""

    async def test() -> None:
        site = Site(slow_seconds=0.05)
        async with site.listening() as connect:
            client = await connect()
            client.ask("/wait")
            await site.begun.wait()
            asyncio.get_running_loop().call_later(0.1, site.go.set)
            assert await client.answer() == "200 done"
            client.send("G")
            assert await client.ended() == b""
            assert site.server.cut_slow == 1

    run(test)


def test_who_is_idle_is_closed() -> None:
    """After an answer a connection is kept for so long."""

    async def test() -> None:
        site = Site(idle_seconds=0.05)
        async with site.listening() as connect:
            client = await connect()
            client.ask("/")
            assert await client.answer() == "200 nobody"
            assert await client.ended() == b""
            assert site.server.cut_slow == 0

    run(test)


def test_too_many_are_told() -> None:
    """One more than there may be is answered with 503; those that there are go on."""

    async def test() -> None:
        site = Site(connections=2)
        async with site.listening() as connect:
            clients = [await connect() for _ in range(3)]
            clients[2].ask("/")
            assert (await clients[2].answer()).startswith("503")
            assert await clients[2].ended() == b""
            clients[0].ask("/")
            assert await clients[0].answer() == "200 nobody"
            for client in clients[:2]:
                client.writer.close()

    run(test)


def test_draining_lets_answers_out_and_closes() -> None:
    """Idle connections are closed at once, others when they have been answered."""

    async def test() -> None:
        site = Site()
        async with site.listening() as connect:
            idle, busy = await connect(), await connect()
            busy.ask("/wait")
            await site.begun.wait()
            assert site.server.is_busy
            site.server.drain()
            assert await idle.ended() == b""
            site.go.set()
            assert await busy.answer() == "200 done"
            assert await busy.ended() == b""
            assert not site.server.is_busy

    run(test)


def test_cutting_ends_what_is_under_way() -> None:
    """Nobody is answered any more."""

    async def test() -> None:
        site = Site()
        async with site.listening() as connect:
            client = await connect()
            client.ask("/wait")
            await site.begun.wait()
            site.server.cut()
            assert await client.ended() == b""

    run(test)


def test_garbage_is_refused() -> None:
    """What isn't HTTP is answered with 400, and closed."""

    async def test() -> None:
        site = Site()
        async with site.listening() as connect:
            client = await connect()
            client.send("*1\r\n$4\r\nPING\r\n\r\n")
            assert (await client.ended()).startswith(b"HTTP/1.1 400 ")

    run(test)


def test_the_own_user_is_known_by_a_unix_socket(tmp_path: Path) -> None:
    """The application is told what may be done on a connection without a token."""

    async def test() -> None:
        site = Site()
        async with site.listening(tmp_path / "http") as connect:
            client = await connect()
            client.ask("/")
            assert await client.answer() == f"200 {EVERYTHING.name}"
            client.writer.close()

    run(test)
