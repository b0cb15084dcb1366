"""A new database of a whole state, which appears complete or not at all."""

from __future__ import annotations

import errno
from contextlib import closing
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from cairndb import ownership
from cairndb.cli import output
from cairndb.engine import ENTRY_BYTES_MAX, now_microseconds
from cairndb.errors import CairnError
from cairndb.fold import Fold
from cairndb.patch import SET, encode_entry, operation
from cairndb.publishing import new_directory
from cairndb.schema import fingerprint
from cairndb.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb.files import Directory
    from cairndb.kinds import Kind
    from cairndb.patch import Call

PIECE_BYTES: Final = 1 << 26
_TAKEN: Final = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_OVERHEAD_BYTES: Final = 1 << 16  # of an entry: its time, its call


def check_new(path: Path) -> None:
    """Raise Misuse if there is something at a path, or no directory for it."""
    if path.exists() or path.is_symlink():
        raise output.Misuse(
            f"{path} is there already, and import makes a new database: give another name, or "
            "--into PATH to put everything at one place of it"
        )
    if not path.absolute().parent.is_dir():
        raise output.Misuse(f"{path} can't be made: there is no directory {path.parent}")


def build(path: Path, schema: str, entries: Iterator[bytes]) -> int:
    """Make a database; complete and durable under its name when this returns.

    It is made beside, under a temporary name, and renamed. What fails or is
    interrupted leaves nothing; a process that is killed leaves that.

    Args:
        path: where there is nothing yet.
        schema: the text of the root's schema.
        entries: of its log; see `entries_of`.

    Returns:
        The last LSN.

    Raises:
        DiskFull: there is no room.
        CairnError: the name is taken by now.
        OSError: the system failed.
    """
    try:
        with new_directory(str(path)) as directory:
            ownership.acquire(directory, None)
            return fill(directory, schema, entries)
    except OSError as error:
        if error.errno in _TAKEN:
            raise CairnError(f"{path} is there by now: nothing was imported") from error
        raise


def entries_of(
    state: bytes, kind: Kind | None, call: Call, limit: int = ENTRY_BYTES_MAX
) -> Iterator[bytes]:
    """The entries of a log that leads to a state.

    Args:
        state: the canonical bytes of the root.
        kind: of the root; None if it isn't known, then the state must fit in one entry.
        call: what the log says of each.
        limit: a state of more bytes comes in several entries.

    Raises:
        CairnError: it takes several entries, and the kind isn't known.
    """
    now = now_microseconds()
    if len(state) <= limit - _OVERHEAD_BYTES:
        yield encode_entry(now, [operation(SET, (), Raw(state))], call)
        return
    if kind is None:
        raise CairnError(
            f"there are {len(state):,} bytes, which are too many for one update, and no classes "
            "can be made of the schema, to cut them"
        )
    piece_bytes = min(PIECE_BYTES, limit)
    for each in Fold.of(state, kind, piece_bytes).operations(piece_bytes):
        yield encode_entry(now, [Raw(each)], call)  # type: ignore[list-item]  # encoded already


def fill(directory: Directory, schema: str, entries: Iterator[bytes]) -> int:
    """Make a database in an empty directory; durable, and known to be, when this returns.

    Args:
        directory: locked by the caller.
        schema: the text of the root's schema.
        entries: of its log.

    Returns:
        The last LSN.
    """
    store = Store.open(
        directory,
        schema=schema,
        fingerprint=fingerprint(schema),
        create=True,
        clock=now_microseconds,
    )
    with closing(store):
        for entry in entries:
            if not store.reserve(len(entry)):
                store.rotate(len(entry))
            store.append(entry)
            store.write(store.take())
        store.sync()
        store.mark()
        store.sync()
        return store.applied_lsn
