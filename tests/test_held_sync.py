"""A sync that doesn't return: who waits for it, who doesn't, and what all get if it fails."""

from __future__ import annotations

import errno
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.errors import DatabaseFailed, LockTimeout
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from simulated import SimulatedDirectory, World
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

Root = dict[str, int]
KIND = compile_root(Root, guard=True)


class Held:
    """An owner whose calls of one kind don't return until they are let go."""

    def __init__(self, call: str, *, sync_at_commit: bool = True) -> None:
        self.world = World()
        self.engine = own(
            SimulatedDirectory(self.world), KIND, create=True, sync_at_commit=sync_at_commit
        ).engine
        self.call = call
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.world.observe = self.hold

    def hold(self, what: str) -> None:
        """Not before it is let go."""
        if what == self.call:
            self.entered.set()
            self.go_on.wait()

    def put(self, value: int, *, durable: bool = True) -> int:
        """One update."""
        with Update[Root](self.engine, 10.0, durable=durable) as root:
            root["n"] = value
        return value

    def look(self, *, durable: bool = True) -> int:
        """One view."""
        with View[Root](self.engine, 10.0, durable=durable) as root:
            return root.get("n", 0)

    def refused(self) -> int:
        """An update that is dropped, but has seen something."""
        try:
            with Update[Root](self.engine, 10.0, durable=True) as root:
                seen = root["n"]
                root["m"] = root["nothing"]
        except KeyError:
            return seen
        raise AssertionError


@pytest.mark.parametrize(("call", "at_commit"), [("sync", True), ("write", False)])
def test_nobody_is_shown_what_a_crash_could_take_back(call: str, *, at_commit: bool) -> None:
    """Until it is as durable as its level says, only those who don't care have seen an update."""
    held = Held(call, sync_at_commit=at_commit)
    writer = Aside(partial(held.put, 1))
    held.entered.wait()
    waiting: list[Aside[int]] = [Aside(held.look), Aside(held.refused), Aside(partial(held.put, 1))]
    waiting += [Aside(held.look) for _ in range(3)]
    wait_until(lambda: len(held.engine.flusher._gates) == len(waiting))
    assert not any(aside.done() for aside in (writer, *waiting))
    assert Aside(partial(held.look, durable=False)).result() == 1
    assert Aside(partial(held.put, 2, durable=False)).result() == 2
    assert held.engine.durable_lsn == 1
    held.go_on.set()
    assert [aside.result() for aside in (writer, *waiting)] == [1] * 7


@pytest.mark.parametrize("call", ["sync", "write"])
def test_all_who_wait_learn_of_the_failure(call: str) -> None:
    """Views, updates, syncs, a close: each gets DatabaseFailed or ends, and nobody hangs."""
    held = Held(call)
    writer = Aside(partial(held.put, 1))
    held.entered.wait()
    calls: list[Callable[[], object]] = [held.look, held.refused, partial(held.put, 2)] * 4
    waiting = [Aside(act) for act in [*calls, held.engine.sync, held.engine.sync]]
    wait_until(
        lambda: len(held.engine.flusher._gates) == len(calls) and held.engine.flusher._queue[1:]
    )
    end = Aside(held.engine.close)
    wait_until(lambda: held.engine.flusher._queue[2:])
    held.world.faults = {len(held.world.calls) + 1: errno.EIO}
    held.go_on.set()
    everybody: list[Aside[Any]] = [writer, *waiting, end]
    for aside in everybody:
        with pytest.raises(DatabaseFailed):
            aside.result()
    assert not held.engine.lock.shared
    assert held.engine.lock._updater is None
    assert not held.world.locks
    again = own(SimulatedDirectory(held.world), KIND, create=True).engine
    with View[Root](again, None, durable=True) as root:
        assert root.get("n", 0) in {0, 1, 2}


def test_a_close_waits_for_views_and_updates_and_then_refuses() -> None:
    """Those under way end as ever; those that wait behind the close are told that it is closed."""
    held = Held("nothing")
    entered, end = threading.Event(), threading.Event()

    def slow() -> int:
        with Update[Root](held.engine, None, durable=True) as root:
            root["n"] = 5
            entered.set()
            end.wait()
        return 5

    update = Aside(slow)
    entered.wait()
    close = Aside(held.engine.close)
    wait_until(lambda: held.engine.lock._update_queue)
    late = [Aside(partial(held.put, 6)) for _ in range(3)]
    wait_until(lambda: len(held.engine.lock._update_queue) == 4)
    assert held.look() == 0
    with pytest.raises(LockTimeout), Update[Root](held.engine, 0.01, durable=True):
        raise AssertionError
    end.set()
    assert update.result() == 5
    close.result()
    for aside in late:
        with pytest.raises(cairndb.UsageError, match="closed"):
            aside.result()
    again = own(SimulatedDirectory(held.world), KIND, create=True).engine
    with View[Root](again, None, durable=True) as root:
        assert root["n"] == 5
