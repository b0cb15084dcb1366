"""What is removed when a checkpoint has been published and its name synced, and what isn't.

Kept are the last two checkpoints that are known to be whole, and the log after the older of them:
one bad checkpoint loses nothing. Readers hold the file they began with (see `File.hold`); that one
stays, with everything after it. A crash may undo any of these removals, whatever their order:
recovery begins at the newest whole checkpoint, and doesn't look at what is older than it needs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cairndb.checkpoint import checkpoint_name, parse_checkpoint_name
from cairndb.files import is_temporary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.files import Directory
    from cairndb.log import Segment


def retire(
    directory: Directory,
    checkpoint_lsns: Sequence[int],
    segments: Sequence[Segment],
    superseded: Sequence[Segment],
) -> set[str]:
    """Remove what is older than needed, and the temporary files of helpers that are gone.

    Args:
        directory: where; the flusher's role is held, and no helper is writing.
        checkpoint_lsns: of the checkpoints to keep, oldest first.
        segments: the chain, oldest first, with the segment that is being written last.
        superseded: segments off the chain that nothing needs.

    Returns:
        The names that are gone.
    """
    gone: set[str] = set()
    # With a single checkpoint everything is kept: if that one goes bad, the log alone is left.
    keep_lsn = checkpoint_lsns[0] if len(checkpoint_lsns) > 1 else 0
    for name in directory.names():
        lsn = parse_checkpoint_name(name)
        if is_temporary(name):
            _remove(directory, name, gone)
        elif (
            lsn is not None
            and lsn < checkpoint_lsns[-1]
            and len(checkpoint_lsns) > 1
            and name not in map(checkpoint_name, checkpoint_lsns)
            and not _remove(directory, name, gone)
        ):
            keep_lsn = min(keep_lsn, lsn)
    for segment in superseded:
        _remove(directory, segment.name, gone)
    for segment, successor in pairwise(segments):
        if successor.header.first_lsn > keep_lsn + 1 or not _remove(directory, segment.name, gone):
            break
    return gone


def _remove(directory: Directory, name: str, gone: set[str]) -> bool:
    """Remove a file unless a reader holds it; whether it is gone."""
    try:
        file = directory.open(name)
    except FileNotFoundError:
        gone.add(name)
        return True
    try:
        # Held exclusively meanwhile: a reader that comes now sees that, and starts over.
        if not file.hold(exclusive=True):
            return False
        directory.remove(name)
    finally:
        file.close()
    gone.add(name)
    return True
