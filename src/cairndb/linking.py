"""From the headers of segments to the chain that they make, and what is off it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.log import Segment, parse_segment_name, publication, read_segment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from cairndb.chain import Files


def link(
    files: Files, names: Sequence[str], database: UUID, base_lsn: int
) -> tuple[list[Segment], list[Segment], list[CorruptError]]:
    """Read the headers of all segments and follow the chain back from the newest.

    Args:
        files: where they are.
        names: what is in the directory.
        database: that they must belong to.
        base_lsn: as far back as the chain must reach.

    Returns:
        The chain, oldest first; the superseded; what is wrong with segments that aren't needed.

    Raises:
        CorruptError: the chain doesn't reach the base.
    """
    found = sorted((name for name in names if parse_segment_name(name)), key=publication)
    directory = files.directory
    if not found:
        raise CorruptError(directory.path, 0, "there is no log in the directory")
    good: dict[bytes, Segment] = {}
    damaged: list[CorruptError] = []
    newest: Segment | None = None
    for name in found:
        try:
            newest = read_segment(directory, name, files.open(name))
            check_database(newest.header.database, database, path_in(directory, name))
            good[newest.header.nonce] = newest
        except CorruptError as error:
            if name == found[-1]:
                raise
            damaged.append(error)
        finally:
            files.done(name)
    assert newest is not None
    chain = follow(good, newest)
    superseded = [segment for segment in good.values() if segment not in chain]
    first = chain[0].header.first_lsn
    if first > base_lsn + 1:
        if damaged:
            raise damaged[-1]
        raise CorruptError(
            path_in(directory, chain[0].name),
            0,
            f"what comes before LSN {first} is missing: a checkpoint, or the segment before",
        )
    return chain, superseded, damaged


def check_database(found: UUID, expected: UUID, path: str) -> None:
    """Raise CorruptError if a file belongs to another database."""
    if found != expected:
        raise CorruptError(path, 0, f"it belongs to the database {found}, and this is {expected}")


def follow(good: dict[bytes, Segment], newest: Segment) -> list[Segment]:
    """The segments from which the newest one goes on, oldest first, as far as they are there.

    Args:
        good: by their nonces.
        newest: where to begin; the last of what is returned.
    """
    chain = [newest]
    while (before := good.get(chain[-1].header.predecessor_nonce)) is not None:
        # Publication goes back strictly, so this ends whatever the headers say.
        if publication(before.name) >= publication(chain[-1].name):
            break
        chain.append(before)
    return chain[::-1]
