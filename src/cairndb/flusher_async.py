"""Group commit for tasks: one thread waits for the disk, for all of them.

A thread that needs its update durable writes and syncs itself (see `flusher`). A task must not: it
would hold up its whole loop. So tasks say up to where they wait, and one thread, started by the
first of them, takes the flusher's role like any other, for everything appended so far. Then each
loop is woken once, and lets in whom the flush covers: ten thousand updates that wait share a few
syncs and as many wake-ups.

What else a task needs done in the role (rotation, `sync`) is a *job* of that thread. A cancelled
task withdraws its job. If that is under way it can't be stopped, and what must not happen beside
it, such as the next update, waits: the job lets go of the lock when it is over.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from cairndb.errors import CairnError
from cairndb.flusher import Background
from cairndb.locks_gates import Mutex
from cairndb.locks_interrupts import deferred_interrupts
from cairndb.locks_tasks import event_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.flusher import Flusher
    from cairndb.locks_tasks import EventLoop, TaskGate

T = TypeVar("T")

_QUEUED: Final = 0
_BEGUN: Final = 1
_OVER: Final = 2


class Job(Generic[T]):
    """Work that a thread does for the running task.

    Args:
        work: done once, in whatever thread; a withdrawn job's never is.
    """

    __slots__ = ("_after", "_error", "_gate", "_mutex", "_result", "_state", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._gate = event_loop().gate()
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._state = _QUEUED
        self._after: Callable[[], object] | None = None
        # Written by who does it, read when it is over:
        self._result: Any = None
        self._error: BaseException | None = None

    def do(self) -> None:
        """Do it, unless it was withdrawn, and tell the task."""
        with self._mutex:
            if self._state != _QUEUED:
                return
            self._state = _BEGUN
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  raised again in the task
            self._error = error
        while True:
            try:
                self._end()
            except MemoryError:  # the task would wait for ever
                continue
            return

    def _end(self) -> None:
        with self._mutex:
            self._state = _OVER
        if self._after is not None:
            self._after()
        self._gate.release()

    async def result(self) -> T:
        """What the work returned, when it is over; raises what it raised."""
        await self._gate.wait()
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def withdraw(self, after: Callable[[], object]) -> bool:
        """Don't begin it any more.

        Args:
            after: called when it is over, by who does it, if it has begun.

        Returns:
            Whether nothing of it runs: else `after` will be called.
        """
        with self._mutex:
            if self._state == _BEGUN:
                self._after = after
                return False
            self._state = _OVER
            return True


async def in_thread(name: str, work: Callable[[], T]) -> T:
    """Do work that may wait for long in a thread of its own; cancelled, the task stops waiting.

    Args:
        name: of the thread.
        work: goes on to its end, whatever becomes of the task.
    """
    job = Job(work)
    try:
        threading.Thread(target=job.do, name=name, daemon=True).start()
    except RuntimeError:  # no thread can be had: better late than never
        job.do()
    return await job.result()


class _Room:
    """Those of one loop who wait for a flush."""

    __slots__ = ("loop", "waiting")

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        self.waiting: dict[TaskGate, int] = {}


class TaskFlusher:
    """What waits for the disk for the tasks of one open database.

    Args:
        flusher: whose role is taken.
        applied_lsn: up to where there is something to flush.
    """

    __slots__ = (
        "_applied_lsn",
        "_background",
        "_flusher",
        "_jobs",
        "_mutex",
        "_rooms",
        "_stopped",
        "_working",
    )

    def __init__(self, flusher: Flusher, applied_lsn: Callable[[], int]) -> None:
        self._flusher = flusher
        self._applied_lsn = applied_lsn
        self._background = Background("cairndb flushes", self._work)
        # Held by whoever does the work: the thread, or a loop if no thread can be had.
        self._working = Mutex()
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._rooms: dict[object, _Room] = {}
        self._jobs: deque[Job[Any]] = deque()
        self._stopped = False

    async def wait(self, lsn: int) -> None:
        """Return when everything up to `lsn` is promised.

        Raises:
            DatabaseFailed: a write or a sync has failed; the outcome of what isn't promised is
            unknown.
        """
        while self._flusher.promised_lsn < lsn:
            self._flusher.raise_failure()
            loop = event_loop()
            gate = loop.gate()
            try:
                with self._mutex:
                    room = self._rooms.get(loop.key)
                    if room is None:
                        room = self._rooms[loop.key] = _Room(loop)
                    room.waiting[gate] = lsn
                self._have_done()
                await gate.wait()
            finally:
                self._leave(loop.key, gate)

    def _leave(self, key: object, gate: TaskGate) -> None:
        with self._mutex:
            room = self._rooms.get(key)
            if room is not None:
                room.waiting.pop(gate, None)
                if not room.waiting:
                    del self._rooms[key]

    async def run(self, job: Job[T]) -> T:
        """Have a job done that takes the flusher's role, and return its result.

        If this raises but what the work raised, the job is still to be withdrawn.
        """
        with self._mutex:
            self._jobs.append(job)
        self._have_done()
        return await job.result()

    def _have_done(self) -> None:
        if self._background.asleep:
            with deferred_interrupts:
                self._background.poke()
        if self._stopped or not self._background.started:
            # There is no thread: the loop is held up, rather than the task for ever.
            self._work()

    def _work(self) -> None:
        while True:
            try:
                with self._working:
                    self._do_jobs()
                    self._flush()
            except MemoryError:  # the tasks would wait for ever
                continue
            return

    def _do_jobs(self) -> None:
        while self._jobs:
            self._jobs[0].do()
            self._jobs.popleft()

    def _flush(self) -> None:
        if self._rooms:
            # Failed: each of the tasks finds that out for itself.
            with contextlib.suppress(CairnError):
                self._flusher.wait(self._applied_lsn())
            self._wake()

    def _wake(self) -> None:
        with self._mutex:
            rooms = list(self._rooms.items())
        for key, room in rooms:
            if not room.loop.call_soon(partial(self._let_in, room)):
                with self._mutex:
                    if self._rooms.get(key) is room:
                        del self._rooms[key]

    def _let_in(self, room: _Room) -> None:  # in its loop
        promised, failed = self._flusher.promised_lsn, self._flusher.failure is not None
        with self._mutex:
            covered = [
                gate
                for gate, lsn in room.waiting.items()
                if gate.locked() and (failed or lsn <= promised)
            ]
        for gate in covered:
            gate.release()

    def stop(self) -> None:
        """End the thread, after closing: who waits is told, and what is still to do is refused."""
        with self._mutex:
            self._stopped = True
        self._background.stop()
        self._work()
