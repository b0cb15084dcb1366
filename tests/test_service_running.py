"""Where handlers run, and when their answers may leave."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cairndb.errors import DatabaseFailed
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.server.running import QUICK_SECONDS, Promises, Runner
from cairndb.service import Answer, Request, Service
from cairndb.service_access import EVERYTHING
from cairndb.transaction import Update
from serving import Bank, opened, value
from simulated import SimulatedDirectory, World
from threads import LIMIT_SECONDS, Aside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def in_loop(work: Callable[[asyncio.AbstractEventLoop], Awaitable[None]]) -> None:
    """Run a coroutine, but not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            await work(asyncio.get_running_loop())

    asyncio.run(limited())


async def answered(runner: Runner, target: str, data: str = "") -> Answer:
    """The answer to a request."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()
    request = Request("run", target, "json", data.encode(), grant=EVERYTHING)
    runner.submit(request, future.set_result)
    return await future


def test_a_quick_method_runs_where_it_was_asked_for(tmp_path: Path) -> None:
    """The answer is there before `submit` returns, without a thread."""
    with opened(tmp_path) as db:

        async def work(loop: asyncio.AbstractEventLoop) -> None:
            runner = Runner(Service(db, Bank).handle, loop)
            answers: list[Answer] = []
            runner.submit(Request("run", "total", grant=EVERYTHING), answers.append)
            assert [value(answer) for answer in answers] == [100]
            runner.close()

        in_loop(work)


def test_names_that_are_no_methods_are_not_remembered(tmp_path: Path) -> None:
    """However many of them are sent; those of methods are, also of one that raised."""
    with opened(tmp_path) as db:

        async def work(loop: asyncio.AbstractEventLoop) -> None:
            runner = Runner(Service(db, Bank).handle, loop)
            for number in range(10):
                assert (await answered(runner, f"nothing {number}")).error is not None
            assert (await answered(runner, "transfer", '["alice", "zoe", 1]')).error is not None
            await answered(runner, "total")
            assert set(runner.expected_seconds) == {"transfer", "total"}
            runner.close()

        in_loop(work)


def test_a_method_that_takes_long_runs_in_a_thread() -> None:
    """Once it has turned out to be slow, the loop goes on; once it is quick again, it doesn't."""
    threads: list[int] = []
    go_on = threading.Event()
    seconds = 2 * QUICK_SECONDS

    def handler(_: Request) -> Answer:
        threads.append(threading.get_ident())
        go_on.wait(seconds)
        return Answer(value="done")

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        runner = Runner(handler, loop)
        await answered(runner, "slow")
        await answered(runner, "slow")
        go_on.set()  # from here on it takes no time
        while threads[-1] != threads[0]:
            await answered(runner, "slow")
        runner.close()

    in_loop(work)
    assert threads[0] == threading.get_ident()
    assert threads[1] != threads[0]


def test_who_would_wait_for_a_lock_waits_in_a_thread(tmp_path: Path) -> None:
    """An update that another thread holds up doesn't hold up the loop."""
    with opened(tmp_path) as db:

        async def work(loop: asyncio.AbstractEventLoop) -> None:
            runner = Runner(Service(db, Bank).handle, loop)
            entered, leave = threading.Event(), threading.Event()

            def hold() -> None:
                with db.update():
                    entered.set()
                    leave.wait(LIMIT_SECONDS)

            holder = Aside(hold)
            await asyncio.to_thread(entered.wait)
            update = asyncio.ensure_future(answered(runner, "add_note", '["x"]'))
            assert value(await answered(runner, "total")) == 100
            assert not update.done()
            leave.set()
            assert value(await update) == 1
            await asyncio.to_thread(holder.result)
            runner.close()

        in_loop(work)


def test_an_applications_own_task_may_hold_the_update_lock(tmp_path: Path) -> None:
    """A task of the same loop that is in an update is waited for, and no deadlock."""
    with opened(tmp_path) as db:

        async def work(loop: asyncio.AbstractEventLoop) -> None:
            runner = Runner(Service(db, Bank).handle, loop)
            async with db.update_async() as bank:
                bank.notes.append("mine")
                update = asyncio.ensure_future(answered(runner, "add_note", '["x"]'))
                await asyncio.sleep(0)
                assert not update.done()
            assert value(await update) == 2
            runner.close()

        in_loop(work)


def test_what_a_handler_raises_is_an_answer() -> None:
    """Nothing that middleware raises escapes into the loop."""

    def handler(_: Request) -> Answer:
        raise ZeroDivisionError

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        runner = Runner(handler, loop)
        assert isinstance((await answered(runner, "any")).error, ZeroDivisionError)
        runner.close()

    in_loop(work)


class HeldDisk:
    """A database whose syncs don't return until they are let go."""

    def __init__(self) -> None:
        self.world = World()
        directory = SimulatedDirectory(self.world)
        kind = compile_root(dict[str, int], guard=True)
        self.engine = own(directory, kind, create=True).engine
        self.syncs = 0
        self.go_on = threading.Event()
        self.world.observe = self.hold

    def hold(self, what: str) -> None:
        """Wait, at a sync."""
        if what == "sync":
            self.syncs += 1
            self.go_on.wait(LIMIT_SECONDS)

    def put(self, number: int) -> int:
        """One update, not waited for; its LSN."""
        with Update[Any](self.engine, None, durable=False) as root:
            root["n"] = number
        return self.engine.applied_lsn


def test_answers_are_held_back_until_they_are_promised() -> None:
    """None leaves while the sync is under way; then all that it covers do, and share it."""
    disk = HeldDisk()

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        promises = Promises(disk.engine, loop)
        left: list[int] = []
        all_left = asyncio.Event()

        def leave(lsn: int) -> None:
            assert promises.allow(lsn)
            left.append(lsn)
            if len(left) == 3:
                all_left.set()

        for lsn in [disk.put(number) for number in range(3)]:
            assert not promises.allow(lsn)
            promises.when(lsn, partial(leave, lsn))
        await asyncio.sleep(0)
        assert left == []
        disk.go_on.set()
        await all_left.wait()
        assert left == [2, 3, 4]
        assert disk.syncs == 1

    in_loop(work)
    disk.engine.close()


def test_when_the_disk_fails_all_who_wait_are_told() -> None:
    """A failed sync ends every wait, with the reason that the outcome is unknown."""
    disk = HeldDisk()

    def fail(what: str) -> None:
        if what == "sync":
            raise OSError(5, "Input/output error")

    disk.world.observe = fail

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        promises = Promises(disk.engine, loop)
        told = asyncio.Event()
        promises.when(disk.put(1), told.set)
        await told.wait()
        assert isinstance(promises.failure, DatabaseFailed)

    in_loop(work)
    with pytest.raises(DatabaseFailed):
        disk.engine.check_usable()
    disk.engine.close()
