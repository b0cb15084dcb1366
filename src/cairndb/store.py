"""One directory, seen by its owner: creation, recovery, the log, checkpoints, and what is retired.

At open the last owner's segment isn't written on: what is good in it and above P is written again
into a segment of this owner, before anything is shown. Without such a tail that segment is made at
the first update. The order for the caller, who has locked the directory:

    store = Store.open(...)
    if store.created: append LSN 1, the root; write and sync
    else: checkpoint_frames(), start(), log_frames()

A checkpoint is made by somebody else, from `read_chain(directory, end_lsn=store.sealed_lsn)`; its
file is read back by `check_checkpoint`, on any thread; `adopt` (in the flusher's role) gives it its
name, and removes what is older than the checkpoint before it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import UUID
from zlib import crc32

from cairndb import retirement
from cairndb.adoption import read_back
from cairndb.appender import Appender
from cairndb.appender_parts import Schema, StoreOptions
from cairndb.chain import End, Position, log_bytes
from cairndb.checkpoint import checkpoint_name
from cairndb.errors import DiskFull, UsageError
from cairndb.files import NO_ROOM, is_temporary
from cairndb.identity import (
    BACKUP,
    NAME,
    Identity,
    check_nothing_lost,
    clear_interrupted_creation,
    publish_identity,
)
from cairndb.log import Piece, parse_segment_name, publication
from cairndb.publishing import disk_full
from cairndb.recovery import NOTHING, Recovered, continuation, recover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.files import Directory, File

__all__ = ["Store", "StoreOptions"]


class Store(Appender):
    """The owner's store; see the module, and `Appender` for writing.

    Args:
        appender: what `Appender` takes.
        recovered: what was there; None for a new database.
    """

    def __init__(  # noqa: PLR0917  see Appender
        self,
        directory: Directory,
        identity: Identity,
        schema: Schema,
        options: StoreOptions,
        clock: Callable[[], int],
        epoch: int,
        recovered: Recovered | None,
    ) -> None:
        place = continuation(recovered.chain) if recovered else NOTHING
        super().__init__(directory, identity, schema, options, clock, epoch, place)
        self._recovered = recovered
        self.created = True
        """Nothing is in the database yet: the caller commits LSN 1."""
        self.warnings: list[str] = []
        self.stored_schema, self.stored_fingerprint = schema
        self.tail_missing: DiskFull | None = None
        """Why only what is proven durable could be shown; updates are refused."""
        self.total_bytes = 0
        """How much there is to read at open."""
        self.base_seconds = 0.0
        """What reading the checkpoint took so far."""
        self._checkpoints: list[tuple[Position, int]] = []
        """Those known to be whole, oldest first, with their lengths."""
        self._checked: tuple[str, Position, int] | None = None
        self._removed: list[File] = []
        self._started = recovered is None
        if recovered is not None:
            chain, checkpoint = recovered.chain, recovered.checkpoint
            self.created = checkpoint is None and chain.newest.good.position.lsn == 0
            self.warnings = recovered.warnings
            self.stored_schema, self.stored_fingerprint = recovered.schema, recovered.fingerprint
            self.total_bytes = recovered.total_bytes
            self.base_seconds = recovered.base_seconds
            if checkpoint is not None:
                self._checkpoints.append((chain.base, recovered.checkpoint_bytes))
            self._started = chain.newest.good.position == chain.newest.trusted.position

    @classmethod
    def open(
        cls,
        directory: Directory,
        *,
        schema: str,
        fingerprint: str,
        create: bool,
        options: StoreOptions | None = None,
        clock: Callable[[], int],
    ) -> Store:
        """Open a database as its owner; the directory is locked by the caller, and closed by it.

        Args:
            directory: where.
            schema: the text of the caller's schema, for new segments.
            fingerprint: of the schema.
            create: make a database if there is none.
            options: None for the usual ones.
            clock: the time in microseconds.

        Raises:
            CorruptError: something is damaged or missing; nothing was changed.
            UsageError: there is no database, and it isn't to be created.
            DiskFull: no room to create it.
            OSError: the system failed.
        """
        options = options or StoreOptions()
        names = directory.names()
        if BACKUP in names:
            raise UsageError(
                f"{directory.path} is a backup: open it with read_only=True, or restore it to "
                "another place with 'cairn restore'"
            )
        if NAME not in names:
            if not create:
                check_nothing_lost(directory, names)
                raise UsageError(f"{directory.path} holds no database; create=True makes one")
            clear_interrupted_creation(directory, names)
            identity = Identity(UUID(bytes=options.nonce(), version=4), clock())
            store = cls(directory, identity, Schema(schema, fingerprint), options, clock, 1, None)
            store._create()
            return store
        recovered = recover(directory, names)
        epoch = 1 + max(publication(name)[0] for name in names if parse_segment_name(name))
        identity = recovered.identity
        store = cls(
            directory, identity, Schema(schema, fingerprint), options, clock, epoch, recovered
        )
        for name in (*filter(is_temporary, names), *recovered.unreached):
            directory.remove(name)
        if store.created:
            # Once more: if the sync of its name failed, it may be in the cache only, for ever.
            publish_identity(directory, identity, options.nonce())
        return store

    def _create(self) -> None:
        """Publish the first segment, then DATABASE."""
        try:
            with self._deadly():
                self._publish((), 0, self.schema)
                publish_identity(self.directory, self.identity, self.options.nonce())
        except BaseException:
            with contextlib.suppress(OSError):
                self.close()
            raise

    # Reading, at open

    def checkpoint_frames(self) -> Iterator[tuple[int, bytes]]:
        """(count, operations) of the base checkpoint; nothing if there is none."""
        if self._recovered is not None:
            yield from self._recovered.checkpoint_frames()

    def log_frames(self) -> Iterator[Piece]:
        """(first LSN, count, entries) after the base: all that is good.

        What nothing proves durable comes last, after `start`, which is called if it wasn't yet.
        Where that finds no room, it doesn't come: see `tail_missing`.

        Raises:
            CorruptError: something is damaged; if `start` wasn't called, nothing was changed.
        """
        if self._recovered is not None:
            chain = self._recovered.chain
            yield from chain.pieces(chain.newest.trusted.position.lsn)
            self.start()
            if self.tail_missing is None:
                # The entry of a barrier is in the base already.
                yield from (p for p in self.tail_frames() if p.first_lsn > chain.base.lsn)

    def tail_frames(self) -> Iterator[Piece]:
        """(first LSN, count, entries): the good entries that nothing proved durable at open."""
        if self._recovered is not None:
            yield from self._recovered.chain.tail()

    def start(self) -> None:
        """Write the good entries that nothing proves durable again, before the first view.

        If there is no room for it, only what is proven is shown (see `tail_missing`); called again
        when there is room, it leaves it to the caller to apply `tail_frames`.

        Raises:
            OSError: a step failed; the store is dead.
        """
        self._check_alive()
        if self._started:
            return
        assert self._recovered is not None
        chain = self._recovered.chain
        # Rewritten entries keep the schema that they were written with.
        stored = Schema(self.stored_schema, self.stored_fingerprint)
        header, trusted = chain.segments[-1].header, chain.newest.trusted.position
        barrier = header.barrier if trusted.lsn < header.first_lsn else b""
        try:
            with self._deadly():
                self._publish(chain.tail(), 0, stored, barrier)
        except DiskFull as error:
            if barrier:  # what is proven is another state than the one that was read
                raise
            self.tail_missing = error
            return
        self.applied = self.written = self.durable = chain.newest.good.position
        self.tail_missing = None
        self._started = True

    def rotate(self, entry_bytes: int) -> None:
        """See `Appender.rotate`.

        Raises:
            DiskFull: also if there was no room for the tail at `start`.
            OSError: a step failed; the store is dead.
        """
        if self.tail_missing is not None:
            raise DiskFull(str(self.tail_missing)) from self.tail_missing
        assert self._started, "start() comes before the first update"
        super().rotate(entry_bytes)

    # Checkpoints

    @property
    def checkpoint_lsn(self) -> int:
        """The LSN of the newest checkpoint; 0 if there is none."""
        return self._checkpoints[-1][0].lsn if self._checkpoints else 0

    @property
    def checkpoint_bytes(self) -> int:
        """The length of the newest checkpoint; 0 if there is none."""
        return self._checkpoints[-1][1] if self._checkpoints else 0

    @property
    def sealed_lsn(self) -> int:
        """Up to which LSN a checkpoint can be made now; see `seal`."""
        return self.sealed.lsn

    def seal(self) -> None:
        """Begin a new segment, so that a checkpoint can be made of everything that is written.

        In the flusher's role, with nothing buffered.

        Raises:
            DiskFull: there is no room; nothing has happened.
            OSError: a step failed; the store is dead.
        """
        self._check_alive()
        if self.sealed_lsn < self.written.lsn:
            self.rotate(0)

    def check_checkpoint(self, temporary: str, lsn: int) -> None:
        """Read back a checkpoint that somebody wrote, before `adopt`; may take long, on any thread.

        Args:
            temporary: its name.
            lsn: that it must have.

        Raises:
            CorruptError: it isn't whole, or isn't one of this log; it has been removed.
            OSError: the system failed.
        """
        headers = [segment.header for segment in list(self.segments)]
        ends = {self.sealed, *(Position(h.first_lsn - 1, h.running) for h in headers)}
        database = self.identity.database
        self._checked = (temporary, *read_back(self.directory, temporary, lsn, database, ends))

    def adopt(self, temporary: str) -> None:
        """Publish a checkpoint that `check_checkpoint` has found whole; remove what it replaces.

        In the flusher's role; `let_go` gives back the room. Kept are the last two checkpoints and
        the log after the first of them, and what readers hold.

        Args:
            temporary: its name.

        Raises:
            DiskFull: there is no room for the name; nothing has happened.
            OSError: a step failed; after a sync of the directory that failed the store is dead.
        """
        self._check_alive()
        if self._checked is None or self._checked[0] != temporary:
            raise UsageError("check_checkpoint comes before adopt")
        _, position, size = self._checked
        self._checked = None
        name = checkpoint_name(position.lsn)
        if position.lsn <= self.checkpoint_lsn:
            raise UsageError(f"there is a checkpoint of LSN {self.checkpoint_lsn} already")
        try:
            self.directory.rename(temporary, name)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise disk_full(self.directory, name, 0, error) from error
            raise
        with self._deadly():
            self.directory.sync()
        self._checkpoints.append((position, size))
        self._retire()

    def _retire(self) -> None:
        """Remove what nobody needs any more. What a crash leaves of it is removed the next time."""
        del self._checkpoints[:-2]
        gone, files = retirement.retire(
            self.directory,
            [position.lsn for position, _ in self._checkpoints],
            self.segments,
            # Before this owner has a segment, the newest of the last one may hold the tail.
            self.superseded if self._live is not None else [],
            retention=self.options.retention,
            now=self.clock(),
            needed_lsn=self.needed_lsn(),
            held_bytes_max=self.options.held_bytes_max,
        )
        self.segments = [segment for segment in self.segments if segment.name not in gone]
        self.superseded = [segment for segment in self.superseded if segment.name not in gone]
        self._removed += files

    def let_go(self) -> None:
        """Close what was removed, whereupon the system gives back its room: on any thread."""
        while self._removed:
            with contextlib.suppress(OSError):  # nothing was written to it, and it has no name
                self._removed.pop().close()

    def begin_anew(self, entry: bytes, nonce: bytes, checkpoint_bytes: int) -> None:
        """Go on from a checkpoint that isn't the fold of the log; see `barrier`.

        For the caller at open, after `log_frames`; everything is synced.

        Args:
            entry: its only operation is a BARRIER with the nonce.
            nonce: of the checkpoint, which has been published.
            checkpoint_bytes: its length.

        Raises:
            DiskFull: there is no room; nothing has happened.
            OSError: a step failed; the store is dead.
        """
        lsn, running = self.applied.lsn + 1, crc32(entry, self.applied.running)
        with self._deadly():
            self._publish([Piece(lsn, 1, entry)], 0, self.schema, nonce)
        self.applied = self.written = self.durable = Position(lsn, running)
        self._checkpoints.append((self.durable, checkpoint_bytes))

    # The rest

    def stats(self) -> dict[str, int]:
        """What a person wants to know of the files.

        Returns:
            `applied_lsn`, `written_lsn`, `durable_lsn`, `checkpoint_lsn` (0: none);
            `entries_since_checkpoint`; `checkpoint_bytes` of the newest,
            `log_bytes_since_checkpoint`, which together are what the next open reads; `segments`,
            `segment_bytes_used` and `segment_bytes_allocated` of the one being written;
            `superseded_segments`; `buffered_bytes`; `free_bytes` on the file system.
        """
        live = self._live
        return {
            "applied_lsn": self.applied.lsn,
            "written_lsn": self.written.lsn,
            "durable_lsn": self.durable.lsn,
            "checkpoint_lsn": self.checkpoint_lsn,
            "entries_since_checkpoint": self.applied.lsn - self.checkpoint_lsn,
            "checkpoint_bytes": self.checkpoint_bytes,
            "log_bytes_since_checkpoint": self.log_bytes(),
            "segments": len(self.segments),
            "segment_bytes_used": live.end if live else 0,
            "segment_bytes_allocated": live.capacity if live else 0,
            "superseded_segments": len(self.superseded),
            "buffered_bytes": self.buffered_bytes,
            "free_bytes": self.directory.free_bytes(),
        }

    def log_bytes(self) -> int:
        """The length of the log after the newest checkpoint."""
        offset = self._live.end if self._live else self._place.predecessor_end
        return log_bytes(self.segments, self.checkpoint_lsn, End(offset, self.written))

    def close(self) -> None:
        """Close the files; the directory is the caller's. Nothing is written."""
        self.let_go()
        if self._recovered is not None:
            self._recovered.close()
        if self._live is not None:
            self._live.file.close()
