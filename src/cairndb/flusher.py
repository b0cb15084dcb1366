"""Group commit without a thread of its own, and threads for what nobody waits for.

**Whoever waits first writes and syncs for all.** There is one role, taken by one thread at a time.
A thread that needs its update durable either finds the role free, takes it, and flushes everything
appended so far; or leaves a gate (see `locks`), and is woken when the role is given back: if its
update is covered, or it has waited longest of those that aren't. That one has been handed the role;
to wake the others would only be to see them wait again, which took a sixth of the time of sixteen
threads. A lone writer flushes in its own thread; sixteen share a sync.

Everything else that writes to the log (rotation, marks, syncs, closing) takes the same role, so the
store below needs no locks of its own.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from cairndb.errors import DatabaseFailed, DiskFull, ReadOnlyError, UsageError
from cairndb.locks_gates import closed_gate, wait_at
from cairndb.locks_interrupts import deferred_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
W = TypeVar("W")


class Flusher:
    """One thread at a time writes and syncs for all who wait.

    Whoever finds the role free takes it and flushes everything appended so far; the others wait at
    gates and find their update covered, or take the role next.

    Args:
        flush: writes what was appended (and syncs, at the level that promises that); returns the
            promised LSN. Only ever called by one thread at a time.
        fail: is told the error if the flush or other work in the role fails, before anybody is
        woken.
    """

    __slots__ = (
        "_busy",
        "_fail",
        "_flush",
        "_gates",
        "_heir",
        "_mutex",
        "_queue",
        "failure",
        "promised_lsn",
    )

    def __init__(self, flush: Callable[[], int], fail: Callable[[BaseException], None]) -> None:
        self._flush = flush
        self._fail = fail
        self._mutex = threading.Lock()
        # Guarded by the mutex:
        self._busy = False
        # Of those who wait for a flush, whoever makes it, in order; and up to where each waits.
        self._gates: list[tuple[int, threading.Lock]] = []
        self._queue: list[threading.Lock] = []  # of those who have work of their own, in order
        # Of all of these who was handed the role, and hasn't taken it yet.
        self._heir: threading.Lock | None = None
        # Written by the holder of the role, read by all:
        self.promised_lsn = 0
        self.failure: BaseException | None = None

    def wait(self, lsn: int) -> None:
        """Return when everything up to `lsn` is promised: flush it, or let another thread do so.

        Raises:
            DatabaseFailed: a write or a sync has failed; the outcome of what isn't promised is
            unknown.
        """
        if self.promised_lsn < lsn:
            self._join(lsn)

    def _join(self, lsn: int) -> None:
        gate = closed_gate()
        entered = False
        try:
            with deferred_interrupts:
                if self._take_role(self._gates, (lsn, gate)):
                    entered = True
                    self._flush_in_role(lsn)
                    return
            wait_at(gate)
            with deferred_interrupts:
                entered = True
                if self._heir is gate:
                    self._flush_in_role(lsn)
                    return
        except BaseException:
            if not entered:
                self._stop_waiting(gate)
            raise
        self.raise_failure()

    def _flush_in_role(self, lsn: int) -> None:
        try:
            self._heir = None
            # Another flush may have come before, and a close after it: then the files are given up,
            # and nothing is to be written.
            if self.promised_lsn < lsn:
                self._work(self._flush_and_publish)
        finally:
            self._give_back()

    def _stop_waiting(self, gate: threading.Lock) -> None:
        """Wait for the role no more, and give it back if it has been handed over already."""
        with self._mutex:
            self._gates[:] = [each for each in self._gates if each[1] is not gate]
            self._queue[:] = [each for each in self._queue if each is not gate]
            if self._heir is gate:
                self._heir = None
                self._hand_over()

    def flush_if_free(self, lsn: int) -> None:
        """Flush up to `lsn` if nobody has the role; interrupts are deferred.

        What most updates of a lone writer need; the others, and what fails here, find out in
        `wait`.
        """
        with self._mutex:
            if self._busy:
                return
            self._busy = True
        try:
            if self.promised_lsn < lsn and self.failure is None:
                self.promised_lsn = self._flush()
        except BaseException as error:  # noqa: BLE001  recorded for all who wait, this one too
            self.fail(error)
        finally:
            self._give_back()

    def run(self, work: Callable[[], T], *, after_failure: bool = False) -> T:
        """Do `work` in the role, waiting for it first, and return its result.

        `DiskFull`, `ReadOnlyError` or `UsageError` from `work` mean that nothing has happened; any
        other error fails the database.

        Raises:
            DatabaseFailed: a write or a sync has failed (unless `after_failure`, for closing).
        """
        gate = closed_gate()
        entered = False
        try:
            with deferred_interrupts:
                if self._take_role(self._queue, gate):
                    entered = True
                    return self._do_in_role(work, after_failure=after_failure)
            wait_at(gate)
            with deferred_interrupts:
                entered = True
                return self._do_in_role(work, after_failure=after_failure)
        except BaseException:
            if not entered:
                self._stop_waiting(gate)
            raise

    def _do_in_role(self, work: Callable[[], T], *, after_failure: bool) -> T:
        try:
            self._heir = None
            return self._work(work, after_failure=after_failure)
        finally:
            self._give_back()

    def flush(self) -> None:
        """Write what was appended, in the role: for `work` that has to come after that."""
        self._flush_and_publish()

    def _flush_and_publish(self) -> None:
        self.promised_lsn = self._flush()

    def _take_role(self, waiting: list[W], gate: W) -> bool:
        """Take the role if it is free; if not, join those who wait for it."""
        with self._mutex:
            if self._busy:
                waiting.append(gate)
                return False
            self._busy = True
            return True

    def _hand_over(self) -> None:  # the mutex is held
        """Wake whose update is covered; give the role to the work that has waited longest.

        Where there is none, it goes to whoever has waited longest for the next flush.
        """
        gates = self._gates
        # One at a time: if there is no memory to go on with, the rest is woken by the next try.
        for index in range(len(gates) - 1, -1, -1):
            lsn, gate = gates[index]
            if lsn <= self.promised_lsn or self.failure is not None:
                if gate.locked():
                    gate.release()
                del gates[index]
        if self._queue or gates:
            self._heir = heir = self._queue.pop(0) if self._queue else gates.pop(0)[1]
            heir.release()
        else:
            self._busy = False

    def _work(self, work: Callable[[], T], *, after_failure: bool = False) -> T:
        try:
            if not after_failure:
                self.raise_failure()
            return work()
        except (DiskFull, ReadOnlyError, UsageError, DatabaseFailed):
            raise
        except BaseException as error:
            self.fail(error)
            self.raise_failure()
            raise

    def _give_back(self) -> None:
        """Hand the role over, however often there is no memory: the others would wait for ever."""
        while True:
            try:
                with self._mutex:
                    if self._gates or self._queue:
                        self._hand_over()
                    else:
                        self._busy = False
            except MemoryError:
                continue
            return

    def fail(self, error: BaseException) -> None:
        """Record that nobody knows the outcome of what isn't promised; the first error stays."""
        if self.failure is None:
            self.failure = error
            while True:
                try:
                    self._fail(error)
                except MemoryError:
                    continue
                return

    def failed(self) -> DatabaseFailed:
        """The error to raise after a failure."""
        error = DatabaseFailed(
            f"a write or a sync of the log failed ({type(self.failure).__name__}: {self.failure}): "
            "nobody knows the outcome of the updates under way. This object is dead: "
            "close it and open the database again"
        )
        error.__cause__ = self.failure
        return error

    def raise_failure(self) -> None:
        """Raise `DatabaseFailed` if a write or a sync has failed."""
        if self.failure is not None:
            raise self.failed()


class Background:
    """A daemon thread that calls `work` again and again, started when first needed.

    Args:
        name: the thread's name, as debuggers show it.
        work: does what is due; returns after how many seconds to be called again, or None to sleep
            until poked. It deals with its own errors.
    """

    __slots__ = (
        "_end",
        "_gate",
        "_mutex",
        "_name",
        "_stopped",
        "_thread",
        "_work",
        "asleep",
        "pausing",
    )

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self._name = name
        self._work = work
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._gate = closed_gate()  # opened by a poke
        self._end = closed_gate()  # opened by stop alone: pokes don't shorten a pause
        self._stopped = False
        # True: nothing happens until `poke`. Read without the mutex on the way of every update.
        self.asleep = True
        self.pausing = False

    def poke(self) -> None:
        """Have `work` called soon, or when the time is over that it asked for."""
        with self._mutex:
            self.asleep = False
            if self._stopped:
                return
            if self._gate.locked():
                self._gate.release()
            if self._thread is None:
                thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                # No new threads while the interpreter shuts down: nothing will be late any more.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    @property
    def started(self) -> bool:
        """Whether there is a thread; once poked there is, but where none can be had."""
        return self._thread is not None

    def stop(self, seconds: float | None = None) -> None:
        """End the thread, after the call under way; poking is without effect from now on.

        Args:
            seconds: to wait for that at most; None for as long as it takes.
        """
        with self._mutex:
            self._stopped = True
            for gate in (self._gate, self._end):
                if gate.locked():
                    gate.release()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _loop(self) -> None:
        while not self._stopped:
            # Asleep before looking: what comes after the look finds it so, and pokes.
            self.asleep = True
            seconds = self._work()
            if seconds is None:
                self._gate.acquire()
            else:
                self.asleep = False
                self.pausing = True
                self._end.acquire(timeout=seconds)
                self.pausing = False
