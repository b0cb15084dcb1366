"""Before a checkpoint that somebody else wrote is given its name, it is read back, all of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cairndb.chain import Position
from cairndb.checkpoint import Checkpoint
from cairndb.errors import CorruptError
from cairndb.linking import check_database

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from cairndb.files import Directory


def read_back(
    directory: Directory, temporary: str, lsn: int, database: UUID, ends: Collection[Position]
) -> tuple[Position, int]:
    """Check that a checkpoint is whole, and of this log; it is synced once more.

    Args:
        directory: where it is.
        temporary: its name.
        lsn: that it must have.
        database: that it must be of.
        ends: where segments of the log end.

    Returns:
        Where in the log it is, and its length in bytes.

    Raises:
        CorruptError: it isn't whole, or isn't one of this log; it has been removed.
        OSError: the system failed.
    """
    file = directory.open(temporary)
    try:
        position = _checked(Checkpoint(directory, temporary, file), lsn, database, ends)
        file.sync()
        return position, file.size()
    except CorruptError:
        with contextlib.suppress(OSError):
            directory.remove(temporary)
        raise
    finally:
        file.close()


def _checked(
    checkpoint: Checkpoint, lsn: int, database: UUID, ends: Collection[Position]
) -> Position:
    header = checkpoint.header
    check_database(header.database, database, checkpoint.path)
    position = Position(header.lsn, header.running)
    if header.lsn != lsn or position not in ends:
        raise CorruptError(checkpoint.path, 0, f"it isn't the fold of this log up to LSN {lsn}")
    checkpoint.verify()
    return position
