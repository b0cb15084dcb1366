"""Answer what check_measure.py asks: lines of JSON, `[what, figure, count]`, one answer to each.

What is measured lies between two calls of `getppid`, which nothing else here calls: the sign by
which callgrind is told to write down what it has counted, and to begin anew.
"""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from check_profile import bytecodes, calls
from check_work import Steps, Work

Answer = dict[str, Any]

marks = 2  # check_worker.py has made these
WARM_PART = 10
"""What is done before anything is measured: the part of it that Python needs to get to speed."""


def mark() -> int:
    """Tell callgrind that something begins or ends; returns how often that was."""
    global marks  # noqa: PLW0603  it counts with callgrind, which counts for the whole process
    os.getppid()
    marks += 1
    return marks


def measured(work: Callable[[], object]) -> Answer:
    """Do some work under the watch.

    Returns:
        `seconds` of processor time, of all threads; and the `mark` at its end.
    """
    gc.collect()
    mark()
    began = time.process_time()
    work()
    took = time.process_time() - began
    return {"seconds": took, "mark": mark()}


class Server:
    """Does what is asked, and keeps the figure that was asked for last, ready for the next time."""

    def __init__(self, folder: str) -> None:
        self.work = Work(Path(folder))
        self.ready: tuple[str, int, Steps] | None = None

    def answer(self, what: str, figure: str, count: int) -> Answer:
        """One answer."""
        if what == "prepare":
            for size in {count, warm_count(count)}:
                self.work.prepare(figure, size)
            return {}
        if what == "bytes":
            return {"bytes": self.work.bytes(figure, count)}
        steps = self.steps(figure, count)
        if what == "profile":
            return {"calls": calls(steps.work), "bytecodes": bytecodes(steps.work)}
        parts = [measured(work) for work in (steps.work, steps.without) if work is not None]
        return {"parts": parts}

    def steps(self, figure: str, count: int) -> Steps:
        """A figure that is warm."""
        if self.ready is None or self.ready[:2] != (figure, count):
            self.end()
            warm = self.work.steps(figure, warm_count(count))
            warm.work()
            warm.end()
            self.ready = (figure, count, self.work.steps(figure, count))
        return self.ready[2]

    def end(self) -> None:
        """Close what is open."""
        if self.ready is not None:
            ready, self.ready = self.ready, None
            ready[2].end()


def warm_count(count: int) -> int:
    """How many operations come before some that are measured."""
    return max(count // WARM_PART, 1)


def serve(folder: str, hello: Answer) -> None:
    """Answer until there are no more questions."""
    # Threads take over from each other where one waits, not when a clock says so: under callgrind,
    # which is fifty times slower, that would be in other places each time.
    sys.setswitchinterval(1000)
    server = Server(folder)
    say(hello)
    for line in sys.stdin:
        try:
            say(server.answer(*json.loads(line)))
        except Exception as error:  # noqa: BLE001  an old version may fail in any way
            place = traceback.extract_tb(error.__traceback__)[-1]
            say({"error": f"{type(error).__name__}: {error} ({place.name}:{place.lineno})"})
    server.end()


def say(answer: Answer) -> None:
    """One line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
