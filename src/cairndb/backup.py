"""Hot backups: a copy of the files that make up a database, beside its owner, as of one LSN.

A backup is a directory of the same form, with a file BACKUP in it that lists the others: only what
is listed is read. So the renaming that publishes the list is the moment at which a backup becomes
another, and whatever interrupts the copying leaves the one before. It can be read, verified and
restored, and refuses an owner, since what is written to a copy is lost to both.

Repeated, it takes over only the segments that are new or have grown, as long as the log of the
database reaches back to the last run. What the copy begins with, a checkpoint, is replaced by a
newer one when the log after it has grown to twice the newer one's size.
"""

from __future__ import annotations

from contextlib import closing
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cairndb.checkpoint import parse_checkpoint_name
from cairndb.engine import now_microseconds
from cairndb.errors import CorruptError, UsageError
from cairndb.files import RealDirectory, is_temporary, random_nonce
from cairndb.frame import EMPTY_FRAME_BYTES
from cairndb.identity import (
    BACKUP,
    NAME,
    Backup,
    publish_identity,
    read_backup,
    read_identity,
)
from cairndb.log import parse_segment_name, publication
from cairndb.publishing import create_directory, publish
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from cairndb.files import Directory, File
    from cairndb.recovery import Reading

CHUNK_BYTES = 1 << 20
LOG_TO_CHECKPOINT = 2
_LAST_BYTES = 64


class _Part(NamedTuple):
    """A file to have in the copy."""

    name: str
    end: int
    """Up to where it is trusted: what follows means nothing."""
    room: int = 0
    """Zeros after it: a last segment without room for a seal would seem to be cut off."""


def back_up(source: Directory, destination: Directory, step: Callable[[int], None]) -> Backup:
    """Make or continue a backup.

    Args:
        source: of the database; not locked, an owner may be at work.
        destination: empty, or a backup of the same database.
        step: told how many bytes have been copied since it was told last.

    Returns:
        What is in it now; everything has been read back.

    Raises:
        UsageError: there is something else at the destination.
        CorruptError: a file of the database is damaged, or of the copy when it was read back.
        DiskFull: there is no room; run it again when there is.
        OSError: the system failed; run it again.
    """
    if not destination.lock():
        raise UsageError(f"{destination.path} is in use: another backup is running into it")
    with closing(read_chain(source)) as reading:
        before = _listed(destination, reading.database)
        copied = 0

        def count(written: int) -> None:
            nonlocal copied
            copied += written
            step(written)

        parts, kept = _plan(reading, destination, before)
        for part in parts:
            _copy(reading, destination, part, count)
        if NAME not in destination.names():
            publish_identity(destination, read_identity(source), random_nonce())
        files = sorted({NAME, *kept, *(part.name for part in parts)})
        report = Backup(reading.database, reading.lsn, now_microseconds(), copied, files)
        destination.sync()
        _verify(reading, destination, files)
    _publish_marker(destination, report)
    for name in set(destination.names()) - {*files, BACKUP}:
        destination.remove(name)
    return report


def back_up_to(source: str, destination: str, step: Callable[[int], None]) -> Backup:
    """`back_up`, by paths; the destination is made if it isn't there, its parent must be."""
    create_directory(destination)
    with closing(RealDirectory(source)) as one, closing(RealDirectory(destination)) as other:
        return back_up(one, other, step)


class Member(NamedTuple):
    """A file of a backup, to be put into an archive."""

    name: str
    size: int
    content: Iterator[bytes]


def members(source: Directory) -> Iterator[Member]:
    """A whole backup, file by file, as of one LSN; BACKUP comes first.

    Args:
        source: of the database; not locked, an owner may be at work.

    Raises:
        CorruptError: a file of the database is damaged.
    """
    with closing(read_chain(source)) as reading, closing(source.open(NAME)) as identity:
        for _ in reading.log_frames():
            pass  # what comes out of a pipe can't be read back: so before
        segments, base = _parts_of(reading)
        parts = base + segments[-len(reading.recovered.chain.needed) :]
        files = [NAME, *(part.name for part in parts)]
        report = Backup(reading.database, reading.lsn, now_microseconds(), 0, files)
        data = msgspec.json.encode(report) + b"\n"
        yield Member(BACKUP, len(data), iter([data]))
        whole = _Part(NAME, identity.size())
        yield Member(NAME, whole.end, _chunks(identity, whole))
        for part in parts:
            file = reading.recovered.files.open(part.name)
            yield Member(part.name, part.end + part.room, _chunks(file, part))


def _listed(destination: Directory, database: UUID) -> list[str]:
    """The files of the backup that there is; refuse what isn't one of this database."""
    there = read_backup(destination)
    if there is None:
        others = [name for name in destination.names() if not is_temporary(name)]
        if others:
            raise UsageError(f"{destination.path} has {others[0]!r} in it: name an empty place")
        there = Backup(database, 0, now_microseconds(), 0, [])
        _publish_marker(destination, there)
    if there.database != database:
        raise UsageError(f"{destination.path} is a backup of another database, {there.database}")
    return there.files


def _publish_marker(destination: Directory, report: Backup) -> None:
    data = msgspec.json.encode(report) + b"\n"
    nonce = random_nonce()
    publish(
        destination, BACKUP, lambda file: file.write(0, data), nonce=nonce, bytes_needed=len(data)
    ).close()


def _plan(
    reading: Reading, destination: Directory, before: list[str]
) -> tuple[list[_Part], list[str]]:
    """What to copy, and which of the files that are listed stay."""
    segments, base = _parts_of(reading)
    known = [at for at, part in enumerate(segments) if part.name in before]
    if not known:
        return base + segments[-len(reading.recovered.chain.needed) :], []
    log_bytes = sum(_size(destination, name) for name in before if parse_segment_name(name))
    grown = log_bytes > LOG_TO_CHECKPOINT * reading.recovered.checkpoint_bytes
    base = base if grown else []
    return base + segments[known[-1] :], _still_needed(before, base)


def _parts_of(reading: Reading) -> tuple[list[_Part], list[_Part]]:
    """All segments of the chain, and the checkpoint that it begins with, if any."""
    chain, checkpoint = reading.recovered.chain, reading.recovered.checkpoint
    ends = [segment.header.predecessor_end for segment in chain.segments[1:]]
    segments = [
        _Part(segment.name, end, EMPTY_FRAME_BYTES)
        for segment, end in zip(chain.segments, (*ends, chain.newest.good.offset), strict=True)
    ]
    base: list[_Part] = []
    if checkpoint is not None:
        size = reading.recovered.checkpoint_bytes
        base = [_Part(checkpoint.name, size)]
    return segments, base


def _still_needed(before: list[str], base: list[_Part]) -> list[str]:
    """What is listed but for what comes before the last two checkpoints."""
    checkpoints = sorted(n for n in {*before, *(b.name for b in base)} if _lsn(n) is not None)
    if len(checkpoints) < 3:
        return before
    oldest = _lsn(checkpoints[-2]) or 0
    segments = sorted((n for n in before if parse_segment_name(n)), key=publication)
    needed = [
        name
        for name, following in zip_longest(segments, segments[1:])
        if following is None or publication(following)[1] > oldest + 1
    ]
    return [*checkpoints[-2:], *needed]


def _lsn(name: str) -> int | None:
    return parse_checkpoint_name(name)


def _size(directory: Directory, name: str) -> int:
    with closing(directory.open(name)) as file:
        return file.size()


def _copy(
    reading: Reading, destination: Directory, part: _Part, count: Callable[[int], None]
) -> None:
    """Have a file in the copy, up to where it is trusted. What is there whole stays."""
    source = reading.recovered.files.open(part.name)
    if part.name in destination.names():
        with closing(destination.open(part.name)) as there:
            if _is_whole(there, source, part):
                return
    publish(
        destination,
        part.name,
        lambda file: _transfer(source, file, part, count),
        nonce=random_nonce(),
        bytes_needed=part.end,
    ).close()


def _is_whole(copy: File, source: File, part: _Part) -> bool:
    """Whether a copy has its length, and ends as it should: it appeared as a whole."""
    start = max(0, part.end - _LAST_BYTES)
    tail = source.read(start, part.end - start) + bytes(part.room)
    return copy.size() == part.end + part.room and copy.read(start, len(tail)) == tail


def _transfer(source: File, target: File, part: _Part, count: Callable[[int], None]) -> None:
    offset = 0
    for data in _chunks(source, part):
        target.write(offset, data)
        offset += len(data)
        count(len(data))


def _chunks(file: File, part: _Part) -> Iterator[bytes]:
    for offset in range(0, part.end, CHUNK_BYTES):
        yield file.read(offset, min(CHUNK_BYTES, part.end - offset))
    yield bytes(part.room)


def _verify(reading: Reading, destination: Directory, files: list[str]) -> None:
    """Read the copy back: every checksum, and that it ends where the database did."""
    with closing(read_chain(destination, names=files)) as copy:
        for _ in copy.checkpoint_frames():
            pass
        for _ in copy.log_frames():
            pass
        if (copy.lsn, copy.running) != (reading.lsn, reading.running):
            raise CorruptError(
                destination.path,
                0,
                f"the copy ends at LSN {copy.lsn} and the database at {reading.lsn}, or they "
                "differ before that: make a new backup in another place",
            )
