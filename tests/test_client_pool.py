"""The connections of a client: how many there are, who gets them, and what becomes of them."""

from __future__ import annotations

import gc
import os
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.cancellation import CancellableSocket, CancelToken
from cairndb.client_connection import Connection, Lost
from cairndb.client_pool import Pool
from cairndb.client_waiting import OutOfTime, Wait
from cairndb.errors import Cancelled, UsageError
from forking import in_child
from remote import Cut, Wire
from remote_root import Tally, client_of, served
from threads import LIMIT_SECONDS, Aside, interrupt_main_thread_when, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_TIME = 0.001


class Peers:
    """The other ends of connections."""

    def __init__(self) -> None:
        self.ends: dict[Connection, socket.socket] = {}
        self.fails = False
        self._stack = ExitStack()

    def dial(self, _wait: Wait) -> Connection:
        """Make a connection, or none."""
        if self.fails:
            raise Lost("nobody is there")
        ours, theirs = socket.socketpair()
        connection = Connection(CancellableSocket(ours))
        self._stack.callback(connection.close)
        self._stack.enter_context(theirs)
        self.ends[connection] = theirs
        return connection

    def close(self) -> None:
        """Close all that there is."""
        self._stack.close()


@pytest.fixture
def peers() -> Iterator[Peers]:
    """The other ends."""
    found = Peers()
    yield found
    found.close()


def is_closed(connection: Connection) -> bool:
    """Whether a connection has no descriptor any more."""
    return connection._stream.fileno() == -1


def test_the_last_one_used_is_taken_first(peers: Peers) -> None:
    """Connections are used again, the youngest first."""
    pool = Pool(peers.dial, 3)
    first, second = pool.take(Wait(None)), pool.take(Wait(None))
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take(Wait(None)) is second
    assert pool.take(Wait(None)) is first
    assert len(peers.ends) == 2


def test_who_waits_is_served_in_order(peers: Peers) -> None:
    """With no connection free, the first who came gets the first that is given back."""
    pool = Pool(peers.dial, 1)
    connection = pool.take(Wait(None))
    order: list[int] = []

    def use(number: int) -> None:
        taken = pool.take(Wait(None))
        order.append(number)
        pool.give_back(taken)

    users = []
    for number in range(4):
        users.append(Aside(lambda number=number: use(number)))  # type: ignore[misc]
        wait_until(lambda number=number: len(pool._waiting) == number + 1)  # type: ignore[misc]
    pool.give_back(connection)
    for user in users:
        user.result()
    assert order == [0, 1, 2, 3]
    assert list(peers.ends) == [connection]


def test_who_waits_in_vain_loses_no_place(peers: Peers) -> None:
    """A wait for a connection ends in time or cancelled, and takes no place with it."""
    pool = Pool(peers.dial, 1)
    connection = pool.take(Wait(None))
    with pytest.raises(OutOfTime):
        pool.take(Wait(NO_TIME))
    token = CancelToken()
    waiting = Aside(lambda: pool.take(Wait(None, token)))
    wait_until(lambda: pool._waiting)
    token.cancel()
    with pytest.raises(Cancelled):
        waiting.result()
    pool.give_back(connection)
    assert pool.take(Wait(None)) is connection


def test_ctrl_c_while_waiting_for_a_connection(peers: Peers) -> None:
    """Who is interrupted while it waits isn't handed a connection later."""
    pool = Pool(peers.dial, 1)
    connection = pool.take(Wait(None))
    interrupt_main_thread_when(lambda: pool._waiting)
    with pytest.raises(KeyboardInterrupt):
        pool.take(Wait(None))
    pool.give_back(connection)
    assert pool.take(Wait(LIMIT_SECONDS)) is connection


def test_a_failed_try_to_connect_loses_no_place(peers: Peers) -> None:
    """Whoever can't connect makes room for others."""
    pool = Pool(peers.dial, 1)
    peers.fails = True
    for _ in range(3):
        with pytest.raises(Lost):
            pool.take(Wait(None))
    peers.fails = False
    pool.take(Wait(None))


@pytest.mark.parametrize("last_words", [b"", b"+what?\r\n"])
def test_an_idle_connection_on_which_something_comes_is_replaced(
    peers: Peers, last_words: bytes
) -> None:
    """The end of a connection, or bytes that nobody asked for: another one is used."""
    pool = Pool(peers.dial, 1)
    connection = pool.take(Wait(None))
    pool.give_back(connection)
    if last_words:
        peers.ends[connection].sendall(last_words)
    else:
        peers.ends[connection].shutdown(socket.SHUT_WR)
    assert pool.take(Wait(None)) is not connection
    assert is_closed(connection)


def test_a_closed_pool(peers: Peers) -> None:
    """Closing closes what is idle, ends what waits, and has what is used closed later."""
    pool = Pool(peers.dial, 2)
    idle, used = pool.take(Wait(None)), pool.take(Wait(None))
    waiting = Aside(lambda: pool.take(Wait(None)))
    wait_until(lambda: pool._waiting)
    pool.close()
    with pytest.raises(UsageError, match="closed"):
        waiting.result()
    pool.give_back(used)
    pool.drop(idle)
    assert is_closed(used)
    assert is_closed(idle)
    with pytest.raises(UsageError, match="closed"):
        pool.take(Wait(None))


def test_a_child_has_none_of_the_parents(peers: Peers) -> None:
    """After a fork the child's copies are closed, and the parent's are not."""
    pool = Pool(peers.dial, 2)
    idle, used = pool.take(Wait(None)), pool.take(Wait(None))
    pool.give_back(idle)

    def child() -> bool:
        numbers = [idle._stream.fileno(), used._stream.fileno()]
        pool.forked()
        for number in numbers:
            try:
                os.fstat(number)
            except OSError:
                continue
            return False
        return len({pool.take(Wait(None)), pool.take(Wait(None)), idle, used}) == 4

    assert in_child(child)
    peers.ends[used].sendall(b"+fine\r\n")
    assert used.ask(("PING",), Wait(None)) == b"fine"


STEPS = st.tuples(st.sampled_from(["take", "give", "drop", "die", "fail"]), st.integers(0, 5))


@given(st.lists(STEPS))
def test_no_more_than_the_limit_and_none_lost(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, there are no more than the limit, and whoever may have one gets one."""
    limit, peers = 3, Peers()
    pool, taken = Pool(peers.dial, limit), list[Connection]()
    for step, which in steps:
        peers.fails = step == "fail"
        if step in {"take", "fail"}:
            try:
                taken.append(pool.take(Wait(NO_TIME if len(taken) == limit else None)))
            except OutOfTime:
                assert len(taken) == limit
            except Lost:
                assert peers.fails
        elif step == "die":
            for end in list(peers.ends.values())[which : which + 1]:
                end.close()
        elif taken:
            connection = taken.pop(which % len(taken))
            (pool.give_back if step == "give" else pool.drop)(connection)
        alive = [each for each in peers.ends if not is_closed(each)]
        assert len(alive) <= limit
        assert len(set(taken)) == len(taken)
    for connection in taken:
        pool.give_back(connection)
    pool.close()
    assert all(is_closed(each) for each in peers.ends)
    peers.close()


@contextmanager
def uncollected() -> Iterator[None]:
    """A block in which what is in a cycle stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")  # noqa: PTH112
def test_no_descriptor_leaks(tmp_path: Path) -> None:
    """After calls that succeed, fail, are cut and are cancelled, a closed client has left none."""
    with served(tmp_path) as server, uncollected():
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for place in range(0, 300, 7):
            with Wire(server.port, Cut(replies=place)) as wire, client_of(wire.url) as client:
                client.run(Tally.count, f"{place}")
                token = CancelToken()
                token.cancel()
                with pytest.raises(Cancelled):
                    client.run(Tally.count, "never", cancel=token)
        wait_until(lambda: not server.resp.connections)
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208
