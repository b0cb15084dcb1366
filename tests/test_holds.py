"""What an interrupt leaves of a hold: let go of once, whenever that happens, and by nobody else."""

from __future__ import annotations

import contextlib
import threading

import pytest

from cairndb.errors import LockTimeout
from cairndb.locks import ThreeModeLock, current_holder
from cairndb.locks_gates import deadline_after
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update
from interrupting import Strike, instrumented, interrupt, traced
from simulated import SimulatedDirectory, World
from threads import Aside, wait_until

Root = dict[str, int]
KIND = compile_root(Root, guard=True)


@pytest.fixture
def lock() -> ThreeModeLock:
    """A free lock."""
    return ThreeModeLock()


def test_a_view_let_go_of_twice_leaves_later_views_of_its_thread(lock: ThreeModeLock) -> None:
    """A view that is released again, by a collection, doesn't release the one open by then."""
    stale = lock.acquire_shared()
    lock.release_shared(stale)
    current = lock.acquire_shared()
    lock.release_shared(stale)
    assert lock.holds()
    lock.release_shared(current)
    assert not lock.holds()


def test_views_may_end_in_any_order(lock: ThreeModeLock) -> None:
    """The lock is held until the last of a thread's views has ended, each of them once."""
    first, second, third = (lock.acquire_shared() for _ in range(3))
    for hold in (second, first, second, first):
        lock.release_shared(hold)
        assert lock.holds()
    lock.release_shared(third)
    assert not lock.holds()


def test_an_update_that_is_over_cannot_let_go_of_the_next() -> None:
    """An update whose end is interrupted and collected later leaves what its thread holds by then.

    The interrupt strikes at every instruction from the release on.
    """
    engine = own(SimulatedDirectory(World()), KIND, create=True).engine
    with instrumented():
        for number in range(1, 1000):
            strike = Strike(number, interrupt)
            stale = Update[Root](engine, None, durable=True)
            try:
                with traced(strike), stale as root:
                    root["n"] = number
            except KeyboardInterrupt:
                pass
            # Where the hold is left to the collection, nothing else can come first.
            if engine.lock._updater is None:
                with Update[Root](engine, None, durable=True):
                    del stale
                    assert engine.lock.holds(), strike.place
            else:
                del stale
            assert engine.lock._updater is None, strike.place
            if not strike.reached:
                break
    assert 100 < number < 999


def test_who_stops_waiting_for_an_update_is_handed_nothing(lock: ThreeModeLock) -> None:
    """A timeout and Ctrl-C at once leave the queue, wherever the latter strikes."""
    with instrumented():
        for number in range(1, 1000):
            entered, end = threading.Event(), threading.Event()

            def other(entered: threading.Event = entered, end: threading.Event = end) -> None:
                lock.acquire_update()
                entered.set()
                end.wait()
                lock.release_update(current_holder())

            first = Aside(other)
            entered.wait()
            strike = Strike(number, interrupt)
            with pytest.raises((LockTimeout, KeyboardInterrupt)), traced(strike):
                lock.acquire_update(deadline_after(0.0))
            assert not lock._update_queue, strike.place
            end.set()
            first.result()
            wait_until(lambda: lock._updater is None)
            if not strike.reached:
                break
    assert 10 < number < 999


def test_views_go_on_when_an_upgrade_is_interrupted(lock: ThreeModeLock) -> None:
    """A view that a pending upgrade holds back is let in, wherever Ctrl-C ends the upgrade."""
    with instrumented():
        for number in range(1, 1000):
            # Also set by a view that got through before the other came.
            end = threading.Event()

            def first(end: threading.Event = end) -> None:
                hold = lock.acquire_shared()
                wait_until(lambda: len(lock._view_gates) == 2 or end.is_set())
                wait_until(lambda: not lock._view_gates or end.is_set())
                lock.release_shared(hold)

            def second(end: threading.Event = end) -> None:
                wait_until(lambda: lock.barrier or end.is_set())
                lock.release_shared(lock.acquire_shared(deadline_after(10.0)))
                end.set()

            lock.acquire_update()
            views = [Aside(first)]
            wait_until(lambda: lock.shared)
            views += [Aside(second), Aside(second)]
            strike = Strike(number, interrupt)
            with contextlib.suppress(KeyboardInterrupt), traced(strike):
                lock.upgrade()
                lock.downgrade()
            end.set()
            lock.release_update(current_holder())
            for view in views:
                view.result()
            if not strike.reached:
                break
    assert 10 < number < 999
