"""Closing while other threads do something else, and closing again after an interrupt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cairndb.errors import UsageError
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from simulated import SimulatedDirectory, World
from threads import Aside, interrupt_main_thread_when, wait_until

if TYPE_CHECKING:
    from cairndb.engine import Engine

Root = dict[str, int]
KIND = compile_root(Root, guard=True)


def opened(world: World) -> Engine:
    """A new owner of the world."""
    return own(SimulatedDirectory(world), KIND, create=True).engine


def put(engine: Engine, key: str, value: int, *, durable: bool = True) -> None:
    """One update."""
    with Update[Root](engine, 10.0, durable=durable) as root:
        root[key] = value


def look(engine: Engine) -> Root:
    """One view."""
    with View[Root](engine, 10.0, durable=True) as root:
        return dict(root)


def test_two_threads_may_close_at_once() -> None:
    """Who finds the database being closed by another thread waits for that, and has no error."""
    world = World()
    engine = opened(world)
    put(engine, "n", 1, durable=False)
    entered, go_on = threading.Event(), threading.Event()

    def held(what: str) -> None:
        if what == "sync":
            entered.set()
            go_on.wait()

    world.observe = held
    first = Aside(engine.close)
    entered.wait()
    second = Aside(engine.close)
    wait_until(lambda: engine.lock._update_queue)
    go_on.set()
    first.result()
    calls = len(world.calls)
    second.result()
    assert len(world.calls) == calls, "files that are given up were used"
    assert look(opened(world)) == {"n": 1}


def test_a_sync_that_comes_after_the_close_touches_nothing() -> None:
    """Work that got past the first look and finds the files given up refuses to begin."""
    world = World()
    engine = opened(world)
    engine.close()
    calls = len(world.calls)
    with pytest.raises(UsageError, match="closed"):
        engine.sync()
    with pytest.raises(UsageError, match="closed"):
        look(engine)
    assert len(world.calls) == calls


def test_closing_again_after_an_interrupt_writes_what_is_left() -> None:
    """A close that was interrupted before its sync is no close: the next one writes and syncs."""
    world = World()
    engine = opened(world)
    put(engine, "n", 1, durable=False)

    entered, go_on = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        go_on.wait()

    busy = Aside(lambda: engine.flusher.run(work))
    entered.wait()
    interrupt_main_thread_when(lambda: engine.flusher._queue)
    with pytest.raises(KeyboardInterrupt):
        engine.close()
    go_on.set()
    busy.result()
    engine.close()
    assert look(opened(world)) == {"n": 1}
