"""A cancelled task has left nothing or a whole update, knows which, and holds nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
from itertools import count, product
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from cancelling import WAYS, Cancelling
from conftest import PROFILE
from simulated import World
from tasks import (
    BACKENDS,
    TINY,
    HeldSync,
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
    from collections.abc import Callable, Coroutine

    from cairndb.database import Database
    from cairndb.transaction_async import AsyncUpdate

    Holding = Callable[[Database[Root], anyio.Event, anyio.Event], Coroutine[Any, Any, None]]

each_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def world() -> World:
    """A disk."""
    return World()


@each_backend
@pytest.mark.parametrize("hold", [hold_update, hold_view])
def test_cancelled_while_it_waits_for_a_lock(world: World, backend: str, hold: Holding) -> None:
    """A task that waits for another update, or at its end for a view, leaves nothing."""

    async def program() -> None:
        with opened(world) as db:
            entered, end = anyio.Event(), anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(hold, db, entered, end)
                await entered.wait()
                update = db.update_async()
                with anyio.move_on_after(0.01) as scope:
                    async with update as root:
                        root.n = 7
                assert scope.cancelled_caught
                assert (update.lsn, update.committed) == (None, False)
                group.cancel_scope.cancel()
            assert lock_is_free(db)
            assert db.run(Root.add, 1) == 1

    run(backend, program)


@each_backend
def test_cancelled_while_it_waits_for_the_disk(world: World, backend: str) -> None:
    """The update stands, says so, and is made durable though nobody waits for it."""

    async def program() -> None:
        with opened(world) as db:
            held = HeldSync(world)
            update = db.update_async()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def cancel() -> None:
                        await until(held.entered.is_set)
                        scope.cancel()

                    group.start_soon(cancel)
                    async with update as root:
                        root.n = 7
            assert scope.cancelled_caught
            assert (update.lsn, update.committed, db.lsn) == (2, True, 2)
            assert db.durable_lsn == 1
            held.go_on.set()
            await until(lambda: db.durable_lsn == 2)

    run(backend, program)


@each_backend
def test_cancelled_in_its_block(world: World, backend: str) -> None:
    """A block that is cancelled where it awaits something is dropped."""

    async def program() -> None:
        with opened(world) as db:
            update = db.update_async()
            with anyio.move_on_after(0.01):
                async with update as root:
                    root.n = 7
                    await anyio.sleep_forever()
            assert not update.committed
            assert lock_is_free(db)
            assert db.run(Root.shown) == 0

    run(backend, program)


def test_a_timeout_of_asyncio(world: World) -> None:
    """The example of `AsyncUpdate`: after a TimeoutError the update tells what became of it."""

    async def program() -> None:
        with opened(world) as db:
            held = HeldSync(world)
            update = db.update_async()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), update as root:
                    root.n = 7
            held.go_on.set()
            assert update.committed
            await db.sync_async()
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()

    run("asyncio", program)


@each_backend
def test_rotation_is_awaited(world: World, backend: str) -> None:
    """Where the segment is full, the disk is waited for aside: other tasks go on meanwhile."""

    async def program() -> None:
        with opened(world, options=TINY) as db:
            await db.run_async(Root.fill, 1000)
            held = HeldSync(world)

            async def fill() -> None:
                await db.run_async(Root.fill, 3000)

            async with anyio.create_task_group() as group:
                group.start_soon(fill)
                await until(held.entered.is_set)
                async with db.view_async(durable=False) as root:
                    assert len(root.filling) == 1000
                assert db._engine.lock._updater is not None
                held.go_on.set()
            assert len(db._engine.store.segments) > 1
            with db.view() as root:
                assert len(root.filling) == 3000

    run(backend, program)


@each_backend
def test_a_cancelled_rotation_keeps_the_next_update_waiting(world: World, backend: str) -> None:
    """A task that is cancelled while room is made is gone at once, and can try again; in turn."""

    async def program() -> None:
        with opened(world, options=TINY) as db:
            await db.run_async(Root.fill, 1000)
            held = HeldSync(world)
            async with anyio.create_task_group() as group:
                group.start_soon(db.run_async, Root.fill, 3000)
                await until(held.entered.is_set)
                group.cancel_scope.cancel()
            assert not lock_is_free(db)
            assert not db._engine.lock.concerns_thread()
            async with anyio.create_task_group() as group:
                group.start_soon(db.run_async, Root.fill, 3000)
                await until(lambda: db._engine.lock._update_queue)
                held.go_on.set()
            assert lock_is_free(db)
            with db.view() as root:
                assert len(root.filling) == 3000

    run(backend, program)


async def left_over(db: Database[Root]) -> None:
    """An update that never ends."""
    async with db.update_async() as root:
        root.n = 7
        await asyncio.get_running_loop().create_future()


def test_what_is_left_of_a_loop_that_ended(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A task that is dropped instead of resumed lets go of its lock, and awaits nothing."""
    with opened(world) as db:
        loop = asyncio.new_event_loop()
        loop.create_task(left_over(db))  # noqa: RUF006  that nobody keeps it is the point
        loop.run_until_complete(asyncio.sleep(0))
        assert not lock_is_free(db)
        loop.close()
        del loop
        gc.collect()
        assert "destroyed but it is pending" in caplog.text
        assert lock_is_free(db)
        assert db.run(Root.add, 1) == 1


def test_a_turn_is_not_given_to_a_loop_that_ended(world: World) -> None:
    """A task that waits in a loop that is closed is passed over, and the next has its turn."""
    with opened(world) as db:
        lock, end = db._engine.lock, threading.Event()

        def hold() -> None:
            with db.update():
                end.wait()

        holding = Aside(hold)
        wait_until(lambda: lock._updater is not None)
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(add(db, 1))
        loop.run_until_complete(asyncio.sleep(0))
        following = Aside(lambda: db.run(Root.add, 2))
        wait_until(lambda: len(lock._update_queue) == 2)
        loop.close()
        end.set()
        holding.result()
        assert following.result() == 2
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]


class Race:
    """A task that is cancelled somewhere, beside others; then what is there is judged.

    Args:
        backend: that runs them.
        kinds: what each task does: an update (u), one that makes room (r), a view (v). The first
            is the one that is cancelled.
        delay: after how many turns of the loop that one begins.
        cancelling: how it is cancelled.
    """

    def __init__(self, backend: str, kinds: str, delay: int, cancelling: Cancelling) -> None:
        self.backend = backend
        self.kinds = kinds
        self.delay = delay
        self.cancelling = cancelling
        self.world = World()
        self.db = opened(self.world, options=TINY)
        self.updates: list[AsyncUpdate[Root] | None] = [None] * len(kinds)
        self.returned: set[int] = set()

    async def change(self, number: int, length: int) -> None:
        """One update; acknowledged only if it is durable."""
        update = self.updates[number] = self.db.update_async()
        async with update as root:
            before = root.n
            root.cells[str(number)] = before + 1
            root.filling += "x" * length
            await anyio.lowlevel.checkpoint()
            root.n = before + 1
        assert update.lsn is not None
        assert self.db.durable_lsn >= update.lsn, "acknowledged before it was durable"
        self.returned.add(number)

    async def look(self, number: int) -> None:
        """One view: the same from the beginning to the end, and durable at its end."""
        async with self.db.view_async() as root:
            before, shown = root.n, self.db.lsn
            await anyio.lowlevel.checkpoint()
            assert root.n == before == max([0, *root.cells.values()]), "torn"
        assert self.db.durable_lsn >= shown, "shown before it was durable"
        self.returned.add(number)

    async def act(self, number: int) -> None:
        """What a task does."""
        kind = self.kinds[number]
        if kind == "v":
            await self.look(number)
        else:
            await self.change(number, 1500 if kind == "r" else 10)

    async def struck(self) -> None:
        """The first task."""
        for _ in range(self.delay):
            await anyio.lowlevel.checkpoint()
        await self.cancelling.run(self.act(0))

    async def program(self) -> None:
        """All of them."""
        async with anyio.create_task_group() as group:
            for number in range(1, len(self.kinds)):
                group.start_soon(self.act, number)
            group.start_soon(self.struck)

    def judge(self) -> None:
        """What says it is committed is there, in memory and on disk, and nothing else is."""
        run(self.backend, self.program)
        db = self.db
        others = set(range(1, len(self.kinds)))
        assert others <= self.returned
        assert (0 in self.returned) == (not self.cancelling.cancelled)
        with db.view() as root:
            cells, n = dict(root.cells), root.n
        committed = {
            str(number): update.lsn - 1
            for number, update in enumerate(self.updates)
            if update is not None and update.lsn is not None
        }
        assert cells == committed
        assert n == len(committed) == db.lsn - 1
        assert lock_is_free(db)
        assert not db._engine.task_flusher._rooms
        db.run(Root.add, 1)
        db.close()
        with opened(self.world) as again, again.view() as root:
            assert (dict(root.cells), root.n) == (cells, n + 1)


SETS = ("u", "uu", "uuu", "uv", "uvv", "uuv", "v", "vu", "vuu", "r", "rr", "ru", "rv", "ur", "vr")
DELAYS = range(8 if PROFILE == "nightly" else 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "way"), [(backend, way) for backend in BACKENDS for way in WAYS[backend]]
)
def test_a_cancellation_at_each_await(
    backend: str, way: str, evidence: Callable[[str, int], None]
) -> None:
    """Nothing or all of it, and the task is told which; the others never notice."""
    number = 0
    for kinds, delay in product(SETS, DELAYS):
        for place in count(1):
            cancelling = Cancelling(place, way)
            Race(backend, kinds, delay, cancelling).judge()
            number += 1
            if not cancelling.reached:
                break
    assert number > 2 * len(SETS) * len(DELAYS)
    evidence("cancellations", number)
