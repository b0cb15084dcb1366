"""A server of the Redis protocol for tests, and a client that shows what comes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import hiredis

import cairndb
from cairndb.errors import DatabaseFailed
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.server.resp import RespServer
from cairndb.server.running import Promises, Runner
from cairndb.service import Service
from serving import Bank, opened
from simulated import SimulatedDirectory, World
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# Not hiredis's own, which is False: that is a reply, too.
_NOTHING = object()


class Client:
    """A connection: bytes are sent, and replies read one by one.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS)
        self._reader = hiredis.Reader(
            encoding="utf-8", errors="surrogateescape", notEnoughData=_NOTHING
        )

    def send(self, *words: str | bytes | int) -> None:
        """A command, whose reply isn't read yet."""
        self.socket.sendall(packed(*words))

    def read(self) -> Any:
        """The next reply, or message; an error is one, and EOFError says that there is none."""
        while (reply := self._reader.gets()) is _NOTHING:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._reader.feed(data)
        return reply

    def ask(self, *words: str | bytes | int) -> Any:
        """The reply to a command."""
        self.send(*words)
        return self.read()

    def refused(self, *words: str | bytes | int) -> str:
        """The error that is the reply to a command."""
        reply = self.ask(*words)
        assert isinstance(reply, hiredis.ReplyError), reply
        return str(reply)

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        data = b""
        while received := self.socket.recv(1 << 16):
            data += received
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class Listening:
    """A server in a thread of its own, at a port that the system chooses.

    Args:
        db: whose root is a Bank.
        options: of `RespServer`.
    """

    def __init__(self, db: cairndb.Database[Bank], **options: Any) -> None:
        self.service = Service(db, Bank)
        self._options = options
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.port = 0
        self.server: RespServer
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self.unhandled: list[dict[str, Any]] = []

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        self._end = asyncio.Event()
        runner = Runner(self.service.handle, loop)
        promises = Promises(self.service.engine, loop)
        self.server = RespServer(self.service, runner, promises, loop, **self._options)
        listener = await loop.create_server(self.server.connection, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        listener.close()
        self.server.stop()
        self.server.abort()
        await self.server.wait_until_gone()
        runner.close()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have something called in the loop, and wait for that."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(function, *arguments)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(LIMIT_SECONDS)

    def client(self) -> Client:
        """A new connection."""
        return Client(self.port)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(LIMIT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()
        assert self.unhandled == []


class Served(Listening):
    """A bank that is served, and closed in the end.

    Args:
        path: of the database.
        options: of `RespServer`.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.db = opened(path)
        super().__init__(self.db, **options)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.db.close()


class HeldSync(Listening):
    """A bank on a simulated disk whose syncs don't return until they are let go.

    Args:
        options: of `RespServer`.
    """

    def __init__(self, **options: Any) -> None:
        self.world = World()
        directory = SimulatedDirectory(self.world)
        engine = own(directory, compile_root(Bank, guard=True), create=True).engine
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.syncs = 0
        self.db: Any = cairndb.Database(engine, None, "simulated", audit=False)
        super().__init__(self.db, **options)
        self.world.observe = self._observe

    def _observe(self, what: str) -> None:
        if what == "sync":
            self.syncs += 1
            if not self.go_on.is_set():
                self.entered.set()
                self.go_on.wait(LIMIT_SECONDS)

    def hold(self) -> None:
        """From here on no sync returns; those are counted."""
        self.syncs = 0
        self.go_on.clear()

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        super().__exit__()
        with contextlib.suppress(DatabaseFailed):
            self.db.close()


def packed(*words: str | bytes | int) -> bytes:
    """A command as clients send it."""
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n%s" % (
        len(texts),
        b"".join(b"$%d\r\n%s\r\n" % (len(text), text) for text in texts),
    )


class Memory:
    """A transport that keeps what is written; what it is told to do with reading, it counts."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = False
        self.is_reading = True

    def write(self, data: bytes) -> None:
        """Keep it."""
        assert not self.is_closed
        self.written += data

    def write_eof(self) -> None:
        """Nothing follows."""
        self.is_closed = True

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def close(self) -> None:
        """Nothing follows."""
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        """Whether it is at its end."""
        return self.is_closed

    def pause_reading(self) -> None:
        """Bring nothing more."""
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        """Bring more."""
        self.is_reading = True

    def get_extra_info(self, _name: str) -> None:
        """It has none."""

    def get_write_buffer_size(self) -> int:
        """All is taken at once."""
        return 0
