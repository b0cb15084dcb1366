"""Tokens by themselves: who is cancelled with whom, deadlines, wake-ups, forks."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cairndb.cancellation import Cancelled, CancelToken, Timeout
from cairndb.errors import UsageError
from cairndb.locking import FileLock
from cancellable import is_asleep, open_descriptors
from forking import in_child
from threads import Aside, wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["eventfd", "pair"], autouse=True)
def _bells(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of bells: the second is that of systems without eventfd."""
    if request.param == "pair":
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this system has no eventfd")


def test_the_first_reason_counts() -> None:
    """Cancelling again changes nothing, and `check` raises with the reason."""
    token = CancelToken()
    token.check()
    assert (token.reason, token.is_set()) == (None, False)
    token.cancel("one")
    token.cancel("other")

    assert (token.reason, token.is_set()) == ("one", True)
    with pytest.raises(Cancelled, match="one") as error:
        token.check()
    assert (error.value.reason, error.value.transferred, error.value.usable) == ("one", 0, True)


def test_children_are_cancelled_not_parents() -> None:
    """A token is cancelled with any of its parents; they aren't with it."""
    one, other = CancelToken(), CancelToken()
    child = CancelToken(parents=[one, other])
    sibling = CancelToken(parents=[one])
    grandchild = CancelToken(parents=[child, sibling])
    child.cancel("child")

    assert [each.reason for each in (one, other, sibling)] == [None, None, None]
    assert grandchild.reason == "child"
    other.cancel("other")
    assert child.reason == "child"
    assert CancelToken(parents=[other, one]).is_set()


def test_the_earliest_deadline_counts() -> None:
    """A token's deadline is the first of its own and its ancestors'; then it is cancelled."""
    near, far = CancelToken(timeout=0), CancelToken(timeout=1000)
    assert CancelToken().deadline is None
    assert CancelToken(parents=[far], timeout=2000).deadline == far.deadline
    assert CancelToken(parents=[CancelToken(parents=[far, near])]).is_set()
    assert not CancelToken(parents=[far], timeout=500).is_set()
    with pytest.raises(Cancelled, match="deadline") as error:
        near.check()
    assert not isinstance(error.value, TimeoutError)


@pytest.mark.parametrize("timeout", [0.0, -1.0, 0.02])
def test_a_wait_ends_in_time(timeout: float) -> None:
    """`wait` says that the token isn't cancelled, not before the time is over."""
    started = time.monotonic()

    assert CancelToken().wait(timeout) is False
    assert time.monotonic() >= started + timeout


@pytest.mark.parametrize("timeout", [1e9, float("inf"), None])
def test_a_wait_may_be_as_long_as_it_likes(timeout: float | None) -> None:
    """Times beyond what the system can count are waited for."""
    token = CancelToken(timeout=timeout)
    waiting = Aside(lambda: token.wait(timeout))
    wait_until(lambda: is_asleep(waiting.thread_id))
    token.cancel()

    assert waiting.result() is True


def test_not_a_number_is_no_timeout() -> None:
    """NaN is refused where it is given."""
    with pytest.raises(UsageError, match="NaN"):
        CancelToken(timeout=float("nan"))


def test_many_threads_wait_for_one_token() -> None:
    """All who wait for a token, or for one of its children, are woken by one `cancel`."""
    token = CancelToken()
    tokens = [token, *(CancelToken(parents=[token]) for _ in range(20))]
    waiting = [Aside(each.wait) for each in tokens * 2]
    wait_until(lambda: all(is_asleep(each.thread_id) for each in waiting))
    token.cancel()

    assert all(each.result() for each in waiting)


def test_threads_that_race_make_one_bell() -> None:
    """Who waits first, in however many threads at once: one descriptor for all, none is left."""
    before = open_descriptors()
    tokens = [CancelToken() for _ in range(50)]
    for token in tokens:
        barrier = threading.Barrier(4)

        def ask(token: CancelToken = token, barrier: threading.Barrier = barrier) -> object:
            barrier.wait()
            return token.descriptors()

        asking = [Aside(ask) for _ in range(4)]
        assert len({each.result() for each in asking}) == 1

    assert open_descriptors() <= before + 50 * (1 if hasattr(os, "eventfd") else 2)


def test_a_token_that_is_gone_has_no_descriptor() -> None:
    """The descriptor is closed with the token, at once, without Python's collector."""
    before = open_descriptors()
    token = CancelToken()
    child = CancelToken(parents=[token])
    one, other = child.descriptors()
    del child
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one)
    del token
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(other)

    assert open_descriptors() <= before


def test_a_selector_of_ones_own() -> None:
    """What `descriptors` gives becomes readable when an ancestor is cancelled, and stays so."""
    parent = CancelToken()
    token = CancelToken(parents=[parent])
    descriptors = token.descriptors()
    assert select.select(descriptors, [], [], 0)[0] == []
    for _ in range(3):
        parent.cancel()
        assert select.select(descriptors, [], [], 0)[0] == [parent.descriptors()[0]]


def test_a_pair_that_is_full_is_rung_all_the_same() -> None:
    """Cancelling however often neither blocks nor fails."""
    token = CancelToken()
    token.descriptors()
    for _ in range(100_000 if hasattr(os, "eventfd") else 2000):
        token.cancel()
    assert token.wait(0)


@pytest.mark.process
def test_a_child_has_its_own_bell() -> None:
    """A token that a forked child cancels wakes nobody in the parent, nor the other way round."""
    token = CancelToken()
    token.descriptors()

    def cancel_here() -> bool:
        waiting = Aside(token.wait)
        wait_until(lambda: is_asleep(waiting.thread_id))
        assert not waiting.done()
        token.cancel()
        return waiting.result()

    assert in_child(cancel_here)
    assert not token.is_set()
    assert select.select(token.descriptors(), [], [], 0)[0] == []
    assert in_child(lambda: os.get_inheritable(token.descriptors()[0]) is False)
    waiting = Aside(token.wait)
    wait_until(lambda: is_asleep(waiting.thread_id))
    token.cancel()
    assert waiting.result()


@pytest.mark.process
def test_a_child_knows_what_was_cancelled() -> None:
    """What was cancelled before a fork is so in the child."""
    token = CancelToken()
    token.descriptors()
    token.cancel("before")

    assert in_child(lambda: token.reason == "before" and token.wait(0))


def test_a_lock_takes_a_token(tmp_path: Path) -> None:
    """A FileLock waits with a token as with an event: it is ended from another thread."""
    token = CancelToken()
    with FileLock(tmp_path / "a.lock"):
        waiting = Aside(FileLock(tmp_path / "a.lock", cancel=token).acquire)
        wait_until(lambda: is_asleep(waiting.thread_id))
        token.cancel()
        with pytest.raises(Cancelled, match=r"a\.lock"):
            waiting.result()


def test_a_lock_takes_a_deadline(tmp_path: Path) -> None:
    """A FileLock whose token has a deadline isn't waited for beyond it."""
    with FileLock(tmp_path / "a.lock"), pytest.raises(Cancelled, match=r"a\.lock"):
        FileLock(tmp_path / "a.lock", cancel=CancelToken(timeout=0.01)).acquire()


def test_errors_can_be_told_apart() -> None:
    """A Timeout is a Cancelled and a TimeoutError, whose message is all that is shown."""
    error = Timeout("it took long", transferred=3, usable=False)

    assert isinstance(error, Cancelled)
    assert isinstance(error, TimeoutError)
    assert (str(error), error.transferred, error.usable) == ("it took long", 3, False)
    assert str(Cancelled("gone")) == "gone"
