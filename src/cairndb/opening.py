"""From a directory to a running engine: ownership, the store's recovery, the fold, and LSN 1.

The one way to start. Nothing here depends on how the last owner ended.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from cairndb import files, ownership
from cairndb.engine import Engine, now_microseconds
from cairndb.errors import CairnError, CorruptError, SchemaError, ValidationError
from cairndb.patch import Tree, decode_entries, decode_operations
from cairndb.publishing import create_directory
from cairndb.recovery import Reading, read_chain
from cairndb.schema import describe, fingerprint
from cairndb.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.appender import StoreOptions
    from cairndb.files import Directory
    from cairndb.kinds import Kind
    from cairndb.patch import Operation

# Told the bytes read so far, and the bytes there are to read.
Progress = Callable[[int, int], None]

# Less than this says nothing of the machine's speed.
_MEASURE_BYTES_MIN: Final = 1 << 20


class Recovered(NamedTuple):
    """A database ready for use.

    `load_rate` and `replay_rate` are in bytes per second; None if there was too little to measure.
    """

    engine: Engine
    warnings: list[str]
    load_rate: float | None
    replay_rate: float | None


def recover(
    path: str,
    kind: Kind,
    *,
    create: bool,
    read_only: bool,
    lock_timeout: float | None,
    sync_at_commit: bool,
    progress: Progress | None,
) -> Recovered:
    """Open a database's directory and bring its state to memory.

    Args:
        path: of the directory.
        kind: of the root.
        create: whether to make what isn't there.
        read_only: whether to read beside an owner, instead of becoming it.
        lock_timeout: seconds to wait for another owner; None doesn't wait.
        sync_at_commit: whether a promise is a sync.
        progress: told how far the reading is.

    Raises:
        CairnError: as `cairndb.open` says.
    """
    try:
        directory = _open_directory(path, create=create and not read_only)
        try:
            if read_only:
                return read(directory, kind, progress)
            return own(
                directory,
                kind,
                create=create,
                lock_timeout=lock_timeout,
                sync_at_commit=sync_at_commit,
                progress=progress,
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

    def __init__(self, kind: Kind, path: str, progress: Progress | None, total: int) -> None:
        self._path = path
        self.tree = Tree(kind)
        self.time = 0
        self._lsn = 0
        self.load_rate: float | None = None
        self.replay_rate: float | None = None
        self._progress = progress
        self._total = total
        self._done = 0

    def run(self, source: Store | Reading) -> None:
        """Load and replay everything there is, in the order of the log."""
        # Nothing that is loaded here is garbage: collections would only look at it in vain.
        collecting = gc.isenabled()
        gc.disable()
        try:
            started = time.monotonic()
            self.tree.load(self._operations(source))
            loaded, loaded_bytes = time.monotonic(), self._done
            for first_lsn, count, payload in source.log_frames():
                self._replay(first_lsn, count, payload)
            self.load_rate = _rate(loaded_bytes, loaded - started)
            self.replay_rate = _rate(self._done - loaded_bytes, time.monotonic() - loaded)
            # File headers and marks were counted, and not read as frames.
            self._step(max(0, self._total - self._done))
        except (ValueError, ValidationError) as error:
            # The schema is the stored one: what it refuses, no correct writer has written.
            what = f"LSN {self._lsn}" if self._lsn else "a checkpoint's operation"
            raise CorruptError(
                self._path, 0, f"the checksums are right, and {what} can't be applied: {error}"
            ) from error
        finally:
            if collecting:
                gc.enable()

    def _operations(self, source: Store | Reading) -> Iterator[Operation]:
        for count, payload in source.checkpoint_frames():
            yield from decode_operations(payload, count)
            self._step(len(payload))

    def _replay(self, first_lsn: int, count: int, payload: bytes) -> None:
        tree = self.tree
        self._lsn = first_lsn
        for self._lsn, entry in enumerate(decode_entries(payload, count), first_lsn):
            tree.apply(tree.resolve(entry.operations))
            self.time = entry.time
        self._step(len(payload))

    def _step(self, payload_bytes: int) -> None:
        self._done += payload_bytes
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count >= _MEASURE_BYTES_MIN and seconds > 0 else None


def _check_schema(kind: Kind, stored: str, stored_fingerprint: str, path: str) -> None:
    if stored_fingerprint == fingerprint(kind):
        return
    try:
        before = _lines(stored)
    except (ValueError, RecursionError) as error:
        raise CorruptError(path, 0, f"the stored schema isn't JSON: {error}") from error
    difference = "\n".join(
        difflib.unified_diff(before, _lines(describe(kind)), "stored", "declared", n=1, lineterm="")
    )
    raise SchemaError(
        f"{path} was written with another schema than the type given to open. Give the type it was "
        f"written with; changing the schema of a database isn't possible yet.\n{difference}"
    )


def _lines(schema: str) -> list[str]:
    return json.dumps(json.loads(schema), indent=1).splitlines()


def read(directory: Directory, kind: Kind, progress: Progress | None) -> Recovered:
    """Bring to memory what is durable now, without becoming the owner; see `recover`."""
    reading = read_chain(directory)
    try:
        _check_schema(kind, reading.schema, reading.fingerprint, directory.path)
        fold = _Fold(kind, directory.path, progress, reading.total_bytes)
        fold.run(reading)
        engine = Engine(
            fold.tree,
            None,
            directory,
            applied_lsn=reading.lsn,
            time=fold.time,
            sync_at_commit=True,
            clock=now_microseconds,
        )
    finally:
        reading.close()
    return Recovered(engine, reading.warnings, None, None)


def own(
    directory: Directory,
    kind: Kind,
    *,
    create: bool,
    lock_timeout: float | None = None,
    sync_at_commit: bool = True,
    progress: Progress | None = None,
    options: StoreOptions | None = None,
) -> Recovered:
    """Become the owner, and bring the state to memory; see `recover`.

    Args:
        directory: any implementation of the seam.
        kind: of the root.
        create: whether to make a database if there is none.
        lock_timeout: seconds to wait for another owner; None doesn't wait.
        sync_at_commit: whether a promise is a sync.
        progress: told how far the reading is.
        options: of the store; None for the usual ones.
    """
    ownership.acquire(directory, lock_timeout)
    store = Store.open(
        directory,
        schema=describe(kind),
        fingerprint=fingerprint(kind),
        create=create,
        options=options,
        clock=now_microseconds,
    )
    ownership.announce(directory)
    try:
        if not store.created:
            _check_schema(kind, store.stored_schema, store.stored_fingerprint, directory.path)
        fold = _Fold(kind, directory.path, progress, store.total_bytes)
        fold.run(store)
        engine = Engine(
            fold.tree,
            store,
            directory,
            applied_lsn=store.applied_lsn,
            time=fold.time,
            sync_at_commit=sync_at_commit,
            clock=now_microseconds,
        )
        if store.created:
            engine.create()
    except BaseException:
        with contextlib.suppress(OSError):
            store.close()
        raise
    return Recovered(engine, store.warnings, fold.load_rate, fold.replay_rate)
