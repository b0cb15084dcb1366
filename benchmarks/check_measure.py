"""Have figures measured, for two trees side by side: instructions counted, or time in pairs.

Instructions are counted by callgrind, in one process for each tree: what happens between two marks
(see check_serving.py) lands in a file of its own. Hash seeds are fixed, so that two runs differ by
less than a hundredth.

Where there is no valgrind, processor time is compared: both trees do the same work in turn, in
short pieces, so that a slow moment of the machine hits both; several times with new processes,
since how a process happens to lie in memory counts for some per cent.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from check_figures import Figure

HERE = Path(__file__).parent
CALLGRIND = ("valgrind", "--tool=callgrind", "--quiet", "--dump-before=getppid")


class CheckError(Exception):
    """Why nothing can be compared."""


class NothingToCompareError(CheckError):
    """Why there is no other tree, or none that can be measured."""


class CannotError(Exception):
    """Why a tree doesn't have a figure."""


@dataclass
class Tree:
    """A source tree, and what was found for it.

    Args:
        name: for people.
        source: the folder that the package is in.
        folder: for databases, and callgrind's files.
    """

    name: str
    source: Path
    folder: Path
    values: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def note(self, figure: Figure, value: float) -> None:
        """One measurement, per operation: instructions, seconds or bytes."""
        self.values.setdefault(figure.name, []).append(value)

    def value(self, figure: Figure) -> float | None:
        """The median; None if there is nothing."""
        found = self.values.get(figure.name)
        return statistics.median(found) if found else None


class Worker:
    """A process of check_worker.py.

    Args:
        tree: whose package it has.
        counting: whether under callgrind.
    """

    def __init__(self, tree: Tree, *, counting: bool = False) -> None:
        self.tree = tree
        tree.folder.mkdir(exist_ok=True)
        command = [sys.executable, str(HERE / "check_worker.py"), str(tree.folder)]
        if counting:
            self.output = tree.folder / "callgrind"
            command = [*CALLGRIND, f"--callgrind-out-file={self.output}", *command]
        environment = os.environ | {
            "PYTHONPATH": str(tree.source),
            "PYTHONHASHSEED": "0",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling isn't importing
        self.process = subprocess.Popen(  # noqa: S603  our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.hello = self._read()

    def ask(self, what: str, figure: Figure, count: int) -> dict[str, Any]:
        """What it answers; `CannotError` if it can't."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: reading tells that
            self.process.stdin.write(json.dumps([what, figure.name, count]) + "\n")
            self.process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise CannotError(answer["error"])
        return answer

    def seconds(self, figure: Figure) -> float:
        """Processor time per operation."""
        parts = self.ask("measure", figure, figure.timed)["parts"]
        taken = difference([part["seconds"] for part in parts])
        return max(taken, 1e-9) / figure.timed  # on a bad day what is subtracted takes longer

    def instructions(self, parts: list[dict[str, Any]]) -> float:
        """What callgrind has counted for what was answered."""
        return difference([float(total_of(self.dump(part["mark"]))) for part in parts])

    def dump(self, mark: int) -> str:
        """What callgrind has written at a mark."""
        return self.output.with_name(f"{self.output.name}.{mark}").read_text("utf-8")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise CheckError(
                f"{self.tree.name}: the measuring process has ended with status "
                f"{self.process.returncode}; what it has said is above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        package = Path(self.hello["package"])
        if not package.is_relative_to(self.tree.source):
            self.__exit__()
            raise CheckError(f"{self.tree.name}: the package is {package}, not {self.tree.source}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def total_of(dump: str) -> int:
    """The instructions of a file of callgrind's."""
    found = re.search(r"^totals: (\d+)", dump, re.MULTILINE)
    assert found is not None
    return int(found[1])


def difference(parts: list[float]) -> float:
    """The work, without what was done to be subtracted."""
    return parts[0] - sum(parts[1:])


def say(text: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"{text}\n")


def prepare(tree: Tree, figures: Iterable[Figure], *, counting: bool) -> None:
    """Compile the modules, make the databases that will be opened, and get what is in bytes."""
    say(f"preparing {tree.name}")
    with Worker(tree) as worker:
        for figure in figures:
            with left_out(tree, figure):
                if figure.kind == "bytes":
                    tree.note(figure, worker.ask("bytes", figure, figure.counted)["bytes"])
                else:
                    count = figure.counted if counting else figure.timed
                    worker.ask("prepare", figure, count)


def count(trees: list[Tree], figures: Iterable[Figure], *, together: bool) -> None:
    """Count the instructions of every figure, in one process for each tree.

    Args:
        trees: whose.
        figures: which.
        together: whether at the same time: that doesn't change what is counted.
    """
    with ThreadPoolExecutor(len(trees) if together else 1) as threads:
        for _ in threads.map(lambda tree: count_one(tree, figures), trees):
            pass


def count_one(tree: Tree, figures: Iterable[Figure]) -> None:
    """Count the instructions of one tree."""
    say(f"counting the instructions of {tree.name}")
    with Worker(tree, counting=True) as worker:
        for figure in figures:
            if figure.kind == "import":
                tree.note(figure, worker.instructions([worker.hello]))
            elif figure.kind == "operations" and figure.name not in tree.notes:
                with left_out(tree, figure):
                    parts = worker.ask("measure", figure, figure.counted)["parts"]
                    tree.note(figure, worker.instructions(parts) / figure.counted)


def pair(trees: list[Tree], figures: Iterable[Figure], *, rounds: int, pairs: int) -> None:
    """Compare processor time, in pairs: what belongs together has the same place in `values`."""
    for number in range(rounds):
        say(f"timing, round {number + 1} of {rounds}")
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(tree)) for tree in trees]
            for figure in figures:
                if figure.kind == "import":
                    alternate(trees, figure, pairs, [import_of(tree) for tree in trees])
                elif figure.kind == "operations":
                    alternate(
                        trees, figure, pairs, [timing_of(worker, figure) for worker in workers]
                    )


def alternate(
    trees: list[Tree], figure: Figure, pairs: int, samples: list[Callable[[], float]]
) -> None:
    """Take samples of each tree in turn, and each first as often as second."""
    order = list(zip(trees, samples, strict=True))
    for _ in range(pairs):
        for tree, sample in order:
            if figure.name not in tree.notes:
                with left_out(tree, figure):
                    tree.note(figure, sample())
        order.reverse()


def timing_of(worker: Worker, figure: Figure) -> Callable[[], float]:
    """A sample in a process that is there."""
    return lambda: worker.seconds(figure)


def import_of(tree: Tree) -> Callable[[], float]:
    """A sample in a process that is only there for that."""

    def sample() -> float:
        with Worker(tree) as worker:
            return float(worker.hello["seconds"])

    return sample


@contextmanager
def left_out(tree: Tree, figure: Figure) -> Iterator[None]:
    """Where a tree can't have a figure, note why."""
    try:
        yield
    except CannotError as error:
        tree.notes[figure.name] = str(error)
        tree.values.pop(figure.name, None)
