"""Processes that stop before each call to the system, and every order in which they can go on.

The processes are real, forked ones, and so are the calls; a process only waits to be told before it
makes one. So whoever steers them can try all the orders in which two processes can run through a
protocol of a few calls, one after the other: a search in depth that repeats the run for each.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import traceback
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Body = Callable[[Callable[[str], None]], None]

END: Final = "end"
_CALLS: Final = {
    os: ("open", "close", "stat", "fstat", "unlink", "link", "rename", "fsync", "write", "pwrite"),
    fcntl: ("flock", "fcntl"),
}
# The calls in which another process may be waited for.
_WAITS: Final = ("flock", "fcntl")
_HANG_SECONDS: Final = 60.0


class Stepped:
    """A forked process that runs through a body as often as it is told to.

    Args:
        body: what it does; it is given a function that stops it as a call to the system does.
    """

    def __init__(self, body: Body) -> None:
        orders, self._orders = os.pipe()
        self._stops, stops = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._orders)
            os.close(self._stops)
            _live(body, orders, stops)
        os.close(orders)
        os.close(stops)
        self.at = END
        """The call that it is about to make; END when it has run through."""
        self.waiting = False
        """It was let go on and hasn't come to its next stop: the system keeps it waiting."""

    def start(self) -> None:
        """Begin to run through the body."""
        assert self.at == END
        self.step()

    def step(self) -> None:
        """Let it make the call that it is about to make, and go on to the next."""
        os.write(self._orders, b"!")
        self.waiting = True
        self.look()

    def look(self) -> None:
        """See whether it has come to its next stop, or waits in the system for another process."""
        if self.at in _WAITS and sys.platform == "linux":
            while not self._has_stopped(0):
                if _waits_for_lock(self.pid):
                    return
        else:
            assert self._has_stopped(_HANG_SECONDS), f"{self.at} doesn't return"
        said = b""
        while not said.endswith(b"\n"):
            part = os.read(self._stops, 1000)
            assert part, "the process is gone"
            said += part
        self.waiting = False
        self.at = said.decode().strip()
        assert not self.at.startswith("!"), self.at.replace("\\n", "\n")

    def _has_stopped(self, seconds: float) -> bool:
        return bool(select.select([self._stops], [], [], seconds)[0])

    def kill(self) -> None:
        """End it at once, wherever it is."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._orders)
        os.close(self._stops)


def _waits_for_lock(pid: int) -> bool:
    # 1: -> FLOCK ADVISORY WRITE 123 08:01:456 0 EOF
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(words[1] == "->" and words[5] == str(pid) for words in lines)


def _live(body: Body, orders: int, stops: int) -> NoReturn:
    read, write = os.read, os.write
    running = False

    def stop(name: str) -> None:
        if running:
            write(stops, f"{name}\n".encode())
            if not read(orders, 1):
                os._exit(0)

    def stopping(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stop_and_call(*arguments: Any, **more: Any) -> Any:
            stop(name)
            return call(*arguments, **more)

        return stop_and_call

    for module, names in _CALLS.items():
        for name in names:
            setattr(module, name, stopping(name, getattr(module, name)))
    try:
        while read(orders, 1):
            running = True
            body(stop)
            running = False
            write(stops, f"{END}\n".encode())
    except BaseException:  # noqa: BLE001  the parent is told
        running = False
        write(stops, ("!" + traceback.format_exc().replace("\n", "\\n") + "\n").encode())
    os._exit(0)


class Judge(Protocol):
    """Sees what happens in the runs."""

    def look(self, places: list[str]) -> None:
        """See where each process is: before each step, and after the last."""

    def end(self) -> None:
        """A run is over."""


def every_order(processes: Sequence[Stepped], begin: Callable[[], object], judge: Judge) -> int:
    """Run the processes through their bodies in every order of their calls.

    Args:
        processes: that run together.
        begin: makes the world as it is before each run.
        judge: sees each run.

    Returns:
        How many orders there were.
    """
    orders = 0
    prefix: list[int] | None = []
    while prefix is not None:
        begin()
        for process in processes:
            process.start()
        prefix = _run(processes, prefix, judge)
        orders += 1
    return orders


def _run(processes: Sequence[Stepped], prefix: list[int], judge: Judge) -> list[int] | None:
    """One order; the beginning of the next one to try, or None."""
    taken: list[tuple[int, list[int]]] = []
    while True:
        for process in processes:
            if process.waiting:
                process.look()
        judge.look([process.at for process in processes])
        ready = [i for i, p in enumerate(processes) if p.at != END and not p.waiting]
        if not ready:
            assert all(process.at == END for process in processes), "they wait for each other"
            judge.end()
            break
        chosen = prefix[len(taken)] if len(taken) < len(prefix) else ready[0]
        taken.append((chosen, ready))
        processes[chosen].step()
    for i in reversed(range(len(taken))):
        chosen, ready = taken[i]
        if later := [other for other in ready if other > chosen]:
            return [choice for choice, _ in taken[:i]] + [later[0]]
    return None


def every_pair(first: Stepped, second: Stepped, begin: Callable[[], object], judge: Judge) -> int:
    """Stop the first before each of its calls, while the second runs up to each of its own.

    Then the first runs to its end, and then the second: for protocols that have too many calls for
    all their orders.

    Args:
        first: the process that is stopped.
        second: the one that runs meanwhile.
        begin: makes the world as it is before each run.
        judge: sees each run.

    Returns:
        How many pairs of calls there were.
    """
    pairs = 0
    for steps in count():
        for others in count():
            begin()
            first.start()
            second.start()
            all_steps = _advance(first, steps, [first, second], judge)
            all_others = _advance(second, others, [first, second], judge)
            _finish([first, second], judge)
            judge.end()
            if not all_steps:
                return pairs
            pairs += 1
            if not all_others:
                break
    raise AssertionError


def _advance(process: Stepped, steps: int, processes: Sequence[Stepped], judge: Judge) -> bool:
    for _ in range(steps):
        judge.look([one.at for one in processes])
        if process.at == END or process.waiting:
            return False
        process.step()
    return True


def _finish(processes: Sequence[Stepped], judge: Judge) -> None:
    while any(process.at != END for process in processes):
        for process in processes:
            if process.waiting:
                process.look()
            while process.at != END and not process.waiting:
                judge.look([one.at for one in processes])
                process.step()
    judge.look([one.at for one in processes])
