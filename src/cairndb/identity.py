"""The file DATABASE: that a directory holds a database, and which one.

It is published last at creation, after the first segment, so:

- DATABASE without a log: a file is missing, refused.
- A log or a checkpoint without DATABASE: refused, unless no frame of it is good and LSN 1 comes
  first: the remains of a creation that was interrupted, which are removed, and creation goes on.
- DATABASE with an empty first segment: creation was interrupted before LSN 1 was durable. The
  database is there and has no content yet.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003  msgspec resolves it at run time

import msgspec

from cairndb.checkpoint import parse_checkpoint_name
from cairndb.errors import CorruptError, UsageError
from cairndb.files import is_temporary, path_in
from cairndb.frame_header import Moment, decode_header, encode_header
from cairndb.frame_search import scan_rest
from cairndb.log import parse_segment_name, possible_lsns, read_segment
from cairndb.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.files import Directory, File

MAGIC = b"\x89CAIRND\n"
NAME = "DATABASE"
BACKUP = "BACKUP"
"""In a directory that is a copy of a database: it has no owner."""


class Identity(msgspec.Struct, frozen=True):
    """What the file DATABASE says."""

    database: UUID
    created: Moment
    """Microseconds since the epoch of Unix time."""


def read_identity(directory: Directory) -> Identity:
    """Read which database this is.

    Raises:
        FileNotFoundError: the file isn't there.
        CorruptError: it isn't good.
        CairnError: a later version of cairndb wrote it.
    """
    file = directory.open(NAME)
    try:
        return decode_header(MAGIC, Identity, file.read, path_in(directory, NAME))[0]
    finally:
        file.close()


class Backup(msgspec.Struct, frozen=True):
    """What the file BACKUP says, and `backup` returns."""

    database: UUID
    lsn: int
    """Everything up to this one is in it; 0 if the first run hasn't come to its end."""
    made: int
    """When: microseconds since 1970 in UTC."""
    bytes_copied: int
    """By the last run."""
    files: list[str]
    """The names that count."""


def read_backup(directory: Directory) -> Backup | None:
    """What a backup says of itself; None if the directory isn't one.

    Raises:
        CorruptError: the file isn't readable.
    """
    if BACKUP not in directory.names():
        return None
    with closing(directory.open(BACKUP)) as file:
        try:
            return msgspec.json.decode(file.read(0, file.size()), type=Backup)
        except msgspec.DecodeError as error:
            raise CorruptError(
                file.path, 0, f"it doesn't say what the backup is: {error}"
            ) from error


def files_of(directory: Directory) -> list[str]:
    """The names that count: of a backup what it lists, of a database all that are there.

    Raises:
        UsageError: it is a backup that was never finished.
        CorruptError: its list can't be read.
    """
    names = directory.names()
    backup = read_backup(directory) if BACKUP in names else None
    if backup is None:
        return names
    if not backup.lsn:
        raise UsageError(f"{directory.path} is a backup that was never finished: run it again")
    return [name for name in names if name in backup.files]


def publish_identity(directory: Directory, identity: Identity, nonce: bytes) -> None:
    """Complete a creation, but for LSN 1.

    Args:
        directory: where the first segment has been published.
        identity: what the file is to say.
        nonce: random bytes, for the temporary name.

    Raises:
        DiskFull: there is no room.
        OSError: a step failed.
    """
    data = encode_header(MAGIC, identity)

    def fill(file: File) -> None:
        file.write(0, data)

    publish(directory, NAME, fill, nonce=nonce, bytes_needed=len(data)).close()


def clear_interrupted_creation(directory: Directory, names: Sequence[str]) -> None:
    """Remove what an interrupted creation left, in a directory without DATABASE.

    Args:
        directory: where.
        names: what is in it.

    Raises:
        CorruptError: there is a log or a checkpoint of a database that lost its DATABASE.
        UsageError: there are files that aren't a database's.
        OSError: a step failed.
    """
    check_interrupted_creation(directory, names)
    # Not synced: what is created next has the same names.
    for name in names:
        if parse_segment_name(name) or is_temporary(name):
            directory.remove(name)


def check_interrupted_creation(directory: Directory, names: Sequence[str]) -> None:
    """Raise what `clear_interrupted_creation` does if there is more; nothing is changed."""
    check_nothing_lost(directory, names)
    for name in names:
        known = parse_segment_name(name) or is_temporary(name)
        if not (known or name.startswith(".") or name in _NEUTRAL):
            raise UsageError(
                f"{directory.path} has other files in it ({name!r}) and no database; "
                "give the database a directory of its own"
            )


_NEUTRAL = frozenset({"LOCK", "lost+found"})


def check_nothing_lost(directory: Directory, names: Sequence[str]) -> None:
    """Judge a directory without DATABASE: holds it no database, or one that lost that file?

    Args:
        directory: where.
        names: what is in it.

    Raises:
        CorruptError: there is a log or a checkpoint.
        OSError: a file can't be read.
    """
    for name in filter(parse_checkpoint_name, names):
        raise CorruptError(path_in(directory, NAME), 0, f"it is missing, and there is {name}")
    for name in filter(parse_segment_name, names):
        _check_empty(directory, name)


def _check_empty(directory: Directory, name: str) -> None:
    """Raise CorruptError if a segment proves that there was a database."""
    file = directory.open(name)
    try:
        segment = read_segment(directory, name, file)
        size = file.size()
        lsns = possible_lsns(segment, size)
        rest = scan_rest(file.read, segment.header.nonce, segment.begin, size, lsns)
    finally:
        file.close()
    if rest.frames or segment.header.first_lsn > 1:
        raise CorruptError(
            path_in(directory, NAME), 0, f"it is missing, and there are entries in {name}"
        )
