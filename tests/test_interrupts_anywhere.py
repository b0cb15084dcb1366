"""Ctrl-C at every instruction where Python can notice it, in whatever takes locks or the role."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import cairndb
from cairndb.appender_parts import StoreOptions
from cairndb.database import Database
from cairndb.housekeeper import Housekeeper
from cairndb.locks import current_holder
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from interrupting import Strike, instrumented, interrupt, traced
from simulated import SimulatedDirectory, World
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.engine import Engine


class Root(cairndb.Record):
    """Two numbers that are always the same, and ballast."""

    n: int = 0
    copy: int = 0
    filling: str = ""

    @cairndb.update
    def raised_to(self, number: int) -> int:
        """Set both."""
        self.n = number
        self.copy = number
        return number


class Part(cairndb.Record):
    """What has a rule."""

    n: int = 0

    @cairndb.check
    def is_small(self) -> bool:
        """Refuse what is large."""
        return self.n < 10


class Ruled(cairndb.Record):
    """A root with a rule further down."""

    parts: dict[str, Part] = {}


KIND = compile_root(Root, guard=True)
OLD, NEW = (1, 1), (2, 2)
TINY = StoreOptions(segment_bytes_min=2048, segment_bytes_max=2048)


@pytest.fixture(autouse=True, scope="module")
def _instrumented() -> Iterator[None]:
    with instrumented():
        yield


def opened(world: World) -> Engine:
    """An owner of the world."""
    return own(SimulatedDirectory(world), KIND, create=True, options=TINY).engine


def put(engine: Engine, number: int, *, durable: bool = True, filling: str = "") -> None:
    """One update."""
    with Update[Root](engine, 10.0, durable=durable) as root:
        root.n = number
        root.copy = number
        root.filling = filling


def look(engine: Engine) -> tuple[int, int]:
    """One view."""
    with View[Root](engine, 10.0, durable=True) as root:
        return root.n, root.copy


class Scene(NamedTuple):
    """What is interrupted, and what is to be done when it is over."""

    act: Callable[[], object]
    end: Callable[[], object] = lambda: None


def _update(engine: Engine, _world: World) -> Scene:
    return Scene(partial(put, engine, 2))


def _update_that_waits_for_nothing(engine: Engine, _world: World) -> Scene:
    return Scene(partial(put, engine, 2, durable=False))


def _update_that_rotates(engine: Engine, _world: World) -> Scene:
    return Scene(partial(put, engine, 2, filling="x" * 3000))


def _update_that_raises(engine: Engine, _world: World) -> Scene:
    def act() -> None:
        with pytest.raises(ZeroDivisionError), Update[Root](engine, None, durable=True) as root:
            root.n = 2 // 0

    return Scene(act)


def _update_with_a_view_inside(engine: Engine, _world: World) -> Scene:
    def act() -> None:
        with Update[Root](engine, None, durable=True) as root:
            root.n, root.copy = 2, look(engine)[0] + 1

    return Scene(act)


def _in_the_sync_of_another(
    engine: Engine, world: World, act: Callable[[], object], waits: Callable[[], object]
) -> Scene:
    """Act while another thread's sync is held up until somebody waits for its end."""
    entered, over = threading.Event(), threading.Event()

    def held(what: str) -> None:
        if what == "sync" and not entered.is_set():
            entered.set()
            wait_until(lambda: waits() or over.is_set())

    world.observe = held
    leader = Aside(partial(put, engine, 1, filling="leader"))
    entered.wait()

    def end() -> None:
        over.set()
        leader.result()

    return Scene(act, end)


def _update_in_the_sync_of_another(engine: Engine, world: World) -> Scene:
    flusher = engine.flusher
    return _in_the_sync_of_another(engine, world, partial(put, engine, 2), lambda: flusher._gates)


def _sync_in_the_sync_of_another(engine: Engine, world: World) -> Scene:
    return _in_the_sync_of_another(engine, world, engine.sync, lambda: engine.flusher._queue)


def _update_that_waits_for_another(engine: Engine, _world: World) -> Scene:
    entered, over = threading.Event(), threading.Event()

    def other() -> None:
        with Update[Root](engine, None, durable=True) as root:
            root.filling = "other"
            entered.set()
            wait_until(lambda: engine.lock._update_queue or over.is_set())

    first = Aside(other)
    entered.wait()

    def end() -> None:
        over.set()
        first.result()

    return Scene(partial(put, engine, 2), end)


def _update_that_waits_for_a_view(engine: Engine, _world: World) -> Scene:
    entered, over = threading.Event(), threading.Event()

    def other() -> None:
        with View[Root](engine, None, durable=True):
            entered.set()
            wait_until(lambda: engine.lock.barrier or over.is_set())

    first = Aside(other)
    entered.wait()

    def end() -> None:
        over.set()
        first.result()

    return Scene(partial(put, engine, 2), end)


def _update_that_is_late(engine: Engine, _world: World) -> Scene:
    entered, over = threading.Event(), threading.Event()

    def other() -> None:
        with Update[Root](engine, None, durable=True):
            entered.set()
            over.wait()

    first = Aside(other)
    entered.wait()

    def act() -> None:
        with (
            pytest.raises(cairndb.LockTimeout),
            Update[Root](engine, 0.0, durable=True),
        ):
            raise AssertionError

    def end() -> None:
        over.set()
        first.result()

    return Scene(act, end)


def _view(engine: Engine, _world: World) -> Scene:
    return Scene(partial(look, engine))


def _view_that_syncs(engine: Engine, _world: World) -> Scene:
    put(engine, 1, durable=False, filling="waits")
    return Scene(partial(look, engine))


def _view_that_waits_for_an_update(engine: Engine, _world: World) -> Scene:
    entered, over = threading.Event(), threading.Event()

    def other() -> None:
        engine.lock.acquire_update()
        engine.lock.upgrade()
        entered.set()
        wait_until(lambda: engine.lock._view_gates or over.is_set())
        engine.lock.release_update(current_holder())

    first = Aside(other)
    entered.wait()

    def end() -> None:
        over.set()
        first.result()

    return Scene(partial(look, engine), end)


def _sync(engine: Engine, _world: World) -> Scene:
    put(engine, 1, durable=False, filling="waits")
    return Scene(engine.sync)


def _close(engine: Engine, _world: World) -> Scene:
    put(engine, 1, durable=False, filling="waits")
    return Scene(engine.close)


def _checkpoint(engine: Engine, _world: World) -> Scene:
    housekeeper = Housekeeper(
        engine,
        "simulated.cairn",
        sync_interval=1.0,
        sync_soon=True,
        restart_target=None,
        load_rate=None,
    )
    return Scene(housekeeper._seal)


def _method(engine: Engine, _world: World) -> Scene:
    db = Database[Any](engine, None, "simulated.cairn", audit=True)

    def end() -> None:
        db._engine = closed

    # Not to be closed with this object.
    closed = opened(World())
    closed.close()
    return Scene(lambda: db.run(Root.raised_to, 2), end)


SCENES: dict[str, Callable[[Engine, World], Scene]] = {
    scene.__name__.strip("_").replace("_", " "): scene
    for scene in (
        _update,
        _update_that_waits_for_nothing,
        _update_that_rotates,
        _update_that_raises,
        _update_with_a_view_inside,
        _update_in_the_sync_of_another,
        _sync_in_the_sync_of_another,
        _update_that_waits_for_another,
        _update_that_waits_for_a_view,
        _update_that_is_late,
        _view,
        _view_that_syncs,
        _view_that_waits_for_an_update,
        _sync,
        _close,
        _checkpoint,
        _method,
    )
}


def interrupted_at(scene: Callable[[Engine, World], Scene], number: int) -> Strike:
    """Interrupt a scene at its n-th place, and check what is left."""
    world = World()
    engine = opened(world)
    put(engine, 1)
    act, end = scene(engine, world)
    strike = Strike(number, interrupt)
    raised = False
    try:
        with traced(strike):
            act()
    except KeyboardInterrupt:
        raised = True
    end()
    assert raised == strike.reached, f"swallowed at {strike.place}"
    if engine.refusal is None:
        found = Aside(partial(look, engine)).result()
        assert found in {OLD, NEW}, strike.place
        Aside(partial(put, engine, found[0], filling="after")).result()
    else:
        assert isinstance(engine.refusal(), cairndb.UsageError), strike.place
        found = OLD
    assert not engine.lock.shared, strike.place
    assert engine.lock._updater is None, strike.place
    engine.close()
    assert not world.locks, strike.place
    assert look(opened(world)) == found, strike.place
    return strike


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_an_interrupt_anywhere(name: str, evidence: Callable[[str, int], None]) -> None:
    """Nothing or all of it, in memory and in the log; no lock is left, and nobody hangs."""
    for number in range(1, 5000):
        if not interrupted_at(SCENES[name], number).reached:
            break
    assert 5 <= number < 4999  # a view has so few places left
    evidence("interrupts", number - 1)


class Plain(cairndb.Record):
    """A root without rules, of parts that have none."""

    parts: dict[str, list[int]] = {}


def test_a_write_that_was_interrupted_and_made_again_is_kept() -> None:
    """Wherever Ctrl-C strikes in a write, if the block goes on, what it wrote then is committed."""
    kind = compile_root(Plain, guard=True)
    engine = own(SimulatedDirectory(World()), kind, create=True, options=TINY).engine
    with Update[Plain](engine, None, durable=True) as root:
        root.parts["a"] = [0]
    for number in range(1, 1000):
        strike = Strike(number, interrupt)
        with Update[Plain](engine, None, durable=True) as root:
            part = root.parts["a"]
            try:
                with traced(strike):
                    part[0] = number
            except KeyboardInterrupt:
                part[0] = number
        assert engine.tree.root.parts["a"] == [number], strike.place
        if not strike.reached:
            break
    assert 5 < number < 999


def write_again_when_interrupted(engine: Engine, strike: Strike) -> None:
    """An update that writes what a rule forbids, with an interrupt that its block gets over."""
    with Update[Ruled](engine, None, durable=True) as root:
        part = root.parts["a"]
        try:
            with traced(strike):
                part.n = 50
        except KeyboardInterrupt:
            part.n = 50


def test_a_write_that_was_interrupted_and_made_again_is_judged() -> None:
    """Wherever Ctrl-C strikes in a write, if the block goes on, its rules see what it wrote."""
    kind = compile_root(Ruled, guard=True)
    engine = own(SimulatedDirectory(World()), kind, create=True, options=TINY).engine
    with Update[Ruled](engine, None, durable=True) as root:
        root.parts["a"] = Part()
    for number in range(1, 1000):
        strike = Strike(number, interrupt)
        with pytest.raises(cairndb.ConstraintError):
            write_again_when_interrupted(engine, strike)
        if not strike.reached:
            break
    assert 5 < number < 999
