"""Whether a database that is updated at full speed opens as quickly as it says, killed at any time.

Each setting (size of the state, durability, threads) is a series of lives of one database. In each
life a process of its own opens it, says how long that took, and updates one field of one record
after the other, as fast as it can, until it is killed at a random moment (seeded). What
`db.stats()` predicted last is held against the time that the next opening takes. Opening is the
call of `cairndb.open`, without the start of Python.

Where the share of a processor that an opening got is far below 1, others were at work on the
machine, or the disk was waited for: what `stats()` predicts is for a machine that is free.

Latencies are those of whole updates, in the same lives: beside a checkpoint that is being made, and
without one. An interval of twenty milliseconds in which one begins or ends counts as beside it.
"""

import argparse
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import machine

import cairndb

TICK_SECONDS = 0.02
BATCH = 10_000
# Latencies are counted by the sixteenth of a factor of e, from a microsecond on.
STEPS = 16
BUCKETS = STEPS * 18


class Item(cairndb.Record):
    """A record as there are many."""

    name: str
    owner: str = "nobody in particular"
    count: int = 0
    tags: list[str] = []


class Stock(cairndb.Record):
    """The root."""

    items: dict[str, Item] = {}


def key_of(number: int) -> str:
    """The key of a record."""
    return f"item-{number:07}"


@dataclass
class Life:
    """What a process counts while it updates, and says to a file until it is killed."""

    db: cairndb.Database[Stock]
    records: int
    pending: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    without: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    beside: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def update(self, seed: int) -> None:
        """Update for ever."""
        draw = random.Random(seed).randrange  # noqa: S311  not a secret
        clock, log = time.perf_counter, math.log
        keys = [key_of(number) for number in range(self.records)]
        while True:
            key = keys[draw(self.records)]
            started = clock()
            with self.db.update() as root:
                root.items[key].count += 1
            microseconds = (clock() - started) * 1e6
            bucket = int(log(max(microseconds, 1.0)) * STEPS)
            self.pending[min(bucket, BUCKETS - 1)] += 1

    def watch(self, told: Path, opened: tuple[float, float]) -> None:
        """Say what is predicted and what was counted, again and again."""
        before, most = self.db.stats(), {"log_bytes": 0, "predicted": 0.0}
        started, first = time.monotonic(), before["lsn"]
        with told.open("a", encoding="ascii") as file:
            while True:
                now = self.db.stats()
                counted, self.pending = self.pending, [0] * BUCKETS
                running = before["checkpoint_running"] or now["checkpoint_running"]
                made = now["checkpoint_lsn"] != before["checkpoint_lsn"]
                kept = self.beside if running or made else self.without
                for bucket, count in enumerate(counted):
                    kept[bucket] += count
                predicted = now["predicted_load_seconds"] + now["predicted_replay_seconds"]
                most["log_bytes"] = max(most["log_bytes"], now["log_bytes_since_checkpoint"])
                most["predicted"] = max(most["predicted"], predicted)
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                said: dict[str, Any] = {
                    "opened": opened[0],
                    "opened_cpu": opened[1],
                    "lsn": now["lsn"],
                    "updates": now["lsn"] - first,
                    "seconds": time.monotonic() - started,
                    "predicted": predicted,
                    "load": now["predicted_load_seconds"],
                    "most": most,
                    "checkpoints": now["checkpoints_made"],
                    "checkpoints_failed": now["checkpoints_failed"],
                    "checkpoint_bytes": now["checkpoint_bytes"],
                    "helper_cpu": used.ru_utime + used.ru_stime,
                    "helper_memory": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                    "without": self.without,
                    "beside": self.beside,
                }
                file.write(json.dumps(said) + "\n")
                file.flush()
                before = now
                time.sleep(TICK_SECONDS)


def live(given: argparse.Namespace) -> None:
    """One life: until it is killed."""
    (records,), (level,), (threads,) = given.records, given.levels, given.threads
    started, used = time.perf_counter(), time.process_time()
    db = cairndb.open(given.life, Stock, durability=level, restart_target=given.target)
    opened = time.perf_counter() - started, time.process_time() - used
    life = Life(db, records)
    for number in range(threads):
        seed = db.lsn + number
        threading.Thread(target=life.update, args=(seed,), daemon=True).start()
    life.watch(given.told, opened)


def fill(path: str, records: int) -> None:
    """Make the database."""
    with cairndb.open(path, Stock, durability="process", restart_target=None) as db:
        for first in range(0, records, BATCH):
            with db.update() as root:
                for number in range(first, min(first + BATCH, records)):
                    root.items[key_of(number)] = Item(f"the item with the number {number}")
        db.checkpoint()


@dataclass
class Setting:
    """One series of lives, and what was seen in them."""

    records: int
    level: str
    threads: int
    target: float
    lives: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[tuple[float, float, float]] = field(default_factory=list)
    """What was predicted, and the opening that followed: its time, and of that processor time."""

    def run(self, folder: Path, seconds: float) -> None:
        """Let it live, and kill it, for so long."""
        chance = random.Random(f"{self.records} {self.level} {self.threads}")  # noqa: S311
        path = folder / "bench.cairn"
        fill(str(path), self.records)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 or len(self.lives) < 3:
            told = folder / f"life-{len(self.lives)}"
            # The last opening is of a life that only opens.
            lasting = min(max(left, 0.0), chance.uniform(0.0, seconds / 3))
            said = self._life(path, told, lasting)
            if self.lives:
                before = self.lives[-1]["predicted"]
                self.pairs.append((before, said["opened"], said["opened_cpu"]))
                assert said["lsn"] >= self.lives[-1]["lsn"], "acknowledged updates are missing"
            self.lives.append(said)

    def _life(self, path: Path, told: Path, seconds: float) -> dict[str, Any]:
        given = ["--life", str(path), "--told", str(told), "--target", str(self.target)]
        given += ["--records", str(self.records), "--threads", str(self.threads)]
        command = [sys.executable, __file__, *given, "--levels", self.level]
        with subprocess.Popen(command) as process:  # noqa: S603  this very file
            while not (told.exists() and b"\n" in told.read_bytes()):
                assert process.poll() is None, "the life ended by itself"
                time.sleep(TICK_SECONDS)
            time.sleep(seconds)
            process.kill()
        *_, last, _ = told.read_text(encoding="ascii").split("\n")
        found: dict[str, Any] = json.loads(last)
        return found

    def figures(self) -> dict[str, float]:
        """What the lives add up to."""
        total = {
            name: sum(life[name] for life in self.lives)
            for name in ("updates", "seconds", "checkpoints", "checkpoints_failed", "helper_cpu")
        }
        ratios = [predicted / opened for predicted, opened, _ in self.pairs]
        actual = [opened for _, opened, _ in self.pairs]
        shares = [used / opened for _, opened, used in self.pairs]
        free = [predicted / used for predicted, _, used in self.pairs]
        found = {
            "updates a second": total["updates"] / total["seconds"],
            "openings": len(self.pairs),
            "opening, median, s": statistics.median(actual),
            "opening, longest, s": max(actual),
            "predicted, most ever, s": max(life["most"]["predicted"] for life in self.lives),
            "predicted / actual, least": min(ratios),
            "predicted / actual, most": max(ratios),
            "processor share of an opening, least": min(shares),
            "predicted / processor time, least": min(free),
            "predicted / processor time, most": max(free),
            "log after checkpoint, most, MB": self._most("log_bytes") / 1e6,
            "checkpoints": total["checkpoints"],
            "checkpoints that failed": total["checkpoints_failed"],
            "checkpoint, MB": max(life["checkpoint_bytes"] for life in self.lives) / 1e6,
            "helper, CPU s each": total["helper_cpu"] / max(total["checkpoints"], 1),
            "helper, most memory, MB": max(life["helper_memory"] for life in self.lives) / 1e6,
        }
        for part in (50, 99, 99.9):
            without, beside = (self._latency(kind, part) for kind in ("without", "beside"))
            found[f"update p{part:g}, µs"] = without
            found[f"update p{part:g} beside a checkpoint, µs"] = beside
            found[f"p{part:g} beside / without"] = beside / without if without else math.nan
        return found

    def _most(self, name: str) -> float:
        return max(float(life["most"][name]) for life in self.lives)

    def _latency(self, kind: str, part: float) -> float:
        """A percentile in microseconds: the middle of its bucket."""
        counts = [sum(each) for each in zip(*(life[kind] for life in self.lives), strict=True)]
        wanted = sum(counts) * part / 100
        seen = 0
        for bucket, count in enumerate(counts):
            seen += count
            if count and seen >= wanted:
                return math.exp((bucket + 0.5) / STEPS)
        return math.nan


def markdown(settings: list[Setting]) -> str:
    """A table for people: a column for each setting."""
    figures = [setting.figures() for setting in settings]
    heads = [f'{s.records:,}, "{s.level}", {s.threads} threads' for s in settings]
    lines = ["| records, durability, threads | " + " | ".join(heads) + " |"]
    lines.append("| --- |" + " ---: |" * len(settings))
    lines += (
        f"| {name} | " + " | ".join(f"{each[name]:,.3g}" for each in figures) + " |"
        for name in figures[0]
    )
    lines += ["", *(f"{name}: {text}  " for name, text in machine().items())]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of each setting")
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 500_000])
    parser.add_argument("--levels", nargs="+", default=["process", "commit"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--target", type=float, default=2.0, help="the restart_target")
    parser.add_argument("--json", action="store_true", help="figures and every opening as JSON")
    parser.add_argument("--life", help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, nargs="?", help="where, if not in the current folder")
    given = parser.parse_args()
    if given.life:
        live(given)
        return
    settings = [
        Setting(records, level, threads, given.target)
        for records in given.records
        for level in given.levels
        for threads in given.threads
    ]
    for setting in settings:
        sys.stderr.write(f"{setting.records} records, {setting.level}, {setting.threads} threads\n")
        with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder or Path.cwd()) as folder:
            setting.run(Path(folder), given.seconds)
    if given.json:
        found = [
            {
                "records": setting.records,
                "level": setting.level,
                "threads": setting.threads,
                "figures": setting.figures(),
                "predicted and actual": setting.pairs,
            }
            for setting in settings
        ]
        shown = {"machine": machine(), "target": given.target, "settings": found}
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    else:
        sys.stdout.write(markdown(settings) + "\n")


if __name__ == "__main__":
    main()
