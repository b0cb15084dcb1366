"""A changed schema takes effect whole or not at all, whatever the crash."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any

import pytest
from msgspec import Struct, defstruct

from cairndb.appender_parts import StoreOptions
from cairndb.checkpoint import checkpoint_name
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import CairnError, CorruptError, UsageError
from cairndb.history import read_at
from cairndb.opening import own
from cairndb.record import Record
from cairndb.recovery import verify
from cairndb.rewinding import rewind
from cairndb.schema import compile_root
from cairndb.schema_change import Evolution
from cairndb.transaction import Update, View
from crashing import CrashPoint, Ledger, checkpoints_of, crash_points, damage
from simulated import Image, SimulatedDirectory, World, images

OLD: Any = defstruct("Item", [("count", int)], bases=(Record,))
NEW: Any = defstruct("Item", [("count", int), ("name", str, "none")], bases=(Record,))
OPTIONS = StoreOptions(4096 + 400, 4096 + 800)


def open_as(world: World, item: Any) -> Any:
    """The engine of an owner with that type; the one before has been killed."""
    for directory in world.locks[:]:
        directory.close()
    kind = compile_root(dict[str, item], guard=False)
    return own(SimulatedDirectory(world), kind, create=True, options=OPTIONS).engine


def put(engine: Any, item: Any, number: int) -> None:
    """One update."""
    with Update[Any](engine, None, durable=True) as root:
        root[str(number)] = item(number)


def counts(engine: Any) -> list[int]:
    """What is there."""
    with View[Any](engine, None, durable=True) as root:
        return [item.count for item in root.values()]


def checkpoint(engine: Any, world: World) -> None:
    """Make one, as the helper and the owner do."""
    store = engine.store
    engine.sync()
    store.seal()
    report = make_checkpoint(SimulatedDirectory(world), store.sealed_lsn, lambda: None)
    store.check_checkpoint(report.file, report.lsn)
    store.adopt(report.file)


def workload(world: World, ledger: Ledger) -> None:
    """Two owners of the old schema, then two of the new one."""
    for item in (OLD, OLD, NEW, NEW):
        engine = open_as(world, item)
        for _ in range(4):
            number = len(ledger.submitted)
            ledger.submitted.append(b"%d" % number)
            put(engine, item, number)
            ledger.acknowledged = len(ledger.submitted)
        if item is NEW:
            checkpoint(engine, world)


def recovered(image: Image, item: Any) -> list[int]:
    """What an owner finds; and once more."""
    world = World(image)
    found = counts(open_as(world, item))
    assert counts(open_as(world, item)) == found
    assert list(verify(SimulatedDirectory(world))) == []
    return found


def judge(point: CrashPoint, found: list[int]) -> None:
    """Everything acknowledged, or that and the next."""
    assert found == list(range(len(found))), point.call
    assert point.acknowledged <= len(found) <= point.submitted, point.call


@pytest.mark.slow
def test_a_change_of_schema_survives_every_crash() -> None:
    """At every operation, whatever survives of it, all that was acknowledged is there."""
    seen: dict[Image, list[int]] = {}
    for point in crash_points(workload):
        for image in images(point.moment, limit=60):
            if image not in seen:
                seen[image] = recovered(image, NEW)
            judge(point, seen[image])
    assert len(seen) > 500


def changed() -> tuple[World, Any]:
    """A database after a change of its schema, and its engine."""
    world = World()
    for number in range(3):
        put(open_as(world, OLD), OLD, number)
    engine = open_as(world, NEW)
    assert counts(engine) == [0, 1, 2]
    return world, engine


def test_the_state_before_stays_when_checkpoints_replace_the_rest() -> None:
    """The checkpoint of the old state is kept for its own sake; its log isn't."""
    world, engine = changed()
    for number in range(3, 12):
        put(engine, NEW, number)
        checkpoint(engine, world)
    assert checkpoints_of(world) == [4, 13, 14]
    assert not any(name.startswith("log-" + "0" * 19 + "1-") for name in world.names)
    assert counts(open_as(world, NEW)) == list(range(12))


def test_a_damaged_barrier_is_refused_and_says_what_there_is() -> None:
    """Without its checkpoint nothing leads over a barrier: refused, not skipped."""
    world, engine = changed()
    put(engine, NEW, 3)
    damage(world, checkpoint_name(5), 4096 + 40)
    with pytest.raises(CorruptError, match="the state of this LSN is in its checkpoint"):
        open_as(world, NEW)


def test_the_past_ends_at_a_barrier_whose_checkpoint_is_gone() -> None:
    """Though a crash has brought back the log after it: told as what isn't kept, not as damage."""
    world, engine = changed()
    for number in range(3, 6):
        put(engine, NEW, number)
    checkpoint(engine, world)
    engine.close()
    SimulatedDirectory(world).remove(checkpoint_name(5))
    for lsn in (5, 7):
        with pytest.raises(UsageError, match=r"goes back to LSN 8.*single states before it: 4"):
            read_at(SimulatedDirectory(world), lsn)
    for lsn in (4, 8):
        read_at(SimulatedDirectory(world), lsn).close()
    with pytest.raises(UsageError, match="goes back to LSN 8"):
        rewind(SimulatedDirectory(world), 6, lambda _: None)


def test_a_rewind_over_a_damaged_barrier_is_refused() -> None:
    """With the error of what is damaged; nothing is written."""
    world, engine = changed()
    put(engine, NEW, 3)
    engine.close()
    damage(world, checkpoint_name(5), 4096 + 40)
    with pytest.raises(CorruptError, match="the state of this LSN is in its checkpoint"):
        rewind(SimulatedDirectory(world), 2, lambda _: None)


def test_a_change_that_was_interrupted_leaves_the_old_schema() -> None:
    """With its checkpoint published and no segment that names it, the old program goes on."""
    world = World()
    put(open_as(world, OLD), OLD, 0)
    renamed = []

    def killed(what: str) -> None:
        renamed.extend([what] if what == "rename" else [])
        if len(renamed) == 3:
            raise KeyboardInterrupt

    engine = open_as(world, OLD)
    put(engine, OLD, 1)
    engine.sync()
    world.observe = killed
    with pytest.raises(KeyboardInterrupt):
        open_as(world, NEW)
    world.observe = lambda _: None
    assert checkpoints_of(world) == [3, 4]
    engine = open_as(world, OLD)
    assert counts(engine) == [0, 1]
    put(engine, OLD, 2)
    assert counts(open_as(world, NEW)) == [0, 1, 2]


def test_versions_and_migrations_run_once() -> None:
    """A migration sees the data of its version, and not again when the database is reopened."""
    runs: list[int] = []

    def double(item: dict[str, Any]) -> None:
        runs.append(item["count"])
        item["count"] *= 2

    world = World()
    put(open_as(world, OLD), OLD, 7)
    kind = compile_root(dict[str, OLD], guard=False)
    evolution = Evolution(2, {1: {"Item": double}})
    for _ in range(2):
        for directory in world.locks[:]:
            directory.close()
        engine = own(
            SimulatedDirectory(world), kind, create=False, evolution=evolution, options=OPTIONS
        ).engine
        assert counts(engine) == [14]
    assert runs == [7]


class Pair(Record):
    x: int = 0
    y: int = 0


class FrozenPair(Struct, frozen=True):
    x: int = 0
    y: int = 0


def test_what_the_log_changed_in_place_becomes_a_value() -> None:
    """A list, a set and a record, each with updates of its insides in the log, are frozen."""
    fields = [("names", list[str]), ("flags", set[int]), ("pair", Pair)]
    nodes: Any = defstruct("Item", fields, bases=(Record,))
    frozen = [("names", tuple[str, ...]), ("flags", frozenset[int]), ("pair", FrozenPair)]
    values: Any = defstruct("Item", frozen, bases=(Record,))
    world = World()
    engine = open_as(world, nodes)
    with Update[Any](engine, None, durable=True) as root:
        root["a"] = nodes(["x"], {1}, Pair(1, 2))
    with Update[Any](engine, None, durable=True) as root:
        root["a"].names.append("y")
        root["a"].flags.add(2)
        root["a"].pair.x = 5
    with View[Any](open_as(world, values), None, durable=True) as root:
        assert root["a"] == values(("x", "y"), frozenset({1, 2}), FrozenPair(5, 2))
    with View[Any](open_as(world, nodes), None, durable=True) as root:
        assert root["a"] == nodes(["x", "y"], {1, 2}, Pair(5, 2))


def fails_at(number: int) -> tuple[World, list[int]]:
    """A change of the schema whose n-th call fails, then two owners, and what they acknowledged."""
    world = World()
    engine = open_as(world, OLD)
    put(engine, OLD, 0)
    engine.close()
    world.faults = {len(world.calls) + number: errno.EIO}
    with suppress(OSError, CairnError):
        put(open_as(world, NEW), NEW, 1)
    world.faults = {}
    found: list[int] = []
    for _ in range(2):
        engine = open_as(world, NEW)
        put(engine, NEW, len(counts(engine)))
        found = counts(engine)
    return world, found


@pytest.mark.slow
def test_what_is_built_on_a_change_that_failed_stays() -> None:
    """Each call of it fails in turn: what the next owners acknowledge survives a loss of power."""
    for number in range(1, 80):
        world, found = fails_at(number)
        for image in images(world.moment(), limit=40):
            assert recovered(image, NEW) == found, number
