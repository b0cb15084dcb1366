"""Tasks beside threads: who waits for whom, and what is refused so that nobody waits for ever."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from cairndb.errors import LockTimeout, UsageError
from simulated import World
from tasks import (
    BACKENDS,
    Root,
    add,
    hold_update,
    hold_view,
    lock_is_free,
    opened,
    run,
    until,
)
from threads import Aside, wait_until

if TYPE_CHECKING:
    from cairndb.database import Database

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def world() -> World:
    """A disk."""
    return World()


def test_blocks_inside_each_other(world: World, backend: str) -> None:
    """A task's view in its own update or view is granted, awaited or not; an update never is."""

    async def program() -> None:
        with opened(world) as db:
            async with db.update_async() as root:
                root.n = 1
                async with db.view_async() as before:
                    assert before.n == 0
                with db.view() as before:
                    assert before.n == 0
                with pytest.raises(UsageError, match="already running"):
                    await add(db, 1)
                with pytest.raises(UsageError, match="already running"):
                    db.run(Root.add, 1)
            with db.view() as outer:
                assert outer.n == 1
                with pytest.raises(UsageError, match="a view of this database is open"):
                    await add(db, 1)
            async with db.view_async():
                with pytest.raises(UsageError, match="a view of this database is open"):
                    await add(db, 1)
            update, view = db.update_async(), db.view_async()
            root = await update.__aenter__()
            root.n = 2
            await view.__aenter__()
            with pytest.raises(UsageError, match="still open"):
                await update.__aexit__(None, None, None)
            await view.__aexit__(None, None, None)
            assert not update.committed
            assert lock_is_free(db)

    run(backend, program)


def test_a_block_of_the_thread_around_the_loop(world: World, backend: str) -> None:
    """A task would wait for ever for a block that its whole loop is inside of: it is refused."""
    with opened(world) as db:

        async def program() -> None:
            async with db.view_async() as root:
                assert root.n == 0
            with pytest.raises(UsageError):
                await add(db, 1)

        with db.view():
            run(backend, program)
        with db.update():
            run(backend, program)


def test_a_blocking_call_never_waits_for_its_own_loop(world: World, backend: str) -> None:
    """Where a task of the same thread is inside a block, blocking calls say what to write."""

    async def refused(db: Database[Root]) -> None:
        update, backup = partial(db.run, Root.add, 1), partial(db.backup, "x")
        for call in (update, backup, db.sync, db.checkpoint, db.close):
            with pytest.raises(UsageError, match=r"await instead.*async with"):
                call()
        with db.view() as root:
            assert root.n == 0

    async def program() -> None:
        with opened(world) as db:
            for hold in (hold_update, hold_view):
                entered, end = anyio.Event(), anyio.Event()
                async with anyio.create_task_group() as group:
                    group.start_soon(hold, db, entered, end)
                    await entered.wait()
                    await refused(db)
                    group.cancel_scope.cancel()
            assert lock_is_free(db)

    run(backend, program)


def test_a_blocking_update_never_waits_behind_a_task_of_its_thread(
    world: World, backend: str
) -> None:
    """Behind a task of its own thread, in the queue, a blocking update would wait for ever."""

    async def program() -> None:
        with opened(world) as db:
            end = anyio.Event()

            def other() -> None:
                with db.update():
                    anyio.from_thread.run(end.wait)

            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, other)
                await until(lambda: db._engine.lock._updater is not None)
                group.start_soon(add, db, 1)
                await until(lambda: db._engine.lock._update_queue)
                with pytest.raises(UsageError, match="await instead"):
                    db.run(Root.add, 1)
                end.set()
            assert db.run(Root.shown) == 1

    run(backend, program)


def test_a_blocking_view_is_let_in_while_its_loop_waits_to_apply(
    world: World, backend: str
) -> None:
    """An update that awaits the end of a view doesn't hold back views of its own thread."""

    async def program() -> None:
        with opened(world) as db:
            entered, end = anyio.Event(), anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(hold_view, db, entered, end)
                await entered.wait()
                group.start_soon(add, db, 1)
                for _ in range(3):
                    await until(lambda: db._engine.lock.barrier)
                    with db.view(timeout=0.0) as root:
                        assert root.n == 0
                    await anyio.sleep(0.01)
                end.set()
            assert db.run(Root.shown) == 1

    run(backend, program)


def test_waiting_for_a_thread_that_waits_for_this_task(world: World, backend: str) -> None:
    """A task that awaits a thread's update inside its own block waits until the timeout."""

    def update(db: Database[Root]) -> None:
        with db.update(timeout=0.01) as root:
            root.n += 1

    async def program() -> None:
        with opened(world) as db:
            async with db.update_async():
                with pytest.raises(LockTimeout):
                    await anyio.to_thread.run_sync(update, db)
            await anyio.to_thread.run_sync(update, db)
            assert db.run(Root.shown) == 1

    run(backend, program)


def test_loops_of_several_threads(world: World, backend: str) -> None:
    """Each loop is woken for its own tasks, also of the two libraries beside each other."""
    with opened(world) as db:

        async def program() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(add, db, 1)

        other = "trio" if backend == "asyncio" else "asyncio"
        loops = [Aside(lambda each=each: run(each, program)) for each in (backend, other) * 2]  # type: ignore[misc]
        for loop in loops:
            loop.result()
        assert db.run(Root.shown) == 80
        wait_until(lambda: not db._engine.task_flusher._rooms)


def test_tasks_only(world: World, backend: str) -> None:
    """Without a task that runs, the error says what to write in a thread."""
    del backend
    with opened(world) as db, pytest.raises(UsageError, match=r"with db\.update"):
        add(db, 1).send(None)
