"""What a database keeps on disk, and how far back that reaches: what `open(at=…)` finds."""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cairndb.checkpoint import Checkpoint, parse_checkpoint_name
from cairndb.errors import CorruptError
from cairndb.history import first_time, reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.files import Directory
    from cairndb.log import Segment
    from cairndb.store import Store


def kept(
    directory: Directory, names: Sequence[str], segments: Sequence[Segment], last_lsn: int
) -> dict[str, Any]:
    """What there is, as plain data; an owner may remove files meanwhile.

    Args:
        directory: where.
        names: what counts there.
        segments: the log, oldest first.
        last_lsn: where it ends.

    Returns:
        `checkpoints`, oldest first, each with `lsn`, `time` (when it was made, ISO 8601), `bytes`
        and `pinned`; `log_first_lsn`, `log_last_lsn` and `log_bytes` (of the files, with the room
        allocated ahead); `reaches_lsn`, from which on every state can be shown, `reaches_time`
        (None if no update that is kept comes after that), and `reaches_single_lsns`, of the single
        states before it.
    """
    checkpoints = []
    for name in names:
        if parse_checkpoint_name(name) is not None:
            with suppress(FileNotFoundError, CorruptError):
                checkpoints.append(_checkpoint(directory, name))
    lsns = sorted(each["lsn"] for each in checkpoints)
    first_lsn = segments[0].header.first_lsn if segments else last_lsn + 1
    lsn, alone = last_lsn, lsns
    if segments:
        found = reach([segment.header for segment in segments], lsns)
        lsn, alone = found.oldest, found.alone
    time = None
    sizes = [0]
    for segment in segments:
        with suppress(FileNotFoundError):
            with closing(directory.open(segment.name)) as file:
                sizes.append(file.size())
            if time is None and segment.header.first_lsn in {lsn, lsn + 1}:
                time = first_time(directory, segment)
    return {
        "checkpoints": sorted(checkpoints, key=lambda each: each["lsn"]),
        "log_first_lsn": first_lsn,
        "log_last_lsn": last_lsn,
        "log_bytes": sum(sizes),
        "reaches_lsn": lsn,
        "reaches_time": None if time is None else text_of(time),
        "reaches_single_lsns": alone,
    }


def kept_by(store: Store) -> dict[str, Any]:
    """What an owner has on disk: its own numbers, and `kept`; `retain` as it was given."""
    directory = store.directory
    found = kept(directory, directory.names(), list(store.segments), store.applied_lsn)
    return store.stats() | found | {"retain": store.options.retention.text()}


def _checkpoint(directory: Directory, name: str) -> dict[str, Any]:
    with closing(directory.open(name)) as file:
        header = Checkpoint(directory, name, file).header
        return {
            "lsn": header.lsn,
            "time": text_of(header.created),
            "bytes": file.size(),
            "pinned": header.pinned,
        }


def text_of(microseconds: int) -> str:
    """A time as ISO 8601.

    Args:
        microseconds: since the epoch of Unix time.
    """
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()
