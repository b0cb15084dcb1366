r"""Network operations that can be cancelled, at once, from anywhere.

    stopping = CancelToken()
    with connect("example.org", 80, cancel=stopping, timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n", cancel=stopping)
        answer = connection.recv(65536, cancel=stopping, timeout=10)

`stopping.cancel()`, from another thread or a signal handler, ends whatever has it, now and later,
by `Cancelled`, which says how many bytes had moved and whether the socket can be gone on with.

For threads: asyncio and trio have cancellation of their own. Nothing else of cairndb is needed to
use it, nor does it know anything of databases. Nobody polls at intervals, no signals are sent, no
thread is made but to look up a name. The layers, from below:

    cancellation_bell       a descriptor that wakes whoever polls it
    cancellation_signals    a sleep in the main thread that no signal is lost in
    cancellation_poll       the one place to sleep
    cancellation_token      what cancels
    cancellation_limits     what ends one operation
    cancellation_resolve    names
    cancellation_handle     who uses a socket
    cancellation_socket     sockets
    cancellation_connect    connecting
"""

from cairndb.cancellation_connect import connect, connect_unix
from cairndb.cancellation_resolve import Address, resolve
from cairndb.cancellation_socket import CancellableSocket
from cairndb.cancellation_token import CancelToken
from cairndb.errors import Cancelled, Timeout

__all__ = [
    "Address",
    "CancelToken",
    "CancellableSocket",
    "Cancelled",
    "Timeout",
    "connect",
    "connect_unix",
    "resolve",
]
