"""An HTTP client for tests: requests to an application in this process, in one event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
import uvicorn

import cairndb
from serving import Bank, opened
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

T = TypeVar("T")


class Http:
    """Asks an application.

    Args:
        app: which.
        options: of `httpx.AsyncClient`.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", **options
        )

    def ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request."""
        return self._runner.run(self._client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Read."""
        return self.ask("GET", url, **options)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Something else in the same loop."""
        return self._runner.run(asyncio.wait_for(work, LIMIT_SECONDS))

    def run(self, method: str, *arguments: Any, **options: Any) -> httpx.Response:
        """Run a method, with arguments by position."""
        return self.ask("POST", f"/run/{method}", json=list(arguments), **options)

    def put(self, url: str, value: Any, **options: Any) -> httpx.Response:
        """Set."""
        return self.ask("PUT", url, json=value, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


class Served(Http):
    """A bank that is served, and closed in the end.

    Args:
        path: of the database.
        options: of `cairndb.asgi`.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.db: cairndb.Database[Bank] = opened(path)
        super().__init__(cairndb.asgi(self.db, **options))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.db.close()


class Listening:
    """An application in a server of its own, at a port that the system chooses.

    Args:
        app: which.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        # So that a client which takes nothing is noticed soon.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([self._socket])
        # What is still to be sent isn't waited for.
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def call(self, function: Callable[[], object]) -> None:
        """Have something called in its loop."""
        self._loop.call_soon_threadsafe(function)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True  # streams don't end by themselves
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()
        self._socket.close()


class Events:
    """The events of a stream, one after the other.

    Args:
        lines: of the stream.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self) -> dict[str, str]:
        """The fields of the next event; of a comment its text, as ``."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and fields:
                return fields
            if not line:
                continue
            name, _, text = line.partition(":")
            fields[name] = text.strip()
        raise EOFError

    def rest(self) -> list[dict[str, str]]:
        """All that follow, until the stream ends."""
        found = []
        while True:
            try:
                found.append(self.next())
            except EOFError:
                return found


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and name of the problem that a response tells."""
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == response.status_code
    assert told["title"]
    assert "detail" in told
    name = told["type"].removeprefix("urn:cairndb:problem:")
    assert name != told["type"]
    return response.status_code, name
