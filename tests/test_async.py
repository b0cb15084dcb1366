"""Views and updates of tasks: what `async with` promises, under asyncio and under trio."""

from __future__ import annotations

import errno
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

import cairndb
from cairndb.errors import DatabaseFailed, DiskFull, LockTimeout, StaleDraft, UsageError
from cairndb.files import RealDirectory
from cairndb.locks import current_holder
from cairndb.recovery import read_chain
from simulated import World
from tasks import (
    BACKENDS,
    HeldSync,
    Root,
    add,
    hold_update,
    hold_view,
    lock_is_free,
    opened,
    run,
    syncs,
    until,
)
from threads import Aside

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.database import Database
    from cairndb.locks_holders import Holder

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def world() -> World:
    """A disk."""
    return World()


def test_a_task_updates_views_and_runs(tmp_path: Path, backend: str) -> None:
    """What a task commits is there for views, for `run_async`, and after closing."""

    async def program() -> None:
        async with cairndb.open(tmp_path / "x.cairn", Root) as db:
            update = db.update_async()
            assert not update.committed
            async with update as root:
                root.n = 5
                assert update.lsn is None
            assert update.committed
            assert update.lsn == db.lsn == 2
            assert db.durable_lsn >= 2
            assert await db.run_async(Root.add, 2) == 7
            assert await db.run_async(Root.shown) == 7
            async with db.view_async() as seen:
                assert seen.n == 7
            await db.sync_async()
        with pytest.raises(UsageError, match="closed"):
            await add(db, 1)

    run(backend, program)
    with cairndb.open(tmp_path / "x.cairn", Root) as db:
        assert db.run(Root.shown) == 7


def test_an_exception_drops_the_block(world: World, backend: str) -> None:
    """A block that raises leaves nothing, and its draft is dead."""

    async def program() -> None:
        with opened(world) as db:
            update = db.update_async()
            with pytest.raises(ZeroDivisionError):
                async with update as root:
                    root.n = 2 // 0
            assert update.lsn is None
            with pytest.raises(StaleDraft):
                root.n = 3
            empty = db.update_async()
            async with empty:
                pass
            assert empty.committed
            assert db.lsn == empty.lsn == 1

    run(backend, program)


@pytest.mark.parametrize("sync_at_commit", [True, False])
def test_the_end_of_a_block_waits_for_its_promise(
    world: World, backend: str, *, sync_at_commit: bool
) -> None:
    """An ended update is promised; with `durable=False` nobody waits for that."""

    async def program() -> None:
        with opened(world, sync_at_commit=sync_at_commit) as db:
            store = db._engine.store
            async with db.update_async(durable=False) as root:
                root.n = 1
            assert store.written_lsn == 1
            async with db.view_async():
                pass
            assert store.written_lsn == 2
            assert (store.durable_lsn == 2) == sync_at_commit
            await add(db, 1)
            assert store.written_lsn == 3
            await db.sync_async()
            assert store.durable_lsn == 3

    run(backend, program)


def test_updates_of_tasks_run_one_at_a_time(world: World, backend: str) -> None:
    """Tasks whose blocks await, and threads, get their turn one after the other."""

    async def increase(db: Database[Root]) -> None:
        async with db.update_async() as root:
            before = root.n
            await anyio.lowlevel.checkpoint()
            root.n = before + 1

    async def program() -> None:
        with opened(world) as db:
            threads = []
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(increase, db)
                    threads.append(Aside(lambda: db.run(Root.add, 1)))
            await until(lambda: all(thread.done() for thread in threads))
            for thread in threads:
                thread.result()
            assert db.run(Root.shown) == 40
            assert lock_is_free(db)

    run(backend, program)


def test_many_updates_share_a_few_syncs(world: World, backend: str) -> None:
    """A thousand tasks that wait while a sync runs are covered by the next, in one wake-up."""

    async def program() -> None:
        with opened(world) as db:
            held = HeldSync(world)
            async with anyio.create_task_group() as group:
                group.start_soon(add, db, 1)
                await until(held.entered.is_set)
                before = syncs(world)
                for _ in range(1000):
                    group.start_soon(add, db, 1)
                await until(lambda: db.lsn == 1002)
                held.go_on.set()
            assert syncs(world) - before <= 3
            assert db.run(Root.shown) == 1001

    run(backend, program)


@pytest.mark.slow
def test_ten_thousand_updates_share_a_few_syncs(tmp_path: Path, backend: str) -> None:
    """On a real disk: one thread waits for it, and flushes a few times for all."""
    before = set(threading.enumerate())  # other tests may have left some

    async def program() -> None:
        async with cairndb.open(tmp_path / "x.cairn", Root) as db:
            async with anyio.create_task_group() as group:
                for _ in range(10_000):
                    group.start_soon(add, db, 1)
            assert db.durable_lsn == 10_001
            names = [thread.name for thread in set(threading.enumerate()) - before]
            assert names.count("cairndb flushes") == 1
            assert len(names) < 6

    run(backend, program)
    directory = RealDirectory(str(tmp_path / "x.cairn"))
    with closing(directory), closing(read_chain(directory)) as reading:
        counts = [piece.count for piece in reading.log_frames()]
    assert sum(counts) == 10_001
    assert len(counts) < 1000


def test_an_update_that_brings_the_tail(world: World, backend: str) -> None:
    """Updates that there was no room to write again come before the first update of a task."""

    def full(what: str) -> None:
        if what == "allocate":
            raise OSError(errno.ENOSPC, "No space left on device", "segment")

    async def program() -> None:
        db = opened(world)
        await add(db, 1)
        await add(db, 2)  # the last frame: nothing proves that it was synced
        for directory in world.locks[:]:
            directory.close()
        db._engine.task_flusher.stop()
        db._engine.forked()  # nobody has it any more, as after a kill
        world.observe = full
        with opened(world) as again:
            assert await again.run_async(Root.shown) == 1
            with pytest.raises(DiskFull):
                await add(again, 4)
            assert lock_is_free(again)
            world.observe = lambda _: None
            assert await again.run_async(Root.add, 4) == 7

    run(backend, program)


def test_a_views_end_is_not_shown_before_it_is_durable(world: World, backend: str) -> None:
    """A view that saw an update that isn't on disk yet ends when it is; the loop goes on."""

    async def program() -> None:
        with opened(world) as db:
            held = HeldSync(world)
            seen = []

            async def look() -> None:
                async with db.view_async() as root:
                    seen.append(root.n)
                assert db.durable_lsn == 2
                seen.append(-1)

            async with anyio.create_task_group() as group:
                group.start_soon(add, db, 1)
                await until(held.entered.is_set)
                group.start_soon(look)
                await until(lambda: seen)
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
                assert seen == [1]
                held.go_on.set()
            assert seen == [1, -1]

    run(backend, program)


def test_timeouts(world: World, backend: str) -> None:
    """Waiting for an update, or for views at the end of one, gives up when its time is over."""

    async def program() -> None:
        with opened(world) as db:
            for hold, what in ((hold_update, "another update"), (hold_view, "other views")):
                entered, end = anyio.Event(), anyio.Event()
                async with anyio.create_task_group() as group:
                    group.start_soon(hold, db, entered, end)
                    await entered.wait()
                    late = db.update_async(timeout=0.01)
                    with pytest.raises(LockTimeout, match=what):
                        async with late as root:
                            root.n = 7
                    assert not late.committed
                    group.cancel_scope.cancel()
            assert db.run(Root.shown) == 0
            assert lock_is_free(db)

    run(backend, program)


def test_a_view_that_times_out(world: World, backend: str) -> None:
    """A view waits for an update that is being applied no longer than it may."""

    async def program() -> None:
        with opened(world) as db:
            lock = db._engine.lock

            def exclusive() -> Holder:
                lock.acquire_update()
                lock.upgrade()
                return current_holder()

            holder = Aside(exclusive).result()
            with pytest.raises(LockTimeout):
                async with db.view_async(timeout=0.01):
                    raise AssertionError
            lock.release_update(holder)
            async with db.view_async(timeout=0.01) as root:
                assert root.n == 0

    run(backend, program)


def test_a_failed_sync_fails_all_who_wait(world: World, backend: str) -> None:
    """Each task that waits for the disk gets DatabaseFailed, and so does who comes later."""
    failed = []

    async def try_to_add(db: Database[Root]) -> None:
        try:
            await add(db, 1)
        except DatabaseFailed as error:
            failed.append(error)

    async def program() -> None:
        db = opened(world)
        held = HeldSync(world)
        held.error = OSError(errno.EIO, "Input/output error")
        async with anyio.create_task_group() as group:
            group.start_soon(try_to_add, db)
            await until(held.entered.is_set)
            for _ in range(5):
                group.start_soon(try_to_add, db)
            await until(lambda: db.lsn == 7)
            held.go_on.set()
        await try_to_add(db)
        world.observe = lambda _: None
        await db.close_async()

    run(backend, program)
    assert len(failed) == 7


def test_closing_waits_for_the_blocks_of_its_loop(world: World, backend: str) -> None:
    """`close_async` lets tasks end what they are in; who waits for a lock is refused then."""
    refused = []

    async def late(db: Database[Root]) -> None:
        try:
            await add(db, 1)
        except UsageError as error:
            refused.append(str(error))

    async def program() -> None:
        db = opened(world)
        entered, end = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(hold_update, db, entered, end)
            await entered.wait()
            group.start_soon(db.close_async)
            await until(lambda: db._engine.lock._update_queue)
            group.start_soon(late, db)
            with pytest.raises(UsageError, match="await instead"):
                db.close()
            end.set()
        assert db._engine.closed
        await db.close_async()

    run(backend, program)
    assert len(refused) <= 1
    with opened(world) as db:
        assert db.run(Root.shown) == 2 - len(refused)


def test_closing_inside_a_block_is_refused(world: World, backend: str) -> None:
    """A task that closes inside its own block would wait for itself."""

    async def program() -> None:
        with opened(world) as db:
            async with db.view_async():
                for call in (db.close_async, db.sync_async):
                    with pytest.raises(UsageError, match="inside a block"):
                        await call()

    run(backend, program)


def test_after_fork_nobody_waits(world: World, backend: str) -> None:
    """In the child of a fork every call is refused: nothing flushes there."""

    async def program() -> None:
        db = opened(world)
        await add(db, 1)
        update = db.update_async()
        root = await update.__aenter__()
        root.n = 2
        db._engine.forked()
        with pytest.raises(UsageError, match="fork"):
            await update.__aexit__(None, None, None)
        with pytest.raises(UsageError, match="fork"):
            await add(db, 1)
        db._engine.task_flusher.stop()  # here its thread lives on

    run(backend, program)


def test_a_transaction_is_for_one_statement(world: World, backend: str) -> None:
    """A view or an update of a task isn't used twice."""

    async def program() -> None:
        with opened(world) as db:
            for used in (db.update_async(), db.view_async()):
                async with used:
                    pass
                with pytest.raises(UsageError, match="make another"):
                    async with used:
                        pass

    run(backend, program)
