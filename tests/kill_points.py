"""A program that kills an owner around each of its calls to the system, one after the other.

    python kill_points.py FOLDER LEVEL RECOVERIES SEED

The workload, in one thread, is a few owners of one database: it is created, filled over several
segments, folded into checkpoints that replace each other, closed, opened again, given up without
closing, recovered. It is run in a forked child once for each call that changes something, and the
child kills itself just before that call (which is after the one before it, with more acknowledged),
and, of writes and allocations, when half is done. Then as many recoveries as given are killed
before calls of theirs, chosen at random (0 means: one for every call), before the last one has to
find everything. Printed, as JSON: how many were killed where.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter as Tally
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cairndb.files import RealDirectory
from cairndb.publishing import create_directory
from killing import Reports
from owning import check_beside, forked, own, own_path
from writer import check, count_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cairndb.database import Database
    from cairndb.files import File
    from writer import Counters

    Life = Callable[[Path, str, "Death", Callable[[str], None]], None]

WITH_HALVES: Final = {"write", "allocate"}
# More than a recovery makes.
RECOVERY_CALLS: Final = 80


class Point(NamedTuple):
    """A call by its number, from 1 on, and whether half of it is done."""

    call: int
    half: bool = False


class Death:
    """Counts calls, and kills this process at one of them.

    Args:
        point: where.
        say: told the name of the call, just before.
    """

    def __init__(self, point: Point, say: Callable[[str], None]) -> None:
        self._point = point
        self._say = say
        self._calls = 0

    def comes(self, call: str, half: Callable[[], None] | None = None) -> None:
        """That call is about to be made; `half` does a part of it."""
        self._calls += 1
        if self._calls == self._point.call:
            self._say(f"~{call}")
            if self._point.half:
                assert half is not None
                half()
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedFile:
    """A real file whose calls that change something are counted; see `files.File`."""

    def __init__(self, real: File, death: Death) -> None:
        self._real = real
        self._death = death
        self.path = real.path
        self.read = real.read
        self.size = real.size
        self.close = real.close

    def write(self, offset: int, data: bytes) -> None:
        half = functools.partial(self._real.write, offset, data[: len(data) // 2])
        self._death.comes("write", half)
        self._real.write(offset, data)

    def sync(self) -> None:
        self._death.comes("sync")
        self._real.sync()

    def allocate(self, length: int) -> None:
        half = functools.partial(self._real.allocate, length // 2)
        self._death.comes("allocate", half)
        self._real.allocate(length)

    def truncate(self, length: int) -> None:
        self._death.comes("truncate")
        self._real.truncate(length)

    def hold(self, *, exclusive: bool) -> bool:
        self._death.comes("hold")
        return self._real.hold(exclusive=exclusive)


class DoomedDirectory:
    """A real directory whose calls that change something are counted; see `files.Directory`."""

    def __init__(self, path: Path, death: Death) -> None:
        create_directory(str(path))
        self._real = RealDirectory(str(path))
        self._death = death
        self.path = self._real.path
        self.names = self._real.names
        self.free_bytes = self._real.free_bytes
        self.close = self._real.close

    def open(self, name: str, *, write: bool = False) -> DoomedFile:
        return DoomedFile(self._real.open(name, write=write), self._death)

    def create(self, name: str) -> DoomedFile:
        self._death.comes("create")
        return DoomedFile(self._real.create(name), self._death)

    def rename(self, old: str, new: str) -> None:
        self._death.comes("rename")
        self._real.rename(old, new)

    def remove(self, name: str) -> None:
        self._death.comes("remove")
        self._real.remove(name)

    def sync(self) -> None:
        self._death.comes("directory sync")
        self._real.sync()

    def lock(self) -> bool:
        self._death.comes("lock")
        return self._real.lock()


def own_alone(path: Path, level: str, death: Death) -> Database[Counters]:
    """An owner without background work, so that the same calls come in the same order."""
    db = own(DoomedDirectory(path, death), level)
    db._engine.wake = None
    return db


def work(path: Path, level: str, death: Death, say: Callable[[str], None]) -> None:
    """Several owners, one after the other."""

    def update(updates: int, *, durable: bool = True) -> None:
        for _ in range(updates):
            reached = count_once(db, "key", durable=durable)
            if durable:
                say(f"key {reached}")

    db = own_alone(path, level, death)
    for _ in range(3):
        update(2)
        db.checkpoint()
    update(2)
    db.close()
    db = own_alone(path, level, death)
    update(2)
    update(2, durable=False)
    # Gone, as if it had been killed here: what it hadn't written is lost. Told that it is the child
    # of a fork, the object writes nothing when it is collected.
    db._engine.forked()
    db._engine.directory.close()
    db = own_alone(path, level, death)
    update(2)
    db.sync()
    update(1)
    db.checkpoint()
    db.close()


def recover(path: Path, level: str, death: Death, say: Callable[[str], None]) -> None:
    """An owner that recovers, and goes on."""
    db = own_alone(path, level, death)
    say(f"key {count_once(db, 'key')}")
    db.checkpoint()
    db.close()


def killed(life: Life, path: Path, level: str, point: Point) -> Reports:
    """Run a life in a child until it kills itself, and read what it had to say."""
    pipe, end = os.pipe()

    def say(line: str) -> None:
        os.write(end, f"{line}\n".encode())

    def child() -> None:
        life(path, level, Death(point, say), say)
        say("~end")

    owner = forked(child, end)
    os.close(end)
    reports = Reports(pipe)
    while reports.read():
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(owner, 0)[1])
    assert status == (0 if "end" in reports.seen else -signal.SIGKILL)
    return reports


def try_point(
    path: Path, level: str, point: Point, recoveries: Iterable[int], done: Tally[str]
) -> str:
    """Kill at one point, then in recoveries, and look for everything.

    Args:
        path: of no database yet.
        level: of durability.
        point: where.
        recoveries: the numbers of the calls in recoveries, killed one after the other.
        done: counts.

    Returns:
        The call; "end" if there is none of that number.
    """
    reports = killed(work, path, level, point)
    reached = reports.reached
    (call,) = reports.seen
    done["rounds"] += 1
    done[f"at {call}"] += 1
    check_beside(path, reached)
    for number in recoveries:
        again = killed(recover, path, level, Point(number))
        done["rounds"] += 1
        done["recoveries"] += 1
        reached |= again.reached
        check_beside(path, reached)
    with own_path(path, level) as db:
        with db.view() as root:
            check(root, db.lsn, reached)
        reached["last"] = count_once(db, "last")
    check_beside(path, reached)
    return call


def points(path: Path, level: str, recoveries: int, seed: str) -> Tally[str]:
    """Kill at every point; see the module."""
    chance = random.Random(f"{level} {seed}")  # noqa: S311  reproducible, not secret
    done: Tally[str] = Tally()

    def try_all(point: Point) -> str:
        call = ""
        lasts = range(1, RECOVERY_CALLS) if not recoveries else [0]
        for last in lasts:
            some = [chance.randrange(1, RECOVERY_CALLS) for _ in range(recoveries)]
            call = try_point(path, level, point, some or [last], done)
            shutil.rmtree(path, ignore_errors=True)
        return call

    number, call = 0, ""
    while call != "end":
        number += 1
        call = try_all(Point(number))
        if call in WITH_HALVES:
            try_all(Point(number, half=True))
    return done


def main() -> None:
    """Kill at every point."""
    folder, level, recoveries, seed = sys.argv[1:]
    done = points(Path(folder) / "points.cairn", level, int(recoveries), seed)
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
