"""What runs, since when, and what to say of it if it takes too long.

Handlers note what they do, by thread. One thread of its own looks at that now and then, and logs
with its stack what has run for longer than it should, once: an update holds up all others, and one
that runs in the event loop, everything. A stack is what the thread does at that moment, taken from
the outside: whoever is stuck can't be asked.

The same thread ends the process when it was told to stop and the loop doesn't get round to that,
since a method keeps it: a thread of Python's can't be stopped, only left with its process. Nothing
is lost by it that a crash would not lose.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from cairndb import collector
from cairndb.cancellation import CancelToken
from cairndb.server.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from cairndb.service import Answer, Handler, Request

_LOOKS: Final = 4  # in the time after which something is slow
_LONGEST_SECONDS: Final = 0.25
_FRAMES: Final = 30
_LOCKS: Final = "cairndb.locks_gates"


class Running(Struct, eq=False):
    """A request that a thread works on."""

    request: Request
    started: float
    thread: int
    told: bool = False
    waited: bool = False


class Supervision:
    """Knows what runs.

    Args:
        slow_seconds: after which what still runs is logged; 0: never.
        overdue: called in the thread when `end_by` has passed.
    """

    def __init__(self, slow_seconds: float, overdue: Callable[[], None]) -> None:
        # Set once:
        self._slow_seconds = slow_seconds
        self._overdue = overdue
        self._pause = min(_LONGEST_SECONDS, slow_seconds / _LOOKS or _LONGEST_SECONDS)
        self._ended = CancelToken()
        self._thread = threading.Thread(target=self._work, name="cairndb supervision", daemon=True)
        # By thread. Each thread writes its own entry; a dict's operations are atomic.
        self._running: dict[int, Running] = {}
        self.slow = 0
        """How many were slow."""
        self.end_by: float | None = None
        """When the process must be gone, by the monotonic clock. Written by whoever stops it."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.cancel()
        self._thread.join()

    def around(self, handler: Handler) -> Handler:
        """The middleware that notes what runs."""
        running, clock, this_thread = self._running, time.monotonic, threading.get_ident

        def handle(request: Request) -> Answer:
            thread = this_thread()
            running[thread] = Running(request, clock(), thread)
            try:
                return handler(request)
            finally:
                del running[thread]

        return handle

    def running(self) -> list[Running]:
        """What runs now, the longest first."""
        return sorted(self._running.copy().values(), key=lambda each: each.started)

    def _work(self) -> None:
        while not self._ended.wait(self._pause):
            self.look()

    def look(self) -> None:
        """Log what is slow, and end what is overdue."""
        now = time.monotonic()
        if self._slow_seconds:
            for each in self.running():
                if not each.told and now - each.started >= self._slow_seconds:
                    self._tell(each, now)
        if self.end_by is not None and now >= self.end_by:
            self._overdue()

    def _tell(self, running: Running, now: float) -> None:
        if waits_for_lock(running.thread):
            # Others' fault, and told again if it is its own turn to take long.
            if not running.waited:
                running.waited = True
                log().info("a request waits for a lock", **described(running, now))
            return
        running.told = True
        self.slow += 1
        log().warning("a request takes long", **described(running, now))


def frames() -> dict[int, FrameType]:
    """What each thread runs.

    Without collections meanwhile: one that begins in there can wait for a mutex of the interpreter
    that its own thread holds, in some versions of CPython (its issue 106883).
    """
    with collector.paused():
        return sys._current_frames()  # noqa: SLF001  documented, underscore and all


def waits_for_lock(thread: int) -> bool:
    """Whether what a thread does is to wait for a lock of a database."""
    frame = frames().get(thread)
    while frame is not None:
        if frame.f_globals.get("__name__") == _LOCKS:
            return True
        frame = frame.f_back
    return False


def described(running: Running, now: float) -> dict[str, Any]:
    """A request that runs, for logs."""
    request = running.request
    return {
        "operation": request.operation,
        "target": request.target,
        "protocol": request.protocol,
        "peer": request.peer,
        "token": request.grant.name if request.grant else None,
        "seconds": round(now - running.started, 3),
        "stack": stack_of(running.thread),
    }


def stack_of(thread: int) -> list[str]:
    """What a thread does, the innermost call last."""
    frame = frames().get(thread)
    return lines_of(traceback.extract_stack(frame)[-_FRAMES:]) if frame else []


def lines_of(stack: list[traceback.FrameSummary] | traceback.StackSummary) -> list[str]:
    """Calls as lines: where, and in which function."""
    return [f"{each.filename}:{each.lineno} in {each.name}" for each in stack]


def stacks() -> dict[str, list[str]]:
    """What each thread does, by its name."""
    names = {each.ident: each.name for each in threading.enumerate()}
    return {
        f"{names.get(thread, '?')} ({thread})": lines_of(traceback.extract_stack(frame))
        for thread, frame in frames().items()
    }
