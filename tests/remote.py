"""A server for tests, in a thread of this process, and a wire to it that can be cut anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from copy import copy
from typing import TYPE_CHECKING, Any

from cairndb.server.resp import RespServer
from cairndb.server.running import Promises, Runner
from cairndb.service import Service
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import cairndb


class Served:
    """A database that is served.

    Args:
        db: open.
        root: the type of its root.
        path: of a Unix socket; without, it listens on a port of the loopback.
        options: of `RespServer`, and `ssl`.
    """

    def __init__(
        self, db: cairndb.Database[Any], root: Any, path: str | None = None, **options: Any
    ) -> None:
        self.service = Service(db, root)
        self._path = path
        self._ssl = options.pop("ssl", None)
        self._options = options
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self.port = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(LIMIT_SECONDS)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        runner = Runner(self.service.handle, loop)
        self.resp = RespServer(
            self.service, runner, Promises(self.service.engine, loop), loop, **self._options
        )
        if self._path is None:
            server = await loop.create_server(
                self.resp.connection, "127.0.0.1", self.port, ssl=self._ssl
            )
            self.port = server.sockets[0].getsockname()[1]
        else:
            server = await loop.create_unix_server(self.resp.connection, self._path)
        self._ready.set()
        await stopped.wait()
        server.close()
        # A connection that was accepted just now becomes one of the server's in a few steps of the
        # loop. Left as it is, nobody would close it, and who made it would wait.
        for _ in range(5):
            await asyncio.sleep(0)
        self.resp.abort()
        await self.resp.wait_until_gone()
        await server.wait_closed()
        runner.close()

    @property
    def url(self) -> str:
        """Where it is."""
        if self._path is not None:
            return f"cairn+unix://{self._path}"
        return f"cairn{'s' if self._ssl else ''}://localhost:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()


class Cut:
    """When a connection is cut.

    Args:
        requests: after so many bytes of requests have gone to the server; None for never.
        replies: after so many bytes of replies have come back.
        resets: whether the client sees a reset, rather than an end.
        stalls: whether nothing is closed: the bytes just stop.
        garbage: what comes to the client before it is closed.
        withholds: it is cut when a reply would come back after this was asked for.
    """

    def __init__(
        self,
        requests: int | None = None,
        replies: int | None = None,
        *,
        resets: bool = False,
        stalls: bool = False,
        garbage: bytes = b"",
        withholds: bytes = b"",
    ) -> None:
        self.requests = requests
        self.replies = replies
        self.resets = resets
        self.stalls = stalls
        self.garbage = garbage
        self.withholds = withholds
        self.asked = False
        """Whether what is withheld has been asked for."""


class Wire:
    """Between clients and a server: it can be cut at any byte.

    Args:
        port: of the server.
        cuts: of the first connection, of the second, and so on.
        rest: of all others.
    """

    def __init__(self, port: int, *cuts: Cut, rest: Cut | None = None) -> None:
        self._server = port
        self._rest = rest or Cut()
        self.cuts = list(cuts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"cairn://127.0.0.1:{self.port}"
        self.made = 0
        """How many connections there have been."""
        self.reached = 0
        """How many cuts there have been."""
        self.go_on = threading.Event()
        """Set to have what is stalled closed."""
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, function: Callable[..., None], *args: Any, **options: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, kwargs=options, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            cut = self.cuts[self.made] if self.made < len(self.cuts) else copy(self._rest)
            self.made += 1
            self._start(self._carry, client, cut)

    def _carry(self, client: socket.socket, cut: Cut) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            back = self._start(self._copy, server, client, cut, cut.replies, replies=True)
            self._copy(client, server, cut, cut.requests)
            back.join(LIMIT_SECONDS)
            if cut.resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _copy(
        self,
        source: socket.socket,
        target: socket.socket,
        cut: Cut,
        count: int | None,
        *,
        replies: bool = False,
    ) -> None:
        """Carry bytes on until they end, or so many have gone; then end both ways of both."""
        with contextlib.suppress(OSError):
            while count is None or count > 0:
                data = source.recv(65536 if count is None else count)
                if not data:
                    break
                if cut.withholds and cut.withholds in data:
                    cut.asked = True
                if cut.asked and replies:
                    count = 0
                    break
                target.sendall(data)
                count = None if count is None else count - len(data)
            if count == 0:
                self.reached += 1
                if cut.garbage:
                    target.sendall(cut.garbage)
                if cut.stalls:
                    self.go_on.wait(LIMIT_SECONDS)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD if cut.resets else socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.go_on.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()
