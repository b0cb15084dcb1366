"""A program in which processes race for a database, round after round.

    python racing.py FOLDER ROUNDS SEED

There are at least ROUNDS, and until somebody was the owner in half as many. In each some forked
processes open the same directory at the same moment, by its path, a symbolic link or a relative
path, waiting for each other or not. Meanwhile the LOCK file is removed or replaced, and the
directory renamed and another put in its place. Who becomes the owner updates, and then closes, or
stays until it is killed, having perhaps forked, or started a process that stays longer, or becomes
another program.

What shows two owners doesn't depend on how ownership works: each takes a POSIX record lock on a
file beside the database, and reports its epoch through a pipe that all share.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter as Tally
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cairndb.errors import DatabaseLocked, UsageError
from cairndb.files import RealDirectory
from killing import Reports
from owning import check_beside, forked, kill, own, own_path
from writer import check, count_once

if TYPE_CHECKING:
    from cairndb.database import Database
    from writer import Counters

RACERS: Final = 4
NAMES: Final = ("raced.cairn", "other.cairn")
ENDS: Final = ("close", "close", "stay", "fork", "spawn", "posix_spawn", "exec")
LONG: Final = ("/bin/sleep", "60")


class Racer:
    """A process that opens a database, and what it does as its owner.

    Args:
        folder: of the databases.
        name: that it counts under.
        seed: of its choices.
        pipe: to report to.
    """

    def __init__(self, folder: Path, name: str, seed: int, pipe: int) -> None:
        self._folder = folder
        self._name = name
        self._chance = random.Random(seed)  # noqa: S311  reproducible, not secret
        self._pipe = pipe
        # Opened before the database, since a process that ends closes its files in this order: or
        # the next owner would find the mark still taken.
        self._marks = {
            int(path.suffix[1:]): os.open(path, os.O_RDWR) for path in folder.glob("mark.*")
        }

    def __call__(self) -> None:
        """Open, once."""
        os.chdir(self._folder)
        way = self._chance.choice((str(self._folder / NAMES[0]), NAMES[0], "link"))
        timeout = self._chance.choice((None, 0.0, 0.5, 0.5))
        try:
            directory = RealDirectory(way)
        except FileNotFoundError:  # between two renamings
            self._say("~missed")
            return
        inode = os.fstat(directory.number).st_ino
        try:
            db = own(directory, lock_timeout=timeout)
        except DatabaseLocked:
            self._say("~refused")
            return
        try:
            fcntl.lockf(self._marks[inode], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AssertionError("two owners at the same moment") from error
        with db.view() as root:
            check(root, db.lsn, {})
        key = f"{inode}.{self._name}"
        for _ in range(self._chance.randrange(1, 4)):
            self._say(f"{key} {count_once(db, key)}")
        if self._chance.random() < 0.3:
            db.checkpoint()
        self._say(f"~owner {inode} {db._engine.store._epoch}")
        self._end(db, key, self._marks[inode])

    def _end(self, db: Database[Counters], key: str, mark: int) -> None:
        end = self._chance.choice(ENDS)
        self._say(f"~{end}")
        if end == "close":
            fcntl.lockf(mark, fcntl.LOCK_UN)
            db.close()
            return
        if end == "fork" and not os.fork():
            self._stay_behind(db)
        elif end == "spawn":
            subprocess.Popen(LONG)
        elif end == "posix_spawn":
            os.posix_spawn(LONG[0], LONG, {})
        elif end == "exec":
            os.execv(LONG[0], LONG)  # noqa: S606  no shell is wanted
        while True:
            self._say(f"{key} {count_once(db, key)}")
            time.sleep(0.001)

    def _stay_behind(self, db: Database[Counters]) -> None:
        try:
            with db.update():
                os._exit(1)
        except UsageError:
            self._say("~forked child refused")
        os.close(self._pipe)
        while True:
            time.sleep(60)

    def _say(self, line: str) -> None:
        os.write(self._pipe, f"{line}\n".encode())


def inode_of(path: Path) -> int:
    """What stays the same when a directory is renamed."""
    return path.stat().st_ino


def replace_lock(folder: Path, chance: random.Random) -> None:
    """Remove the LOCK file, and perhaps put something else there."""
    lock = folder / NAMES[0] / "LOCK"
    with contextlib.suppress(OSError):
        if lock.is_dir() and not lock.is_symlink():
            lock.rmdir()
        else:
            lock.unlink()
    what = chance.choice(("nothing", "file", "directory", "link", "link to nothing"))
    with contextlib.suppress(OSError):
        if what == "file":
            lock.write_bytes(b"somebody else\n")
        elif what == "directory":
            lock.mkdir()
        elif what.startswith("link"):
            lock.symlink_to("DATABASE" if what == "link" else "nowhere")


def exchange(folder: Path) -> None:
    """Rename the database, and put the other one where it was."""
    one, other = (folder / name for name in NAMES)
    one.rename(folder / "away")
    other.rename(one)
    (folder / "away").rename(other)


def start(folder: Path, chance: random.Random) -> tuple[list[int], int]:
    """Fork the racers, and let them go at the same moment.

    Returns:
        Their process ids, and the pipe that they report to.
    """
    pipe, end = os.pipe()
    gate, opener = os.pipe()
    racers = []
    for number in range(RACERS):
        seed = chance.randrange(1 << 30)

        def race(number: int = number, seed: int = seed) -> None:
            os.close(opener)
            racer = Racer(folder, f"racer{number}", seed, end)
            os.read(gate, 1)
            racer()

        racers.append(forked(race, end))
    for descriptor in (end, gate, opener):
        os.close(descriptor)
    return racers, pipe


def race_once(folder: Path, chance: random.Random, reached: dict[str, int]) -> Reports:
    """One round, until all racers are gone.

    Args:
        folder: of the databases.
        chance: for all choices.
        reached: what was acknowledged, by key, in all rounds; added to.
    """
    racers, pipe = start(folder, chance)
    reports = Reports(pipe)
    try:
        left = list(racers)
        while not reports.ended:
            reports.read(time.monotonic() + chance.uniform(0, 0.002))
            if chance.random() < 0.3:
                replace_lock(folder, chance)
            if chance.random() < 0.1:
                exchange(folder)
            if left and chance.random() < 0.1:
                kill(left.pop(chance.randrange(len(left))))
        reached |= reports.reached
        for name in NAMES:
            # Free, though children of dead owners are alive.
            own_path(folder / name, lock_timeout=5).close()
            inode = f"{inode_of(folder / name)}."
            mine = {key: count for key, count in reached.items() if key.startswith(inode)}
            check_beside(folder / name, mine)
    finally:
        for racer in racers:
            kill(racer)
            kill(racer, group=True)
            os.waitpid(racer, 0)
    return reports


def check_epochs(said: list[str], last: dict[str, int]) -> None:
    """Each owner of a database has a larger epoch than all before it.

    Args:
        said: what the racers of a round said.
        last: the largest epochs by directory; brought up to date.
    """
    for line in said:
        if line.startswith("owner "):
            _, inode, epoch = line.split()
            assert int(epoch) > last.get(inode, 0), said
            last[inode] = int(epoch)


def main() -> None:
    """Run the rounds."""
    folder, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    chance = random.Random(seed)  # noqa: S311  reproducible, not secret
    for name in NAMES:
        own_path(folder / name).close()
        (folder / f"mark.{inode_of(folder / name)}").touch()
    (folder / "link").symlink_to(NAMES[0])
    done: Tally[str] = Tally()
    reached: dict[str, int] = {}
    last: dict[str, int] = {}
    # On a slow machine many are killed before they are owners: more rounds, until half as many have
    # had one as there were to be rounds.
    while done["rounds"] < rounds or done["owner"] <= rounds // 2:
        assert done["rounds"] < 10 * rounds, "nobody becomes the owner"
        reports = race_once(folder, chance, reached)
        check_epochs(reports.said, last)
        done["rounds"] += 1
        done["acknowledged"] += reports.lines
        done.update(line.split()[0] if "owner" in line else line for line in reports.said)
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
