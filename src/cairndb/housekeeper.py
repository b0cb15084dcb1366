"""What an open database does when nobody asks: syncs, idle marks, checkpoints.

Two daemon threads, each started when first needed and asleep when there is nothing to do: one for
syncs and marks, one for checkpoints, which take long and must not delay a sync that is promised. No
commit waits for them. What they do, each time they look:

- Updates that nobody waited for (`durable=False`) are written, and synced, except at the
  level `process`.
- When nothing has happened since the last look, an empty frame says that everything is durable, so
  that damage to the last frame can be told from a torn write.
- When opening would soon take longer than `restart_target` (see `forecast`), the log is rotated and
  a helper process started (`cairndb.checkpointer`), which folds the last checkpoint and the sealed
  segments into the next one. It reports; the thread reads its file back, and only then publishes
  it and removes what it replaces.

A checkpoint that can't be made harms nothing but the time to open: the log has it all. It is tried
again, see `backoff`, by itself, and a warning says so once for each new problem.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from cairndb import locks
from cairndb.backoff import MOST_SECONDS, Backoff
from cairndb.errors import CairnError
from cairndb.files import is_temporary
from cairndb.flusher import Background
from cairndb.forecast import Forecast, Sizes, Verdict
from cairndb.locks_gates import Mutex
from cairndb.locks_interrupts import deferred_interrupts

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from cairndb.engine import Engine

T = TypeVar("T")

logger = logging.getLogger("cairndb")

_SAID_CHARACTERS_MAX: Final = 1000


class Report(msgspec.Struct):
    """What the helper process says when it has written a checkpoint, as one line of JSON."""

    file: str
    lsn: int


class Housekeeper:
    """The background work of one database opened for writing.

    Args:
        engine: the database's.
        path: of its directory, for the helper process.
        sync_interval: seconds between looks while there is something to do.
        sync_soon: whether what was written is synced at the next look; else it is when asked for.
        restart_target: seconds that opening may take; None never makes a checkpoint by itself.
        load_rate: bytes of checkpoint loaded per second when it was last opened; None if unknown.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        engine: Engine,
        path: str,
        *,
        sync_interval: float,
        sync_soon: bool,
        restart_target: float | None,
        load_rate: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Set once:
        self._engine = engine
        # Absolute: the process may change its working directory before a helper is started.
        self._path = str(Path(path).absolute())
        self._interval = sync_interval
        self._sync_soon = sync_soon
        self._clock = clock
        self._syncs = Background("cairndb syncs", self._look)
        self._checkpoints = Background("cairndb checkpoints", self._checkpoint_if_due)
        self._forecast = Forecast(restart_target, load_rate, engine.meter, clock())
        # Touched by the first thread alone:
        self._seen_lsn = engine.applied_lsn
        # Written by the second thread, or whoever makes a checkpoint:
        self._backoff = Backoff()
        # Held by whoever makes a checkpoint; guards the helper and what follows.
        self._checkpointing = Mutex()
        self._helper: subprocess.Popen[bytes] | None = None
        self._stopping = False
        # When the one under way began.
        self._began: float | None = None
        # What the meter said when the log was sealed for it.
        self._sealed_total = 0.0
        # For people:
        self._made = self._failures = 0
        self._last_seconds: float | None = None

    def wake(self) -> None:
        """Have somebody look, if they sleep: called at the end of every update."""
        if self._syncs.asleep:
            self._syncs.poke()

    def stop(self) -> None:
        """End the threads and the helper; the next open removes what the helper was writing."""
        self._stopping = True
        helper = self._helper
        if helper is not None:
            helper.kill()
        self._syncs.stop()
        self._checkpoints.stop()

    def stats(self) -> dict[str, Any]:
        """What it predicts, how its checkpoints went, and why one has or hasn't been made."""
        sizes, backoff, now = self._sizes(), self._backoff, self._clock()
        load, replay = self._forecast.load_seconds(sizes), self._forecast.replay_seconds(sizes)
        verdict = self._verdict()
        waiting = backoff.problem is not None
        return {
            "predicted_open_seconds": round(load + replay, 3),
            "predicted_load_seconds": round(load, 3),
            "predicted_replay_seconds": round(replay, 3),
            "restart_target_seconds": self._forecast.target,
            "checkpoint_due": verdict.due,
            "checkpoint_reason": verdict.why,
            "checkpoint_running": self._began is not None,
            "checkpoints_made": self._made,
            "checkpoint_seconds": self._last_seconds,
            "checkpoints_failed": self._failures,
            "checkpoint_problem": backoff.problem,
            "checkpoint_failures_in_a_row": backoff.failures,
            "checkpoint_failing_seconds": round(now - backoff.since, 1) if waiting else None,
            "checkpoint_next_try_seconds": round(max(backoff.next_at - now, 0.0), 1)
            if waiting
            else None,
        }

    def _look(self) -> float | None:
        engine = self._engine
        if engine.refusal is not None:
            return None
        try:
            busy = self._flush_or_mark()
            self._forecast.look(self._clock())
            if self._checkpoints.asleep and self._verdict().due:
                self._checkpoints.poke()
        except CairnError:
            # The database has failed or is closing: whoever uses it is told.
            return None
        return self._interval if busy else None

    def _flush_or_mark(self) -> bool:
        """Returns whether to look again soon."""
        engine, store = self._engine, self._engine.store
        applied = engine.applied_lsn
        done = store.durable_lsn if self._sync_soon else store.written_lsn
        if done < applied:
            engine.in_role(self._catch_up)
        elif applied == self._seen_lsn:
            engine.in_role(store.mark)
            return False
        self._seen_lsn = applied
        return True

    def _catch_up(self) -> None:
        self._engine.flusher.flush()
        if self._sync_soon:
            self._engine.store.sync()

    def _sizes(self) -> Sizes:
        store = self._engine.store
        after = store.checkpoint_lsn
        segments = sum(segment.header.first_lsn > after for segment in list(store.segments))
        applied = store.applied_lsn
        unproven = (applied - max(store.durable_lsn, after)) / max(applied - after, 1)
        return Sizes(store.checkpoint_bytes, store.log_bytes(), segments, unproven)

    def _verdict(self) -> Verdict:
        now, began = self._clock(), self._began
        if began is not None:
            return Verdict(due=False, why=f"one is being made, for {now - began:.0f} s by now")
        if self._backoff.waits(now) and self._forecast.target is not None:
            return Verdict(due=False, why=self._backoff.describe(now))
        return self._forecast.verdict(self._sizes())

    def _checkpoint_if_due(self) -> float | None:
        """Returns after how many seconds to look again; None if only when something happens."""
        began = self._clock()
        try:
            if self._engine.refusal is None and self._verdict().due:
                self.checkpoint()
                return 0.0  # the log may have grown enough for the next one meanwhile
        except (CairnError, OSError, MemoryError) as error:
            if self._stopping or self._engine.refusal is not None:
                return None
            self._failed(error, began)
        now = self._clock()
        return self._backoff.next_at - now if self._backoff.waits(now) else None

    def _failed(self, error: Exception, began: float) -> None:
        self._failures += 1
        problem = str(error) or type(error).__name__
        if self._backoff.failed(problem, began, self._clock()):
            logger.warning(
                "no checkpoint of %s could be made: %s. Updates go on, and the log grows; it is "
                "tried again, at least every %.0f minutes",
                self._path,
                problem,
                MOST_SECONDS / 60,
            )

    def checkpoint(self) -> int:
        """Make a checkpoint of everything that is applied now, and wait for it.

        Returns:
            Its LSN.

        Raises:
            CairnError: the helper could not make it; the log is all there, and nothing else has
            changed.
            DatabaseFailed: the sync of its name failed; nobody knows what is in the directory.
        """
        with self._checkpointing:
            self._began = self._clock()
            try:
                return self._make(self._began)
            finally:
                self._began = None

    def _make(self, began: float) -> int:
        """Make a checkpoint; the mutex is held."""
        engine, load = self._engine, self._forecast.load_seconds(self._sizes())
        lsn = self._seal()
        replay = self._forecast.replay_seconds(self._sizes())
        if engine.store.checkpoint_lsn == lsn:
            return lsn
        try:
            report = self._run_helper(lsn)
            engine.store.check_checkpoint(report.file, lsn)
        except (CairnError, OSError) as error:
            self._clear()
            if isinstance(error, CairnError):
                raise
            engine.check_usable()  # rather closed meanwhile than a descriptor that is bad
            raise CairnError(
                f"the checkpoint of {self._path} could not be made: {error}"
            ) from error
        problem = engine.in_role(lambda: self._adopt(report.file))
        # Closed out of the role: only then the system gives back the room, which may take a while.
        engine.store.let_go()
        if problem is not None and engine.store.checkpoint_lsn != lsn:
            raise CairnError(f"the checkpoint could not be published: {problem}") from problem
        if problem is not None:
            # The next checkpoint tries that again.
            logger.warning("%s: old files could not all be removed: %s", self._path, problem)
        engine.meter.forget(self._sealed_total)
        self._last_seconds = round(self._clock() - began, 3)
        self._forecast.learn(load, replay, self._last_seconds)
        self._made += 1
        if self._backoff.problem is not None:
            logger.info("%s: checkpoints can be made again", self._path)
        self._backoff.succeeded()
        return report.lsn

    def _clear(self) -> None:
        """Remove what a helper that failed has left: again and again, it would fill the disk."""
        store = self._engine.store

        def remove() -> None:
            with contextlib.suppress(OSError):
                for name in filter(is_temporary, store.directory.names()):
                    store.directory.remove(name)

        # If the database is closed, or has failed, the next open does it.
        with contextlib.suppress(CairnError):
            self._engine.in_role(remove)

    def between_checkpoints(self, work: Callable[[], T]) -> T:
        """Do what must not meet a checkpoint that is being made, in the flusher's role.

        What `work` raises is no failure of the log: the database goes on.
        """
        with self._checkpointing:
            done, error = self._engine.in_role(lambda: _outcome(work))
        if error is not None:
            raise error
        return done[0]

    def _seal(self) -> int:
        """End the segment, so that all that was applied is in files that no longer change."""
        engine = self._engine
        # Against updates: rotation wants nothing buffered.
        holder = locks.current_holder()
        try:
            engine.lock.acquire_update()
            engine.check_usable()
            engine.in_role(self._rotate)
            self._sealed_total = engine.meter.total
            return engine.applied_lsn
        finally:
            try:
                with deferred_interrupts:
                    engine.lock.release_update(holder)
            finally:  # again, in case Ctrl-C struck before it was deferred
                engine.lock.release_update(holder)

    def _rotate(self) -> None:
        self._engine.flusher.flush()
        self._engine.store.sync()
        self._engine.store.seal()

    def _adopt(self, file: str) -> OSError | None:
        # Returned, not raised: it is no failure of the log, which a checkpoint leaves as it was.
        # But where the store has given up, the whole object must.
        store = self._engine.store
        try:
            store.adopt(file)
        except OSError as error:
            if store.dead:
                raise
            return error
        return None

    def _run_helper(self, lsn: int) -> Report:
        import subprocess  # noqa: PLC0415  takes longer to import than most of cairndb; few need it

        if self._stopping:
            raise CairnError("the database is being closed: no checkpoint was made")
        # The helper ends itself at the end of its standard input, which comes when this process
        # dies. -P: by itself, -m would look for modules in the working directory first.
        database = str(self._engine.store.identity.database)
        with subprocess.Popen(  # noqa: S603  our own module, by our own interpreter
            [sys.executable, "-P", "-m", "cairndb.checkpointer", self._path, str(lsn), database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as helper:
            self._helper = helper
            try:
                if self._stopping:  # before it could be seen
                    helper.kill()
                assert helper.stdout is not None
                output = helper.stdout.read()
                status = helper.wait()
            finally:
                self._helper = None
        said = output.decode(errors="backslashreplace").strip()
        if status != 0:
            if self._stopping:
                raise CairnError("the database is being closed: no checkpoint was made")
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            # Of a traceback the last line says what it was.
            last = said.splitlines()[-1][:_SAID_CHARACTERS_MAX] if said else "it said nothing"
            raise CairnError(f"the checkpoint helper {how}: {last}")
        return read_report(said, lsn)


def _outcome(work: Callable[[], T]) -> tuple[list[T], OSError | CairnError | None]:
    try:
        return [work()], None
    except (OSError, CairnError) as error:
        return [], error


def read_report(said: str, lsn: int) -> Report:
    """What the helper process reports, among what else Python may say: warnings, for one.

    Args:
        said: all its output.
        lsn: that the checkpoint was to be of.

    Raises:
        CairnError: there is no report of that checkpoint, under a temporary name.
    """
    for line in said.splitlines():
        try:
            report = msgspec.json.decode(line, type=Report)
        except (ValueError, RecursionError):
            continue
        # What is named is opened, and removed if it is no good: so only a file that is for that.
        if report.lsn == lsn and is_temporary(report.file) and "/" not in report.file:
            return report
    raise CairnError(
        f"the checkpoint helper didn't report its checkpoint, but said: "
        f"{said[:_SAID_CHARACTERS_MAX]}"
    )
