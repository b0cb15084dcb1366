"""Watches that nobody holds any more, ended by Python's collector, wherever that strikes."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from serving import opened
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cairndb import Database


def abandoned_by_a_thread(db: Database[Any]) -> None:
    """A watch in a cycle that only the collector finds."""
    cycle: list[object] = [db.watch("/notes")]
    cycle.append(cycle)


def cut_off_in_a_task(db: Database[Any]) -> None:
    """The same of a task's, which was cancelled, so that it has been ended already."""

    async def follow(begun: asyncio.Event) -> None:
        watch = db.watch_async("/notes")
        cycle: list[object] = [watch]
        cycle.append(cycle)
        async with watch:
            begun.set()
            await asyncio.Event().wait()

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(follow(begun))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


@pytest.mark.parametrize("abandon", [abandoned_by_a_thread, cut_off_in_a_task])
def test_the_collector_may_end_a_watch_anywhere(
    tmp_path: Path, abandon: Callable[[Database[Any]], None]
) -> None:
    """Also where something is made while the mutex of all watches is held."""
    with opened(tmp_path) as db:
        gc.collect()
        gc.disable()
        try:
            abandon(db)

            def collect() -> int:
                with db._hub._mutex:
                    return gc.collect()

            assert Aside(collect).result() > 0
        finally:
            gc.enable()
        wait_until(lambda: db.stats()["watches"] == 0)
