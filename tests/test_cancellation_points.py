"""No wake-up is lost: operations that are cancelled at each point of their own code."""

from __future__ import annotations

import gc
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from cairndb.cancellation import Cancelled, CancelToken
from cairndb.errors import UsageError
from cancel_points import Stepped, cancelled_at, crossed, points_until_sleep
from cancellable import BLOCKED, Surroundings, blocked, drain, open_descriptors, pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cancel_points import Points

every_point = pytest.mark.parametrize(
    "points", ["line", pytest.param("opcode", marks=pytest.mark.nightly)]
)


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """See `cancel_points`."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    """What operations need."""
    return Surroundings(tmp_path, monkeypatch)


@every_point
@pytest.mark.parametrize("name", BLOCKED)
def test_an_operation_can_be_cancelled_anywhere(
    name: str, points: Points, around: Surroundings
) -> None:
    """At whichever point before it sleeps it is cancelled, it ends, and nothing is left open."""
    for _ in range(2):  # what is made once
        with blocked(name, around) as operation:
            last = points_until_sleep(operation, points)
    assert last > 20
    before = open_descriptors()
    for at in range(1, last + 1):
        with blocked(name, around) as operation:
            stepped = cancelled_at(operation, points, at)
        assert isinstance(stepped.error, Cancelled)
    del stepped

    assert open_descriptors() <= before


@every_point
def test_a_cancellation_can_stop_anywhere(points: Points, around: Surroundings) -> None:
    """However far another thread has got with `cancel` at each point of an operation, it ends."""
    with blocked("recv", around) as operation:
        for _ in range(2):  # the socket's own bell is made once
            last = points_until_sleep(operation, points)
        tried = 0
        for at in range(1, last + 1):
            for cancel_at in count(1):
                stepped, came_there = crossed(operation, points, at, cancel_at)
                assert isinstance(stepped.error, Cancelled)
                tried += 1
                if not came_there:
                    break

    assert tried > 3 * last


@every_point
def test_a_wait_can_be_cancelled_anywhere(points: Points) -> None:
    """`CancelToken.wait` returns True at whichever point it is cancelled."""

    def wait(*, cancel: CancelToken) -> None:
        cancel.wait()
        cancel.check()

    last = points_until_sleep(wait, points)
    assert last > 10
    for at in range(1, last + 1):
        stepped = cancelled_at(wait, points, at)
        assert isinstance(stepped.error, Cancelled)


@every_point
def test_what_is_there_is_never_lost(points: Points) -> None:
    """Received bytes are returned or stay to be received, at whichever point it is cancelled."""
    outcomes = set()
    for at in count(1):
        one, other = pair()
        with one, other:
            other.sendall(b"here")
            stepped = cancelled_at(partial(one.recv, 10), points, at)
            outcomes.add(stepped.result)
            if isinstance(stepped.error, Cancelled):
                assert one.recv(10, timeout=0) == b"here"
            else:
                assert stepped.result == b"here"
        if stepped.count < at:
            break

    assert outcomes == {None, b"here"}


@every_point
def test_what_was_sent_is_known(points: Points) -> None:
    """As many bytes arrive as a cancelled `sendall` says, at whichever point it is cancelled."""
    data = bytes(range(256)) * 16
    for at in count(1):
        one, other = pair()
        with one, other:
            stepped = cancelled_at(partial(one.sendall, data), points, at)
            error = stepped.error
            sent = error.transferred if isinstance(error, Cancelled) else len(data)
            one.close()
            assert drain(other) == data[:sent]
        if stepped.count < at:
            break


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


def test_an_interrupt_leaves_a_socket_usable() -> None:
    """After an exception at whichever line of a `recv`, the socket is usable and can be closed."""
    points: Points = "line"  # at some instructions Python doesn't look for signals
    one, other = pair()
    with one, other:
        for _ in range(2):
            last = points_until_sleep(partial(one.recv, 1), points)
    for at in range(1, last + 1):
        one, other = pair()
        with other:
            receive = partial(one.recv, 1, cancel=CancelToken())
            stepped = Stepped(receive, points, at, interrupt)
            stepped.join()
            assert isinstance(stepped.error, KeyboardInterrupt)
            other.sendall(b"x")
            assert one.recv(1, timeout=0) == b"x"
            one.close()
            assert one.fileno() == -1, at


@every_point
def test_a_socket_can_be_closed_anywhere(points: Points) -> None:
    """Closed at whichever point of a `recv`, it ends that, and isn't gone before that is over."""
    one, other = pair()
    with one, other:
        for _ in range(2):
            last = points_until_sleep(partial(one.recv, 1), points)
    del one, other
    before = open_descriptors()
    for at in range(1, last + 1):
        one, other = pair()
        with other:
            receive = partial(one.recv, 1, cancel=CancelToken())
            stepped = Stepped(receive, points, at, one.close)
            if stepped.wait() == "sleeping" and stepped.count < at:
                one.close()
            stepped.join()
            assert isinstance(stepped.error, Cancelled | UsageError)
            assert "closed" in str(stepped.error)
            assert one.fileno() == -1
    del stepped, receive, one, other

    assert open_descriptors() <= before
