"""From a directory to a running engine: ownership, the store's recovery, the fold, and LSN 1.

The one way to start. Nothing here depends on how the last owner ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from cairndb import collector, files, ownership
from cairndb.barrier import put_barrier
from cairndb.conversion import convert
from cairndb.engine import Engine, now_microseconds
from cairndb.engine_starting import create as create_content
from cairndb.errors import CairnError, CorruptError, ValidationError
from cairndb.fold import Fold
from cairndb.forecast import ReplayMeter
from cairndb.history import At, Still, read_at
from cairndb.patch import Call, Tree, decode_entries, decode_operations
from cairndb.patch_replay import Replay
from cairndb.publishing import create_directory
from cairndb.recovery import Reading, read_chain
from cairndb.rules import rules_of
from cairndb.schema import describe, fingerprint
from cairndb.schema_change import SAME, Change, Evolution, change_from
from cairndb.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.appender_parts import StoreOptions
    from cairndb.files import Directory
    from cairndb.kinds import Kind
    from cairndb.log import Piece
    from cairndb.patch import Entry, Operation
    from cairndb.rules import Rules

# Told the bytes read so far, and the bytes there are to read.
Progress = Callable[[int, int], None]

# Less than this says nothing of the machine's speed.
_MEASURE_BYTES_MIN: Final = 1 << 20


class Recovered(NamedTuple):
    """A database ready for use.

    `load_rate` is in bytes of checkpoint per second; None if there was too little to measure.
    """

    engine: Engine
    warnings: list[str]
    load_rate: float | None


def recover(
    path: str,
    kind: Kind,
    evolution: Evolution,
    *,
    create: bool,
    read_only: bool,
    at: At | None,
    lock_timeout: float | None,
    sync_at_commit: bool,
    progress: Progress | None,
    options: StoreOptions,
) -> Recovered:
    """Open a database's directory and bring its state to memory.

    Args:
        path: of the directory.
        kind: of the root.
        evolution: what the application says of older data.
        create: whether to make what isn't there.
        read_only: whether to read beside an owner, instead of becoming it.
        at: for reading: as of when; None for now.
        lock_timeout: seconds to wait for another owner; None doesn't wait.
        sync_at_commit: whether a promise is a sync.
        progress: told how far the reading is.
        options: of the store.

    Raises:
        CairnError: as `cairndb.open` says.
    """
    try:
        directory = _open_directory(path, create=create and not read_only)
        try:
            if read_only:
                return read(directory, kind, progress, evolution, at)
            return own(
                directory,
                kind,
                evolution=evolution,
                create=create,
                lock_timeout=lock_timeout,
                sync_at_commit=sync_at_commit,
                progress=progress,
                options=options,
            )
        except BaseException:
            with contextlib.suppress(OSError):
                directory.close()
            raise
    except OSError as error:
        raise CairnError(f"{error.filename or path} can't be used: {error.strerror}") from error


def _open_directory(path: str, *, create: bool) -> files.RealDirectory:
    if create:
        create_directory(path)
    try:
        return files.RealDirectory(path)
    except FileNotFoundError:
        raise CairnError(
            f"there is no database at {path}: check the path, or open it with create=True "
            "(and without read_only) to make one"
        ) from None


class _Fold:
    """The fold of what is on disk, and how long it took."""

    def __init__(
        self,
        change: Change,
        path: str,
        progress: Progress | None,
        total: int,
        until_lsn: int | None = None,
    ) -> None:
        self._until_lsn = until_lsn
        # A reader shows a part of the log at most, and puts nothing in its place.
        self._keep = until_lsn is None
        self._path = path
        self.change = change
        self.tree = Tree(change.kind)
        self.time = 0
        self._lsn = 0
        self.before: list[bytes] = []
        self.after: list[bytes] = []
        """The operations of the whole state as it was, and as it became, if it was converted."""
        self.load_seconds = 0.0
        """Of the checkpoint, where it wasn't converted."""
        self.ended = 0.0
        """When all was read."""
        self._progress = progress
        # What has to be converted is loaded once more.
        self._total = 2 * total if change.rewrites else total
        self._done = 0

    def run(self, source: Store | Reading | Still) -> None:
        """Load and replay everything there is, in the order of the log."""
        try:
            if self.change.rewrites:
                self._run_untyped(source)
            else:
                self._run_typed(source)
            # File headers and marks were counted, and not read as frames.
            self._step(max(0, self._total - self._done))
        except (ValueError, ValidationError) as error:
            # The schema is the stored one: what it refuses, no correct writer has written.
            what = f"LSN {self._lsn}" if self._lsn else "a checkpoint's operation"
            raise CorruptError(
                self._path, 0, f"the checksums are right, and {what} can't be applied: {error}"
            ) from error
        finally:
            self.ended = time.monotonic()

    def _run_typed(self, source: Store | Reading | Still) -> None:
        started = time.monotonic()
        self.tree.load(self._operations(source))
        self.load_seconds = time.monotonic() - started
        replay = Replay(self.tree)
        for first_lsn, count, payload in source.log_frames():
            limit = None if self._until_lsn is None else self._until_lsn - first_lsn + 1
            try:
                replay.run(payload, count, limit)
            finally:
                self._lsn = first_lsn + replay.done
            self.time = replay.time
            self._step(len(payload))

    def _run_untyped(self, source: Store | Reading | Still) -> None:
        """Fold what is of another schema, and convert the whole of it."""
        fold = Fold()
        for each in self._operations(source):
            fold.apply((each,))
        for piece in source.log_frames():
            for entry in self._entries(piece):
                fold.apply(entry.operations)
        self._lsn = 0
        if self._keep:
            self.before.extend(fold.operations())
        self.after = convert(fold, self.change, self.tree, self._step)
        # Whatever the schema, they were answered.
        self.tree.requests = fold.requests
        self.after.extend(fold.requests.operations())

    def _operations(self, source: Store | Reading | Still) -> Iterator[Operation]:
        for count, payload in source.checkpoint_frames():
            yield from decode_operations(payload, count)
            self._step(len(payload))

    def _entries(self, piece: Piece) -> Iterator[Entry]:
        first_lsn, count, payload = piece
        self._lsn = first_lsn
        entries = decode_entries(payload, count)
        if self._until_lsn is not None:
            del entries[self._until_lsn - first_lsn + 1 :]
        for self._lsn, entry in enumerate(entries, first_lsn):
            yield entry
        if entries:
            self.time = entries[-1].time
        self._step(len(payload))

    def _step(self, payload_bytes: int) -> None:
        self._done += payload_bytes
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))


def read(
    directory: Directory,
    kind: Kind,
    progress: Progress | None,
    evolution: Evolution = SAME,
    at: At | None = None,
) -> Recovered:
    """Bring to memory what is durable now, or was then, without becoming the owner."""
    reading = read_chain(directory) if at is None else read_at(directory, at)
    try:
        change = change_from(reading.schema, kind, evolution, directory.path)
        fold = _Fold(change, directory.path, progress, reading.total_bytes, reading.lsn)
        with collector.settling(reading.total_bytes):
            fold.run(reading)
            engine = Engine(
                fold.tree,
                None,
                directory,
                applied_lsn=reading.lsn,
                time=fold.time,
                sync_at_commit=True,
                clock=now_microseconds,
                rules=rules_of(kind),
            )
            engine.derive(strict=False)
    finally:
        reading.close()
    return Recovered(engine, reading.warnings, None)


def _start(store: Store, fold: _Fold, rules: Rules | None, *, sync_at_commit: bool) -> Engine:
    """Bring what is on disk to memory; an engine that goes on from there."""
    fold.run(store)
    if fold.change.rewrites:
        _begin_anew(store, fold)
    return Engine(
        fold.tree,
        store,
        store.directory,
        applied_lsn=store.applied_lsn,
        time=fold.time,
        sync_at_commit=sync_at_commit,
        clock=now_microseconds,
        rules=rules,
    )


def _begin_anew(store: Store, fold: _Fold) -> None:
    """Put the converted state in the place of the old one, under an LSN of its own."""
    if store.tail_missing is not None:
        raise store.tail_missing
    fold.time = max(now_microseconds(), fold.time)
    versions = {"from": fold.change.stored.version, "to": fold.change.version}
    call = Call("change schema", [], versions)
    put_barrier(store, fold.time, call, before=fold.before, after=fold.after)
    fold.before, fold.after = [], []


def _derive(engine: Engine, store: Store, fold: _Fold, seconds: float) -> float | None:
    """Make indexes; put down what replaying the log took, and return the rate of loading.

    Args:
        engine: ready but for that.
        store: its own.
        fold: what was read.
        seconds: that reading took, all in all.

    Returns:
        Bytes of checkpoint per second, indexes included; None if there was too little to measure.
    """
    began = time.monotonic()
    engine.derive(strict=True)
    if not fold.load_seconds:  # it was converted, and so will be in a checkpoint of its own
        return None
    load = store.base_seconds + fold.load_seconds
    engine.meter = ReplayMeter(max(seconds - load, 0.0))
    load += time.monotonic() - began
    size = store.checkpoint_bytes
    return size / load if size >= _MEASURE_BYTES_MIN else None


def own(
    directory: Directory,
    kind: Kind,
    *,
    create: bool,
    evolution: Evolution = SAME,
    lock_timeout: float | None = None,
    sync_at_commit: bool = True,
    progress: Progress | None = None,
    options: StoreOptions | None = None,
) -> Recovered:
    """Become the owner, and bring the state to memory; see `recover`.

    Args:
        directory: any implementation of the seam.
        kind: of the root.
        evolution: what the application says of older data.
        create: whether to make a database if there is none.
        lock_timeout: seconds to wait for another owner; None doesn't wait.
        sync_at_commit: whether a promise is a sync.
        progress: told how far the reading is.
        options: of the store; None for the usual ones.
    """
    rules = rules_of(kind)
    ownership.acquire(directory, lock_timeout)
    started = time.monotonic()
    schema = describe(kind, evolution.version)
    store = Store.open(
        directory,
        schema=schema,
        fingerprint=fingerprint(schema),
        create=create,
        options=options,
        clock=now_microseconds,
    )
    ownership.announce(directory, store.options.retention.text())
    try:
        # What was interrupted before LSN 1 has no data, of whatever schema.
        stored = schema if store.created else store.stored_schema
        change = change_from(stored, kind, evolution, directory.path)
        fold = _Fold(change, directory.path, progress, store.total_bytes)
        with collector.settling(store.total_bytes):
            engine = _start(store, fold, rules, sync_at_commit=sync_at_commit)
            load_rate = _derive(engine, store, fold, fold.ended - started)
        if store.created:
            create_content(engine)
    except BaseException:
        with contextlib.suppress(OSError):
            store.close()
        raise
    return Recovered(engine, store.warnings, load_rate)
