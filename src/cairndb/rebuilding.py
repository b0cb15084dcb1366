"""A new database from a state at an LSN: its directory appears whole and durable, or not at all.

It consists of a checkpoint at that LSN, the empty segment after it, and DATABASE. LSNs and the
running checksum go on where they stood; the identity is a new one, since the history departs from
the old one's here: who followed that must notice.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from cairndb.checkpoint import CheckpointHeader, checkpoint_name
from cairndb.checkpointer import write_checkpoint
from cairndb.engine import now_microseconds
from cairndb.files import random_nonce
from cairndb.identity import Identity, publish_identity
from cairndb.log import SegmentHeader, bytes_needed, publish_segment
from cairndb.publishing import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.chain import Position
    from cairndb.files import Directory
    from cairndb.fold import Fold


class Content(NamedTuple):
    """What a database is to hold."""

    fold: Fold
    position: Position
    schema: str
    fingerprint: str


@contextmanager
def rebuilding(path: str) -> Iterator[Callable[[Content, Callable[[], None]], UUID]]:
    """Make a new database; it appears when the block ends, and doesn't if the block raises.

    Args:
        path: where nothing is, or an empty directory.

    Yields:
        A function to call once with the content, and with one that is called between pieces of the
        work and may raise to end it; it returns the identity.

    Raises:
        DiskFull: there is no room.
        OSError: a step failed, or there is something at that path.
    """
    with new_directory(path) as directory:
        yield lambda content, proceed: _fill(directory, content, proceed)


def _fill(directory: Directory, content: Content, proceed: Callable[[], None]) -> UUID:
    (lsn, running), now = content.position, now_microseconds()
    identity = Identity(UUID(bytes=random_nonce(), version=4), now)
    checkpoint = CheckpointHeader(
        database=identity.database,
        nonce=random_nonce(),
        lsn=lsn,
        running=running,
        fingerprint=content.fingerprint,
        schema=content.schema,
        created=now,
    )
    temporary = write_checkpoint(directory, checkpoint, content.fold, proceed)
    directory.rename(temporary, checkpoint_name(lsn))
    segment = SegmentHeader(
        database=identity.database,
        epoch=1,
        nonce=random_nonce(),
        first_lsn=lsn + 1,
        predecessor_nonce=b"",
        predecessor_end=0,
        running=running,
        fingerprint=content.fingerprint,
        schema=content.schema,
        created=now,
    )
    publish_segment(directory, segment, bytes_needed(segment, (), 0), durable_lsn=lsn).file.close()
    publish_identity(directory, identity, random_nonce())
    return identity.database
