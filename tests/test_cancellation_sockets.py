"""Sockets: what has moved, what can be gone on with, and when a descriptor is closed."""

from __future__ import annotations

import os
import resource
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.cancellation import CancellableSocket, Cancelled, CancelToken, Timeout, connect
from cairndb.errors import UsageError
from cancellable import (
    HOST,
    NAME,
    contexts,
    drain,
    encrypted_pair,
    fill,
    is_asleep,
    pair,
)
from threads import LIMIT_SECONDS, Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[CancellableSocket, CancellableSocket]
PAIRS = {"plain": pair, "encrypted": encrypted_pair}

both = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)


def moved(make: Callable[[], Pair], data: bytes, pieces: list[int]) -> tuple[int, bytes, bool]:
    """Send, cancelled when the peer has received as many pieces; then let it receive the rest.

    Returns:
        How many bytes were sent, by the sender's word; what arrived; whether the sender is usable.
    """
    sender, receiver = make()
    token = CancelToken()
    with sender, receiver:
        sending = Aside(partial(sender.sendall, data, cancel=token))
        received = b""
        for size in pieces:
            if len(received) < len(data):
                received += receiver.recv(size, timeout=LIMIT_SECONDS)
        token.cancel()
        sent, usable = len(data), True
        try:
            sending.result()
        except Cancelled as error:
            sent, usable = error.transferred, error.usable
        sender.close()
        return sent, received + drain(receiver), usable


@given(st.integers(0, 60_000), st.lists(st.integers(1, 9000), max_size=8))
def test_what_arrives_is_what_was_sent(size: int, pieces: list[int]) -> None:
    """A cancelled `sendall` says how many bytes arrive, and the socket can be gone on with."""
    data = (b"%9d" % size) * (size // 9)

    sent, received, usable = moved(pair, data, pieces)

    assert received == data[:sent]
    assert usable


@given(st.integers(0, 120_000), st.lists(st.integers(1, 20_000), max_size=8))
def test_what_arrives_encrypted_is_what_was_sent(size: int, pieces: list[int]) -> None:
    """With TLS too; the socket is usable only if no record was begun and left."""
    data = (b"%9d" % size) * (size // 9)

    sent, received, usable = moved(encrypted_pair, data, pieces)

    assert received == data[:sent]
    assert usable or sent < len(data)


@both
def test_bytes_go_both_ways(make: Callable[[], Pair]) -> None:
    """Whatever is sent arrives, by each of the calls, while another thread sends the other way."""
    one, other = make()
    data = bytes(range(256)) * 400
    with one, other:
        back = Aside(partial(other.sendall, data))
        sending = Aside(partial(one.sendall, memoryview(data).cast("I")))
        buffer = bytearray(1000)
        came, returned = b"", b""
        while len(came) < len(data):
            came += bytes(buffer[: other.recv_into(buffer, timeout=LIMIT_SECONDS)])
        while len(returned) < len(data):
            returned += one.recv(5000, timeout=LIMIT_SECONDS)
        back.result()
        sending.result()
        assert (one.send(b""), one.send(b"last")) == (0, 4)
        one.shutdown(socket.SHUT_WR)
        assert drain(other) == b"last"

    assert (came, returned) == (data, data)


@both
def test_a_cancelled_receiver_is_usable(make: Callable[[], Pair]) -> None:
    """Nothing is lost by a `recv` that was ended: the next one gets what comes."""
    one, other = make()
    with one, other:
        for _ in range(3):
            with pytest.raises(Timeout) as error:
                one.recv(10, timeout=0)
            assert (error.value.transferred, error.value.usable) == (0, True)
        other.sendall(b"late")
        assert one.recv(10, timeout=LIMIT_SECONDS) == b"late"


def test_a_cancelled_sender_is_usable() -> None:
    """A plain socket goes on where it was stopped."""
    one, other = pair()
    with one, other:
        with pytest.raises(Timeout, match=r"bytes were sent") as error:
            one.sendall(bytes(100_000), timeout=0)
        assert error.value.usable
        assert len(other.recv(1 << 20)) == error.value.transferred
        one.sendall(b"more")
        assert other.recv(10) == b"more"


def test_half_a_record_can_not_be_gone_on_with() -> None:
    """A TLS send that was ended within a record leaves a socket that says so, and only closes."""
    one, other = encrypted_pair()
    with one, other:
        with pytest.raises(Timeout, match="close it") as error:
            one.sendall(bytes(100_000), timeout=0)
        assert not error.value.usable
        for use in (partial(one.send, b"more"), partial(one.recv, 1), one.getsockname):
            with pytest.raises(UsageError, match="can't go on"):
                use()
        one.close()
        assert len(drain(other)) == error.value.transferred


def test_half_a_handshake_can_not_be_gone_on_with() -> None:
    """A handshake that was ended leaves a socket that only closes."""
    one, other = pair()
    with one, other:
        with pytest.raises(Timeout, match="close it") as error:
            one.start_tls(contexts()[0], server_hostname=NAME, timeout=0)
        assert not error.value.usable
        with pytest.raises(UsageError, match="can't go on"):
            one.recv(1)


def test_a_peer_that_is_not_trusted() -> None:
    """A failed handshake is the library's own error, and the socket only closes."""
    one, other = pair()
    with one, other:
        server = Aside(partial(other.start_tls, contexts()[1], server_side=True))
        with pytest.raises(ssl.SSLCertVerificationError):
            one.start_tls(contexts()[0], server_hostname="somebody.else.example")
        with pytest.raises(ssl.SSLError):
            server.result()
        with pytest.raises(UsageError, match="can't go on"):
            one.recv(1)


def test_encrypting_twice_is_refused() -> None:
    """TLS within TLS isn't for this."""
    one, other = encrypted_pair()
    with one, other, pytest.raises(UsageError, match="encrypted already"):
        one.start_tls(contexts()[0], server_hostname=NAME)


@both
def test_two_do_not_send_at_once(make: Callable[[], Pair]) -> None:
    """A second thread that sends meanwhile is refused, and can afterwards."""
    one, other = make()
    with one, other:
        token = CancelToken()
        first = Aside(partial(one.sendall, bytes(200_000), cancel=token))
        wait_until(lambda: is_asleep(first.thread_id))
        with pytest.raises(UsageError, match="another thread is sending"):
            one.send(b"x")
        received = 0
        while received < 200_000:
            received += len(other.recv(1 << 20, timeout=LIMIT_SECONDS))
        first.result()
        assert one.send(b"x", timeout=LIMIT_SECONDS) == 1


@both
def test_closing_ends_what_is_under_way(make: Callable[[], Pair]) -> None:
    """`close` ends another thread's `recv`; what uses the socket last closes the descriptor."""
    one, other = make()
    number = one.fileno()
    with other:
        receiving = Aside(partial(one.recv, 10))
        wait_until(lambda: is_asleep(receiving.thread_id))
        one.close()
        with pytest.raises(Cancelled, match="the socket was closed") as error:
            receiving.result()
        assert not error.value.usable
        assert one.fileno() == -1
        one.close()
        with pytest.raises(UsageError, match="closed"):
            one.recv(1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_a_filled_socket_is_waited_for() -> None:
    """A `send` for which there is no room sends when there is."""
    one, other = pair()
    with one, other:
        filled = fill(one)
        sending = Aside(partial(one.send, b"x"))
        wait_until(lambda: is_asleep(sending.thread_id))
        received = 0
        while received <= filled:
            received += len(other.recv(1 << 16, timeout=LIMIT_SECONDS))
        assert sending.result() == 1


def test_a_listener_accepts() -> None:
    """What connects is accepted; neither side's descriptor blocks or is inherited."""
    with CancellableSocket(socket.create_server((HOST, 0))) as listener:
        accepting = Aside(listener.accept)
        with connect(HOST, listener.getsockname()[1]) as one:
            other, address = accepting.result()
            with other:
                assert address == one.getsockname() == other.getpeername()
                for each in (listener, one, other):
                    assert not os.get_blocking(each.fileno())
                    assert not os.get_inheritable(each.fileno())


def test_high_descriptors() -> None:
    """Descriptors above 1023, which `select` can't take, are waited for."""
    high = 1500
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(high + 1, limits[0]), limits[1]))
    try:
        one, other = socket.socketpair()
        os.dup2(one.fileno(), high, inheritable=False)
        one.close()
        with other, CancellableSocket(socket.socket(fileno=high)) as receiver:
            with pytest.raises(Cancelled):
                receiver.recv(1, cancel=CancelToken(timeout=0.01))
            receiving = Aside(partial(receiver.recv, 1))
            wait_until(lambda: is_asleep(receiving.thread_id))
            other.send(b"x")
            assert receiving.result() == b"x"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
