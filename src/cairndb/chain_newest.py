"""Where the log ends in the newest segment: its good frames, and what P covers of them.

The rule of torn or corrupt is in `chain`. The frames are read once: their entries are kept, up to a
bound, for whoever folds them next.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.frame import EMPTY_FRAME_BYTES, SEAL, FrameReader
from cairndb.frame_search import scan_rest
from cairndb.log import Piece, possible_lsns, running_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.files import Directory, File
    from cairndb.log import Segment

# Decoded, a piece should stay in the processor's cache.
PIECE_BYTES: Final = 1 << 14
KEPT_BYTES_MAX: Final = 1 << 25


class Position(NamedTuple):
    """A place in the log: an LSN alone can be used again after a lost tail."""

    lsn: int
    running: int
    """The running checksum of all entries up to it."""


class End(NamedTuple):
    """Where in a segment something ends."""

    offset: int
    position: Position


class Kept:
    """The entries that a segment begins with, up to a bound, for whoever folds them.

    Args:
        begin: where its frames begin.
    """

    def __init__(self, begin: End) -> None:
        self._end = begin
        self._payload_bytes = 0
        self._pieces: deque[tuple[Piece, End]] = deque()

    def add(self, piece: Piece, begin: End, end: End) -> None:
        """Keep what follows, if it does and there is room."""
        if self._end == begin and self._payload_bytes < KEPT_BYTES_MAX:
            self._end = end
            self._payload_bytes += len(piece.payload)
            self._pieces.append((piece, end))

    def taken(self, end: End) -> Iterator[tuple[Piece, End]]:
        """What is kept, and where each piece ends; once, since then it isn't kept any more.

        Args:
            end: of what is wanted.
        """
        pieces, self._pieces = self._pieces, deque()
        while pieces and pieces[0][1].offset <= end.offset:
            yield pieces.popleft()


class Newest(Struct, frozen=True):
    """What was found in the newest segment."""

    trusted: End
    """After the last frame with entries that P covers."""
    good: End
    """Where the first bad frame is, or would be."""
    reason: str
    """What is there."""
    kept: Kept


class _Walk:
    """What the frames of the newest segment say, one after the other.

    Args:
        segment: the newest.
        proven: the largest LSN that is known to be durable.
    """

    def __init__(self, segment: Segment, proven: int) -> None:
        header = segment.header
        self.proven = proven
        self.sealed = False
        self.good = End(segment.begin, Position(header.first_lsn - 1, header.running))
        # Ends of runs of frames with entries. An empty frame proves what comes before it; itself it
        # may be in the cache only.
        self.ends = [self.good]
        self.kept = Kept(self.good)

    def through(self, reader: FrameReader) -> None:
        """Read on, as far as frames are good."""
        for frame in reader.merged(PIECE_BYTES):
            self.sealed = self.sealed or frame.count == SEAL
            running = running_checksum(frame.payload, self.good.position.running)
            self.good = End(frame.end, Position(reader.next_lsn - 1, running))
            if frame.entries:
                piece = Piece(frame.first_lsn, frame.count, frame.payload)
                self.kept.add(piece, self.ends[-1], self.good)
                self.ends.append(self.good)
            self.proven = max(self.proven, frame.durable_lsn)

    def trusted(self, file: File, nonce: bytes) -> End:
        """After the last frame with entries that P covers."""
        trusted = next(end for end in reversed(self.ends) if end.position.lsn <= self.proven)
        # The frames of the run after it, one by one.
        offset, (lsn, running) = trusted
        for frame in FrameReader(file.read, nonce, offset, self.good.offset, lsn + 1):
            if frame.entries:
                running = running_checksum(frame.payload, running)
                end = End(frame.end, Position(frame.first_lsn + frame.count - 1, running))
                if end.position.lsn > self.proven:
                    break
                trusted = end
        return trusted


def read_newest(directory: Directory, segment: Segment, file: File, header_lsn: int) -> Newest:
    """Find the end of the log, torn or not.

    Args:
        directory: that the segment is in.
        segment: the newest.
        file: the open file.
        header_lsn: the largest LSN that some header proves durable.

    Raises:
        CorruptError: something was lost.
    """
    header = segment.header
    size = file.size()
    walk = _Walk(segment, max(header_lsn, header.first_lsn - 1))
    reader = FrameReader(file.read, header.nonce, segment.begin, size, header.first_lsn)
    walk.through(reader)
    lsns = possible_lsns(segment, size)
    rest = scan_rest(file.read, header.nonce, reader.offset, size, lsns)
    walk.proven = max(walk.proven, rest.durable_lsn)
    if walk.proven >= reader.next_lsn:
        # An owner may have written this place after it was looked at, and then what proves it.
        # The proof has been seen by now: what is missing still, is missing.
        next_lsn = reader.next_lsn
        reader = FrameReader(file.read, header.nonce, reader.offset, size, next_lsn)
        walk.through(reader)
    path = path_in(directory, segment.name)
    if walk.proven >= reader.next_lsn:
        raise CorruptError(
            path,
            reader.offset,
            f"{reader.reason or 'the file ends'}, and LSN {reader.next_lsn} was there: "
            f"everything up to LSN {walk.proven} is known to have been synced",
        )
    if walk.sealed or rest.sealed:
        raise CorruptError(
            path, reader.offset, "the segment is sealed, and the one that follows it is missing"
        )
    if reader.claimed_end > size or size - reader.offset < EMPTY_FRAME_BYTES:
        # Its size was durable before its name was, and there is room for the seal, always.
        raise CorruptError(path, size, "the file is shorter than it was made: it was cut off")
    return Newest(walk.trusted(file, header.nonce), walk.good, reader.reason, walk.kept)
