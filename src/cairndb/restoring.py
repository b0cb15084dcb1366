"""A new database from a backup, be it a directory or an archive, or from the past of a database."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from cairndb.errors import CairnError, CorruptError, UsageError
from cairndb.history import At, folded, read_at
from cairndb.identity import read_backup
from cairndb.publishing import check_vacant, scratch_directory
from cairndb.rebuilding import Content, rebuilding
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.archive import Archive
    from cairndb.files import Directory


def restore(source: Directory, destination: str, at: At | None, step: Callable[[int], None]) -> int:
    """Make a database of a state that there was.

    Args:
        source: a backup, or a database; not locked.
        destination: where nothing is, or an empty directory; it appears whole or not at all.
        at: as of when; None for the last state.
        step: told how many bytes have been folded since it was told last.

    Returns:
        The LSN of the state, which the new database goes on from.

    Raises:
        UsageError: that moment isn't kept, or there is something at the destination.
        CorruptError: a file is damaged, or a backup doesn't lead to the LSN that it says.
        DiskFull: there is no room.
    """
    with closing(read_chain(source) if at is None else read_at(source, at)) as reading:
        if not reading.lsn:
            raise UsageError(f"{source.path} has no content yet: there is nothing to restore")
        backup = read_backup(source)
        if at is None and backup is not None and reading.lsn < backup.lsn:
            # What is torn at the end of a database, nobody was promised. A copy was read back.
            reason = f"it is a backup up to LSN {backup.lsn}, and ends at LSN {reading.lsn}"
            raise CorruptError(source.path, 0, reason)
        with rebuilding(destination) as build:
            found = folded(reading, source.path, step)
            schema, fingerprint = reading.schema, reading.fingerprint
            build(Content(found.fold, found.position, schema, fingerprint), lambda: step(0))
    return reading.lsn


def restore_archive(
    archive: Archive, name: str, destination: str, at: At | None, step: Callable[[int], None]
) -> int:
    """`restore` a backup that comes as a tar archive.

    It is unpacked beside the destination first, so there must be room for both.

    Args:
        archive: to be read.
        name: of where it comes from, for messages.
        destination: as for `restore`.
        at: as of when; None for the last state.
        step: told how many bytes have been unpacked or folded since it was told last.

    Raises:
        CairnError: it isn't an archive of a whole backup.
        UsageError, DiskFull: as `restore`.
    """
    check_vacant(destination)
    with scratch_directory(destination) as directory:
        archive.unpack(directory, step)
        try:
            return restore(directory, destination, at, step)
        except CorruptError as error:
            # Its own advice is about a directory that is gone by then.
            file = error.file.removeprefix(directory.path).lstrip("/")
            where = f"{file}: at byte {error.offset}: " if file else ""
            raise CairnError(f"{name}: {where}{error.reason}. Nothing was restored") from error
        except UsageError as error:
            raise UsageError(str(error).replace(directory.path, name)) from error
