"""A program that forks owners of databases and kills each at a random moment.

    python killing.py FOLDER LEVEL inside|process ROUNDS SEED

To start a Python for each owner would take most of the time; this one has one thread, has imported
everything, and forks. An owner opens the database, counts in several threads while one more makes
checkpoints, closes, and begins again, until it is killed: after a number of reports, or of
microseconds. What it had reported is then looked for, by a reader that changes nothing, so that the
next owner recovers what the killed one left. Printed, as JSON: how often it was killed doing what.

With `process` the helper is a process, as always outside of tests; it is killed alone (the owner
goes on), or together with the owner, or is left behind.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import threading
import time
from collections import Counter as Tally
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cairndb.errors import CairnError
from cairndb.housekeeper import Housekeeper
from owning import HelperInside, check_beside, forked, kill, own_path, report_error
from writer import check, count_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.database import Database
    from writer import Counters

ROUNDS_PER_DATABASE = 12


class Life:
    """What an owner does from its fork until it is killed.

    Args:
        path: of the database.
        level: of durability.
        helper: who makes checkpoints.
        seed: of its choices.
        pipe: to report to.
    """

    def __init__(
        self, path: Path, level: str, helper: type[Housekeeper], seed: int, pipe: int
    ) -> None:
        self._path = path
        self._level = level
        self._helper = helper
        self._chance = random.Random(seed)  # noqa: S311  reproducible, not secret
        self._pipe = pipe
        self._counting = True

    def __call__(self) -> None:
        """Open, work and close for ever."""
        while True:
            self._say("+opening")
            db = own_path(self._path, self._level, helper=self._helper)
            with db.view() as root:
                check(root, db.lsn, {})
            self._say("-opening")
            counting = [
                self._thread(partial(self._count, db, f"t{number}"))
                for number in range(self._chance.randrange(1, 5))
            ]
            self._counting = True
            others = [self._thread(partial(self._checkpoint, db))]
            if self._helper is Housekeeper:
                others.append(self._thread(partial(self._snipe, db)))
            for thread in (*counting, *others):
                thread.start()
            for thread in counting:
                thread.join()
            self._counting = False
            for thread in others:
                thread.join()
            self._say("+closing")
            db.close()
            self._say("-closing")

    def _say(self, line: str) -> None:
        os.write(self._pipe, f"{line}\n".encode())

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=self._safely, args=(work,))

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001  the supervisor is told
            report_error(self._pipe)

    def _count(self, db: Database[Counters], key: str) -> None:
        for _ in range(self._chance.randrange(1, 40)):
            durable = self._chance.random() < 0.8
            reached = count_once(db, key, durable=durable)
            if durable:
                self._say(f"{key} {reached}")
            if self._chance.random() < 0.1:
                db.sync()
                self._say(f"={key} {reached}")

    def _checkpoint(self, db: Database[Counters]) -> None:
        while self._counting:
            self._say("+checkpoint")
            try:
                db.checkpoint()
            except CairnError as error:
                if "killed by signal 9" not in str(error):
                    raise
                self._say("~helper killed alone")
            self._say("-checkpoint")

    def _snipe(self, db: Database[Counters]) -> None:
        """Kill every other helper, somewhere in its life."""
        housekeeper = db._housekeeper
        assert housekeeper is not None
        while self._counting:
            helper = housekeeper._helper
            time.sleep(self._chance.uniform(0.001, 0.2))
            if helper is not None and self._chance.random() < 0.5:
                helper.kill()


class Reports:
    """What an owner says through a pipe; its end is the owner's.

    Args:
        pipe: read from; closed at its end.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._rest = b""
        self.ended = False
        self.lines = 0
        self.reached: dict[str, int] = {}
        self.under_way: set[str] = set()
        self.seen: set[str] = set()
        self.said: list[str] = []

    def read(self, until: float | None = None) -> bool:
        """Read what there is, waiting for it up to a time; whether there was something."""
        if until is not None:
            wait = max(0.0, until - time.monotonic())
            if not select.select([self._pipe], [], [], wait)[0]:
                return False
        data = os.read(self._pipe, 1 << 16)
        assert b"!" not in data, data.decode()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode())
        if not data:
            self.ended = True
            os.close(self._pipe)
        return bool(data)

    def _take(self, line: str) -> None:
        if line[0] == "=":
            return
        if line[0] in "+-~":
            self.seen.add(line[1:])
            self.said.append(line[1:])
            {"+": self.under_way.add, "-": self.under_way.discard}.get(line[0], id)(line[1:])
            return
        self.lines += 1
        key, count = line.split()
        self.reached[key] = max(self.reached.get(key, 0), int(count))


def kill_once(path: Path, level: str, helper: type[Housekeeper], chance: random.Random) -> Reports:
    """One round: an owner, its death, and what it leaves."""
    pipe, end = os.pipe()
    life = Life(path, level, helper, chance.randrange(1 << 30), end)
    owner = forked(life, end)
    os.close(end)
    reports = Reports(pipe)
    try:
        alone = _kill_at_random(owner, reports, helper, chance)
        check_beside(path, reports.reached)
    finally:
        # It isn't waited for before this, so nobody else can have got its number.
        kill(owner)
        kill(owner, group=True)
        os.waitpid(owner, 0)
    if alone and helper is Housekeeper and "checkpoint" in reports.under_way:
        reports.seen.add("helper left behind")
    return reports


def _kill_at_random(
    owner: int, reports: Reports, helper: type[Housekeeper], chance: random.Random
) -> bool:
    """Whether it was killed without its helper."""
    # Mostly soon: opening and its recovery take a few milliseconds.
    seconds = 10 ** chance.uniform(-3.5, -1 if helper is HelperInside else -0.3)
    after = chance.choice(("seconds", "seconds", "reports", "reports", "closing"))
    if after == "closing":
        while "closing" not in reports.under_way:
            reports.read()
        seconds = chance.uniform(0, 0.003)
    if after == "reports":
        lines = chance.randrange(60)
        while reports.lines < lines:
            reports.read()
    else:
        until = time.monotonic() + seconds
        while reports.read(until):
            pass
    alone = chance.random() < 0.5
    kill(owner, group=not alone)
    # The pipe ends when no thread of the owner can be in a system call any more.
    while reports.read():
        pass
    return alone


def main() -> None:
    """Run the rounds."""
    folder, level, helper, rounds, seed = sys.argv[1:]
    chance = random.Random(f"{level} {helper} {seed}")  # noqa: S311  reproducible, not secret
    done: Tally[str] = Tally()
    for number in range(int(rounds)):
        path = Path(folder) / f"killed{number // ROUNDS_PER_DATABASE}.cairn"
        kind = HelperInside if helper == "inside" else Housekeeper
        reports = kill_once(path, level, kind, chance)
        done["rounds"] += 1
        done["acknowledged"] += reports.lines
        done.update(f"during {what}" for what in reports.under_way or {"counting"})
        done.update(reports.seen & {"helper killed alone", "helper left behind"})
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
