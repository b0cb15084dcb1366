"""The owner's end of the log: entries get their LSNs, are written in frames, and synced.

Who may call what. *Caller's mutex*: `reserve`, `append`, `take`. *The flusher* (one at a time,
holding no mutex): `write`, `sync`, `mark`, `rotate`. Positions may be read by anybody.

    reserve -> append          room first, then the LSN: nothing can fail between
    take -> write -> sync      one frame; durable is what had been written when the sync was entered
    rotate                     sync the old segment, publish the next, seal the old

Invariants:

1. durable <= written <= applied.
2. Nothing is written after what `publish_segment` put in a segment before everything older is
   sealed.
3. A frame never says that an LSN is durable before the sync that covers it has returned, and that
   of the directory, for the segment's own name.
4. Whatever fails after something has changed on disk makes the object dead: it refuses every call,
   and the cure is to open again. `DiskFull` is no failure: nothing has happened.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from zlib import crc32

from cairndb.appender_parts import BUFFER_BYTES_MAX, Batch, Schema
from cairndb.chain import Position
from cairndb.errors import DatabaseFailed, DiskFull, ReadOnlyError, ValidationError
from cairndb.files import NO_ROOM
from cairndb.frame import PAYLOAD_BYTES_MAX, UNSAID
from cairndb.log import (
    CLOSING_BYTES,
    ENTRY_OVERHEAD_MAX,
    LiveSegment,
    Piece,
    SegmentHeader,
    bytes_needed,
    publish_segment,
    seal_segment,
)
from cairndb.publishing import disk_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cairndb.appender_parts import StoreOptions
    from cairndb.files import Directory
    from cairndb.identity import Identity
    from cairndb.recovery import Continuation


class Appender:
    """See the module.

    Set once: directory, identity, options, schema. Under the caller's mutex: the buffer and
    `applied`. By the flusher: everything else.

    Args:
        directory: where; locked by the caller.
        identity: of the database.
        schema: of new entries.
        options: sizes.
        clock: the time in microseconds.
        epoch: of this owner: larger than all before.
        place: what the first segment is to follow.
    """

    def __init__(  # noqa: PLR0917  a constructor of two callers
        self,
        directory: Directory,
        identity: Identity,
        schema: Schema,
        options: StoreOptions,
        clock: Callable[[], int],
        epoch: int,
        place: Continuation,
    ) -> None:
        self.directory = directory
        self.identity = identity
        self.options = options
        self.segments = list(place.segments)
        """The chain, oldest first, the live segment last."""
        self.superseded = list(place.superseded)
        self.applied = self.written = self.durable = place.position
        self.schema = schema
        self.clock = clock
        self._epoch = epoch
        self._place = place
        self._live: LiveSegment | None = None
        self.needed_lsn: Callable[[], int | None] = lambda: None
        """After which LSN the log is still read by those who watch in this process."""
        # What the frames on disk say is durable.
        self._said_lsn = place.position.lsn
        self._buffer: list[bytes] = []
        self.buffered_bytes = 0
        """What waits for the next `take`."""
        self._failure: BaseException | None = None

    @property
    def applied(self) -> Position:
        """Where the log is after the LSN given last."""
        return Position(self.applied_lsn, self._running)

    @applied.setter
    def applied(self, position: Position) -> None:
        self.applied_lsn, self._running = position

    @property
    def written_lsn(self) -> int:
        """The last LSN that the system was handed."""
        return self.written.lsn

    @property
    def durable_lsn(self) -> int:
        """The last LSN that is synced."""
        return self.durable.lsn

    @property
    def dead(self) -> bool:
        """Whether every call is refused, since a write or a sync has failed."""
        return self._failure is not None

    @property
    def sealed(self) -> Position:
        """The end of the segments that don't change any more: the next checkpoint's place."""
        if self._live is None:
            return self._place.position
        header = self._live.segment.header
        return Position(header.first_lsn - 1, header.running)

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise DatabaseFailed(
                f"{self.directory.path}: a write or a sync of the log failed; the outcome of the "
                "updates under way is unknown. Open the database again."
            ) from self._failure

    @contextlib.contextmanager
    def _deadly(self) -> Iterator[None]:
        """Whatever goes wrong in the block leaves the outcome open: the object is dead."""
        try:
            yield
        except (DiskFull, ReadOnlyError):
            raise
        except BaseException as error:
            self._failure = error
            raise

    def has_room(self, entry_bytes: int) -> bool:
        """Whether an entry can be appended just so, as nearly every one can; without a mutex.

        Args:
            entry_bytes: the length of the entry.

        Returns:
            Whether there is room for it, and no more is buffered than `BUFFER_BYTES_MAX`; if not,
            `reserve` says what is to be done.
        """
        live = self._live
        if live is None or self._failure is not None:
            return False
        # In this order, and `take` in the other: what is taken meanwhile is counted twice at worst.
        buffered = self.buffered_bytes + entry_bytes
        overhead = (len(self._buffer) + 1) * ENTRY_OVERHEAD_MAX
        return (
            buffered <= BUFFER_BYTES_MAX
            and buffered + overhead + CLOSING_BYTES + live.end <= live.capacity
        )

    def reserve(self, entry_bytes: int) -> bool:
        """Whether there is room in the segment for all that is buffered and this entry.

        If not: write and sync what is buffered, then `rotate`.

        Args:
            entry_bytes: the length of the entry.

        Raises:
            ValidationError: no segment can take an entry of that size.
        """
        if self._failure is not None:
            self._check_alive()
        if entry_bytes > PAYLOAD_BYTES_MAX:
            raise ValidationError(
                f"the update takes {entry_bytes} bytes; the limit is {PAYLOAD_BYTES_MAX}: split it"
            )
        if self._live is None or self.buffered_bytes + entry_bytes > PAYLOAD_BYTES_MAX:
            return False
        return self._live.fits(len(self._buffer), self.buffered_bytes, entry_bytes)

    def append(self, entry: bytes) -> int:
        """Give an entry its LSN and buffer it; `reserve` has said that there is room. No I/O.

        Args:
            entry: its bytes, not empty.

        Returns:
            The LSN.
        """
        # The path of every update: no helper calls.
        if self._failure is not None:
            self._check_alive()
        self._running = crc32(entry, self._running)
        self._buffer.append(entry)
        self.buffered_bytes += len(entry)
        self.applied_lsn = lsn = self.applied_lsn + 1
        return lsn

    def take(self) -> Batch:
        """Take what is buffered, to be written by the next `write`."""
        if self._failure is not None:
            self._check_alive()
        entries, size = self._buffer, self.buffered_bytes
        offset, said_lsn = -1, UNSAID
        first_lsn = self.applied_lsn - len(entries) + 1
        if entries:
            assert self._live is not None, "append without room: reserve and rotate come first"
            durable_lsn = self.durable.lsn
            offset, said_lsn = self._live.place_entries(size, first_lsn, len(entries), durable_lsn)
        # Not before it has its place: `has_room` looks without the mutex.
        self._buffer, self.buffered_bytes = [], 0
        return Batch(first_lsn, entries, offset, self.applied, said_lsn)

    def write(self, batch: Batch) -> int:
        """Write a batch as one frame.

        Args:
            batch: the one taken last.

        Returns:
            The LSN up to which everything is written.

        Raises:
            OSError: it failed; the store is dead.
        """
        if self._failure is not None:
            self._check_alive()
        entries = batch.entries
        if not entries:
            return self.written.lsn
        live, first_lsn, said_lsn = self._live, batch.first_lsn, batch.said_lsn
        assert first_lsn == self.written.lsn + 1
        assert live is not None
        payload = entries[0] if len(entries) == 1 else b"".join(entries)
        try:
            live.write(batch.offset, first_lsn, len(entries), payload, said_lsn)
        except BaseException as error:  # as _deadly, which takes as long as all the rest
            self._failure = error
            raise
        self._said_lsn = max(self._said_lsn, said_lsn)
        self.written = batch.position
        return batch.position.lsn

    def sync(self) -> int:
        """Make durable what is written.

        Returns:
            The LSN up to which everything is durable: what was written when this was called.

        Raises:
            OSError: it failed; the store is dead.
        """
        if self._failure is not None:
            self._check_alive()
        # Taken before the sync is entered: it doesn't cover what is written while it runs.
        written = self.written
        if self._live is not None:
            try:
                self._live.file.sync()
            except BaseException as error:  # as _deadly
                self._failure = error
                raise
        self.durable = written
        return written.lsn

    def mark(self) -> bool:
        """Write an empty frame that says what is durable, if no frame says it yet. Not synced.

        Returns:
            Whether there was something to say.

        Raises:
            OSError: it failed; the store is dead.
        """
        self._check_alive()
        live = self._live
        if live is None or live.marked or self.durable.lsn <= self._said_lsn:
            return False
        if self.applied_lsn != self.written.lsn:
            return False
        with self._deadly():
            live.mark(self.written.lsn + 1, self.durable.lsn)
        self._said_lsn = self.durable.lsn
        return True

    def rotate(self, entry_bytes: int) -> None:
        """Go on in a segment that has room for an entry of that size.

        Nothing may be buffered, or taken and not written. A segment that has no entry yet is
        enlarged instead: another one would have the same name.

        Args:
            entry_bytes: of the entry that didn't fit; 0 to end the segment for a checkpoint.

        Raises:
            DiskFull: there is no room; nothing has happened, and it can be tried again.
            OSError: a step failed; the store is dead.
        """
        self._check_alive()
        assert not self._buffer
        assert self.written.lsn == self.applied_lsn
        live = self._live
        if live is not None and live.segment.header.first_lsn == self.written.lsn + 1:
            if entry_bytes and not live.fits(0, 0, entry_bytes):
                self._extend(live, entry_bytes)
            return
        # Also if all entries are synced: the trusted part takes in a mark that may not be.
        self.sync()
        with self._deadly():
            self._publish((), entry_bytes, self.schema)

    def _extend(self, live: LiveSegment, entry_bytes: int) -> None:
        capacity = live.end + bytes_needed(live.segment.header, (), entry_bytes)
        try:
            live.file.allocate(capacity)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise disk_full(self.directory, live.segment.name, capacity, error) from error
            self._failure = error
            raise
        with self._deadly():
            live.file.sync()
        live.capacity = capacity

    def _publish(
        self, tail: Sequence[Piece], entry_bytes: int, schema: Schema, barrier: bytes = b""
    ) -> None:
        """Publish the next segment and seal what came before it; everything is synced."""
        place, old = self._place, self._live
        if old is not None:
            place = place._replace(
                predecessor_nonce=old.segment.header.nonce,
                predecessor_end=old.end,
                position=self.written,
            )
        header = SegmentHeader(
            database=self.identity.database,
            epoch=self._epoch,
            nonce=self.options.nonce(),
            first_lsn=place.position.lsn + 1,
            predecessor_nonce=place.predecessor_nonce,
            predecessor_end=place.predecessor_end,
            running=place.position.running,
            fingerprint=schema.fingerprint,
            schema=schema.text,
            created=self.clock(),
            barrier=barrier,
        )
        live = self._allocate(header, tail, entry_bytes)
        try:
            self._seal(old, place, header.first_lsn)
        except BaseException:
            live.file.close()
            raise
        self.segments.append(live.segment)
        self._live = live

    def _seal(self, old: LiveSegment | None, place: Continuation, next_lsn: int) -> None:
        """Seal what came before the segment that has just been published."""
        if old is not None:
            old.finish(next_lsn)
            return
        for segment, end in place.unsealed:
            seal_segment(self.directory, segment, end.offset, end.position.lsn + 1)

    def _allocate(
        self, header: SegmentHeader, tail: Sequence[Piece], entry_bytes: int
    ) -> LiveSegment:
        """Publish a segment as large as it should be, or as there is room for."""
        least = bytes_needed(header, tail, entry_bytes)
        options = self.options
        capacity = options.segment_bytes_min
        if self._live is not None:
            capacity = min(2 * self._live.capacity, options.segment_bytes_max)
        if header.fingerprint != self.schema.fingerprint:
            # No room for an entry: the next update gets a segment that says its schema.
            capacity = 0
        while True:
            capacity = max(capacity, least)
            try:
                return publish_segment(
                    self.directory, header, capacity, tail=tail, durable_lsn=self.durable.lsn
                )
            except DiskFull:
                if capacity == least:
                    raise
                capacity //= 2
