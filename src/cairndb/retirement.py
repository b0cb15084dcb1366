"""What is removed when a checkpoint has been published and its name synced, and what isn't.

Kept are the last two checkpoints that are known to be whole, and the log after the older of them:
one bad checkpoint loses nothing. Readers hold the file they began with (see `File.hold`); that one
stays, with everything after it. So do those who follow the log, here or beside, the segment that
they read next; but of them that lag too far nobody waits for the slowest, or a process that was
forgotten would fill the disk. A pinned checkpoint stays, without any log, until
`forgetting` lets it go. A crash may undo any of these removals, whatever their order: recovery
begins at the newest whole checkpoint, and doesn't look at what is older than it needs.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING

from cairndb.checkpoint import Checkpoint, parse_checkpoint_name
from cairndb.errors import CorruptError
from cairndb.files import is_temporary
from cairndb.retention import NOTHING, Base, Retention, oldest_to_keep, spare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.files import Directory, File
    from cairndb.log import Segment


def retire(
    directory: Directory,
    checkpoint_lsns: Sequence[int],
    segments: Sequence[Segment],
    superseded: Sequence[Segment],
    *,
    retention: Retention,
    now: int,
    needed_lsn: int | None = None,
    held_bytes_max: int = 1 << 62,
) -> tuple[set[str], list[File]]:
    """Remove what is older than needed, and the temporary files of helpers that are gone.

    Args:
        directory: where; the flusher's role is held, and no helper is writing.
        checkpoint_lsns: of the checkpoints to keep, oldest first.
        segments: the chain, oldest first, with the segment that is being written last.
        superseded: segments off the chain that nothing needs.
        retention: what to keep besides.
        now: in microseconds.
        needed_lsn: somebody in this process reads the log after it; None if nobody does.
        held_bytes_max: how much log is kept at most for those who follow it.

    Returns:
        The names that are gone, and their files. While these are open the system keeps their room:
        giving it back can take long, and nobody need wait for it.
    """
    gone: set[str] = set()
    files: list[File] = []
    keep_lsn, more = kept_history(directory, checkpoint_lsns, segments, retention, now)
    kept = {*checkpoint_lsns, *more}
    for name in directory.names():
        lsn = parse_checkpoint_name(name)
        if is_temporary(name):
            remove(directory, name, gone, files)
        elif (
            lsn is not None
            and lsn < checkpoint_lsns[-1]
            and len(checkpoint_lsns) > 1
            and lsn not in kept
            and not _is_pinned(directory, name)
            and not remove(directory, name, gone, files)
        ):
            keep_lsn = min(keep_lsn, lsn)
    lag_lsn = _lag(directory, segments, held_bytes_max)
    if needed_lsn is not None:
        keep_lsn = min(keep_lsn, max(needed_lsn, lag_lsn))
    for segment in superseded:
        if not remove(directory, segment.name, gone, files):
            # Who follows it will find what comes next in the segments that superseded it.
            keep_lsn = min(keep_lsn, max(segment.header.first_lsn - 1, lag_lsn))
    if any(s.header.barrier and s.header.first_lsn == keep_lsn for s in segments):
        keep_lsn -= 1  # that segment says that its checkpoint counts
    for segment, successor in pairwise(segments):
        end = successor.header.first_lsn - 1
        if end > keep_lsn or not remove(directory, segment.name, gone, files, held=end <= lag_lsn):
            break
    return gone, files


def _lag(directory: Directory, segments: Sequence[Segment], bytes_max: int) -> int:
    """The LSN after which the log takes about so many bytes; 0 if all of it takes less."""
    total = 0
    for _, successor in reversed(list(pairwise(segments))):
        total += _size(directory, successor.name)
        if total > bytes_max:
            return successor.header.first_lsn - 1
    return 0


def kept_history(
    directory: Directory,
    checkpoint_lsns: Sequence[int],
    segments: Sequence[Segment],
    retention: Retention,
    now: int,
) -> tuple[int, set[int]]:
    """The LSN that the log is to begin after, and the checkpoints to keep since then.

    Args:
        directory: where they are.
        checkpoint_lsns: of the checkpoints that safety needs, oldest first.
        segments: the chain, oldest first.
        retention: what to keep besides.
        now: in microseconds.
    """
    # With a single checkpoint everything is kept: if that one goes bad, the log alone is left.
    keep_lsn = checkpoint_lsns[0] if len(checkpoint_lsns) > 1 else 0
    if retention == NOTHING:
        return keep_lsn, set()
    bases = bases_of(directory, segments)
    keep_lsn = min(keep_lsn, oldest_to_keep(retention, bases, now))
    since = [base for base in bases if base.lsn >= keep_lsn]
    barriers = {s.header.first_lsn for s in segments if s.header.barrier}
    return keep_lsn, {base.lsn for base in since} - (spare(since) - barriers)


def bases_of(directory: Directory, segments: Sequence[Segment]) -> list[Base]:
    """Where the history that is kept can begin, oldest first.

    Args:
        directory: where the files are.
        segments: the chain, oldest first.
    """
    found: dict[int, tuple[int, int]] = {}
    first = segments[0].header
    if first.first_lsn == 1:
        found[0] = (first.created, 0)
    for name in directory.names():
        lsn = parse_checkpoint_name(name)
        if lsn is None or lsn + 1 < first.first_lsn:
            continue
        with contextlib.suppress(FileNotFoundError, CorruptError):
            file = directory.open(name)
            try:
                found[lsn] = (Checkpoint(directory, name, file).header.created, file.size())
            finally:
                file.close()
    lsns = sorted(found)
    log_bytes = dict.fromkeys(lsns, 0)
    for segment in segments:
        base = max((lsn for lsn in lsns if lsn < segment.header.first_lsn), default=None)
        if base is not None:
            log_bytes[base] += _size(directory, segment.name)
    return [Base(lsn, *found[lsn], log_bytes[lsn]) for lsn in lsns]


def _size(directory: Directory, name: str) -> int:
    try:
        file = directory.open(name)
    except FileNotFoundError:
        return 0
    try:
        return file.size()
    finally:
        file.close()


def _is_pinned(directory: Directory, name: str) -> bool:
    """Whether a checkpoint is kept for its own sake. One that is damaged is nobody's way back."""
    try:
        file = directory.open(name)
        try:
            return Checkpoint(directory, name, file).header.pinned
        finally:
            file.close()
    except (FileNotFoundError, CorruptError):
        return False


def remove(
    directory: Directory,
    name: str,
    gone: set[str],
    files: list[File] | None = None,
    *,
    held: bool = False,
) -> bool:
    """Remove a file, unless a reader holds it and that counts; whether it is gone.

    Args:
        directory: where.
        name: the file's own.
        gone: is told the name.
        files: is told the file, for the caller to close; None closes it here.
        held: a reader's hold doesn't count.
    """
    try:
        file = directory.open(name)
    except FileNotFoundError:
        gone.add(name)
        return True
    kept = False
    try:
        # Held exclusively meanwhile: a reader that comes now sees that, and starts over.
        if not (file.hold(exclusive=True) or held):
            return False
        directory.remove(name)
        if files is not None:
            files.append(file)
            kept = True
    finally:
        if not kept:
            file.close()
    gone.add(name)
    return True
