"""Where what has been promised meets those who watch, in the process of the owner.

The flusher hands over the entries of each frame right after they are promised, in its role, so in
order and once: commits know nothing of watches. The last of them are kept here, up to a bound; who
asks for older ones reads the log, and comes back when it has caught up. Nobody who watches is
waited for: waking them is all that is done here, and each does its own work in its own time.

The log that somebody here still has to read is kept, see `retirement`, unless it lags too far.
"""

from __future__ import annotations

import contextlib
import weakref
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from cairndb.locks_gates import ReentrantMutex
from cairndb.watch_follower import Follower, Jump, Run
from cairndb.watch_items import Start

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from cairndb.appender_parts import Batch
    from cairndb.chain import Position
    from cairndb.engine import Engine
    from cairndb.files import Directory
    from cairndb.log import SegmentHeader

BUFFER_BYTES_MAX: Final = 1 << 20

_before_lsn = attrgetter("before_lsn")


class Hub:
    """What was promised last, and who is to be told of more.

    Args:
        engine: of a database that is open for writing.
        buffer_bytes_max: how much is kept in memory.
    """

    def __init__(self, engine: Engine, buffer_bytes_max: int = BUFFER_BYTES_MAX) -> None:
        self.engine = engine
        self._bytes_max = buffer_bytes_max
        # Reentrant: wherever something is made under it the collector may strike, and end a watch
        # that nobody holds any more.
        self._mutex = ReentrantMutex()
        # Guarded by the mutex:
        self._runs: list[Run] = []
        self._bytes = 0
        self._sources: weakref.WeakSet[OwnSource] = weakref.WeakSet()
        self._listeners: list[Callable[[], None]] = []
        # Written in the flusher's role:
        self._promised_lsn = 0

    def promised_lsn(self) -> int:
        """Up to which LSN entries may be shown."""
        return max(self._promised_lsn, self.engine.flusher.promised_lsn)

    def oldest_lsn(self) -> int | None:
        """From which LSN on somebody here may still read the log; None if nobody watches."""
        with self._mutex:
            return min([source.lsn for source in list(self._sources)], default=None)

    def watched(self) -> int:
        """How many watch."""
        return len(self._sources)

    def publish(self, batch: Batch) -> None:
        """Take what has just been promised; see `Engine.on_promise`."""
        with contextlib.suppress(MemoryError):  # what isn't kept is read from the log
            self._keep(batch)
        self._promised_lsn = batch.position.lsn
        self.wake()

    def _keep(self, batch: Batch) -> None:
        with self._mutex:
            runs = self._runs
            size = sum(map(len, batch.entries))
            if not batch.entries:
                return
            if size > self._bytes_max or (runs and runs[-1].last_lsn != batch.first_lsn - 1):
                runs.clear()
                self._bytes = 0
            if size <= self._bytes_max:
                runs.append(Run(batch.first_lsn - 1, batch.entries))
                self._bytes += size
            if self._bytes > self._bytes_max:
                self._drop_half()

    def _drop_half(self) -> None:  # at once, so that most updates have nothing to drop
        count = size = 0
        while self._bytes - size > self._bytes_max // 2 and count < len(self._runs) - 1:
            size += sum(map(len, self._runs[count].entries))
            count += 1
        del self._runs[:count]
        self._bytes -= size

    def run_after(self, lsn: int) -> Run | None:
        """A run with the entry after an LSN, and maybe some before it; None if it isn't kept."""
        with self._mutex:
            index = bisect_right(self._runs, lsn, key=_before_lsn) - 1
            if index >= 0 and lsn < self._runs[index].last_lsn:
                return self._runs[index]
        return None

    def wake(self) -> None:
        """Call all who listen, once: there may be more, or nothing will be."""
        # However often there is no memory: they would wait for ever. Nothing is taken from the list
        # before it has been called; whoever is called twice doesn't mind.
        while self._listeners:
            with contextlib.suppress(MemoryError, IndexError):
                listener = self._listeners[-1]
                listener()
                self.forget(listener)

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called at the next `wake`, from any thread; it mustn't raise or wait."""
        with self._mutex:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Don't, if that is still to come."""
        with self._mutex, contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def add(self, source: OwnSource) -> None:
        """Somebody begins to watch: before it looks where the log is."""
        with self._mutex:
            self._sources.add(source)
            if not self.engine.reads_only:
                self.engine.store.needed_lsn = self.oldest_lsn
            self.engine.on_end = self.wake
            self.engine.on_promise = self.publish

    def remove(self, source: OwnSource) -> None:
        """It has ended. Without anybody else commits go on as if there never had been any."""
        with self._mutex:
            self._sources.discard(source)
            if not self._sources:
                self.engine.on_promise = None
                self._runs.clear()
                self._bytes = 0

    def forget_runs(self) -> None:
        """Keep nothing of what there was."""
        with self._mutex:
            self._runs.clear()
            self._bytes = 0

    def source(self) -> OwnSource:
        """For a watch, or whoever else takes what is promised."""
        return OwnSource(self)


class OwnSource:
    """What the owner has promised, from a position on: from memory, or else from the log.

    Args:
        hub: of the database.
    """

    look_seconds: float | None = None
    """How often to look by oneself: never, one is woken."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._follower: Follower | None = None
        # Until it is known where it begins, nothing is removed.
        self.lsn = 0
        self.directory = hub.engine.directory
        # Captures what is there now, for a source that may have to jump; set by who makes a watch.
        self.capture: Callable[[], tuple[Position, Raw]] | None = None
        hub.add(self)

    def check(self) -> None:
        """Raise why there will be no more, if so."""
        self._hub.engine.check_usable()

    def begin(self, start: Start) -> Position:
        """Find a position of the past in the log.

        Raises:
            Compacted, UnknownPosition: it isn't there.
        """
        self._leave_log()
        self._follower = Follower(self.directory, start, self._hub.promised_lsn)
        return self._follower.position

    @property
    def headers(self) -> list[SegmentHeader]:
        """Of the segments of the log that `begin` found."""
        return [] if self._follower is None else self._follower.headers

    def read(self, position: Position) -> Run | Jump | None:
        """The entries after a position, perhaps with some before it; None if there are none yet."""
        self.lsn = position.lsn
        if position.lsn >= self._hub.promised_lsn():
            return None
        run = self._hub.run_after(position.lsn)
        if run is not None:
            self._leave_log()
            return run
        if self._follower is None:
            self.begin(Start(*position))
        assert self._follower is not None
        return self._follower.read()

    def listen(self, listener: Callable[[], None]) -> None:
        """See `Hub.listen`."""
        self._hub.listen(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """See `Hub.forget`."""
        self._hub.forget(listener)

    def _leave_log(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def close(self) -> None:
        """Let go of everything."""
        self._leave_log()
        self._hub.remove(self)


class LogSource:
    """What a reader finds in the log beside its owner, or without one.

    Args:
        directory: of the database.
        start: where to begin.
        check: raises why there will be no more, if so.
    """

    look_seconds: float | None = 0.05

    def __init__(self, directory: Directory, start: Start, check: Callable[[], None]) -> None:
        self.directory = directory
        self.check = check
        self._follower = Follower(directory, start, None)
        self.position = self._follower.position

    @property
    def headers(self) -> list[SegmentHeader]:
        """Of the segments of the log that were found."""
        return self._follower.headers

    def read(self, position: Position) -> Run | None:
        """See `OwnSource.read`."""
        assert position == self._follower.position
        return self._follower.read()

    def listen(self, listener: Callable[[], None]) -> None:
        """Nobody tells a reader anything."""

    def forget(self, listener: Callable[[], None]) -> None:
        """See `listen`."""

    def close(self) -> None:
        """Let go of the files."""
        self._follower.close()
