"""What a watch may show, and what is kept for it, on a simulated disk."""

from __future__ import annotations

import asyncio
import errno
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.appender_parts import StoreOptions
from cairndb.errors import Compacted, DatabaseFailed
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update
from cairndb.watch_hub import Hub
from cairndb.watch_start import Wish, watch_own
from lives import Folding
from simulated import SimulatedDirectory, World
from test_watch import seen
from threads import Aside, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def put(engine: Any, number: int, *, durable: bool = True) -> None:
    """One update of a simulated database."""
    with Update[Any](engine, None, durable=durable) as root:
        root["n"] = number


def simulated(
    *, sync_at_commit: bool = True, held_bytes_max: int = 1 << 20
) -> tuple[World, Any, Hub]:
    """An owner on a simulated disk, with small segments."""
    world = World()
    engine = own(
        SimulatedDirectory(world),
        compile_root(dict[str, int], guard=True),
        create=True,
        sync_at_commit=sync_at_commit,
        options=StoreOptions(8192, 8192, held_bytes_max=held_bytes_max),
    ).engine
    return world, engine, Hub(engine)


@pytest.mark.parametrize("at_commit", [True, False])
def test_what_isnt_promised_isnt_shown(*, at_commit: bool) -> None:
    """Neither from memory nor from the log; at each level what it promises."""
    world, engine, hub = simulated(sync_at_commit=at_commit)
    watch, late = watch_own(hub, Wish("/n")), watch_own(hub, Wish("/n", since=0))
    put(engine, 1, durable=False)
    assert seen(watch) == seen(late) == []
    shown: list[Any] = []

    def observe(call: str) -> None:
        # In the midst of the sync of what was written: at its level it is promised, or not yet.
        if call == "sync" and not shown:
            shown.extend([*seen(watch), *seen(late)])

    world.observe = observe
    engine.sync()
    assert len(shown) == (0 if at_commit else 2)
    assert len(shown + seen(watch) + seen(late)) == 2


def test_a_watch_keeps_the_log_that_it_needs() -> None:
    """Checkpoints remove nothing that a watch has still to read; when it is over they do."""
    world, engine, hub = simulated(held_bytes_max=1 << 20)
    watch = watch_own(hub, Wish("/n"))
    for number in range(4):
        put(engine, number)
        Folding(engine, world, "commit").checkpoint()
    hub._runs.clear()
    assert [item[1] for item in seen(watch)] == [2, 3, 4, 5]
    watch.close()
    put(engine, 4)
    Folding(engine, world, "commit").checkpoint()
    with pytest.raises(Compacted, match="goes back to LSN 5, and LSN 2") as caught:
        watch_own(hub, Wish("/n", since=2))
    assert caught.value.oldest_lsn == 5
    assert seen(watch_own(hub, Wish("/n", since=5))) == [("update", 6, [("/n", 3, 4)])]


def test_a_watch_that_lags_too_far_is_left_behind() -> None:
    """The log is kept for it up to a size, and it is told where it can go on."""
    world, engine, hub = simulated(held_bytes_max=3 * 4096)
    watch = watch_own(hub, Wish("/n"))
    assert seen(watch) == []
    for number in range(8):
        put(engine, number)
        Folding(engine, world, "commit").checkpoint()
    hub._runs.clear()
    with pytest.raises(Compacted) as caught:
        watch.poll()
    assert caught.value.oldest_lsn == 8
    assert hub.watched() == 0


def test_a_failed_sync_shows_nothing() -> None:
    """What waits gets the failure, and not the update whose outcome is unknown."""
    world, engine, hub = simulated()
    watch = watch_own(hub, Wish("/n"))
    waiting = Aside(lambda: watch.poll(None))
    wait_until(lambda: watch._gate is not None)
    world.fault, world.faulty_from = errno.EIO, 0
    with pytest.raises(DatabaseFailed):
        put(engine, 1)
    with pytest.raises(DatabaseFailed):
        waiting.result()
    engine.directory.close()


def test_a_watch_that_lags_comes_back_from_the_log() -> None:
    """Beyond the buffer it reads the log, lets go of it again, and misses nothing."""
    _, engine, _ = simulated()
    hub = Hub(engine, buffer_bytes_max=60)
    watch = watch_own(hub, Wish("/n"))
    for number in range(9):
        put(engine, number)
    assert hub.run_after(2) is None
    assert hub.run_after(engine.applied_lsn - 1) is not None
    assert [item[2][0][2] for item in seen(watch)] == list(range(9))
    put(engine, 9)
    assert [item[1] for item in seen(watch)] == [engine.applied_lsn]
    assert watch._source._follower is None  # type: ignore[attr-defined]
    watch.close()
    engine.close()


def test_everybody_gets_everything_while_all_are_at_work() -> None:
    """Threads that update, share syncs, watch, and begin to watch in the midst of it."""
    _, engine, hub = simulated()
    last = 2 + 4 * 25

    def watch(since: int | None) -> tuple[int, list[int]]:
        watch = watch_own(hub, Wish("/**", since))
        begin, lsns = watch.reached_lsn, list[int]()
        while not lsns or lsns[-1] < last:
            item = watch.poll(None)
            assert item is not None
            lsns.append(item.lsn)
        watch.close()
        return begin, lsns

    def update(thread: int) -> None:
        for number in range(25):
            put(engine, 100 * thread + number, durable=number % 3 > 0)

    watching = [Aside(partial(watch, since)) for since in (None, 0, None)]
    wait_until(lambda: hub.watched() == 3)
    writing = [Aside(partial(update, thread)) for thread in range(4)]
    watching += [Aside(partial(watch, 1)) for _ in range(2)]
    for aside in writing:
        aside.result()
    put(engine, -1)
    for begin, lsns in [aside.result() for aside in watching]:
        assert lsns == list(range(begin + 1, last + 1))
    engine.close()


def test_updates_of_tasks_are_items_too(tmp_path: Path) -> None:
    """They are promised by the same flush."""

    async def update(db: cairndb.Database[dict[str, Any]]) -> None:
        async with db.update_async() as root:
            root["n"] = 1

    with cairndb.open(tmp_path / "x.cairn") as db:
        watch = db.watch("/n")
        asyncio.run(update(db))
        assert seen(watch) == [("update", 2, [("/n", None, 1)])]
