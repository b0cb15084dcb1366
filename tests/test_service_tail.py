"""What a tail gives: from where a replica is, what is promised, and no more than it can take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cairndb.appender_parts import StoreOptions
from cairndb.errors import UsageError
from cairndb.opening import own
from cairndb.service_tail import ENTRIES_BYTES, Tail
from cairndb.transaction import Update
from cairndb.watch_hub import Hub
from cairndb.watch_items import Start
from cairndb.wire_tail import Entries, Heartbeat, Item
from lives import Folding
from simulated import SimulatedDirectory, World
from test_replica_parts import DATABASE, KIND, copy_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cairndb.engine import Engine


def opened(world: World, **options: Any) -> Engine:
    """An owner."""
    return own(
        SimulatedDirectory(world), KIND, create=True, options=StoreOptions(5000, 5000, **options)
    ).engine


def put(engine: Engine, key: str, value: int, *, durable: bool = True) -> None:
    """One update."""
    with Update[dict[str, int]](engine, None, durable=durable) as root:
        root[key] = value


def taken(tail: Tail) -> list[Item]:
    """All that there is."""
    found: list[Item] = []
    behind = True
    while behind:
        item, behind = tail.step()
        found += [] if item is None else [item]
    return found


def names(items: Iterable[Item]) -> list[str]:
    """What they are."""
    return [type(item).__name__ for item in items]


def test_a_tail_gives_what_is_promised() -> None:
    """What isn't on disk yet isn't sent; what was promised together comes together."""
    engine = opened(World())
    put(engine, "a", 1)
    tail = Tail(Hub(engine), None)
    first = taken(tail)
    assert names(first) == ["Owner", "Begin", "Loaded", "Entries"]
    put(engine, "a", 2, durable=False)
    put(engine, "b", 2, durable=False)
    assert taken(tail) == []
    assert tail.heartbeat() == Heartbeat(2)
    put(engine, "c", 3)
    assert tail.is_in_memory()
    (found,) = taken(tail)
    assert isinstance(found, Entries)
    assert (found.before_lsn, found.count, found.promised_lsn) == (2, 3, 5)
    assert tail.lsn == 5
    tail.close()
    engine.close()


def test_many_small_updates_come_in_few_items() -> None:
    """Whoever is behind gets items of a size that is worth sending."""
    engine = opened(World())
    tail = Tail(Hub(engine), None)
    taken(tail)
    for number in range(200):
        put(engine, "x" * 1000 + str(number % 10), number)
    found = taken(tail)
    assert names(found) == ["Entries"] * len(found)
    assert 200_000 // ENTRIES_BYTES <= len(found) <= 200_000 // ENTRIES_BYTES + 2
    tail.close()
    engine.close()


def test_a_position_that_is_known_is_gone_on_from() -> None:
    """From memory or from the log, without a checkpoint; of another database it isn't known."""
    world = World()
    engine = opened(world)
    for number in range(20):
        put(engine, "a", number)
    position = Start(*engine.position)
    Folding(engine, world, "commit").checkpoint()
    put(engine, "b", 1)
    hub = Hub(engine)
    database = engine.store.identity.database
    for start in (position, Start(*engine.position)):
        tail = Tail(hub, start, database)
        behind = engine.applied_lsn - start.lsn
        assert names(taken(tail)) == ["Owner"] + ["Entries"] * bool(behind)
        tail.close()
    unknown = [Start(position.lsn, 5), Start(engine.applied_lsn, 5), Start(99, 5)]
    for start, where in ((position, DATABASE), *((each, database) for each in unknown)):
        tail = Tail(hub, start, where)
        assert names(taken(tail)) == ["Owner", "Begin", "Piece", "Loaded", "Entries"]
        tail.close()
    engine.close()


def test_who_lags_too_far_gets_a_checkpoint() -> None:
    """The log isn't kept for ever for a replica: what is gone is made good by a checkpoint."""
    world = World()
    engine = opened(world, held_bytes_max=1)
    hub = Hub(engine, 0)
    tail = Tail(hub, None)
    copy = copy_of(*taken(tail))
    for number in range(160):
        put(engine, f"{number % 9}", number)
        if number % 40 == 39:
            Folding(engine, world, "commit").checkpoint()
    found = taken(tail)
    # What it has open it can still read, but not what follows.
    assert [name for name in names(found) if name != "Entries"] == ["Begin", "Piece", "Loaded"]
    for item in found:
        copy.take(item)
    assert (copy.position, copy.resyncs) == (engine.position, 1)
    assert shown(copy) == dict(engine.tree.root)
    tail.close()
    assert hub.watched() == 0
    engine.close()


def test_a_damaged_checkpoint_is_passed_over() -> None:
    """The one before it, and the log between, do as well; if that is gone too, it is told."""
    world = World()
    engine = opened(world)
    for number in range(3):
        put(engine, "a", number)
        Folding(engine, world, "commit").checkpoint()
    newest = max(name for name in world.names if name.endswith(".ckpt"))
    inode = world.inodes[world.names[newest]]
    inode.cache = inode.cache.replace(b"\xa1a", b"\xa1b")
    tail = Tail(Hub(engine), None)
    found = taken(tail)
    assert names(found) == ["Owner", "Begin", "Piece", "Loaded", "Entries"]
    assert copy_of(*found).position == engine.position
    tail.close()
    engine.close()


def test_an_owner_that_closes_ends_its_tails() -> None:
    """Who listens is woken, and finds out that there will be no more."""
    engine = opened(World())
    tail = Tail(Hub(engine), None)
    taken(tail)
    woken: list[int] = []
    tail.listen(lambda: woken.append(1))
    engine.close()
    assert woken
    with pytest.raises(UsageError, match="closed"):
        tail.step()
    assert tail.step() == (None, False)
