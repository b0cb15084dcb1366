"""The rounds of the table of all peers: who works when, and what is noted.

In each round every contender is filled by a process of its own, and opened by another. Where speed
is compared, those processes are all there, and take turns of a fraction of a second in an order
that rotates: a slow moment of the machine or of the disk hits all of them. A round's sample is the
median of a contender's turns; what is shown is the median of the rounds.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import CAIRN, PLAIN, UNGUARDED, contender
from contenders.work import (
    AT_ONCE,
    CROWD,
    DURABLE,
    FIRST,
    HOT,
    ITERATE,
    LOAD,
    READ,
    UPDATE,
    VIEW,
    Contender,
    key_of,
)
from figures import FIGURES, Samples

WORKER = Path(__file__).with_name("worker.py")
# Whoever needs so many times as long for a turn, since it's one operation, gets no other.
PATIENCE = 8


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        rounds: how often everything is done.
        turns: of each contender in a round, for each figure, after the one that warms up.
        seconds: of a turn.
        durable: whether what a sync costs is measured, and replay; accounts don't matter to that.
        few: with how many accounts many are compared; 0 doesn't compare.
        quiet: seconds of updates before each checkpoint.
        checkpoints: how many are made in a round.
    """

    rounds: int
    turns: int
    seconds: float
    durable: bool
    few: int
    quiet: float = 1.0
    checkpoints: int = 2


class Process:
    """A worker, which does what it is asked.

    Args:
        name: of the contender.
        folder: of all contenders.
        accounts: how many there are.
    """

    def __init__(self, name: str, folder: Path, accounts: int) -> None:
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(WORKER), name, str(own), str(accounts)]
        self.name = name
        self.process = subprocess.Popen(  # noqa: S603  this very program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

        self._answer("start")

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer(do)

    def _answer(self, do: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended while it was asked to {do}: see above")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """Let it end."""
        self.process.communicate()


@dataclass
class Pass:
    """All rounds with one number of accounts."""

    folder: Path
    accounts: int
    names: list[str]
    plan: Plan
    samples: Samples = field(default_factory=dict)
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    extras: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self) -> None:
        """All rounds."""
        for number in range(self.plan.rounds):
            begun = time.monotonic()
            names = self.names[number % len(self.names) :] + self.names[: number % len(self.names)]
            self._fill(names)
            self._first(names)
            self._memory(objects=number == 0)
            self._turns(names, "process", (ITERATE, READ, HOT, VIEW, UPDATE))
            if self.plan.durable:
                self._turns(names, "commit", (DURABLE, CROWD, AT_ONCE))
                self._replay()
            if self.plan.few:
                self._scale()
            self._checkpoints()
            shutil.rmtree(self.folder)
            sys.stderr.write(
                f"{self.accounts:,} accounts: round {number + 1} of {self.plan.rounds} "
                f"took {time.monotonic() - begun:.0f} s\n"
            )

    def note(self, figure: str, who: str, value: float) -> None:
        """One sample."""
        self.samples.setdefault(figure, {}).setdefault(who, []).append(value)

    def _fill(self, names: Iterable[str]) -> None:
        """Everybody an empty start, then all accounts in one update."""
        for name in names:
            with self._process(name) as process:
                process.ask("open", level="process")
                if LOAD in kind_of(name).figures:
                    self._say(LOAD, name)
                    found = process.ask("load")
                    self.note(LOAD, name, FIGURES[LOAD].value(found["seconds"], self.accounts))
                    self._count(LOAD, name, self.accounts)
                process.ask("finish")

    def _first(self, names: list[str]) -> None:
        """From nothing to the first read."""
        samples: dict[str, list[float]] = {}
        for turn in range(min(self.plan.turns, 3 if self.plan.durable else 2)):
            for name in rotated(names, turn):
                if FIRST in kind_of(name).figures:
                    self._say(FIRST, name)
                    samples.setdefault(name, []).append(self._first_read(name))
        for name, seconds in samples.items():
            self.note(FIRST, name, FIGURES[FIRST].value(statistics.median(seconds), 1))

    def _first_read(self, name: str) -> float:
        folder, key = self.folder / name, key_of(self.accounts // 2)
        if name == "Redis":
            from contenders.redis import first_read  # noqa: PLC0415  if it's there at all

            return first_read(folder, key)
        command = [sys.executable, str(WORKER), name, str(folder), key, "first"]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None
            read = process.stdout.read(1)
            seconds = time.perf_counter() - begun
        if process.returncode or not read:
            raise RuntimeError(f"{name} could not be opened again: see above")
        return seconds

    def _memory(self, *, objects: bool) -> None:
        """What a process takes for all accounts; the objects are the same in each round."""
        for name in (CAIRN, UNGUARDED, PLAIN):
            if name in self.names:
                with self._process(name) as process:
                    for figure, size in process.ask("memory", objects=objects).items():
                        self.note(figure, name, FIGURES[figure].value(size, 1))
                    process.ask("close")

    def _turns(self, names: list[str], level: str, figures: tuple[str, ...]) -> None:
        """Work by turns, with all contenders open at a level."""
        taking = [name for name in names if kind_of(name).figures & set(figures)]
        processes = {name: Process(name, self.folder, self.accounts) for name in taking}
        try:
            # Of cairndb first: the raw device then writes as many bytes.
            for name in sorted(processes, key=lambda name: name != CAIRN):
                self._opened(processes[name], level)
            for figure in figures:
                self._figure(figure, processes)
            for process in processes.values():
                process.ask("close")
        finally:
            for process in processes.values():
                process.end()

    def _figure(self, figure: str, processes: dict[str, Process]) -> None:
        """One figure: warm up, then take turns."""
        done: dict[str, list[float]] = {}
        taking = [name for name in processes if figure in kind_of(name).figures]
        for name in taking:
            self._say(figure, name)
            self._turn(figure, processes[name], calibrate=True)
        for turn in range(self.plan.turns):
            for name in rotated(taking, turn):
                found = self._turn(figure, processes[name], calibrate=False)
                value = FIGURES[figure].value(found["seconds"], found["operations"])
                done.setdefault(name, []).append(value)
                if found["seconds"] > PATIENCE * self.plan.seconds:
                    taking = [other for other in taking if other != name]
        for name, values in done.items():
            self.note(figure, name, statistics.median(values))

    def _turn(self, figure: str, process: Process, *, calibrate: bool) -> dict[str, Any]:
        seconds = self.plan.seconds * FIGURES[figure].turn
        found = process.ask("turn", figure=figure, seconds=seconds, calibrate=calibrate)
        self._count(figure, process.name, found["operations"])
        return found

    def _opened(self, process: Process, level: str) -> None:
        """Open it; of cairndb that is a figure, and so is the log that it writes."""
        size = round(self.samples.get("log bytes", {}).get(CAIRN, [64.0])[-1])
        found = process.ask("open", level=level, size=size)
        if level == "process" and process.name in (CAIRN, UNGUARDED):
            value = FIGURES["open"].value(found["seconds"], self.accounts)
            self.note("open", process.name, value)
        elif process.name == CAIRN:
            self.note("log bytes", CAIRN, process.ask("log_bytes", count=100)["bytes"])

    def _replay(self) -> None:
        """Open from the log alone, in a process that didn't write it."""
        folder = self.folder / "replay"
        with self._process(CAIRN, folder, 1000) as process:
            lsn = process.ask("log", updates=self.accounts)["lsn"]
        with self._process(CAIRN, folder, 1000) as process:
            opened = process.ask("open", level="process")["seconds"]
            self.note("replay", CAIRN, FIGURES["replay"].value(opened, lsn))
            self._count("replay", CAIRN, lsn)
            process.ask("close")

    def _scale(self) -> None:
        """How much slower it is than with few accounts, by turns."""
        for name in (CAIRN, PLAIN, "sqlite3", "lmdb"):
            if name not in self.names:
                continue
            folder, few = self.folder / "few", self.plan.few
            with self._process(name, folder, few) as filling:
                filling.ask("open", level="process")
                filling.ask("load")
                filling.ask("finish")
            with self._process(name, folder, few) as small, self._process(name) as large:
                small.ask("open", level="process")
                large.ask("open", level="process")
                for figure in (READ, HOT, UPDATE):
                    self._say(f"scale {figure}", name)
                    self._compare(figure, name, small, large)
                small.ask("close")
                large.ask("close")

    def _compare(self, figure: str, name: str, small: Process, large: Process) -> None:
        per: dict[Process, list[float]] = {small: [], large: []}
        for process in per:
            self._turn(figure, process, calibrate=True)
        for turn in range(self.plan.turns):
            for process in rotated(list(per), turn):
                found = self._turn(figure, process, calibrate=False)
                per[process].append(found["seconds"] / found["operations"])
        ratio = statistics.median(per[large]) / statistics.median(per[small])
        self.note(f"scale {figure}", name, ratio)

    def _checkpoints(self) -> None:
        """The slowest updates, without a checkpoint and beside one."""
        with self._process(CAIRN) as process:
            process.ask("open", level="process")
            self._say("checkpoint", CAIRN)
            found = process.ask("checkpoints", seconds=self.plan.quiet, times=self.plan.checkpoints)
            process.ask("close")
        self.note("checkpoint", "cairndb, no checkpoint", found["without 0.999"])
        self.note("checkpoint", "cairndb, beside a checkpoint", found["beside 0.999"])
        self.extras.setdefault("checkpoints", []).append(found)

    @contextmanager
    def _process(
        self, name: str, folder: Path | None = None, accounts: int | None = None
    ) -> Iterator[Process]:
        process = Process(name, folder or self.folder, accounts or self.accounts)
        try:
            yield process
        finally:
            process.end()

    def _count(self, figure: str, name: str, operations: int) -> None:
        counts = self.operations.setdefault(figure, {})
        counts[name] = counts.get(name, 0) + operations

    def _say(self, figure: str, name: str) -> None:
        sys.stderr.write(f"{self.accounts:,} accounts: {figure}, {name}\033[K\r")


def rotated(names: list[Any], turn: int) -> list[Any]:
    """So that everybody is first once."""
    if not names:
        return []
    return names[turn % len(names) :] + names[: turn % len(names)]


def kind_of(name: str) -> type[Contender]:
    """The class of a contender that is there."""
    return contender(name)
