"""What an open database does when nobody asks: syncs, idle marks, checkpoints.

Two daemon threads, each started when first needed and asleep when there is nothing to do: one for
syncs and marks, one for checkpoints, which take long and must not delay a sync that is promised. No
commit waits for them. What they do, each time they look:

- Updates that nobody waited for (`durable=False`) are written, and synced, except at the
  level `process`.
- When nothing has happened since the last look, an empty frame says that everything is durable, so
  that damage to the last frame can be told from a torn write.
- When opening would take longer than `restart_target`, the log is rotated and a helper process
  started (`cairndb.checkpointer`), which folds the last checkpoint and the sealed segments into the
  next one. It reports; the thread reads its file back, and only then publishes it and removes what
  it replaces.

The prediction: bytes of the checkpoint and of the log after it, each over the rate at which this
machine last read them (or a cautious guess). A checkpoint is due when opening would exceed the
target *and* the log's share is worth it: at least half of the checkpoint's. Else a state that takes
long to load anyway would be written again and again. One is due as well when there are many
segments after the last, since every opening that writes begins one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from cairndb import locks
from cairndb.errors import CairnError
from cairndb.files import is_temporary
from cairndb.flusher import Background
from cairndb.locks_gates import Mutex
from cairndb.locks_interrupts import deferred_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine

T = TypeVar("T")

logger = logging.getLogger("cairndb")

# Bytes per second, until this machine has been measured: about half of what a small computer does.
LOAD_RATE: Final = 20e6
REPLAY_RATE: Final = 5e6
_HELPER_LOOK_SECONDS: Final = 0.02
# A log shorter than this is replayed in a moment, whatever the target.
_LOG_BYTES_MIN: Final = 1 << 20
_RETRY_SECONDS: Final = 30.0
# Every opening that writes begins a segment: a tool run again and again makes many small ones.
_SEGMENTS_MAX: Final = 64


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
        replay_rate: bytes of log replayed per second then.
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
        replay_rate: float | None,
    ) -> None:
        # Set once:
        self._engine = engine
        # Absolute: the process may change its working directory before a helper is started.
        self._path = str(Path(path).absolute())
        self._interval = sync_interval
        self._sync_soon = sync_soon
        self._target = restart_target
        self._load_rate = load_rate or LOAD_RATE
        self._replay_rate = replay_rate or REPLAY_RATE
        self._syncs = Background("cairndb syncs", self._look)
        self._checkpoints = Background("cairndb checkpoints", self._checkpoint_if_due)
        # Touched by the first thread alone:
        self._seen_lsn = engine.applied_lsn
        # Written by the second thread, read by both:
        self._retry_at = 0.0
        # Held by whoever makes a checkpoint; guards the helper.
        self._checkpointing = Mutex()
        self._helper: subprocess.Popen[bytes] | None = None
        self._stopping = False
        # Written by the second thread, for people:
        self._checkpoints_failed = 0
        self._problem: str | None = None

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

    def predicted_seconds(self) -> tuple[float, float]:
        """How long opening would take now: loading the checkpoint, and replaying the log."""
        stats = self._engine.store.stats()
        return (
            stats["checkpoint_bytes"] / self._load_rate,
            stats["log_bytes_since_checkpoint"] / self._replay_rate,
        )

    def stats(self) -> dict[str, Any]:
        """What it predicts, and how its checkpoints went."""
        load, replay = self.predicted_seconds()
        return {
            "predicted_load_seconds": round(load, 3),
            "predicted_replay_seconds": round(replay, 3),
            "restart_target_seconds": self._target,
            "checkpoint_due": self._due(),
            "checkpoint_running": self._helper is not None,
            "checkpoints_failed": self._checkpoints_failed,
            "checkpoint_problem": self._problem,
        }

    def _look(self) -> float | None:
        engine = self._engine
        if engine.refusal is not None:
            return None
        try:
            busy = self._flush_or_mark()
            if self._due() and self._checkpoints.asleep:
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

    def _due(self) -> bool:
        if self._target is None or time.monotonic() < self._retry_at:
            return False
        if self._segments_to_replay() > _SEGMENTS_MAX:
            return True
        load, replay = self.predicted_seconds()
        if replay * self._replay_rate < _LOG_BYTES_MIN:
            return False
        return load + replay > self._target and replay > load / 2

    def _segments_to_replay(self) -> int:
        store = self._engine.store
        after = store.checkpoint_lsn
        return sum(segment.header.first_lsn > after for segment in list(store.segments))

    def _checkpoint_if_due(self) -> None:
        try:
            if self._engine.refusal is None and self._due():
                self.checkpoint()
        except (CairnError, OSError) as error:
            if self._stopping or self._engine.refusal is not None:
                return
            self._checkpoints_failed += 1
            self._problem = str(error)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            logger.warning("checkpoint of %s failed, trying again later: %s", self._path, error)

    def checkpoint(self) -> int:
        """Make a checkpoint of everything that is applied now, and wait for it.

        Returns:
            Its LSN.

        Raises:
            CairnError: the helper could not make it; the log is all there, and nothing else has
            changed.
            DatabaseFailed: the sync of its name failed; nobody knows what is in the directory.
        """
        engine = self._engine
        with self._checkpointing:
            lsn = self._seal()
            if engine.store.checkpoint_lsn == lsn:
                return lsn
            try:
                report = self._run_helper(lsn)
                engine.store.check_checkpoint(report.file, lsn)
            except OSError as error:
                engine.check_usable()  # rather closed meanwhile than a descriptor that is bad
                raise CairnError(
                    f"the checkpoint of {self._path} could not be made: {error}"
                ) from error
            problem = engine.in_role(lambda: self._adopt(report.file))
            if problem is not None and engine.store.checkpoint_lsn != lsn:
                raise CairnError(f"the checkpoint could not be published: {problem}") from problem
            if problem is not None:
                # The next checkpoint tries that again.
                logger.warning("%s: old files could not all be removed: %s", self._path, problem)
            return report.lsn

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
            return engine.applied_lsn
        finally:
            try:
                with deferred_interrupts():
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
            raise CairnError(f"the checkpoint helper ended with status {status}: {said}")
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
    raise CairnError(f"the checkpoint helper didn't report its checkpoint, but said: {said:.1000}")
