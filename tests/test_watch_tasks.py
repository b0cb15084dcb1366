"""`async for change in db.watch_async(...)`: the items of a watch, for tasks of either library."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

import cairndb
from cairndb.errors import UnknownPosition, UsageError
from tasks import BACKENDS, Root, run, until

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.database import Database

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database is made."""
    return tmp_path / "x.cairn"


def threads() -> int:
    """How many threads fetch items."""
    return sum("watch_async" in thread.name for thread in threading.enumerate())


async def add(db: Database[Root], *numbers: int) -> None:
    """An update each."""
    for number in numbers:
        await db.run_async(Root.add, number)


def test_items_come_as_updates_are_committed(path: Path, backend: str) -> None:
    """In order, each once, while other tasks of the loop go on."""

    async def program() -> list[object]:
        seen: list[object] = []
        async with (
            cairndb.open(path, Root) as db,
            anyio.create_task_group() as group,
            db.watch_async("/n") as watch,
        ):
            group.start_soon(add, db, 1, 2, 3)
            async for change in watch:
                seen.append(change.changes[0].after)
                if len(seen) == 3:
                    break
            assert watch.position == change.position
        return seen

    assert run(backend, program) == [1, 3, 6]
    assert threads() == 0


def test_a_block_begins_the_watch(path: Path, backend: str) -> None:
    """What is updated between its start and the first question is given."""

    async def program() -> list[int]:
        async with cairndb.open(path, Root) as db, db.watch_async("/n", timeout=0) as watch:
            await add(db, 1)
            return [change.lsn async for change in watch]

    assert run(backend, program) == [2]


def test_a_block_that_cant_begin_raises(path: Path, backend: str) -> None:
    """Where it was to go on isn't there: the block isn't entered, and no thread is left."""

    async def program() -> None:
        async with cairndb.open(path, Root) as db:
            with pytest.raises(UnknownPosition):
                async with db.watch_async("/n", since=99):
                    pytest.fail("the block was entered")

    run(backend, program)
    assert threads() == 0


def test_more_items_than_are_fetched_ahead(path: Path, backend: str) -> None:
    """The thread waits for the task, and goes on when items are taken."""

    async def program() -> list[int]:
        async with cairndb.open(path, Root, durability="process") as db:
            await add(db, *[1] * 300)
            return [change.lsn async for change in db.watch_async("/n", since=1, timeout=0)]

    assert run(backend, program) == list(range(2, 302))


def test_a_timeout_ends_the_iteration(path: Path, backend: str) -> None:
    """Zero seconds: when all that is there by now has come, the initial state among it."""

    async def program() -> list[str]:
        async with cairndb.open(path, Root) as db:
            nothing = [change async for change in db.watch_async("/n", timeout=0.01)]
            assert nothing == []
            watch = db.watch_async("/n", initial=True, timeout=0)
            return [change.kind async for change in watch]

    assert run(backend, program) == ["initial"]


def test_a_cancelled_wait_loses_nothing(path: Path, backend: str) -> None:
    """What comes after it is the next item."""

    async def program() -> list[int]:
        async with cairndb.open(path, Root) as db, db.watch_async("/n") as watch:
            with anyio.move_on_after(0.01):
                await anext(watch)
            await add(db, 1, 2)
            return [(await anext(watch)).lsn, (await anext(watch)).lsn]

    assert run(backend, program) == [2, 3]


def test_the_end_of_the_database_ends_the_wait_with_its_error(path: Path, backend: str) -> None:
    """As for every call."""

    async def program() -> None:
        db = cairndb.open(path, Root)
        caught: list[BaseException] = []

        async def wait() -> None:
            try:
                async for _ in db.watch_async("/n"):
                    pass
            except UsageError as error:
                caught.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await until(lambda: threads() == 1)
            await db.close_async()
        assert "has been closed" in str(caught[0])

    run(backend, program)


def test_a_watch_that_is_dropped_leaves_no_thread(path: Path, backend: str) -> None:
    """Also without `aclose`."""

    async def program() -> None:
        async with cairndb.open(path, Root) as db:
            async for change in db.watch_async("/n", initial=True):
                assert change.kind == "initial"
                break
            gc.collect()
            await until(lambda: threads() == 0)
            assert db.stats()["watches"] == 0

    run(backend, program)


def test_what_cant_be_watched_says_so(path: Path, backend: str) -> None:
    """In a block of the database, or with a pattern that nothing can match."""

    async def program() -> None:
        async with cairndb.open(path, Root) as db:
            async with db.view_async():
                with pytest.raises(UsageError, match="end the block first"):
                    db.watch_async("/n")
            with pytest.raises(UsageError, match="/nothing"):
                async for _ in db.watch_async("/nothing"):
                    pass

    run(backend, program)
