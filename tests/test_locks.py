"""The three lock modes, as their table says, and what an interrupt leaves behind."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from cairndb.errors import LockTimeout, UsageError
from cairndb.locks import ThreeModeLock, current_holder
from cairndb.locks_gates import deadline_after
from cairndb.locks_interrupts import deferred_interrupts
from threads import Aside, interrupt_main_thread_when, wait_until


@pytest.fixture
def lock() -> ThreeModeLock:
    """A free lock."""
    return ThreeModeLock()


def hold_shared(lock: ThreeModeLock, until: threading.Event) -> Aside[None]:
    """A view in another thread, open until the event."""

    def view() -> None:
        holder = lock.acquire_shared()
        until.wait()
        lock.release_shared(holder)

    aside = Aside(view)
    wait_until(lambda: lock.shared)
    return aside


def hold_update(lock: ThreeModeLock, until: threading.Event) -> Aside[None]:
    """An update in another thread, running until the event."""

    def update() -> None:
        lock.acquire_update()
        until.wait()
        lock.release_update(current_holder())

    aside = Aside(update)
    wait_until(lambda: lock._updater is not None)
    return aside


def soon() -> float | None:
    """A deadline that passes at once, for what must wait and can't."""
    return deadline_after(0.01)


def test_views_share(lock: ThreeModeLock) -> None:
    """Two threads hold views at the same time."""
    end = threading.Event()
    other = hold_shared(lock, end)
    lock.release_shared(lock.acquire_shared(soon()))
    end.set()
    other.result()


def test_a_view_goes_on_beside_an_update(lock: ThreeModeLock) -> None:
    """Update mode lets views in."""
    end = threading.Event()
    other = hold_update(lock, end)
    lock.release_shared(lock.acquire_shared(soon()))
    end.set()
    other.result()


def test_updates_exclude_each_other(lock: ThreeModeLock) -> None:
    """A second update waits, and says so when its time is over."""
    end = threading.Event()
    other = hold_update(lock, end)
    with pytest.raises(LockTimeout):
        lock.acquire_update(soon())
    end.set()
    other.result()
    lock.acquire_update(soon())
    lock.release_update(current_holder())


def test_an_upgrade_waits_for_views(lock: ThreeModeLock) -> None:
    """Exclusive mode comes when the last view has ended."""
    end = threading.Event()
    other = hold_shared(lock, end)
    lock.acquire_update()
    with pytest.raises(LockTimeout):
        lock.upgrade(soon())
    end.set()
    lock.upgrade()
    other.result()
    lock.release_update(current_holder())


def test_exclusive_holds_new_views_back(lock: ThreeModeLock) -> None:
    """A view that comes while exclusive is held gets in after the release."""
    lock.acquire_update()
    lock.upgrade()
    view = Aside(lambda: lock.release_shared(lock.acquire_shared()))
    wait_until(lambda: lock._view_gates)
    assert not view.done()
    lock.release_update(current_holder())
    view.result()


def test_a_view_that_times_out_holds_nothing(lock: ThreeModeLock) -> None:
    """After a view's time is over, the upgrade's holder is alone still."""
    lock.acquire_update()
    lock.upgrade()
    with pytest.raises(LockTimeout):
        Aside(lambda: lock.acquire_shared(soon())).result()
    assert not lock.shared
    lock.release_update(current_holder())


def test_a_nested_view_is_granted_while_an_upgrade_is_pending(lock: ThreeModeLock) -> None:
    """A thread that holds a view gets another at once: waiting would be for itself."""
    holder = lock.acquire_shared()

    def update() -> None:
        lock.acquire_update()
        lock.upgrade()
        lock.release_update(current_holder())

    other = Aside(update)
    wait_until(lambda: lock.barrier)
    lock.release_shared(lock.acquire_shared(soon()))
    lock.release_shared(holder)
    other.result()


def test_a_view_waiting_for_another_threads_view_is_no_deadlock(lock: ThreeModeLock) -> None:
    """A pending upgrade lets new views in again, so that a running view may wait for one."""
    holder = lock.acquire_shared()

    def update() -> None:
        lock.acquire_update()
        lock.upgrade()
        lock.release_update(current_holder())

    updating = Aside(update)
    wait_until(lambda: lock.barrier)
    Aside(lambda: lock.release_shared(lock.acquire_shared())).result()
    assert not updating.done()
    lock.release_shared(holder)
    updating.result()


def test_views_without_a_gap_do_not_starve_an_upgrade(lock: ThreeModeLock) -> None:
    """With views that overlap for ever, an upgrade still comes through."""
    stop = threading.Event()

    def views() -> None:
        while not stop.is_set():
            lock.release_shared(lock.acquire_shared())

    readers = [Aside(views) for _ in range(2)]
    for _ in range(5):
        lock.acquire_update()
        lock.upgrade()
        lock.release_update(current_holder())
    stop.set()
    for reader in readers:
        reader.result()


def test_an_update_inside_an_update_is_refused(lock: ThreeModeLock) -> None:
    """The holder of update is told, instead of waiting for itself."""
    lock.acquire_update()
    with pytest.raises(UsageError, match="already running"):
        lock.check_update()
    lock.release_update(current_holder())


def test_an_update_inside_a_view_is_refused(lock: ThreeModeLock) -> None:
    """The holder of a view is told, instead of waiting for itself."""
    holder = lock.acquire_shared()
    with pytest.raises(UsageError, match="view"):
        lock.check_update()
    lock.release_shared(holder)


def test_a_view_still_open_inside_an_update_is_refused_at_its_end(lock: ThreeModeLock) -> None:
    """An upgrade that would wait for its own thread's view says so."""
    lock.acquire_update()
    holder = lock.acquire_shared()
    with pytest.raises(UsageError, match="still open"):
        lock.upgrade()
    lock.release_shared(holder)
    lock.release_update(current_holder())


def test_the_first_in_the_queue_gets_the_lock_though_others_barge(lock: ThreeModeLock) -> None:
    """A thread that takes the lock again and again can't keep out one that waits."""
    got = threading.Event()

    def wait_for_turn() -> None:
        lock.acquire_update()
        got.set()
        lock.release_update(current_holder())

    lock.acquire_update()
    other = Aside(wait_for_turn)
    wait_until(lambda: lock._update_queue)
    lock._update_queue[0].since -= 1.0
    lock.release_update(current_holder())
    assert lock._updater != current_holder()
    lock.acquire_update()
    assert got.is_set()
    lock.release_update(current_holder())
    other.result()


def test_an_interrupted_wait_for_update_leaves_no_trace(lock: ThreeModeLock) -> None:
    """Ctrl-C ends the wait, and the turn goes to the next."""
    end = threading.Event()
    other = hold_update(lock, end)
    interrupt_main_thread_when(lambda: lock._update_queue)
    with pytest.raises(KeyboardInterrupt):
        lock.acquire_update()
    assert not lock._update_queue
    end.set()
    other.result()
    lock.acquire_update(soon())
    lock.release_update(current_holder())


def test_an_interrupted_upgrade_lets_views_go_on(lock: ThreeModeLock) -> None:
    """Ctrl-C while views are waited for lifts the barrier; update mode is still held."""
    end = threading.Event()
    other = hold_shared(lock, end)
    lock.acquire_update()
    interrupt_main_thread_when(lambda: lock._upgrade_gate)
    with pytest.raises(KeyboardInterrupt):
        lock.upgrade()
    Aside(lambda: lock.release_shared(lock.acquire_shared(deadline_after(5)))).result()
    lock.release_update(current_holder())
    end.set()
    other.result()


def test_a_deferred_interrupt_comes_after_the_block() -> None:
    """Ctrl-C inside the block is raised at its end, once."""
    inside = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117  the order is what is shown
        with deferred_interrupts:
            signal.raise_signal(signal.SIGINT)
            inside.append("went on")
    assert inside == ["went on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_deferral_in_another_thread_changes_nothing() -> None:
    """Only the main thread has interrupts to defer."""

    def defer() -> object:
        with deferred_interrupts:
            return signal.getsignal(signal.SIGINT)

    assert Aside(defer).result() is signal.default_int_handler


def test_deadlines_are_on_the_monotonic_clock() -> None:
    """No timeout is no deadline; else it lies ahead by as much."""
    assert deadline_after(None) is None
    before = time.monotonic()
    deadline = deadline_after(5.0)
    assert deadline is not None
    assert before + 5.0 <= deadline <= time.monotonic() + 5.0
