"""The trail permits of the examples: never oversold, and nobody who waits is missed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from test_job_queue import EXAMPLES, loaded

if TYPE_CHECKING:
    from pathlib import Path

permits = loaded("trail_permits")
Area: Any = permits.Area
NOW = datetime(2027, 6, 1, tzinfo=UTC)
DAY = date(2027, 7, 1)


def opened(path: Path) -> cairndb.Database[Any]:
    """An area with one trailhead of ten places a day."""
    db = cairndb.open(path / "permits.cairn", Area)
    with db.update() as area:
        area.trailheads = {"lakes": permits.Trailhead(10)}
    return db


def sold(db: cairndb.Database[Any]) -> int:
    """How many places are held or confirmed."""
    with db.view() as area:
        day = area.trailheads["lakes"].days[DAY]
        assert day.free() >= 0
        assert len(area.by_number) == len(set(area.by_number.keys())) == len(day.permits)
        return 10 - int(day.free())


def test_sixty_four_tasks_are_never_sold_too_much(tmp_path: Path) -> None:
    """Ten get a place at once, the others wait; who waits gets what others give back, in order."""

    async def program() -> None:
        with opened(tmp_path) as db:
            desk = asyncio.create_task(permits.serve_waiting(db, NOW, None))
            asked = (db.run_async(Area.ask, "lakes", DAY, f"party {i}", 1, NOW) for i in range(64))
            numbers = await asyncio.gather(*asked)
            assert sorted(n for n in numbers if n is not None) == list(range(1, 11))
            assert sold(db) == 10
            for number in range(1, 11):
                await db.run_async(Area.cancel, number)
            desk.cancel()
            await permits.serve_waiting(db, NOW, 0)
            assert sold(db) == 10
            with db.view() as area:
                served = [p.party for p in sorted(area.by_number, key=lambda p: int(p.number))]
                waited = [f"party {i}" for i, n in enumerate(numbers) if n is None]
                assert served == waited[:10]

    asyncio.run(program())


def test_sixteen_threads_are_never_sold_too_much(tmp_path: Path) -> None:
    """The same for threads, each with several parties of several people."""
    with opened(tmp_path) as db:

        def ask(first: int) -> None:
            for i in range(first, first + 4):
                db.run(Area.ask, "lakes", DAY, f"party {i}", 1 + i % 3, NOW)

        threads = [threading.Thread(target=ask, args=(i * 4,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 8 <= sold(db) <= 10


def test_holds_expire_unless_they_are_confirmed(tmp_path: Path) -> None:
    """A hold that has ended can't be confirmed; its places go to who waits, after reopening too."""
    with opened(tmp_path) as db:
        first = db.run(Area.ask, "lakes", DAY, "first", 6, NOW)
        second = db.run(Area.ask, "lakes", DAY, "second", 4, NOW)
        assert db.run(Area.ask, "lakes", DAY, "third", 6, NOW) is None
        assert db.run(Area.confirm, second, NOW)
        later = NOW + permits.HOLD
        assert not db.run(Area.confirm, first, later)
        db.run(Area.expire, later)
    with cairndb.open(tmp_path / "permits.cairn", Area) as db:
        asyncio.run(permits.serve_waiting(db, later, 0))
        assert sold(db) == 10
        with db.view() as area:
            assert [permit.party for permit in area.by_day[DAY]] == ["second", "third"]
        assert db.run(Area.confirm, 3, later + timedelta(minutes=29))


def test_the_desk_serves_while_it_watches(tmp_path: Path) -> None:
    """The only permit of a day is given back, and who waits has it without being asked for."""

    async def program() -> None:
        with opened(tmp_path) as db:
            assert await db.run_async(Area.ask, "lakes", DAY, "first", 10, NOW) == 1
            assert await db.run_async(Area.ask, "lakes", DAY, "second", 10, NOW) is None
            desk = asyncio.create_task(permits.serve_waiting(db, NOW, None))
            async with asyncio.timeout(30), db.watch_async(permits.PERMITS) as watch:
                await db.run_async(Area.cancel, 1)
                async for change in watch:
                    if change.changes[-1].kind == "added":
                        break
            assert change.changes[-1].after.party == "second"
            desk.cancel()

    asyncio.run(program())


def test_a_place_cant_be_sold_twice_by_a_bug(tmp_path: Path) -> None:
    """What the program must not do, the check and the unique number reject."""
    with opened(tmp_path) as db:
        db.run(Area.ask, "lakes", DAY, "first", 8, NOW)
        for number, people, reason in ((7, 3, "never_oversold"), (1, 1, "is unique")):
            update = db.update()
            permit = permits.Permit(number, "lakes", DAY, "x", people, NOW)
            area = update.__enter__()
            area.trailheads["lakes"].days[DAY].permits["x"] = permit
            with pytest.raises(cairndb.ConstraintError, match=reason):
                update.__exit__(None, None, None)
        assert sold(db) == 8


@pytest.mark.process
def test_a_season_runs_as_a_script(tmp_path: Path) -> None:
    """It says how many come: no more than there are places."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "trail_permits.py"), str(tmp_path / "permits.cairn")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < int(done.stdout.split()[-3]) <= 5 * (25 + 12)
