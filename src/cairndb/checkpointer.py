"""The helper process that makes a checkpoint: `python -m cairndb.checkpointer DIRECTORY LSN UUID`.

It folds the last checkpoint and the sealed segments after it, untyped: it imports nothing of the
application, and every checkpoint proves anew that the log can be replayed. It writes under a
temporary name of its own and reports; only the owner, having read the file back, gives it its final
name. So it can be killed at any moment without harm. It ends with the owner, whose end of the pipe
on standard input then closes.

It runs at the owner's priority. At a lower one a busy machine starves it, and the log grows
meanwhile: at niceness 10, beside an owner at full speed and one more busy process on two
processors, three seconds of work have taken fifty.
"""

from __future__ import annotations

import select
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from cairndb.checkpoint import CheckpointHeader, Writer, temporary_checkpoint_name
from cairndb.engine import now_microseconds
from cairndb.errors import CairnError, CorruptError
from cairndb.files import RealDirectory, random_nonce
from cairndb.fold import Fold
from cairndb.housekeeper import Report
from cairndb.identity import read_identity
from cairndb.patch import decode_entries, decode_operations
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cairndb.files import Directory
    from cairndb.recovery import Reading

FRAME_BYTES: Final = 1 << 20


def make_checkpoint(directory: Directory, lsn: int, proceed: Callable[[], None]) -> Report:
    """Fold everything up to an LSN, and write that to a file under a temporary name.

    Args:
        directory: of the database.
        lsn: where a sealed segment ends.
        proceed: called between pieces of the work; may raise to end it.

    Raises:
        CairnError: a file is damaged.
        OSError: the system failed, or there is no room.
    """
    reading = read_chain(directory, end_lsn=lsn)
    try:
        fold = Fold()
        for count, payload in reading.checkpoint_frames():
            for operation in decode_operations(payload, count):
                fold.apply([operation])  # each addresses what the one before it has made
            proceed()
        for _, count, payload in reading.log_frames():
            for entry in decode_entries(payload, count):
                fold.apply(entry.operations)
            proceed()
        if fold.root is None:
            raise CairnError(f"{directory.path} has no content yet: its creation was interrupted")
        return _write(directory, reading, fold, proceed)
    except ValueError as error:
        raise CorruptError(
            directory.path, 0, f"the checksums are right, and the log can't be folded: {error}"
        ) from error
    finally:
        reading.close()


def _write(
    directory: Directory, reading: Reading, fold: Fold, proceed: Callable[[], None]
) -> Report:
    header = CheckpointHeader(
        database=reading.database,
        nonce=random_nonce(),
        lsn=reading.lsn,
        running=reading.running,
        fingerprint=reading.fingerprint,
        schema=reading.schema,
        created=now_microseconds(),
    )
    return Report(write_checkpoint(directory, header, fold, proceed), reading.lsn)


def write_checkpoint(
    directory: Directory, header: CheckpointHeader, fold: Fold, proceed: Callable[[], None]
) -> str:
    """Write a state to a file under a temporary name, and sync it.

    Args:
        directory: where.
        header: what the file says of itself.
        fold: the state.
        proceed: called between pieces of the work; may raise to end it.

    Returns:
        The temporary name.

    Raises:
        OSError: the system failed, or there is no room; the file has been removed.
    """
    name = temporary_checkpoint_name(header)
    writer = Writer(directory, name, header)
    try:
        for operations in _frames(fold.operations()):
            writer.write(len(operations), b"".join(operations))
            proceed()
        writer.finish()
    except BaseException:
        writer.abort()
        raise
    return name


def _frames(operations: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The operations in groups of about a frame's size."""
    group: list[bytes] = []
    size = 0
    for operation in operations:
        group.append(operation)
        size += len(operation)
        if size >= FRAME_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _end_with_owner() -> None:
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    if readable:
        raise CairnError("the owner has ended")


def _directory_of(path: str, database: str) -> RealDirectory:
    directory = RealDirectory(path)
    # The owner goes by its descriptor, and doesn't notice when names change.
    if str(read_identity(directory).database) != database:
        raise CairnError(
            f"{path} is another database than the one that was opened there: "
            "rename them back, or close the database and open it where it is now"
        )
    return directory


def main() -> int:
    """What the owner starts; prints a `Report`, or what went wrong."""
    path, lsn, database = sys.argv[1:]
    try:
        with closing(_directory_of(path, database)) as directory:
            report = make_checkpoint(directory, int(lsn), _end_with_owner)
    except (CairnError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    # Flushed: what Python says when it ends must not come in between.
    print(msgspec.json.encode(report).decode(), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
