"""One connection to a server: commands go out, replies come in, and each wait can be ended.

What goes wrong is told in four ways, so that who asks knows what to do:

    Lost         there is no connection, or no more
    Refused      the server has answered, with an error of the protocol
    OutOfTime    the time of the call is over
    Cancelled    somebody has ended the wait

After all but `Refused` the connection can't be used again, and `sent` says whether a whole command
has left. One that hasn't isn't run: the server never sees its end, since the connection is closed.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from cairndb import cancellation
from cairndb.errors import Cancelled, Unavailable, UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from cairndb.cancellation import CancellableSocket
    from cairndb.client_address import Address
    from cairndb.client_waiting import Wait

_BUFFER_BYTES: Final = 1 << 16
_NOTHING: Final = object()
# The kernel notices a peer that has vanished after this long, whatever is being waited for: a call
# can then be tried again within its time.
_SILENCE_SECONDS: Final = 10
_PROBE_SECONDS: Final = 3


class Lost(Exception):  # noqa: N818  never seen outside of the client but as a cause
    """There is no connection to the server, or no more."""


class Refused(Exception):  # noqa: N818  never seen outside of the client but as a cause
    """The server has answered with an error of the protocol.

    Args:
        code: its first word.
        message: the rest.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def hiredis_module() -> ModuleType:
    """The library that reads the protocol.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        import hiredis  # noqa: PLC0415  an extra: who connects nowhere needn't have it
    except ImportError as error:
        raise UsageError(
            "connecting to a server needs hiredis: pip install 'cairndb[client]'"
        ) from error
    module: ModuleType = hiredis
    return module


class Connection:
    """A connection; at any time it is one thread's.

    Args:
        stream: connected.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_failures",
        "_hiredis",
        "_poll",
        "_reader",
        "_stream",
        "answered",
        "sent",
    )

    def __init__(self, stream: CancellableSocket) -> None:
        self._hiredis: Any = hiredis_module()
        self._stream = stream
        self._poll = select.poll()
        self._poll.register(stream.fileno(), select.POLLIN)
        self._reader = self._hiredis.Reader(notEnoughData=_NOTHING)
        self._buffer = bytearray(_BUFFER_BYTES)
        # No memory: garbage may announce any length.
        self._failures = (OSError, MemoryError, self._hiredis.ProtocolError)
        self.sent = False
        """Whether the last command has left whole."""
        self.answered = False
        """Whether it has been of use since it was made."""

    def ask(self, words: tuple[str | bytes | int, ...], wait: Wait) -> Any:
        """Send a command, and wait for its reply.

        Raises:
            Lost: the connection is gone, or what came is no reply.
            Refused: the server says no.
            OutOfTime: the time is over.
            Cancelled: cancelled.
        """
        command: bytes = self._hiredis.pack_command(words)
        self.sent = False
        try:
            self._send(command, wait)
            return self._reply(wait)
        except self._failures as error:
            raise _lost(error, wait) from error

    def _send(self, command: bytes, wait: Wait) -> None:
        try:
            self._stream.sendall(command, cancel=wait.cancel, timeout=wait.left())
        except Cancelled as cancelled:
            self.sent = cancelled.transferred == len(command)
            raise
        # Of an error the system says that it took no more: the end of the command hasn't left.
        self.sent = True

    def _reply(self, wait: Wait) -> Any:
        while True:
            reply = self._next(wait)
            if isinstance(reply, self._hiredis.ReplyError):
                code, _, message = str(reply).partition(" ")
                raise Refused(code, message)
            if not isinstance(reply, self._hiredis.PushNotification):  # nobody asked for that
                self.answered = True
                return reply

    def message(self, wait: Wait) -> list[Any]:
        """Wait for what the server sends by itself.

        Raises:
            Lost: the connection is gone, or something else came.
            OutOfTime: the time is over; the connection can be used again.
            Cancelled: cancelled; as well.
        """
        try:
            message = self._next(wait)
        except self._failures as error:
            raise _lost(error, wait) from error
        if not isinstance(message, self._hiredis.PushNotification):
            raise Lost("a reply came to what nobody has asked for")
        return list(message)

    def _next(self, wait: Wait) -> Any:
        while (reply := self._reader.gets()) is _NOTHING:
            count = self._stream.recv_into(self._buffer, cancel=wait.cancel, timeout=wait.left())
            if count == 0:
                raise Lost("the server has closed the connection")
            self._reader.feed(self._buffer, 0, count)
        return reply

    def is_alive(self) -> bool:
        """Whether nothing is to be read, not even the end: true as long as nothing is asked."""
        return not self._reader.has_data() and not self._poll.poll(0)

    def close(self) -> None:
        """Close it; twice is harmless."""
        self._stream.close()


def _lost(error: Exception, wait: Wait) -> Lost:
    """What an error of the system or of the protocol means; raises `OutOfTime` if it is that."""
    if isinstance(error, TimeoutError):
        wait.left()  # if it isn't over, the kernel's patience is
    return Lost(str(error) or type(error).__name__)


def dial(address: Address, token: str | None, tls: ssl.SSLContext | None, wait: Wait) -> Connection:
    """Connect, and say who is there.

    Args:
        address: of the server.
        token: None for none.
        tls: how to check the server's certificate, if the address is one for TLS.
        wait: within which it must be done.

    Raises:
        Lost: there is no server, or none that takes a connection at the moment.
        Refused: the server says no.
        Unavailable: its certificate isn't trusted, and won't be by trying again.
        OutOfTime: the time is over.
        Cancelled: cancelled.
    """
    try:
        stream = _connect(address, tls, wait)
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f"{address} isn't trusted: {error}; nothing has happened") from error
    except OSError as error:
        raise Lost(f"{address}: {_lost(error, wait)}") from error
    try:
        connection = Connection(stream)
        login = () if token is None else ("AUTH", "cairn", token)
        connection.ask(("HELLO", "3", *login), wait)
        connection.answered = False
    except BaseException:
        stream.close()
        raise
    return connection


def _connect(address: Address, tls: ssl.SSLContext | None, wait: Wait) -> CancellableSocket:
    if address.path:
        return cancellation.connect_unix(address.path, cancel=wait.cancel, timeout=wait.left())
    stream = cancellation.connect(
        address.host, address.port, cancel=wait.cancel, timeout=wait.left()
    )
    try:
        _prepare(stream)
        if tls is not None:
            stream.start_tls(
                tls, server_hostname=address.host, cancel=wait.cancel, timeout=wait.left()
            )
    except BaseException:
        stream.close()
        raise
    return stream


def _prepare(stream: CancellableSocket) -> None:
    """Have the kernel notice a peer that has vanished, as far as the system can be told to."""
    options = {
        (socket.SOL_SOCKET, "SO_KEEPALIVE"): 1,
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE"): _PROBE_SECONDS,
        (socket.IPPROTO_TCP, "TCP_KEEPALIVE"): _PROBE_SECONDS,  # the same on macOS
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL"): _PROBE_SECONDS,
        (socket.IPPROTO_TCP, "TCP_KEEPCNT"): _SILENCE_SECONDS // _PROBE_SECONDS,
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"): _SILENCE_SECONDS * 1000,
    }
    for (level, name), value in options.items():
        option = getattr(socket, name, None)
        if option is not None:
            stream.setsockopt(level, option, value)
