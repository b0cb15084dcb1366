"""A program in which processes race for jobs that are files, and are killed while they do.

    python claim_racing.py FOLDER ROUNDS WORKERS FILES KILLS SEED
    python claim_racing.py FOLDER ROUNDS WORKERS FILES naive

In each round files are put into a directory, under the same names each time, and workers, forked
processes, take them until there are none. Meanwhile, KILLS times and at random moments, one of them
is killed with SIGKILL and replaced. The work is two lines at the end of a log, each of one write:
one when it begins, one when it is complete. Their order is the order in which it happened, so the
log tells exactly whether two had a job at the same time, or one after the other though the first
wasn't killed. The naive workers write one line for each job, and nobody kills them; they go on,
round after round, until a job was done twice.

Printed, as JSON: how many there were of everything.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter as Tally
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import naive_claims
from cairndb.locking import claims
from owning import forked, kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BEGIN: Final = "+"
END: Final = "-"
LINE_BYTES: Final = 32


def work(directory: Path, log: Path, worker: str) -> None:
    """Do jobs until there are none.

    Args:
        directory: of the jobs.
        log: of what was done.
        worker: the name that it is logged under.
    """
    results = os.open(log, os.O_WRONLY | os.O_APPEND)
    while any(directory.glob("job-*")):
        for job in claims(directory, attempts=20):
            with job:
                os.write(results, line(BEGIN, job.name, worker))
                os.write(results, line(END, job.name, worker))


def line(kind: str, name: str, worker: str) -> bytes:
    """A line of the log: a kill can cut off a write where a page ends, and no line goes over."""
    return f"{kind} {name} {worker}".ljust(LINE_BYTES - 1).encode() + b"\n"


def check(lines: Iterable[str], names: Iterable[str], killed: set[str]) -> Tally[str]:
    """Hold a log against what may be in it.

    Args:
        lines: of the log.
        names: of the jobs.
        killed: the workers that were.

    Returns:
        How many jobs were done again since a worker was killed after it had completed them, and
        how many were begun by one that was killed before that.
    """
    events = [tuple(text.split()) for text in lines]
    last = {worker: number for number, (_, _, worker) in enumerate(events)}
    attempts: dict[str, list[tuple[str, int]]] = defaultdict(list)
    counts = Tally({"completed again": 0, "begun again": 0})
    for number, (kind, name, worker) in enumerate(events):
        of_name = attempts[name]
        if kind == END:
            assert of_name, f"{name} was completed and not begun"
            assert of_name[-1][0] == worker, f"{name} was done by {of_name[-1][0]} and {worker}"
            of_name[-1] = (worker, number)
            continue
        if of_name:
            before, then = of_name[-1]
            assert before in killed, f"{name} was begun by {worker}, and {before} had it"
            assert last[before] == then, f"{before} went on after it had left {name}"
            counts["completed again" if events[then][0] == END else "begun again"] += 1
        of_name.append((worker, number))
    assert set(attempts) == set(names), "jobs that nobody did"
    for name, of_name in attempts.items():
        assert events[of_name[-1][1]][0] == END, f"{name} was never completed"
    return counts


class Race:
    """One round: the jobs, the log, and those who are at it.

    Args:
        folder: for the jobs and the log.
        files: how many.
        life: of a worker: directory, log, its name.
    """

    def __init__(self, folder: Path, files: int, life: Callable[[Path, Path, str], None]) -> None:
        self._jobs, self._log = folder / "jobs", folder / "log"
        self.names = [f"job-{number:05}" for number in range(files)]
        self._life = life
        self._running: list[tuple[int, str]] = []
        self._started = 0
        self.killed: set[str] = set()
        self._errors, self._report = os.pipe()
        self._jobs.mkdir(exist_ok=True)
        for name in self.names:
            (self._jobs / name).touch()
        self._log.write_bytes(b"")

    def start(self) -> None:
        """One more worker."""
        self._started += 1
        name = f"worker{self._started}"
        process = forked(lambda: self._life(self._jobs, self._log, name), self._report)
        self._running.append((process, name))

    def kill(self, chance: random.Random) -> None:
        """Kill one, unless it is done, and start another."""
        process, name = self._running.pop(chance.randrange(len(self._running)))
        kill(process)
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status):
            self.killed.add(name)
        self.start()

    def wait_until(self, done: float, chance: random.Random) -> None:
        """Until that part of the log is there; some more, so that it can be anywhere in a job."""
        size = done * 2 * LINE_BYTES * len(self.names)
        while self._log.stat().st_size < size and any(self._jobs.glob("job-*")):
            time.sleep(chance.random() / 1000)

    def finish(self) -> list[str]:
        """Wait for all; the lines of the log."""
        for process, _ in self._running:
            _, status = os.waitpid(process, 0)
            assert status == 0, os.read(self._errors, 1 << 16).decode()
        os.close(self._errors)
        os.close(self._report)
        return self._log.read_text("ascii").splitlines()


def careful(
    folder: Path, workers: int, files: int, kills: int, chance: random.Random
) -> Tally[str]:
    """A round of `claims`."""
    race = Race(folder, files, work)
    for _ in range(workers):
        race.start()
    for done in sorted(chance.random() for _ in range(kills)):
        race.wait_until(done, chance)
        race.kill(chance)
    counts = check(race.finish(), race.names, race.killed)
    assert not (folder / "jobs" / "dead-letters").exists()
    counts.update(jobs=files, kills=len(race.killed))
    return counts


def naive(folder: Path, workers: int, files: int) -> Tally[str]:
    """A round of the naive protocol."""
    race = Race(folder, files, lambda jobs, log, _: naive_claims.work(str(jobs), str(log)))
    for _ in range(workers):
        race.start()
    done = Tally(race.finish())
    assert set(done) == set(race.names)
    return Tally(jobs=files, twice=done.total() - files)


def main(folder: str, rounds: str, *rest: str) -> None:
    """See the head of this file."""
    workers, files, kills, seed = (*rest, "")[:4]
    counts: Tally[str] = Tally(rounds=0)
    started = time.monotonic()
    chance = random.Random(seed)  # noqa: S311  reproducible, not secret
    for _ in range(int(rounds)):
        counts["rounds"] += 1
        if kills == "naive":
            counts.update(naive(Path(folder), int(workers), int(files)))
            if counts["twice"]:
                break
        else:
            counts.update(careful(Path(folder), int(workers), int(files), int(kills), chance))
    counts["milliseconds"] = int(1000 * (time.monotonic() - started))
    print(json.dumps(counts))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
