"""A process of one contender: does what it is told to, line by line, and says how long it took.

Commands and answers are JSON, a line each. Work that is repeated is *calibrated* first, which warms
it up: how many operations fill a turn of the wanted length. Every later turn does as many.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from contenders import DEVICE, PLAIN, contender
from contenders.work import (
    AT_ONCE,
    CROWD,
    DURABLE,
    HOT,
    HOT_ACCOUNTS,
    ITERATE,
    KEYS,
    READ,
    TASKS,
    THREADS,
    UPDATE,
    VIEW,
    Contender,
    random_keys,
)
from machine import resident

# An allocator's rounding: every object begins at a multiple of so many bytes.
ALIGNMENT = 16


class Worker:
    """One contender, and what has been found out about it.

    Args:
        name: the contender's.
        folder: the contender's own.
        accounts: how many there are or will be.
    """

    def __init__(self, name: str, folder: Path, accounts: int) -> None:
        self.name = name
        self.accounts = accounts
        self.subject: Any = contender(name)(folder)
        self.counts: dict[str, int] = {}
        self.keys = Keys(accounts)
        # The same few again and again, from all over: what is read is near the processor.
        self.hot = Keys(accounts, HOT_ACCOUNTS)
        self.parts: list[Keys] = []
        self.pool: ThreadPoolExecutor | None = None

    def open(self, level: str, size: int | None = None) -> dict[str, float]:
        """Open it: seconds, of them on the processor, bytes of memory."""
        if self.name == DEVICE and size:
            self.subject.size = size
        before = resident()
        found = self._timed(lambda: self.subject.open(level))
        return found | {"resident": resident() - before}

    def load(self) -> dict[str, float]:
        """Fill it: seconds, of them on the processor."""
        return self._timed(lambda: self.subject.load(self.accounts))

    def finish(self) -> dict[str, float]:
        """Have it settle, and close it."""
        found = self._timed(self.subject.settle)
        self.subject.close()
        return found

    def close(self) -> dict[str, float]:
        """Close it."""
        return self._timed(self.subject.close)

    def turn(self, figure: str, seconds: float, calibrate: bool) -> dict[str, float]:  # noqa: FBT001
        """Work for about so many seconds.

        Args:
            figure: which work.
            seconds: how long a turn should last.
            calibrate: whether to find out how many operations that is.
        """
        if not calibrate:
            return self._once(figure, self.counts[figure])
        count = 1
        while True:
            found = self._once(figure, count)
            # A single operation, or a few, may take longer than a turn.
            if found["seconds"] >= seconds / 2 or figure in (ITERATE, AT_ONCE):
                break
            count = min(count * 10, int(count * seconds / found["seconds"]) + 1)
        self.counts[figure] = count
        return found

    def _once(self, figure: str, count: int) -> dict[str, float]:
        work, per = self._work(figure, count)
        return self._timed(work) | {"operations": per}

    def _work(self, figure: str, count: int) -> tuple[Callable[[], object], int]:
        """What to do, and how many operations that is."""
        subject: Contender = self.subject
        if figure == ITERATE:
            return subject.iterate, self.accounts
        if figure == VIEW:
            return lambda: subject.view(count), count
        if figure == CROWD:
            return self._crowd(count), count * THREADS
        if figure == AT_ONCE:
            some = self.keys.take(TASKS)
            return lambda: subject.update_at_once(some), TASKS
        keys = (self.hot if figure == HOT else self.keys).take(count)
        assert figure in (READ, HOT, UPDATE, DURABLE)
        call = subject.read if figure in (READ, HOT) else subject.update
        return lambda: call(keys), count

    def _crowd(self, count: int) -> Callable[[], object]:
        """Updates of all threads, each with accounts of its own."""
        self.parts = self.parts or [
            Keys(self.accounts, part=part, parts=THREADS) for part in range(THREADS)
        ]
        # The same threads in each turn: what stores keep for a thread is made once.
        self.pool = pool = self.pool or ThreadPoolExecutor(THREADS)
        crowd = [part.take(count) for part in self.parts]
        return lambda: list(pool.map(self.subject.update, crowd))

    def memory(self, *, objects: bool) -> dict[str, float]:
        """The bytes that the process grows by, and, which takes longer, of the objects."""
        before = resident()
        if self.name == PLAIN:  # which has no file of its own: as if an application had made them
            self.load()
        else:
            self.subject.open("process")
        gc.collect()
        found: dict[str, float] = {"resident": resident() - before}
        return found | ({"objects": size_of(self.subject.objects())} if objects else {})

    def log_bytes(self, count: int) -> dict[str, float]:
        """The bytes of log that an update takes."""
        keys = self.keys.take(count)
        before = self.subject.log_bytes()
        self.subject.update(keys)
        return {"bytes": (self.subject.log_bytes() - before) / count}

    def log(self, updates: int) -> dict[str, float]:
        """Make a log of so many updates, and close; returns how many there are in the end."""
        self.subject.restart_target = None
        self.subject.open("process")
        self.subject.load(self.accounts)
        for _ in range(0, updates, 1000):
            self.subject.update(self.keys.take(1000))
        lsn = self.subject.db.lsn
        self.subject.close()
        return {"lsn": lsn}

    def checkpoints(self, seconds: float, times: int) -> dict[str, float]:
        """Percentiles of updates without a checkpoint, and beside one, in microseconds."""
        keys = self.keys.take(100_000)
        self.subject.update(keys[:1000])
        found = self.subject.latencies(keys, seconds, times)
        said: dict[str, float] = {}
        for kind, samples in found.items():
            samples.sort()
            said[f"{kind} samples"] = len(samples)
            for part in (0.5, 0.99, 0.999):
                said[f"{kind} {part}"] = samples[int(len(samples) * part)]
        return said

    @staticmethod
    def _timed(work: Callable[[], object]) -> dict[str, float]:
        cpu, begun = time.process_time(), time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


class Keys:
    """Random keys, of which every turn takes the next ones.

    Args:
        accounts: how many there are.
        count: of keys before they come again.
        part: of the accounts, by their number.
        parts: how many parts there are.
    """

    def __init__(self, accounts: int, count: int = KEYS, part: int = 0, parts: int = 1) -> None:
        self.source = cycle(random_keys(accounts, count, part, parts))

    def take(self, count: int) -> list[str]:
        """The next ones."""
        return list(islice(self.source, count))


def size_of(root: object) -> int:
    """The bytes of an object and of all that it refers to, each once, as an allocator rounds."""
    seen: set[int] = set()
    total, waiting = 0, [root]
    while waiting:
        found: list[object] = []
        for thing in waiting:
            if id(thing) not in seen and not isinstance(thing, type | ModuleType | FunctionType):
                seen.add(id(thing))
                total += -(-sys.getsizeof(thing) // ALIGNMENT) * ALIGNMENT
                found.append(thing)
        waiting = gc.get_referents(*found)
    return total


def first_read(name: str, folder: Path, key: str) -> None:
    """Open it and read one balance; whoever started this process holds the watch."""
    subject = contender(name)(folder)
    subject.open("process")
    subject.read([key])
    sys.stdout.write("\n")
    sys.stdout.flush()
    subject.close()


def serve(worker: Worker, lines: Iterable[str], answer: Callable[[str], object]) -> None:
    """Do what is told until there is nothing more."""
    for line in lines:
        command = json.loads(line)
        answer(json.dumps(getattr(worker, command.pop("do"))(**command)))


def main() -> None:
    """The command line, which `bench.py` writes."""
    name, folder, rest = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if len(sys.argv) > 4:
        first_read(name, folder, rest)
        return
    worker = Worker(name, folder, int(rest))
    print("{}", flush=True)  # it is there: nobody works while a process starts
    serve(worker, sys.stdin, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
