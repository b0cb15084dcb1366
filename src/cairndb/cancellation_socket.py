"""Sockets each of whose operations can be ended at once.

1. What the system has done is told: bytes that were received are returned though the token was
   cancelled meanwhile; a send that was ended says how many bytes had gone.
2. `Cancelled.usable` says whether a socket can be gone on with. A TLS record or handshake that was
   left half way can't be taken up by another call: the socket refuses everything then but to be
   closed.
3. Receiving and sending may be two threads' business at the same time. Any thread may close.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from cairndb.cancellation_handle import Handle, Use
from cairndb.cancellation_poll import READABLE
from cairndb.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from _typeshed import ReadableBuffer, WriteableBuffer

    from cairndb.cancellation_token import CancelToken

# Of a connection that was lost while it waited to be accepted: the next one, please (accept(2)).
_NOT_ACCEPTED: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EPROTO",
    )
    if hasattr(errno, name)
)


class CancellableSocket:
    """A stream socket, plain or TLS.

    Each operation takes `cancel`, a token that ends it, and `timeout`, the seconds that it may
    take; None for neither. Ended, it raises `Cancelled`, or `Timeout` if it took too long.

    Args:
        sock: listening or connected; with TLS, only after the handshake. It belongs to this object
            from now on: don't use it otherwise.
    """

    __slots__ = ("_handle",)

    def __init__(self, sock: socket.socket) -> None:
        self._handle: Final = Handle(sock)

    def accept(
        self, *, cancel: CancelToken | None = None, timeout: float | None = None
    ) -> tuple[CancellableSocket, Any]:
        """Wait for a connection.

        Returns:
            Its socket, and the peer's address.

        Raises:
            Cancelled: it was ended; a connection that comes later waits for the next `accept`.
            OSError: there are no descriptors left, for example.
        """
        with Use(self._handle, "accepting", cancel, timeout) as use:
            accepted, address = use.attempt(_accept, READABLE)
            send_at_once(accepted)
            return CancellableSocket(accepted), address

    def recv(
        self, size: int, *, cancel: CancelToken | None = None, timeout: float | None = None
    ) -> bytes:
        """Receive some bytes.

        Args:
            size: how many at most.
            cancel: ends it.
            timeout: seconds that it may take.

        Returns:
            At least one; none when the peer has ended its side.

        Raises:
            Cancelled: it was ended, and nothing was received; the socket is usable.
            OSError: the connection is lost.
        """
        with Use(self._handle, "receiving", cancel, timeout) as use:
            return use.attempt(lambda sock: sock.recv(size), READABLE)

    def recv_into(
        self,
        buffer: WriteableBuffer,
        size: int = 0,
        *,
        cancel: CancelToken | None = None,
        timeout: float | None = None,
    ) -> int:
        """Receive some bytes into a buffer.

        Args:
            buffer: from its beginning.
            size: how many at most; 0: as many as fit.
            cancel: ends it.
            timeout: seconds that it may take.

        Returns:
            How many: at least one; 0 when the peer has ended its side.

        Raises:
            Cancelled: it was ended, and nothing was received; the socket is usable.
            OSError: the connection is lost.
        """
        with Use(self._handle, "receiving", cancel, timeout) as use:
            return use.attempt(lambda sock: sock.recv_into(buffer, size), READABLE)

    def send(
        self,
        data: ReadableBuffer,
        *,
        cancel: CancelToken | None = None,
        timeout: float | None = None,
    ) -> int:
        """Send as many bytes as there is room for, at least one.

        Returns:
            How many.

        Raises:
            Cancelled: it was ended, and nothing was sent. The socket is usable unless a TLS record
                had been begun; `usable` says so.
            UsageError: another thread is sending.
            OSError: the connection is lost.
        """
        with Use(self._handle, "sending", cancel, timeout, sends=True) as use:
            return use.send(memoryview(data).cast("B"))

    def sendall(
        self,
        data: ReadableBuffer,
        *,
        cancel: CancelToken | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send all bytes.

        Raises:
            Cancelled: it was ended; `transferred` bytes had been sent, and the rest hasn't and
                won't be. The socket is usable unless a TLS record had been begun; `usable` says so.
            UsageError: another thread is sending.
            OSError: the connection is lost.
        """
        with Use(self._handle, "sending", cancel, timeout, sends=True) as use:
            use.check_tokens()
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[use.send(rest) :]
                if rest:
                    use.check()

    def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
        cancel: CancelToken | None = None,
        timeout: float | None = None,
    ) -> None:
        """Shake hands, and encrypt what follows; nobody else may use the socket meanwhile.

        Args:
            context: what is accepted and shown.
            server_hostname: whose certificate it must be; for a client.
            server_side: this is the server.
            cancel: ends it.
            timeout: seconds that it may take.

        Raises:
            Cancelled: it was ended. The socket isn't usable any more, unless it was before the
                first byte.
            ssl.SSLError: the peer isn't trusted, or doesn't trust, or speaks something else; the
                socket isn't usable any more.
            UsageError: it is encrypted already, or another thread is sending.
            OSError: the connection is lost.
        """
        with Use(self._handle, "the TLS handshake", cancel, timeout, sends=True) as use:
            if isinstance(use.sock, ssl.SSLSocket):
                raise UsageError("this connection is encrypted already")
            use.check_tokens()
            use.usable = False
            encrypted = context.wrap_socket(
                use.sock,
                server_side=server_side,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
            )
            self._handle.replace(encrypted)
            use.sock = encrypted
            use.attempt(lambda _: encrypted.do_handshake(), READABLE, breaks=True)

    def shutdown(self, how: int) -> None:
        """End a side of the connection, or both, as TCP does; TLS isn't told.

        Args:
            how: `socket.SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.

        Raises:
            OSError: it isn't connected.
        """
        with Use(self._handle, "ending") as use:
            # Not SSLSocket's, which would have what follows taken for plain.
            socket.socket.shutdown(use.sock, how)

    def close(self) -> None:
        """Close it, and end what is under way on it: from any thread; closing twice is harmless."""
        self._handle.close()

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed. It doesn't block."""
        return self._handle.fileno()

    def getsockname(self) -> Any:
        """The address of this side."""
        with Use(self._handle, "asking") as use:
            return use.sock.getsockname()

    def getpeername(self) -> Any:
        """The address of the other side."""
        with Use(self._handle, "asking") as use:
            return use.sock.getpeername()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option of the system's."""
        with Use(self._handle, "setting") as use:
            use.sock.setsockopt(level, option, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CancellableSocket, descriptor {self.fileno()}>"


def _accept(sock: socket.socket) -> tuple[socket.socket, Any]:
    try:
        return sock.accept()
    except OSError as error:
        if error.errno in _NOT_ACCEPTED:
            raise BlockingIOError from None
        raise


def send_at_once(sock: socket.socket) -> None:
    """Have what is sent leave at once, as asyncio has it: who waits for an answer sends no more.

    Args:
        sock: any; only TCP gathers small pieces.
    """
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        with contextlib.suppress(OSError):  # the peer may be gone; the next operation tells
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
