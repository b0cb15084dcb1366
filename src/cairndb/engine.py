"""What all views and updates of an open database share; a commit, in the paper's order.

An update, step by step (the numbers are those of ARCHITECTURE.md; `transaction.Update` goes through
them):

1. take the update lock, give the block a draft;
2. the block runs;
3. ask the rules, collect the net effects;
4. encode the entry, decode it, resolve it against the state; make room in the log;
5. upgrade to exclusive;
6. append to the log buffer, apply, release;
7. wait, holding no lock, until it is durable.

Up to step 5 whatever goes wrong raises, and nothing has happened. In step 6 nothing can go wrong
but by a bug or for want of memory; then memory and log may differ, so the object is dead before a
lock is released.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct

from cairndb import draft as drafts
from cairndb import locks
from cairndb.appender_parts import BUFFER_BYTES_MAX
from cairndb.errors import DatabaseFailed, ReadOnlyError, UsageError, ValidationError
from cairndb.flusher import Flusher
from cairndb.flusher_async import Job, TaskFlusher
from cairndb.forecast import ReplayMeter
from cairndb.locks_async import TaskLock
from cairndb.locks_gates import Mutex
from cairndb.locks_interrupts import deferred_interrupts
from cairndb.patch import decode_entry, encode_entry
from cairndb.requests_stored import request_operation
from cairndb.rules import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.appender_parts import Batch
    from cairndb.chain import Position
    from cairndb.errors import CairnError
    from cairndb.files import Directory
    from cairndb.patch import Call, Prepared, Tree
    from cairndb.requests import Once
    from cairndb.rules import Changes, Rules
    from cairndb.store import Store

T = TypeVar("T")

ENTRY_BYTES_MAX: Final = 1 << 30


class Change(Struct):
    """An update at its end: what is to be appended and applied, and then its LSN."""

    entry: bytes
    prepared: Prepared
    time: int
    noted: Any = None
    """For the rules: what their `begin` gave."""
    lsn: int = 0


class Engine:
    """What all views and updates of one open database share.

    Args:
        tree: the typed state.
        store: what is on disk, started; None for a database opened for reading.
        directory: given up by `close`.
        applied_lsn: what `tree` shows.
        time: of the last entry, in microseconds since the epoch.
        sync_at_commit: whether a promise is a sync; else what was handed to the system is promised.
        clock: microseconds since the epoch.
        rules: indexes and constraints, if there are any.
    """

    def __init__(
        self,
        tree: Tree,
        store: Store | None,
        directory: Directory,
        *,
        applied_lsn: int,
        time: int,
        sync_at_commit: bool,
        clock: Callable[[], int],
        rules: Rules | None = None,
    ) -> None:
        # Set once:
        self.tree = tree
        self.rules = rules
        self.lock = TaskLock()
        self.flusher = Flusher(self._flush, self._failed)
        self.flusher.promised_lsn = applied_lsn
        self.task_flusher = TaskFlusher(self.flusher, lambda: self.applied_lsn)
        # Made here: when it is needed there may be no memory.
        self.dead = self.flusher.failed
        self._store = store
        self.reads_only = store is None
        self.directory = directory
        self._sync_at_commit = sync_at_commit
        self.clock = clock
        # Why this object can't be used any more: makes the error to raise. Set once by close, fork
        # or failure.
        self.refusal: Callable[[], CairnError] | None = None
        # Told that there is something to do later (a flush nobody waits for, an idle mark). Set
        # once.
        self.wake: Callable[[], None] | None = None
        # Told what has just been promised, in the flusher's role; and that nothing more will be.
        # `on_promise` must not raise. Set while somebody watches.
        self.on_promise: Callable[[Batch], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.closed = False
        # Written under the update lock; put in its place at opening:
        self.meter = ReplayMeter()
        # Whether an update must bring what there was no room for at opening: see `bring_tail`.
        self.tail_missing = store is not None and store.tail_missing is not None
        # Written under exclusive, read under any mode:
        self.applied_lsn = applied_lsn
        self.time = time
        # Guards the store's buffer: appending, and taking what was appended.
        self._buffer_mutex = Mutex()

    @property
    def store(self) -> Store:
        """The store of a database opened for writing."""
        assert self._store is not None
        return self._store

    @property
    def position(self) -> Position:
        """Where the log is after what was applied last."""
        with self._buffer_mutex:
            return self.store.applied

    def check_writable(self) -> None:
        """Raise `ReadOnlyError` if this database was opened for reading."""
        if self._store is None:
            raise ReadOnlyError(
                "this database was opened with read_only=True: open it without to change it"
            )

    def check_usable(self) -> None:
        """Raise why this object can't be used any more, if so."""
        if self.refusal is not None:
            raise self.refusal()

    def begin(self) -> Any:
        """The draft of the root for an update's block; the update lock is held."""
        root = self.tree.root
        if self.rules is None:
            return drafts.open_draft(self.tree.kind, root)
        changes = self.rules.begin(root)
        draft = drafts.open_draft(self.tree.kind, root, changes)
        changes.open(draft)
        return draft

    def prepare(self, root: Any, call: Call | None, once: Once | None) -> Change | None:
        """Steps 3 and 4 but for the room: what is to be written and applied; None for nothing."""
        changes: Changes | None = None
        if self.rules is not None:
            changes = root.__cairn_notes__
            judge(changes)
        operations = drafts.collect(root)
        if not operations:
            return None
        if once is not None:
            operations.append(request_operation(once))
        now = max(self.clock(), self.time)
        entry = encode_entry(now, operations, call)
        wanted = self.meter.wants(self.applied_lsn, len(entry))
        # Processor time: what others do meanwhile, replay won't wait for.
        started = time.thread_time() if wanted else 0.0
        prepared = self.tree.resolve(decode_entry(entry).operations)
        if wanted:
            self.meter.add(len(entry), time.thread_time() - started)
        return Change(entry, prepared, now, changes)

    def make_way(self, change: Change, deadline: float | None) -> None:
        """Step 4's room, and step 5: what may have to be waited for before the change is made.

        Args:
            change: the update lock is held; if this raises it still is, for the caller to release.
            deadline: on the monotonic clock, for the upgrade.
        """
        store = self._store
        assert store is not None
        if not store.has_room(len(change.entry)):
            work = self.work_for_room(len(change.entry))
            if work is not None:
                self.flusher.run(work)
        self.lock.upgrade(deadline)

    def append(self, change: Change) -> None:
        """Step 6, in exclusive mode, with interrupts deferred: the change gets its LSN."""
        if self.refusal is not None:
            raise self.refusal()
        store = self._store
        assert store is not None
        try:
            with self._buffer_mutex:
                lsn = store.append(change.entry)
            self.tree.apply(change.prepared)
            if self.rules is not None:
                self.rules.apply(change.noted, self.tree.root)
            self.applied_lsn = lsn
            self.time = change.time
        except BaseException as error:
            self.refusal = self.dead
            self.flusher.fail(error)
            raise
        change.lsn = lsn

    def derive(self, *, strict: bool) -> None:
        """Make indexes from the state.

        Args:
            strict: whether a state that the rules wouldn't let come about is refused.

        Raises:
            ConstraintError: it is such a state.
        """
        if self.rules is not None and self.tree.root is not None:
            self.rules.build(self.tree.root, strict=strict)

    def work_for_room(self, entry_bytes: int) -> Callable[[], None] | None:
        """What has to be done in the flusher's role before so much is appended; None if nothing.

        Raises:
            ValidationError: it is more than an update may write.
        """
        if entry_bytes > ENTRY_BYTES_MAX:
            raise ValidationError(
                f"this update would write {entry_bytes:,} bytes; the limit is {ENTRY_BYTES_MAX:,}: "
                "make it in several updates"
            )
        # Until the append nobody else appends, and what is taken meanwhile needs less than this
        # has counted.
        store = self._store
        assert store is not None
        with self._buffer_mutex:
            there_is_room = store.reserve(entry_bytes)
        if there_is_room:
            return self.flusher.flush if store.buffered_bytes > BUFFER_BYTES_MAX else None
        return lambda: self._rotate(entry_bytes)

    def _rotate(self, entry_bytes: int) -> None:
        self.flusher.flush()
        if not self.store.reserve(entry_bytes):
            self.store.rotate(entry_bytes)

    def _flush(self) -> int:
        store = self._store
        assert store is not None
        with self._buffer_mutex:
            batch = store.take()
        promised = store.write(batch)
        if self._sync_at_commit:
            promised = store.sync()
        if self.on_promise is not None:
            self.on_promise(batch)
        return promised

    def _failed(self, _error: BaseException) -> None:
        self.refusal = self.dead
        self._end()

    def _end(self) -> None:
        if self.on_end is not None:
            self.on_end()

    def wait(self, lsn: int) -> None:
        """Return when everything up to `lsn` is promised."""
        if self.flusher.promised_lsn < lsn:
            self.flusher.wait(lsn)

    async def wait_async(self, lsn: int) -> None:
        """Return when everything up to `lsn` is promised; the task's loop goes on meanwhile."""
        if self.flusher.promised_lsn < lsn:
            if self.closed:  # or rather forked: what was committed before a close is promised
                self.check_usable()
            await self.task_flusher.wait(lsn)

    async def sync_async(self) -> None:
        """As `sync`, for a task."""
        job = Job(self.sync)
        try:
            await self.task_flusher.run(job)
        except BaseException:
            job.withdraw(lambda: None)
            raise

    def sync(self) -> None:
        """Write and sync what was applied, and write down that it is durable, at every level."""
        self.in_role(self._sync)

    def in_role(self, work: Callable[[], T]) -> T:
        """Do `work` as the flusher does, unless this object is refused by the time it could begin.

        Raises:
            UsageError: the database was closed meanwhile.
        """

        def if_usable() -> T:
            self.check_usable()
            return work()

        return self.flusher.run(if_usable)

    def _sync(self) -> None:
        self.flusher.flush()
        if not self._sync_at_commit:
            self.store.sync()
        self.store.mark()

    @property
    def durable_lsn(self) -> int:
        """What is known to be synced."""
        return self.flusher.promised_lsn if self._store is None else self._store.durable_lsn

    def close(self) -> None:
        """Wait for views and updates to end, sync, and give up the directory."""
        failure: DatabaseFailed | None = None
        if self.refusal is None:
            failure = self._close_to_others()
        # In the role, so that no write or sync of this object runs any more when another may own
        # it.
        try:
            self.flusher.run(self._give_up, after_failure=True)
        finally:
            self.task_flusher.stop()
        if failure is not None:
            raise failure

    def _close_to_others(self) -> DatabaseFailed | None:
        """Let views and updates end, and sync; from here on all are refused."""
        holder = locks.current_holder()
        try:
            self.lock.acquire_update()
            self.lock.upgrade()
            # Not if another thread has closed meanwhile. Synced first and refused then: whoever
            # finds this refused gives up the files, as does a close after one interrupted here.
            if self.refusal is None:
                if self._store is not None:
                    self._sync_last()
                self.refusal = _closed
        except DatabaseFailed as error:
            return error
        finally:
            try:
                with deferred_interrupts:
                    self.lock.release_update(holder)
            finally:  # again, in case Ctrl-C struck before it was deferred
                self.lock.release_update(holder)
        return None

    def _sync_last(self) -> None:
        self.flusher.run(self._sync)
        self.flusher.run(self.store.sync)

    def _give_up(self) -> None:
        if self.closed:
            return
        self.refusal = _closed
        self._end()
        try:
            if self._store is not None:
                self._store.close()
        finally:
            if self.rules is not None:
                self.rules.close()
            self.directory.close()
            # Not before: what there was no memory to close is closed by the next try.
            self.closed = True

    def forked(self) -> None:
        """In a forked child: refuse everything. Its descriptors are closed already."""
        self.closed = True
        self.refusal = _forked


def _closed() -> UsageError:
    return UsageError("this database has been closed: open it again")


def _forked() -> UsageError:
    return UsageError(
        "this database was opened before fork(), and belongs to the parent process: "
        "open it in the child (with read_only=True, while the parent has it)"
    )


def now_microseconds() -> int:
    """The system's clock, in microseconds since the epoch."""
    return time.time_ns() // 1000
