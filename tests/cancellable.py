"""Operations that block for ever, each as `call(cancel=…, timeout=…)`, and others that needn't."""

from __future__ import annotations

import contextlib
import gc
import queue
import socket
import ssl
import sys
import threading
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import pytest
import trustme

from cairndb import cancellation_poll
from cairndb.cancellation import (
    CancellableSocket,
    Cancelled,
    CancelToken,
    connect,
    connect_unix,
    resolve,
)
from threads import LIMIT_SECONDS, Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST: Final = "127.0.0.1"
NAME: Final = "test.cairndb.example"
SMALL_BYTES: Final = 4096
"""Of the buffers of a socket, so that few bytes fill them."""


class Operation(Protocol):
    """Something that can be ended."""

    def __call__(self, *, cancel: CancelToken, timeout: float | None = None) -> object:
        """Do it."""


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a client and a server of NAME shake hands with."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(NAME).configure_cert(server)
    return client, server


def pair() -> tuple[CancellableSocket, CancellableSocket]:
    """Two sockets that are connected to each other, with small buffers."""
    sockets = socket.socketpair()
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    one, other = sockets
    return CancellableSocket(one), CancellableSocket(other)


def encrypted_pair() -> tuple[CancellableSocket, CancellableSocket]:
    """Two that have shaken hands, the client first."""
    client, server = pair()
    for_client, for_server = contexts()
    other_side = Aside(partial(server.start_tls, for_server, server_side=True))
    client.start_tls(for_client, server_hostname=NAME)
    other_side.result()
    # A server sends tickets after the handshake: read, so that nothing is on its way.
    server.send(b"!", timeout=LIMIT_SECONDS)
    assert client.recv(1, timeout=LIMIT_SECONDS) == b"!"
    return client, server


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """The port of a listener whose queue is full: to connect there takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((HOST, port))
        yield port


@contextlib.contextmanager
def full_unix_listener(folder: Path) -> Iterator[str]:
    """The path of one of Unix."""
    path = str(folder / "full")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        listener.bind(path)
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            filler.connect_ex(path)
        yield path


class Surroundings:
    """What the operations of a test need.

    Args:
        folder: for a socket of Unix.
        monkeypatch: to have names looked up for ever.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._answers: dict[str, threading.Event] = {}
        real = socket.getaddrinfo

        def look_up(host: str, *rest: object, **more: object) -> object:
            if host not in self._answers:
                return real(host, *rest, **more)  # type: ignore[arg-type]
            if not more.get("flags"):
                self._answers[host].wait()
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    @contextlib.contextmanager
    def slow_name(self) -> Iterator[str]:
        """A name whose look-up takes until the end of the block, and isn't found then."""
        name = f"{len(self._answers)}.{NAME}"
        answer = self._answers[name] = threading.Event()
        try:
            yield name
        finally:
            answer.set()
            threads = f"looks up {name}"
            wait_until(lambda: all(each.name != threads for each in threading.enumerate()))


def _accept(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    return stack.enter_context(CancellableSocket(socket.create_server((HOST, 0)))).accept


def _recv(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, pair())
    return partial(one.recv, 10)


def _recv_into(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, pair())
    return partial(one.recv_into, bytearray(10))


def _send(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, pair())
    fill(one)
    return partial(one.send, b"more")


def _sendall(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, pair())
    return partial(one.sendall, bytes(100_000))


def _handshake_of_a_client(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, pair())
    return partial(one.start_tls, contexts()[0], server_hostname=NAME)


def _handshake_of_a_server(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, pair())
    return partial(one.start_tls, contexts()[1], server_side=True)


def _encrypted_recv(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, encrypted_pair())
    return partial(one.recv, 10)


def _encrypted_sendall(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    one, _other = map(stack.enter_context, encrypted_pair())
    return partial(one.sendall, bytes(200_000))


def _connect(_: Surroundings, stack: contextlib.ExitStack) -> Operation:
    return partial(connect, HOST, stack.enter_context(full_listener()))


def _connect_unix(around: Surroundings, stack: contextlib.ExitStack) -> Operation:
    return partial(connect_unix, stack.enter_context(full_unix_listener(around.folder)))


def _resolve(around: Surroundings, stack: contextlib.ExitStack) -> Operation:
    return partial(resolve, stack.enter_context(around.slow_name()), 80)


_BLOCKED: Final[dict[str, Callable[[Surroundings, contextlib.ExitStack], Operation]]] = {
    "accept": _accept,
    "recv": _recv,
    "recv_into": _recv_into,
    "send": _send,
    "sendall": _sendall,
    "the handshake of a client": _handshake_of_a_client,
    "the handshake of a server": _handshake_of_a_server,
    "encrypted recv": _encrypted_recv,
    "encrypted sendall": _encrypted_sendall,
    "connect": _connect,
    "connect_unix": _connect_unix,
    "resolve": _resolve,
}
BLOCKED: Final = tuple(_BLOCKED)
ONCE: Final = ("encrypted sendall", "the handshake of a client", "the handshake of a server")
"""Those whose socket isn't usable any more when they have been ended."""


@contextlib.contextmanager
def blocked(name: str, around: Surroundings) -> Iterator[Operation]:
    """An operation that takes for ever, if nothing ends it."""
    with contextlib.ExitStack() as stack:
        yield _BLOCKED[name](around, stack)


def fill(sender: CancellableSocket) -> int:
    """Send until there is no more room; how many bytes that were."""
    filled = 0
    while True:
        try:
            filled += sender.send(bytes(1000), timeout=0)
        except TimeoutError:
            return filled


def drain(receiver: CancellableSocket) -> bytes:
    """Everything that comes, up to the end of the peer's side."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := receiver.recv(1 << 16, timeout=LIMIT_SECONDS):
            received += piece
    return bytes(received)


def open_descriptors() -> int:
    """How many the process has, without those that only garbage has."""
    gc.collect()  # an error's traceback, and the frames in it that refer to the error
    return len(list(Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir()))


def cancel_often(operation: Operation, times: int) -> None:
    """Begin an operation again and again, with a new token each time that a thread cancels."""
    tokens: queue.SimpleQueue[CancelToken | None] = queue.SimpleQueue()

    def cancel_each() -> None:
        while (token := tokens.get()) is not None:
            token.cancel()

    canceller = Aside(cancel_each)
    try:
        for _ in range(times):
            token = CancelToken()
            tokens.put(token)
            with pytest.raises(Cancelled):
                operation(cancel=token)
    finally:
        tokens.put(None)
    canceller.result()


def is_asleep(thread: int | None) -> bool:
    """Whether a thread polls, or is about to."""
    # Until Python 3.11.9 the collector, if it came by in there, could have two threads wait for
    # each other for ever: https://github.com/python/cpython/issues/106883
    gc.disable()
    frame = sys._current_frames().get(thread or 0)
    gc.enable()
    while frame is not None:
        if frame.f_code is cancellation_poll.poll.__code__:
            return True
        frame = frame.f_back
    return False
