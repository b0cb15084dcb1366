"""Following a log beside its owner, at every moment of its work, and what a crash leaves of it."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from cairndb.appender_parts import StoreOptions
from cairndb.errors import CorruptError
from cairndb.opening import own, read
from cairndb.schema import compile_root
from cairndb.transaction import Update
from cairndb.watch_follower import Follower
from cairndb.watch_hub import Hub
from cairndb.watch_items import Start, parse_position
from cairndb.watch_start import Wish, watch_beside, watch_own
from crashing import Nonces, damage, segments_of
from lives import Folding
from simulated import SimulatedDirectory, World
from survivors import sampled

if TYPE_CHECKING:
    from cairndb.engine import Engine
    from simulated import Image, Moment

KIND = compile_root(dict[str, int], guard=True)


def owner(world: World, *, level: str = "commit", room: int = 300) -> Engine:
    """An owner whose segments take a few updates."""
    return own(
        SimulatedDirectory(world),
        KIND,
        create=True,
        sync_at_commit=level == "commit",
        options=StoreOptions(4096 + room, 4096 + room, Nonces(str(len(world.calls)))),
    ).engine


def put(engine: Engine, number: int, *, durable: bool = True) -> None:
    """One update."""
    with Update[Any](engine, None, durable=durable) as root:
        root["n"] = number


def work(engine: Engine, world: World, level: str) -> None:
    """Updates, some together, with rotations and checkpoints."""
    for number in range(3):
        put(engine, number)
        put(engine, -1 - number, durable=False)
    Folding(engine, world, level).checkpoint()
    for number in range(3):
        put(engine, 10 + number, durable=number == 1)
    Folding(engine, world, level).checkpoint()
    engine.close()


def check(image: Image, positions: list[str]) -> None:
    """After a crash the last positions that were shown are in the history."""
    engine = owner(World(image))
    for position in positions:
        Follower(engine.directory, parse_position(position), None).close()
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["commit", "process"])
def test_nothing_that_was_shown_is_lost(level: str) -> None:
    """Somebody looks before each call of an owner, and the power fails before each call."""
    world = World()
    engine = owner(world, level=level)
    beside = watch_beside(read(SimulatedDirectory(world), KIND, None).engine, Wish("/n"))
    watches = [beside]
    if level == "commit":  # at the others what is promised survives the process, not the machine
        watches.append(watch_own(Hub(engine), Wish("/n")))
    points: list[tuple[Moment, list[str]]] = []
    lsns: list[list[int]] = [[] for _ in watches]
    looking = False

    def observe(_call: str) -> None:
        nonlocal looking
        if looking:
            return
        looking = True
        for watch, seen in zip(watches, lsns, strict=True):
            seen.extend(item.lsn for item in iter(watch.poll, None))
        points.append((world.moment(), [watch.position for watch in watches]))
        looking = False

    world.observe = observe
    work(engine, world, level)
    assert [item.lsn for item in iter(beside.poll, None)] == []
    for seen in lsns:
        assert seen == list(range(2, 11))
    random = Random(0)  # noqa: S311  no secret
    for moment, positions in points:
        for image in sampled(moment, random, 4):
            check(image, positions)


def test_an_idle_look_is_one_small_read() -> None:
    """The directory is looked at now and then only."""
    world = World()
    engine = owner(world)
    put(engine, 1)
    follower = Follower(SimulatedDirectory(world), Start(2, None), None)
    assert follower.read() is None
    before = len(world.reads)
    for _ in range(10):
        assert follower.read() is None
    assert world.reads[before:] == [("read", follower._place.file.path)] * 10  # type: ignore[union-attr]
    put(engine, 2)
    run = follower.read()
    assert run is not None
    assert (run.before_lsn, run.last_lsn) == (2, 3)
    follower.close()
    engine.close()


def content(world: World, name: str) -> bytes:
    """A file as far as it has been written."""
    return world.inodes[world.names[name]].cache.rstrip(b"\0")


def test_what_is_torn_is_not_yet_there() -> None:
    """Until the frame is whole; what was proven and is damaged is told."""
    world = World()
    engine = owner(world, room=4096)
    put(engine, 1)
    follower = Follower(SimulatedDirectory(world), Start(1, None), None)
    assert follower.read() is not None
    (name,) = segments_of(world)
    put(engine, 2)
    good = content(world, name)
    end = len(good)
    damage(world, name, end - 1, bytes([good[end - 1] ^ 1]))
    for _ in range(30):
        assert follower.read() is None
    damage(world, name, end - 1, good[end - 1 : end])
    assert follower.read() is not None
    put(engine, 3)
    engine.sync()
    damage(world, name, len(content(world, name)) - 40)
    engine.directory.close()
    with pytest.raises(CorruptError, match="known to have been synced"):
        list(islice(iter(follower.read, "a run"), 30))
    follower.close()
