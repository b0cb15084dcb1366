"""CAIRN.TAIL: the stream of entries, for replicas, as push messages of a connection.

    CAIRN.TAIL [position [database]]
    +OK, then  ["cairn.tail", item]...

Items are those of `wire_tail`. A replica takes them at its own pace: the next is made when there is
room for it in what waits to be sent. What comes from memory is made in the event loop, what has to
be read from disk in a thread. One listener serves all replicas: however many there are, what is
promised wakes the loop once.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from cairndb.errors import CairnError, UsageError
from cairndb.server import resp_values as values
from cairndb.server.resp_table import word
from cairndb.service_access import require_read
from cairndb.service_tail import Tail
from cairndb.watch_items import parse_position
from cairndb.wire_tail import HEARTBEAT_SECONDS, encode_item

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.server.resp import RespServer
    from cairndb.server.resp_connection import Connection
    from cairndb.watch_hub import Hub
    from cairndb.watch_items import Start
    from cairndb.wire_tail import Item

LOG: Final = logging.getLogger(__name__)

PUSHED: Final = b"cairn.tail"
"""The first word of each message."""
_NAME: Final = ("CAIRN.TAIL", "")


def tail(connection: Connection, command: list[bytes]) -> bytes:
    """CAIRN.TAIL: begin the stream, after the position that is given.

    Raises:
        UsageError: the connection speaks version 2 of the protocol, has a stream already, or what
            is given isn't a position and the UUID of a database.
    """
    require_read(connection.grant)
    if connection.protocol != 3:
        raise UsageError("CAIRN.TAIL sends push messages, which need HELLO 3")
    if _NAME in connection.streams:
        raise UsageError("there is a stream on this connection already: open another")
    arguments = [word(each) for each in command[1:]]
    start = parse_position(arguments[0]) if arguments and arguments[0] else None
    database = _uuid(arguments[1]) if len(arguments) > 1 else None
    connection.server.check_room_for_watch()
    tails = _tails_of(connection.server)
    task = tails.loop.create_task(_send(connection, tails, start, database))
    connection.add_stream(_NAME, task)
    return values.OK


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r:.100} isn't the UUID of a database") from None


class Tails:
    """What all streams of a server have in common.

    Args:
        hub: of the database.
        loop: of the server.
    """

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        # Set once:
        self.hub = hub
        self.loop = loop
        # Written in the loop:
        self._bells: set[asyncio.Event] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._listener = partial(self._wake)

    def add(self, bell: asyncio.Event) -> None:
        """Have a stream woken from now on: when there may be more, and for its heartbeat."""
        if not self._bells:
            self._timer = self.loop.call_later(HEARTBEAT_SECONDS / 2, self._tick)
            self._listen()
        self._bells.add(bell)

    def remove(self, bell: asyncio.Event) -> None:
        """Don't."""
        self._bells.discard(bell)
        if not self._bells:
            self.hub.forget(self._listener)
            if self._timer is not None:
                self._timer.cancel()

    def _listen(self) -> None:
        # One at a time, whatever has happened: a call may be on its way while nobody is there any
        # more. And each another object: the hub forgets one after it has called it, by when the
        # next may be there.
        self.hub.forget(self._listener)
        self._listener = partial(self._wake)
        self.hub.listen(self._listener)

    def _wake(self) -> None:  # in any thread
        try:
            self.loop.call_soon_threadsafe(self._ring_and_listen)
        except RuntimeError:  # the loop is gone, and all who listened
            return

    def _ring_and_listen(self) -> None:
        if self._bells:
            # Before they look: what is promised after that rings again.
            self._listen()
        self._ring()

    def _tick(self) -> None:
        self._timer = self.loop.call_later(HEARTBEAT_SECONDS / 2, self._tick)
        self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()


_tails: Final[weakref.WeakKeyDictionary[RespServer, Tails]] = weakref.WeakKeyDictionary()


def _tails_of(server: RespServer) -> Tails:
    found = _tails.get(server)
    if found is None:
        hub = server.service.database._hub  # noqa: SLF001  a part of what is served
        found = _tails[server] = Tails(hub, server.loop)
    return found


async def _send(
    connection: Connection, tails: Tails, start: Start | None, database: UUID | None
) -> None:
    """Send what there is, and what comes, until the connection ends."""
    bell = asyncio.Event()
    tails.add(bell)
    stream: Tail | None = None
    try:
        stream = await asyncio.to_thread(Tail, tails.hub, start, database)
        await _pump(connection, tails, stream, bell)
    except CairnError as error:
        number, peer = connection.number, connection.peer
        LOG.info("connection %d from %s: its stream ends: %s", number, peer, error)
        connection.end()
    except Exception:
        LOG.exception("connection %d from %s: its stream ends", connection.number, connection.peer)
        connection.end()
    finally:
        tails.remove(bell)
        if stream is not None:
            stream.close()


async def _pump(connection: Connection, tails: Tails, stream: Tail, bell: asyncio.Event) -> None:
    send = connection.put
    sent_at = tails.loop.time()
    while True:
        bell.clear()
        behind = True
        while behind:
            await connection.room()
            item, behind = await _step(stream.step, in_memory=stream.is_in_memory())
            if item is not None:
                send(_message(item))
                sent_at = tails.loop.time()
        if tails.loop.time() - sent_at >= HEARTBEAT_SECONDS / 2:
            send(_message(stream.heartbeat()))
            sent_at = tails.loop.time()
        await bell.wait()


async def _step(
    step: Callable[[], tuple[Item | None, bool]], *, in_memory: bool
) -> tuple[Item | None, bool]:
    if in_memory:
        await asyncio.sleep(0)  # others have their turns, however much there is
        return step()
    return await asyncio.to_thread(step)


def _message(item: Item) -> bytes:
    return values.push((PUSHED, encode_item(item)))
