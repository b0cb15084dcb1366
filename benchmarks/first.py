"""What cairndb costs, beside plain Python objects and SQLite, on the machine at hand.

Each figure is the median of several rounds; in a round all contenders do the same work one after
the other, in an order that rotates, so that a slow moment of the machine hits all of them. Updates
are one changed field each. The raw device is what a log can't beat: a write of the same bytes into
a preallocated file, and a sync.
"""

import argparse
import gc
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from sqlite3 import sqlite_version

import msgspec
from contenders import KINDS, Cairn, Contender, Sqlite, key_of

THREADS = 16
TASKS = 1000
TASKS_FIGURE = f'updates of {TASKS:,} tasks, "commit"'
LEVELS = ("commit", "interval", "process")


@dataclass
class Bench:
    """One run: how much of each, where, and what was measured."""

    folder: Path
    accounts: int
    rounds: int
    reads: int
    updates: int
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def keys(self, count: int) -> list[str]:
        """Random keys, the same in every run."""
        chance = random.Random(count)  # noqa: S311  not a secret
        return [key_of(chance.randrange(self.accounts)) for _ in range(count)]

    def note(self, figure: str, unit: str, who: str, value: float) -> None:
        """One sample."""
        self.units[figure] = unit
        self.samples.setdefault(figure, {}).setdefault(who, []).append(value)

    def timed(self, figure: str, unit: str, who: str, work: Callable[[], object], per: int) -> None:
        """Do some work under the watch: seconds, microseconds each, or how many a second."""
        gc.collect()
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        value = {"s": seconds, "µs": seconds / per * 1e6, "ns": seconds / per * 1e9}
        self.note(figure, unit, who, value.get(unit, per / seconds))

    def run(self) -> None:
        """All rounds, the order of the contenders rotating."""
        names = list(KINDS)
        for number in range(self.rounds):
            sys.stderr.write(f"round {number + 1} of {self.rounds}\n")
            for who in names[number % 3 :] + names[: number % 3]:
                self.objects(who)
                for level in LEVELS:
                    self.level(who, level)
                self.memory(who)
            self.device()

    def fresh(self, who: str, level: str = "commit") -> Contender:
        """An empty contender in an empty folder."""
        shutil.rmtree(self.folder / who, ignore_errors=True)
        (self.folder / who).mkdir()
        return KINDS[who](self.folder / who, level)

    def objects(self, who: str) -> None:
        """Loading, reading, opening."""
        subject = self.fresh(who)
        load = "load in one update"
        self.timed(load, "µs", who, lambda: subject.load(self.accounts), self.accounts)
        keys = self.keys(self.reads)
        self.timed("read a field in a view", "ns", who, lambda: subject.read(keys), self.reads)
        self.timed("read a field of each", "ns", who, subject.iterate, self.accounts)
        self.timed(
            "empty view", "ns", who, lambda: subject.view(self.reads // 10), self.reads // 10
        )
        if isinstance(subject, Cairn):
            subject.db.checkpoint()
        subject.close()
        figure = f"open, {self.accounts:,} accounts"
        self.timed(figure, "s", who, subject.open, 1)
        subject.close()

    def level(self, who: str, level: str) -> None:
        """Updates at a durability level; at "commit" also by threads, and the log they make."""
        subject = self.fresh(who, level)
        subject.load(1000)
        keys = [key_of(number % 1000) for number in range(self.updates)]
        before = written(subject)
        self.timed(f'update, "{level}"', "µs", who, lambda: subject.update(keys), self.updates)
        if level != "commit":
            subject.close()
            return
        if who != "plain":
            self.note("log bytes an update", "B", who, (written(subject) - before) / self.updates)
        crowd = [
            threading.Thread(target=subject.update, args=(keys[part::THREADS],))
            for part in range(THREADS)
        ]
        figure = f'updates of {THREADS} threads, "commit"'
        self.timed(figure, "/s", who, lambda: together(crowd), self.updates)
        if isinstance(subject, Cairn):
            one_each = [key_of(number) for number in range(TASKS)]
            self.timed(TASKS_FIGURE, "/s", who, lambda: subject.update_at_once(one_each), TASKS)
        subject.close()
        if isinstance(subject, Cairn):
            self.replay(subject)

    def replay(self, subject: Cairn) -> None:
        """Open from the log alone."""
        updates = 20 * self.updates
        subject.level = "process"
        subject.open()
        subject.update([key_of(number % 1000) for number in range(updates)])
        total = subject.db.lsn
        subject.close()
        self.timed("replay of the log", "/s", "cairndb", subject.open, total)
        subject.close()

    def memory(self, who: str) -> None:
        """What a process of its own takes for the accounts."""
        self.fresh(who).close()
        command = [sys.executable, __file__, "--memory", who, "--accounts", str(self.accounts)]
        folder = str(self.folder / who)
        done = subprocess.run([*command, folder], check=True, capture_output=True)  # noqa: S603
        figure = f"memory, {self.accounts:,} accounts"
        self.note(figure, "MB", who, float(done.stdout) / 1e6)

    def device(self) -> None:
        """Write and sync as many bytes as an update logs, on the same file system."""
        size = int(statistics.median(self.samples["log bytes an update"]["cairndb"]))
        file = os.open(self.folder / "raw", os.O_RDWR | os.O_CREAT)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, size * self.updates)
            os.fsync(file)

            def work() -> None:
                for number in range(self.updates):
                    os.pwrite(file, bytes([number % 255 + 1]) * size, number * size)
                    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file)

            figure = 'update, "commit"'
            self.timed(figure, "µs", "raw device", work, self.updates)
            one_by_one = 1e6 / self.samples[figure]["raw device"][-1]
            self.note(TASKS_FIGURE, "/s", "raw device", one_by_one)
        finally:
            os.close(file)


def together(crowd: list[threading.Thread]) -> None:
    """Start all threads, and wait for all."""
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()


def written(subject: Contender) -> float:
    """The bytes of log so far: cairndb's frames, SQLite's WAL."""
    if isinstance(subject, Cairn):
        return float(subject.db.stats()["log_bytes_since_checkpoint"])
    return (
        float(subject.file.with_name("bench.sqlite-wal").stat().st_size)
        if isinstance(subject, Sqlite)
        else 0.0
    )


def report_memory(who: str, folder: Path, accounts: int) -> None:
    """In a process of its own: how much the accounts add to it."""
    subject = KINDS[who](folder)
    before = resident()
    subject.load(accounts)
    subject.iterate()
    gc.collect()
    sys.stdout.write(str(resident() - before))
    subject.close()


def resident() -> int:
    """The memory of this process now; where the system doesn't say, the most that it had."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {platform.platform()}",
        "python": platform.python_version(),
        "cairndb": version("cairndb"),
        "msgspec": msgspec.__version__,
        "sqlite": sqlite_version,
    }


def markdown(bench: Bench, medians: dict[str, dict[str, float]]) -> str:
    """A table for people."""
    columns = ["cairndb", "plain", "sqlite3", "raw device"]
    lines = [f"| {'figure':34} | unit | " + " | ".join(f"{name:>10}" for name in columns) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(columns))
    for figure, by in medians.items():
        cells = (f"{by[name]:,.4g}" if name in by else "" for name in columns)
        unit = bench.units[figure]
        lines.append(f"| {figure:34} | {unit:4} | " + " | ".join(f"{c:>10}" for c in cells) + " |")
    lines += ["", *(f"{name}: {text}  " for name, text in machine().items())]
    lines.append(f"Medians of {bench.rounds} rounds.")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="a tenth of everything, 3 rounds")
    parser.add_argument("--json", action="store_true", help="samples and medians as JSON")
    parser.add_argument("--rounds", type=int, help="instead of 5, or 3")
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--memory", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, nargs="?", help="where, if not in the current folder")
    given = parser.parse_args()
    if given.memory:
        report_memory(given.memory, given.folder, given.accounts)
        return
    part = 10 if given.short else 1
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder or Path.cwd()) as folder:
        rounds = given.rounds or (3 if given.short else 5)
        bench = Bench(Path(folder), given.accounts // part, rounds, 500_000 // part, 2000 // part)
        bench.run()
    medians = {
        figure: {who: statistics.median(values) for who, values in by.items()}
        for figure, by in bench.samples.items()
    }
    if given.json:
        shown = {"machine": machine(), "units": bench.units, "medians": medians}
        sys.stdout.write(json.dumps(shown | {"samples": bench.samples}, indent=2) + "\n")
    else:
        sys.stdout.write(markdown(bench, medians) + "\n")


if __name__ == "__main__":
    main()
