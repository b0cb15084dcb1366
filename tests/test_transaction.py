"""What the end of a view or an update waits for, and what can't be told any more makes it dead."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cairndb.errors import DatabaseFailed, UsageError, ValidationError
from cairndb.locks import current_holder
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from cairndb.transaction_async import AsyncUpdate, AsyncView
from simulated import SimulatedDirectory, World
from threads import Aside, wait_until

if TYPE_CHECKING:
    from cairndb.engine import Engine

Root = dict[str, int]
KIND = compile_root(Root, guard=True)


class SlowDisk:
    """A world whose syncs can be held up."""

    def __init__(self) -> None:
        self.world = World()
        self.syncs = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.syncing = threading.Event()
        self.world.observe = self._observe
        self.engine: Engine = own(SimulatedDirectory(self.world), KIND, create=True).engine

    def _observe(self, what: str) -> None:
        if what == "sync":
            self.syncs += 1
            self.syncing.set()
            self.go_on.wait()

    def hold_up(self) -> None:
        """Let the next sync wait for `go_on`."""
        self.syncing.clear()
        self.go_on.clear()

    def put(self, key: str, value: int, *, durable: bool = True) -> None:
        """One update."""
        with Update[Root](self.engine, None, durable=durable) as root:
            root[key] = value

    def get(self, *, durable: bool = True) -> Root:
        """One view."""
        with View[Root](self.engine, None, durable=durable) as root:
            return dict(root)


@pytest.fixture
def disk() -> SlowDisk:
    """A database on it, with one update."""
    slow = SlowDisk()
    slow.put("a", 1)
    return slow


def updating(disk: SlowDisk) -> Aside[None]:
    """An update that is applied, and waits for its sync."""
    disk.hold_up()
    aside = Aside(lambda: disk.put("a", 2))
    disk.syncing.wait()
    wait_until(lambda: disk.engine.lock._updater is None)
    return aside


def test_an_update_returns_only_when_it_is_durable(disk: SlowDisk) -> None:
    """It is applied and its lock released while its caller still waits."""
    update = updating(disk)
    assert disk.get(durable=False) == {"a": 2}
    assert not update.done()
    disk.go_on.set()
    update.result()


def test_a_view_ends_only_when_what_it_showed_is_durable(disk: SlowDisk) -> None:
    """A view of an update whose sync is under way waits for that sync."""
    update = updating(disk)
    view = Aside(disk.get)
    wait_until(lambda: disk.engine.flusher._gates)
    assert not view.done()
    disk.go_on.set()
    assert view.result() == {"a": 2}
    update.result()


def test_a_rejected_update_waits_too(disk: SlowDisk) -> None:
    """An error message may say what the block read: it comes when that is durable."""
    update = updating(disk)
    rejected = Aside(lambda: disk.put("b", "no number"))  # type: ignore[arg-type]  # the point
    wait_until(lambda: disk.engine.flusher._gates)
    assert not rejected.done()
    disk.go_on.set()
    with pytest.raises(ValidationError):
        rejected.result()
    update.result()


def test_an_update_that_changes_nothing_waits_too(disk: SlowDisk) -> None:
    """Its caller has read what may still be lost."""
    update = updating(disk)
    same = Aside(lambda: disk.put("a", 2))
    wait_until(lambda: disk.engine.flusher._gates)
    assert not same.done()
    disk.go_on.set()
    same.result()
    update.result()


def test_one_sync_serves_many_updates(disk: SlowDisk) -> None:
    """Updates that arrive while a sync runs share the next one."""
    update = updating(disk)
    others = [Aside(partial(disk.put, str(n), 1)) for n in range(8)]
    wait_until(lambda: len(disk.engine.flusher._gates) == 8)
    before = disk.syncs
    disk.go_on.set()
    for aside in [update, *others]:
        aside.result()
    assert disk.syncs == before + 1


def test_an_error_while_applying_makes_the_object_dead(
    disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may then differ from the log: nobody is shown it, and opening again tells."""

    def no_memory(_prepared: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(disk.engine.tree, "apply", no_memory)
        with pytest.raises(MemoryError):
            disk.put("a", 3)
    for use in (disk.get, lambda: disk.put("a", 4)):
        with pytest.raises(DatabaseFailed):
            use()
    disk.engine.close()
    again = own(SimulatedDirectory(disk.world), KIND, create=False).engine
    with View[Root](again, None, durable=True) as root:
        assert root["a"] in {1, 3}


def test_a_dead_object_holds_no_lock(disk: SlowDisk) -> None:
    """After a failed sync every thread that waits is told; none hangs."""
    update = updating(disk)
    waiting = [Aside(disk.get) for _ in range(3)]
    wait_until(lambda: len(disk.engine.flusher._gates) == 3)
    disk.engine.flusher.fail(OSError("the disk has gone"))
    disk.go_on.set()
    for aside in waiting:
        with pytest.raises(DatabaseFailed, match="disk has gone"):
            aside.result()
    update.result()
    assert not disk.engine.lock.shared
    assert disk.engine.lock._updater is None


def test_unwritten_updates_are_bounded(disk: SlowDisk) -> None:
    """What waits to be written with durable=False is written once there is much of it."""
    for number in range(3000):
        with Update[Root](disk.engine, None, durable=False) as root:
            root["x" * 2000 + str(number % 2)] = number
    assert disk.engine.store.written_lsn > 1000


@pytest.mark.parametrize("kind", [View, Update])
def test_a_transaction_is_for_one_block(
    disk: SlowDisk, kind: type[View[Root] | Update[Root]]
) -> None:
    """Used again, inside its block or after it, it says to make another, and holds nothing."""
    once = kind(disk.engine, None, durable=True)
    with once, pytest.raises(UsageError), once:
        pass
    with pytest.raises(UsageError, match="make another"), once:
        pass
    assert not disk.engine.lock.shared
    assert disk.engine.lock._updater is None


def test_views_of_one_thread_end_in_any_order(disk: SlowDisk) -> None:
    """Each holds for itself: the last one, entered in another, keeps updates out by itself."""
    outer, inner = (View[Root](disk.engine, None, durable=True) for _ in range(2))
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    with pytest.raises(UsageError, match="is open in this thread"):
        Update[Root](disk.engine, None, durable=True).__enter__()
    inner.__exit__(None, None, None)
    disk.put("a", 2)
    assert disk.get() == {"a": 2}


def test_a_view_of_whoever_applies_an_update_waits_for_nothing(disk: SlowDisk) -> None:
    """As in a finalizer that runs in the middle of it: to wait would be to wait for itself."""
    lock = disk.engine.lock
    lock.acquire_update()
    lock.upgrade()
    with View[Root](disk.engine, 0.01, durable=False) as root:
        assert root == {"a": 1}
    lock.release_update(current_holder())


def test_what_is_shown_of_a_transaction_is_not_the_state(disk: SlowDisk) -> None:
    """Neither of threads' nor of tasks', whether it is running or over."""
    for kind in (View, Update, AsyncView, AsyncUpdate):
        made: Any = kind(disk.engine, None, durable=True)
        assert repr(made) == f"<cairndb.{kind.__name__}>"
    update = Update[Root](disk.engine, None, durable=False)
    with update as root:
        root["secret"] = 5
        assert repr(update) == "<cairndb.Update>"
