"""One connection that speaks the Redis protocol: commands in, replies out, in the same order.

- **A reply leaves only when its position is promised**, and when all replies before it have left.
- A command begins when the one before it has been carried out, though that reply may wait still: so
  a connection sees its own effects in order, and all commands of one read share a sync.
- What is kept for a connection is bounded: an unfinished command, replies that wait, and what its
  reader hasn't taken. While there is too much of one, no more is read, and the sender waits.
- What has been asked for is carried out, whether or not anybody is left to read the reply.

All of it happens in the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from msgspec import Struct

from cairndb.errors import DatabaseFailed
from cairndb.server import resp_values as values
from cairndb.server.resp_errors import error_reply, outcome_unknown
from cairndb.server.resp_requests import Bounds, Commands, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.server.resp import RespServer
    from cairndb.service import Answer, Request
    from cairndb.service_access import Grant

LOG: Final = logging.getLogger(__name__)

_UNKNOWN_BOUNDS: Final = Bounds(10, 1 << 14)
"""Of the commands of somebody who hasn't said a token yet; those of Redis."""
_LINGER_SECONDS: Final = 2.0
_KEEPALIVE_SECONDS: Final = 60


StreamName = tuple[str, str]
"""The command that began it, in capitals, and the pattern that it is of."""


class Slot(Struct, eq=False, gc=False):
    """The place of a reply among those of its connection.

    Args:
        data: None while the command is being carried out.
        lsn: that must be promised before it may leave.
    """

    data: bytes | None = None
    lsn: int = 0


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        server: that it belongs to.
        number: of the connection, as CLIENT ID says.
    """

    def __init__(self, server: RespServer, number: int) -> None:
        # Set once:
        self.server = server
        self.number = number
        self.began = server.loop.time()
        self.peer = ""
        self._promises = server.promises
        self._transport: asyncio.Transport
        # Set by commands:
        self.protocol = 2
        self.grant: Grant | None = None
        self.name = ""
        self.library = ""
        self.library_version = ""
        self.last_command = ""
        self.streams: dict[StreamName, asyncio.Task[None]] = {}
        # Written as bytes and answers come:
        self.heard = self.began
        self.stuck_since: float | None = None
        """Since when its reader hasn't taken what it was sent."""
        self._commands = Commands(_UNKNOWN_BOUNDS)
        self._slots: deque[Slot] = deque()
        self._slot_bytes = 0
        self._at_work = 0  # how many slots aren't filled
        self._is_going_on = False
        self._is_promise_awaited = False
        self._is_reading = True
        self._is_ending = False  # nothing more is carried out; closed when all replies have left
        self._lingers = False  # its last replies are to be read, though it may be sending still
        self._has_ended = False  # nothing more will come
        self._room: asyncio.Future[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = peer_text(transport)
        _have_tested(transport)
        refusal = self.server.enter(self)
        if refusal is None:
            self.forget()
        else:
            self._is_ending = self._lingers = True
            self.put(refusal)

    def data_received(self, data: bytes) -> None:
        """Carry out what has come."""
        if not self._is_ending:
            self.heard = self.server.loop.time()
            self._commands.feed(data)
            self._go_on()

    def eof_received(self) -> bool:
        """Send what waits to be sent, which TLS doesn't allow for."""
        self._has_ended = True
        self.end()
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """The reader is slower than what it asks for."""
        self.stuck_since = self.server.loop.time()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self.stuck_since = None
        self._tell_room()
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody is left to answer; what has begun goes on."""
        if error is not None and not isinstance(error, ConnectionError):
            LOG.info("connection %d from %s: %s", self.number, self.peer, error)
        self._is_ending = True
        if self._lingering is not None:
            self._lingering.cancel()
        self._slots.clear()
        self._slot_bytes = 0
        self.end_streams()
        self._tell_room()
        self.server.leave(self)

    # What commands and their server need.

    def ask(self, request: Request, write: Callable[[Answer, int], bytes]) -> None:
        """Have a request handled, and reply with its answer.

        Args:
            request: to be handled; by whom is filled in here.
            write: makes the reply, given the version of the protocol.
        """
        request.grant = self.grant
        request.protocol = "resp"
        request.peer = self.peer
        self.server.runner.submit(request, partial(self._answered, self.open_slot(), write))

    def _answered(self, slot: Slot, write: Callable[[Answer, int], bytes], answer: Answer) -> None:
        # That the database has failed says nothing of the state, and nothing is promised any more.
        position = None if isinstance(answer.error, DatabaseFailed) else answer.position
        try:
            data = write(answer, self.protocol)
        except Exception as error:  # noqa: BLE001  the answer to who asks
            data = error_reply(error)
        if len(data) > self.server.limits.reply_bytes:
            data = _too_long(len(data), self.server.limits.reply_bytes)
        self.fill_slot(slot, data, position.lsn if position is not None else 0)

    def open_slot(self) -> Slot:
        """Have a place for a reply that comes by itself; no other command begins before."""
        slot = Slot()
        self._slots.append(slot)
        self._at_work += 1
        return slot

    def fill_slot(self, slot: Slot, data: bytes, lsn: int = 0) -> None:
        """Have a reply sent in its place.

        Args:
            slot: its place.
            data: the reply.
            lsn: that must be promised before.
        """
        slot.data, slot.lsn = data, lsn
        self._slot_bytes += len(data)
        self._at_work -= 1
        if not self._is_going_on:
            self._go_on()

    def put(self, data: bytes, lsn: int = 0) -> None:
        """Have something sent, after all that waits to be sent.

        Args:
            data: to be sent.
            lsn: that must be promised before.
        """
        if not self._transport.is_closing():
            self._slots.append(Slot(data, lsn))
            self._slot_bytes += len(data)
            if not self._is_going_on:
                self._send()

    async def room(self) -> None:
        """Return when the reader takes what it is sent: for who sends without being asked."""
        while (self.stuck_since is not None or self._is_full()) and not self._is_ending:
            if self._room is None:
                self._room = self.server.loop.create_future()
            await asyncio.shield(self._room)

    def _tell_room(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def forget(self) -> None:
        """Be as at the beginning."""
        self.protocol = 2
        self.name = ""
        self.end_streams()
        self.allow(self.server.recognise(self._transport))

    def add_stream(self, name: StreamName, stream: asyncio.Task[None]) -> None:
        """Have a task send messages, until it ends or the connection does."""
        self.end_stream(name)
        self.streams[name] = stream
        self.server.streams += 1
        stream.add_done_callback(self._stream_ended)

    def _stream_ended(self, stream: asyncio.Task[None]) -> None:
        self.server.streams -= 1
        for name, other in list(self.streams.items()):
            if other is stream:
                del self.streams[name]
        if not stream.cancelled() and stream.exception() is not None:
            LOG.error("connection %d: a stream failed", self.number, exc_info=stream.exception())

    def end_stream(self, name: StreamName) -> bool:
        """Send nothing more of a stream; whether there was one."""
        stream = self.streams.pop(name, None)
        return stream is not None and stream.cancel()

    def end_streams(self) -> None:
        """Send nothing more that isn't a reply."""
        for name in list(self.streams):
            self.end_stream(name)

    def allow(self, grant: Grant | None) -> None:
        """From here on do what a grant says; None for what anybody may."""
        self.grant = grant
        self._commands.bounds = self.server.bounds if grant else _UNKNOWN_BOUNDS

    def end(self) -> None:
        """Carry out nothing more, and close when all replies have left."""
        self._is_ending = True
        self._lingers = self._lingers or bool(self._slots)
        if not self._is_going_on:
            self._send()

    def abort(self, reason: str) -> None:
        """Close at once, whatever waits to be sent."""
        LOG.warning("connection %d from %s is closed: %s", self.number, self.peer, reason)
        self._is_ending = True
        self._transport.abort()

    def subscriptions(self) -> int:
        """How many streams of Pub/Sub there are."""
        return sum(command.endswith("SUBSCRIBE") for command, _ in self.streams)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._slots and not self.streams

    @property
    def by_lines(self) -> bool:
        """Whether it is somebody who types."""
        return self._commands.by_lines is True

    @property
    def output_bytes(self) -> int:
        """What is to be sent still."""
        return self._slot_bytes + self._transport.get_write_buffer_size()

    # Carrying out, and sending.

    def _is_full(self) -> bool:
        limits = self.server.limits
        return len(self._slots) >= limits.pipelined or self._slot_bytes > limits.output_bytes

    def _is_held_up(self) -> bool:
        return self._at_work > 0 or self.stuck_since is not None or self._is_full()

    def _go_on(self) -> None:
        commands, carry_out, slots = self._commands, self.server.carry_out, self._slots
        held_up = False
        self._is_going_on = True
        try:
            while not self._is_ending and not (held_up := self._is_held_up()):
                command = commands.take()
                if command is None:
                    break
                reply = carry_out(self, command)
                if reply is not None:
                    slots.append(Slot(reply))
                    self._slot_bytes += len(reply)
        except ProtocolError as error:
            self.put(values.error("ERR", str(error)))
            self._is_ending = self._lingers = True
        finally:
            self._is_going_on = False
        self._read_if(wanted=not held_up)
        self._send()
        if held_up and not self._is_held_up():
            # There is room again at once: others have their turn, then it goes on.
            self.server.loop.call_soon(self._go_on)

    def _read_if(self, *, wanted: bool) -> None:
        if self._is_reading is not wanted and not self._transport.is_closing():
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _send(self) -> None:
        slots, promises = self._slots, self._promises
        parts = []
        while slots:
            slot = slots[0]
            if slot.data is None or not promises.allow(slot.lsn):
                break
            parts.append(slot.data)
            slots.popleft()
        if parts:
            data = b"".join(parts)
            self._slot_bytes -= len(data)
            self._transport.write(data)
        if not slots:
            if self._is_ending:
                self._close()
        elif slots[0].data is not None and not self._is_promise_awaited:
            self._is_promise_awaited = True
            promises.when(slots[0].lsn, self._promised)

    def _promised(self) -> None:
        self._is_promise_awaited = False
        failure = self._promises.failure
        if failure is not None:
            for slot in self._slots:
                if slot.data is not None and not self._promises.allow(slot.lsn):
                    slot.data, slot.lsn = outcome_unknown(failure), 0
        self._send()
        self._tell_room()
        if not self._is_reading:
            self._go_on()

    def _close(self) -> None:
        transport = self._transport
        if self._has_ended or not self._lingers or not transport.can_write_eof():
            transport.close()
        elif self._lingering is None:
            # What it sends may not be read to its end. If this is closed the system tells it at
            # once, and it loses what it hasn't read yet. So its own end is waited for, a while.
            transport.write_eof()
            self._lingering = self.server.loop.call_later(_LINGER_SECONDS, transport.abort)
            self._read_if(wanted=True)


def peer_text(transport: asyncio.BaseTransport) -> str:
    """Where a connection comes from, for logs and for CLIENT LIST."""
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        host, port, *_ = peer
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "unix"


def _have_tested(transport: asyncio.BaseTransport) -> None:
    """Have the system find out, in silence, whether there is still another side."""
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family != getattr(socket, "AF_UNIX", None):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)


def _too_long(reply_bytes: int, limit: int) -> bytes:
    return values.error(
        "TOOLONG",
        f"the reply would have {reply_bytes:,} bytes, and {limit:,} is the limit here: "
        "ask for a part of it",
    )
