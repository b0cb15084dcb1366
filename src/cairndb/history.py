"""The past of a database, as far as its log and checkpoints reach.

An entry's time is never before that of the entry before it, so a time names an LSN: that of the
last entry at or before it.
"""

from __future__ import annotations

import contextlib
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from cairndb import codec
from cairndb.chain import Position
from cairndb.checkpoint import Checkpoint, checkpoint_name, parse_checkpoint_name
from cairndb.errors import Compacted, CorruptError, UsageError
from cairndb.fold import Fold
from cairndb.frame import FrameReader
from cairndb.log import running_checksum
from cairndb.patch import decode_entries, decode_entry, decode_operations
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cairndb.files import Directory
    from cairndb.log import Piece, Segment, SegmentHeader
    from cairndb.recovery import Reading

At = int | datetime
"""A moment in the life of a database: an LSN, or an aware time."""


class Still:
    """A database as of a checkpoint, without any log: see `recovery.Reading`.

    Args:
        directory: that it is in.
        name: of the checkpoint.

    Raises:
        FileNotFoundError: it isn't there.
        CorruptError: it isn't whole.
    """

    def __init__(self, directory: Directory, name: str) -> None:
        self._file = directory.open(name)
        try:
            self._file.hold(exclusive=False)
            self._checkpoint = Checkpoint(directory, name, self._file)
            self._checkpoint.verify()
        except BaseException:
            self._file.close()
            raise
        header = self._checkpoint.header
        self.base = Position(header.lsn, header.running)
        self.lsn = self.base_lsn = header.lsn
        self.schema, self.fingerprint = header.schema, header.fingerprint
        self.total_bytes = self._file.size()
        self.warnings: list[str] = []

    def checkpoint_frames(self) -> Iterator[tuple[int, bytes]]:
        """(count, operations)."""
        return self._checkpoint.frames()

    def log_frames(self) -> Iterator[Piece]:
        """Nothing."""
        return iter(())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_at(directory: Directory, at: At) -> Reading | Still:
    """Read a database as it was.

    Args:
        directory: not locked.
        at: an LSN, or an aware time.

    Returns:
        A reading that ends there; `close` it.

    Raises:
        Compacted: that moment isn't kept.
        UsageError: it is yet to come.
        CorruptError: a file that is needed is damaged.
    """
    lsn = at if isinstance(at, int) else lsn_at(directory, at)
    name = checkpoint_name(lsn)
    if name in directory.names():
        with contextlib.suppress(FileNotFoundError, CorruptError):
            return Still(directory, name)
    _check_kept(directory, lsn)
    return read_chain(directory, at_lsn=lsn)


class Reach(NamedTuple):
    """How far back the log leads."""

    bases: list[int]
    """The LSNs that the fold can begin at."""
    closed: list[int]
    """Those of barriers whose state is gone: no fold leads over them."""
    first: int
    """The first LSN in the log."""
    checkpoints: list[int]

    @property
    def oldest(self) -> int:
        """The oldest LSN from which the log leads on."""
        after = max(self.closed, default=0)
        return max(min((base for base in self.bases if base >= after), default=self.first), 1)

    @property
    def alone(self) -> list[int]:
        """The LSNs of single states before that."""
        return [lsn for lsn in self.checkpoints if lsn < self.oldest]


def _kept(directory: Directory) -> Reach:
    with closing(read_chain(directory)) as reading:
        headers = [segment.header for segment in reading.recovered.chain.segments]
    return reach(headers, sorted(filter(None, map(parse_checkpoint_name, directory.names()))))


def reach(headers: Sequence[SegmentHeader], checkpoints: list[int]) -> Reach:
    """How far back a log leads.

    Args:
        headers: of its segments, oldest first.
        checkpoints: the LSNs of those that there are, in order.
    """
    first = headers[0].first_lsn
    bases = [base for base in ([0] if first == 1 else []) + checkpoints if base + 1 >= first]
    # A crash may have undone the removal of a barrier's log, and not that of its checkpoint.
    closed = [h.first_lsn for h in headers if h.barrier and h.first_lsn not in checkpoints]
    return Reach(bases, closed, first, checkpoints)


def _check_kept(directory: Directory, lsn: int) -> None:
    """Raise Compacted if the log doesn't lead to an LSN any more."""
    kept = _kept(directory)
    base = max((base for base in kept.bases if base <= lsn), default=lsn)
    low = max(min(kept.bases, default=kept.first), 1)
    if lsn < low or any(base < each <= lsn for each in kept.closed):
        raise compacted(directory, lsn, kept)


def compacted(directory: Directory, lsn: int, kept: Reach | None = None) -> Compacted:
    """The error for a moment from which the log doesn't lead on any more.

    Args:
        directory: not locked.
        lsn: of the moment.
        kept: what there is; None to look.
    """
    kept = kept or _kept(directory)
    oldest, alone = kept.oldest, ", ".join(map(str, kept.alone))
    states = f"; single states before it: {alone}" if alone else ""
    return Compacted(
        f"{directory.path} goes back to LSN {oldest}, and LSN {lsn} was asked for{states}", oldest
    )


class Folded(NamedTuple):
    """A state, untyped."""

    fold: Fold
    time: int
    """Of the last entry folded; 0 if it is all a checkpoint."""
    position: Position
    """Where in the log it is."""


def folded(reading: Reading | Still, path: str, step: Callable[[int], None]) -> Folded:
    """The state that a reading shows.

    Args:
        reading: what to fold.
        path: of the directory, for messages.
        step: told how many bytes have been folded since it was told last.

    Raises:
        CorruptError: a file is damaged, or an operation can't be applied.
    """
    try:
        return _folded(reading, step)
    except ValueError as error:
        what = f"the checksums are right, and an operation can't be applied: {error}"
        raise CorruptError(path, 0, what) from error


def _folded(reading: Reading | Still, step: Callable[[int], None]) -> Folded:
    fold, time = Fold(), 0
    running = reading.base.running
    for count, payload in reading.checkpoint_frames():
        for each in decode_operations(payload, count):
            fold.apply((each,))
        step(len(payload))
    for first_lsn, count, payload in reading.log_frames():
        encoded = codec.open_list(codec.as_array(payload, count))
        for entry in encoded[: reading.lsn - first_lsn + 1]:
            decoded = decode_entry(entry)
            fold.apply(decoded.operations)
            time = decoded.time
            running = running_checksum(bytes(entry), running)
        step(len(payload))
    return Folded(fold, time, Position(reading.lsn, running))


def lsn_at(directory: Directory, when: datetime) -> int:
    """The LSN of the last entry at or before a time.

    Args:
        directory: not locked.
        when: an aware time.

    Raises:
        UsageError: the time is before what is kept, or has no time zone.
        CorruptError: a file is damaged.
    """
    if when.tzinfo is None:
        raise UsageError(f"{when} has no time zone: give it one, as when.astimezone()")
    microseconds = int(when.timestamp() * 1_000_000)
    with closing(read_chain(directory)) as reading:
        segments = reading.recovered.chain.segments
        begun = [s for s in segments if _begins_by(directory, s, microseconds)]
        if not begun:
            raise UsageError(f"{directory.path}: what was at {when} isn't kept any more")
        following = segments[len(begun) :]
        last = following[0].header.first_lsn - 1 if following else reading.lsn
    with closing(read_chain(directory, at_lsn=last)) as reading:
        lsn = reading.base_lsn
        for piece in reading.log_frames():
            for entry in decode_entries(piece.payload, piece.count):
                if entry.time > microseconds or lsn == last:
                    return lsn
                lsn += 1
        return lsn


def _begins_by(directory: Directory, segment: Segment, microseconds: int) -> bool:
    """Whether a segment's first entry is of that time or before."""
    first = first_time(directory, segment)
    return first is not None and first <= microseconds


def first_time(directory: Directory, segment: Segment) -> int | None:
    """The time of a segment's first entry, in microseconds since the epoch; None if it has none.

    Args:
        directory: that it is in.
        segment: which.
    """
    header = segment.header
    with closing(directory.open(segment.name)) as file:
        reader = FrameReader(
            file.read, header.nonce, segment.begin, file.size(), header.first_lsn, chunk_bytes=4096
        )
        for frame in reader:
            if frame.entries:
                encoded = codec.open_list(codec.as_array(frame.payload, frame.entries))
                return decode_entry(encoded[0]).time
    return None
