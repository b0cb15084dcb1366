"""A socket of the system's as operations share it: who uses it, who may send, when it is closed.

1. A descriptor is closed by the last who uses it, since its number may be another file's the moment
   after. `close` marks the socket closed, which ends what is under way; then whoever finds it
   closed and used by nobody closes it. As both sides mark first and look then, one of them finds
   it so. Every mark is made by one step of Python: threads and signal handlers need no mutex.
2. The system's socket never blocks. Each operation is tried; if it would block, `poll` sleeps on
   the socket and on the bells of the tokens together; then it is tried again.
3. With TLS, who receives and who sends take turns, for the microseconds that a call takes which
   doesn't block: OpenSSL's connections aren't safe for threads. Two that send at the same time are
   refused: their bytes would mix, and OpenSSL would take the one's for the rest of the other's
   record.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from cairndb.cancellation_limits import Limits
from cairndb.cancellation_poll import READABLE, WRITABLE
from cairndb.cancellation_token import CancelToken
from cairndb.errors import UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

# A TLS record holds no more. Sent in such pieces, what is counted has left as a whole.
_RECORD_BYTES: Final = 1 << 14


class Handle:
    """One socket.

    Args:
        sock: its own from now on.
    """

    __slots__ = ("_broken", "_sending", "_sockets", "_users", "closing", "mutex")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.set_inheritable(False)
        # Cancelled by `close`:
        self.closing: Final = CancelToken()
        # Held during each call of OpenSSL, which doesn't block:
        self.mutex: Final = threading.Lock()
        # The one socket, until it is taken out to be closed; `replace` puts another in its place:
        self._sockets: Final[list[socket.socket]] = [sock]
        # A mark for each operation under way:
        self._users: Final[set[object]] = set()
        # The mark of the one that sends:
        self._sending: Final[dict[None, object]] = {}
        # Why it can't be gone on with. Written by the operation that was left half way:
        self._broken: str | None = None

    def begin(self, mark: object, *, sends: bool) -> socket.socket:
        """Begin an operation: it isn't closed until `end`, which is called in any case.

        Args:
            mark: of the operation.
            sends: no other that does is let in.

        Raises:
            UsageError: it is closed or can't be gone on with, or another thread is sending.
        """
        self._users.add(mark)
        if self.closing.is_set():
            raise UsageError("this socket is closed")
        if self._broken is not None:
            raise UsageError(f"this connection can't go on; close it. Before, {self._broken}")
        if sends and self._sending.setdefault(None, mark) is not mark:
            raise UsageError("another thread is sending; let one send at a time")
        return self._sockets[0]

    def end(self, mark: object, broken: str | None) -> None:
        """End an operation, whether `begin` let it in or not.

        Args:
            mark: of the operation.
            broken: why it can't be gone on with.
        """
        if broken is not None:
            self._broken = broken
        if self._sending.get(None) is mark:
            del self._sending[None]
        self._users.discard(mark)
        if self.closing.is_set():
            self._close_unused()

    def replace(self, sock: socket.socket) -> None:
        """Put an encrypted socket in the place of the plain one that it was made of."""
        self._sockets[0] = sock

    def close(self) -> None:
        """End what is under way; it is closed at once, or by the last who uses it."""
        self.closing.cancel("the socket was closed")
        self._close_unused()

    def _close_unused(self) -> None:
        if not self._users:
            with contextlib.suppress(IndexError):  # another was quicker
                self._sockets.pop().close()

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        try:
            return self._sockets[0].fileno()
        except IndexError:
            return -1


class Use(Limits):
    """One operation, as a block, in which the socket is there.

    Args:
        owner: the socket.
        doing: what it does, for messages.
        cancel: ends it.
        timeout: seconds that it may take.
        sends: no other that does may be under way.
    """

    __slots__ = ("_owner", "_sends", "sock")

    sock: socket.socket
    """The system's."""

    def __init__(
        self,
        owner: Handle,
        doing: str,
        cancel: CancelToken | None = None,
        timeout: float | None = None,
        *,
        sends: bool = False,
    ) -> None:
        super().__init__(doing, cancel, timeout, owner.closing)
        self._owner = owner
        self._sends = sends

    def __enter__(self) -> Self:
        try:
            self.sock = self._owner.begin(self, sends=self._sends)
            return self  # noqa: TRY300  Ctrl-C may come before this too
        except BaseException:
            self._owner.end(self, None)
            raise

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        broken = None if error is None or self.usable else str(error) or repr(error)
        self._owner.end(self, broken)

    def attempt(
        self, call: Callable[[socket.socket], T], events: int, *, breaks: bool = False
    ) -> T:
        """Do what would block, when it doesn't.

        Args:
            call: the operation, of a socket that doesn't block.
            events: what a plain socket is waited for.
            breaks: once it was tried, the socket is usable only if it succeeds.

        Returns:
            What the operation returns.
        """
        sock = self.sock
        while True:
            self.check_tokens()
            if breaks:
                self.usable = False
            try:
                if isinstance(sock, ssl.SSLSocket):
                    with self._owner.mutex:
                        result = call(sock)
                else:
                    result = call(sock)
            except BlockingIOError:
                wanted = events
            except ssl.SSLWantReadError:
                wanted = READABLE
            except ssl.SSLWantWriteError:
                wanted = WRITABLE
            else:
                if breaks:
                    self.usable = True
                return result
            self.wait({sock.fileno(): wanted})

    def send(self, data: memoryview) -> int:
        """Send a piece, at least a byte of it if there is one; count what has gone."""
        if not data:
            self.check_tokens()
            return 0
        encrypted = isinstance(self.sock, ssl.SSLSocket)
        # OpenSSL can't give up a record that it has begun to send.
        piece = data[:_RECORD_BYTES] if encrypted else data
        sent = self.attempt(lambda sock: sock.send(piece), WRITABLE, breaks=encrypted)
        self.transferred += sent
        return sent
