"""What a replica is to be sent, item by item: see `wire_tail`. No sockets, no threads of its own.

Rules:

1. Only what is promised is sent; entries come from memory, where the flusher has laid them down, or
   from the log (see `watch_hub.OwnSource`). An update does nothing for a replica.
2. A replica takes items when it can. Nobody waits for it and nothing piles up for it: the log that
   it still has to read is kept, up to a bound; beyond, it gets a checkpoint instead.
3. No fold leads over a barrier, so nobody is sent one: its checkpoint, or a newer one, is sent in
   the place of all that came before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from cairndb.chain import Position
from cairndb.checkpoint import checkpoint_name, parse_checkpoint_name
from cairndb.errors import CairnError, Compacted, CorruptError, UnknownPosition
from cairndb.history import Still, compacted
from cairndb.locks_gates import Mutex
from cairndb.watch_follower import Jump
from cairndb.watch_hub import OwnSource
from cairndb.watch_items import Start
from cairndb.wire_tail import Begin, Entries, Heartbeat, Loaded, Owner, Piece, checksum_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from cairndb.watch_follower import Run
    from cairndb.watch_hub import Hub
    from cairndb.wire_tail import Item

ENTRIES_BYTES: Final = 1 << 16
"""About how much comes in one item: what a replica applies before it lets views in again."""

_ATTEMPTS: Final = 50
_NOTHING: Final = Position(0, 0)


class Tail:
    """The stream of entries for one replica, from where it is.

    It belongs to one thread at a time; `close` may come from any. Making one reads files, and so
    may `step`, unless `is_in_memory` says that it won't.

    Args:
        hub: of the database.
        start: where the replica is; None if it has nothing.
        database: that it is a replica of; None for any.
    """

    def __init__(self, hub: Hub, start: Start | None, database: UUID | None = None) -> None:
        self._hub = hub
        self._engine = hub.engine
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._closed = False
        self._still: Still | None = None
        self._pieces: Iterator[tuple[int, bytes]] | None = None
        self._checksum = 0
        self._run: Run | None = None
        self._position = _NOTHING
        self._waiting: list[Item] = [self._owner()]
        self._source = OwnSource(hub)
        try:
            if database not in {None, self._engine.store.identity.database}:
                start = None
            self._begin(start)
        except BaseException:
            self.close()
            raise

    def _owner(self) -> Owner:
        store = self._engine.store
        return Owner(store.identity.database, store.schema.text, self._hub.promised_lsn())

    @property
    def lsn(self) -> int:
        """Up to which LSN everything was in the items by now."""
        return self._position.lsn

    def heartbeat(self) -> Heartbeat:
        """For when nothing else was sent for some time."""
        return Heartbeat(self._hub.promised_lsn())

    def is_in_memory(self) -> bool:
        """Whether the next `step` reads no file."""
        if self._waiting:
            return True
        if self._pieces is not None:
            return False
        lsn = self._position.lsn
        run = self._run
        if run is not None and lsn < run.last_lsn:
            return True
        return lsn >= self._hub.promised_lsn() or self._hub.run_after(lsn) is not None

    def step(self) -> tuple[Item | None, bool]:
        """The next item.

        Returns:
            The item, if there is one; and whether there may be more.

        Raises:
            DatabaseFailed, UsageError: the database has failed, or was closed.
            CairnError: a file can't be read.
        """
        if self._closed:
            return None, False
        try:
            self._source.check()
            with self._mutex:
                return (None, False) if self._closed else self._next()
        except OSError as error:
            self._closed = True
            raise CairnError(f"{error.filename} can't be read: {error.strerror}") from error
        except BaseException:
            self._closed = True
            raise
        finally:
            if self._closed:
                self._let_go()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, once, when there may be another item.

        Listen, then `step` until there is nothing more, then wait for the call.

        Args:
            listener: called from any thread; it must neither raise nor wait.
        """
        self._source.listen(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Don't call a function that was given to `listen`."""
        self._source.forget(listener)

    def _next(self) -> tuple[Item | None, bool]:
        if self._waiting:
            return self._waiting.pop(0), True
        if self._pieces is not None:
            return self._piece(self._pieces), True
        try:
            run = self._next_run()
        except (Compacted, UnknownPosition):
            self._begin(None)
            return self._waiting.pop(0), True
        if run is None:
            return None, False
        barrier = self._barrier_before(run.last_lsn)
        if barrier is not None:
            self._load(barrier)
            return self._waiting.pop(0), True
        return self._entries(run), True

    def _piece(self, pieces: Iterator[tuple[int, bytes]]) -> Item:
        found = next(pieces, None)
        if found is not None:
            piece = Piece(*found)
            self._checksum = checksum_of(piece, self._checksum)
            return piece
        self._leave_checkpoint()
        return Loaded(self._checksum)

    def _next_run(self) -> Run | None:
        run = self._run
        # What the log gives may be behind what was taken from memory since it was read last.
        while run is None or self._position.lsn >= run.last_lsn:
            found = self._source.read(self._position)
            assert not isinstance(found, Jump), "an owner has all entries, or says that it hasn't"
            self._run = run = found
            if run is None:
                break
        return run

    def _barrier_before(self, last_lsn: int) -> int | None:
        """The last barrier among the entries to come up to an LSN, if there is one.

        Where they come from the log, the headers of its segments say that. What is in memory was
        appended by this owner, and barriers are made before there is one.
        """
        found = [h.first_lsn for h in self._source.headers if h.barrier]
        return max((b for b in found if self._position.lsn < b <= last_lsn), default=None)

    def _entries(self, run: Run | None) -> Entries:
        """One item of entries: those of a run, and of what follows it in memory."""
        before, running = self._position
        lsn, size = before, 0
        taken: list[bytes] = []
        while run is not None and size < ENTRIES_BYTES:
            self._run = run
            for index in range(lsn - run.before_lsn, len(run.entries)):
                taken.append(run.entries[index])
                size += len(taken[-1])
                if size >= ENTRIES_BYTES:
                    break
            lsn = before + len(taken)
            run = self._hub.run_after(lsn)
        payload = b"".join(taken)
        self._position = Position(lsn, crc32(payload, running))
        promised_lsn = self._hub.promised_lsn()
        return Entries(before, running, self._position.running, len(taken), payload, promised_lsn)

    def _begin(self, start: Start | None) -> None:
        """Find where to go on: at a position, or else with a checkpoint."""
        if start is not None:
            try:
                self._position = self._found(start)
            except (Compacted, UnknownPosition):
                pass
            else:
                return
        self._load(0)

    def _found(self, start: Start) -> Position:
        # At the end of the log, where most come back to, it needn't be read.
        position = self._engine.position
        if start == Start(*position) and position.lsn <= self._hub.promised_lsn():
            return position
        return self._source.begin(start)

    def _load(self, least_lsn: int) -> None:
        """Begin with the newest checkpoint that is whole; without any, with the first entry.

        Args:
            least_lsn: that it must be of, or later.
        """
        self._leave_checkpoint()
        self._run = None
        self._source.lsn = 0  # until it is known where to begin, nothing is removed
        still = self._newest(least_lsn)
        self._position = _NOTHING if still is None else still.base
        self._source.lsn = self._position.lsn
        if still is None:
            begin = Begin(0, 0, "", 0)
            self._waiting += [begin, Loaded(checksum_of(begin))]
        else:
            self._still, self._pieces = still, still.checkpoint_frames()
            begin = Begin(*still.base, still.schema, still.total_bytes)
            self._checksum = checksum_of(begin)
            self._waiting.append(begin)

    def _newest(self, least_lsn: int) -> Still | None:
        failure: Exception | None = None
        for _ in range(_ATTEMPTS):
            names = self._source.directory.names()
            lsns = filter(None, map(parse_checkpoint_name, names))
            for lsn in sorted((lsn for lsn in lsns if lsn >= least_lsn), reverse=True):
                try:
                    return self._opened(lsn)
                except (Compacted, UnknownPosition, CorruptError, FileNotFoundError) as error:
                    failure = failure or error
            try:
                if least_lsn == 0:
                    self._source.begin(Start(*_NOTHING))
                    return None
            except Compacted as error:
                failure = failure or error
            if isinstance(failure, CorruptError):
                break
        if failure is None:
            raise compacted(self._source.directory, least_lsn)
        raise failure

    def _opened(self, lsn: int) -> Still:
        """A checkpoint that the log leads on from."""
        still = Still(self._source.directory, checkpoint_name(lsn))
        try:
            self._source.begin(Start(*still.base))
        except BaseException:
            still.close()
            raise
        return still

    def _leave_checkpoint(self) -> None:
        self._pieces = None
        if self._still is not None:
            self._still.close()
            self._still = None

    def close(self) -> None:
        """Let go of everything; closing twice is harmless."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        # Whoever is at work in another thread lets go when that is done: it isn't waited for.
        if self._mutex.acquire(blocking=False):
            try:
                self._leave_checkpoint()
                self._waiting.clear()
                self._run = None
                self._source.close()
            finally:
                self._mutex.release()

    def __del__(self) -> None:
        if hasattr(self, "_source"):
            self.close()
