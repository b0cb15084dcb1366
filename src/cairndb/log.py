"""Segments: the files that the log is made of.

    segment = header frame* seal? (zeros | junk)
    name    = log-<first LSN, 20 digits>-<epoch, 8 digits>.seg

The header says how the segment hangs on the one before it: that one's nonce, where its trusted part
ends, and the running checksum there. It also proves every LSN before its own first one durable,
since a segment is published only after the one before it has been synced in full.

Room is reserved before an update is promised anything, and counted as if every buffered entry
became a frame of its own, followed by a mark, with one more mark and the seal to come. So no write
of a frame can ever fail for want of room, and a mark needs no check: at most one is written between
two frames.

A segment is sealed after its successor has been published and before that gets its first frame:
sealed without a successor means that a file is missing. The seal goes where nothing but zeros is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID  # noqa: TC003  msgspec resolves it at run time
from zlib import crc32

import msgspec

from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.frame import (
    EMPTY_FRAME_BYTES,
    FRAME_OVERHEAD_MAX,
    MARK,
    SEAL,
    SEAL_BYTES,
    UNSAID,
    FrameReader,
    encode_frame,
    frame_bytes,
)
from cairndb.frame_header import (
    Checksum,
    Counted,
    Moment,
    Nonce,
    NonceOrNone,
    Offset,
    decode_header,
    encode_header,
)
from cairndb.frame_search import search
from cairndb.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.files import Directory, File

MAGIC = b"\x89CAIRNL\n"
ENTRY_OVERHEAD_MAX = FRAME_OVERHEAD_MAX + EMPTY_FRAME_BYTES
CLOSING_BYTES = 2 * EMPTY_FRAME_BYTES
UNSAID_MAX = 63
_NAME = re.compile(r"log-(\d{20})-(\d{8,20})\.seg", re.ASCII)


class SegmentHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a segment says of itself."""

    database: UUID
    epoch: Counted
    nonce: Nonce
    first_lsn: Counted
    predecessor_nonce: NonceOrNone
    """Empty for the first segment of a database."""
    predecessor_end: Offset
    running: Checksum
    """The running checksum of the log before `first_lsn`."""
    fingerprint: str
    schema: str
    created: Moment
    """Microseconds since the epoch of Unix time."""
    barrier: bytes = b""
    """The nonce of a checkpoint, if the first entry is the BARRIER that it is the state of."""


class Piece(NamedTuple):
    """Entries that follow each other."""

    first_lsn: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    payload: bytes


class Segment(NamedTuple):
    """A segment whose header has been read."""

    name: str
    header: SegmentHeader
    begin: int
    """Where its frames begin."""


def segment_name(first_lsn: int, epoch: int) -> str:
    """The file name of a segment."""
    return f"log-{first_lsn:020}-{epoch:08}.seg"


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """(epoch, first LSN) of a segment's file name, which sort by publication; None for others."""
    match = _NAME.fullmatch(name)
    return (int(match[2]), int(match[1])) if match else None


def publication(name: str) -> tuple[int, int]:
    """The order in which segments were published, of a segment's file name."""
    order = parse_segment_name(name)
    assert order is not None
    return order


def read_segment(directory: Directory, name: str, file: File) -> Segment:
    """Read and check the header of a segment.

    Args:
        directory: that it is in.
        name: the file's own.
        file: the open file.

    Raises:
        CorruptError: it isn't a good header, or not the one of that name.
    """
    path = path_in(directory, name)
    header, begin = decode_header(MAGIC, SegmentHeader, file.read, path)
    if name != segment_name(header.first_lsn, header.epoch):
        raise CorruptError(
            path, 0, f"it is {segment_name(header.first_lsn, header.epoch)!r} under another name"
        )
    return Segment(name, header, begin)


def bytes_needed(header: SegmentHeader, tail: Sequence[Piece], entry_bytes: int) -> int:
    """How large a segment must be, at the least.

    Args:
        header: its own.
        tail: what is rewritten into it.
        entry_bytes: of the entry that it is made for; 0 for none.
    """
    size = len(encode_header(MAGIC, header))
    size += sum(frame_bytes(len(piece.payload), piece.count) for piece in tail)
    return size + CLOSING_BYTES + (entry_bytes + ENTRY_OVERHEAD_MAX if entry_bytes else 0)


class LiveSegment:
    """The segment that frames are appended to.

    Set once: segment, file. Written by the flusher only: everything else; `end` and `capacity` are
    read by whoever reserves room.

    Args:
        segment: its header.
        file: open for writing.
        capacity: how many bytes are allocated.
        end: where the next frame goes.
    """

    def __init__(self, segment: Segment, file: File, capacity: int, end: int) -> None:
        self.segment = segment
        self._nonce = segment.header.nonce
        self.file = file
        self.capacity = capacity
        self.end = end
        self.marked = False
        # The header says that what came before is durable.
        self._said_lsn = segment.header.first_lsn - 1
        self._unsaid = 0

    def fits(self, buffered_count: int, buffered_bytes: int, entry_bytes: int) -> bool:
        """Whether there is room for what is buffered and one more entry, in the worst case."""
        worst = buffered_bytes + entry_bytes + (buffered_count + 1) * ENTRY_OVERHEAD_MAX
        return self.end + worst + CLOSING_BYTES <= self.capacity

    def place_entries(
        self, payload_bytes: int, first_lsn: int, count: int, durable_lsn: int
    ) -> tuple[int, int]:
        """Take the room for a frame of entries; where it goes, and what it is to say is durable.

        Where it takes a larger frame to say that, it is said once, and again with every 64th frame,
        so that no single bad place can hide it. Before the first sync the header has said it.

        Args:
            payload_bytes: of the entries.
            first_lsn: of the first of them.
            count: how many.
            durable_lsn: what is known to be synced.

        Returns:
            The offset, and `durable_lsn` or `UNSAID`.
        """
        unproven = first_lsn - 1 - durable_lsn
        if unproven < 0xFF or durable_lsn > self._said_lsn or self._unsaid >= UNSAID_MAX:
            self._said_lsn, self._unsaid = durable_lsn, 0
        else:
            self._unsaid += durable_lsn >= self.segment.header.first_lsn
            unproven, durable_lsn = -1, UNSAID
        return self.place(payload_bytes, count, unproven), durable_lsn

    def place(self, payload_bytes: int, count: int = 1, unproven: int = 0) -> int:
        """Take the room for a frame; where it goes.

        Args:
            payload_bytes: of its entries.
            count: of its entries, or `MARK`.
            unproven: see `frame_bytes`.
        """
        offset = self.end
        self.end += frame_bytes(payload_bytes, count, unproven)
        self.marked = False
        # The seal always has its room: what was reserved was more than what is taken.
        assert self.end + EMPTY_FRAME_BYTES <= self.capacity
        return offset

    def write(
        self, offset: int, first_lsn: int, count: int, payload: bytes, durable_lsn: int
    ) -> None:
        """Write one frame there, with one call: see `encode_frame`."""
        frame = encode_frame(self._nonce, offset, first_lsn, count, payload, durable_lsn)
        self.file.write(offset, frame)

    def mark(self, next_lsn: int, durable_lsn: int) -> None:
        """Write an empty frame that says what is durable."""
        assert not self.marked
        offset = self.place(0, MARK, next_lsn - 1 - durable_lsn)
        self.marked = True
        self.write(offset, next_lsn, MARK, b"", durable_lsn)

    def finish(self, next_lsn: int) -> None:
        """Seal, sync, and give back the room that was never written; the log is synced in full."""
        self.write(self.end, next_lsn, SEAL, b"", next_lsn - 1)
        self.end += SEAL_BYTES
        self.file.sync()
        self.file.truncate(self.end)
        self.file.close()


def publish_segment(
    directory: Directory,
    header: SegmentHeader,
    capacity: int,
    *,
    tail: Sequence[Piece] = (),
    durable_lsn: int,
) -> LiveSegment:
    """Make a segment appear, whole and durable, with what is rewritten into it.

    No frame in it proves the rewritten entries: its name isn't durable before this returns.

    Args:
        directory: where.
        header: what it says of itself.
        capacity: bytes to allocate.
        tail: entries to begin with.
        durable_lsn: what is proven.

    Returns:
        The segment to append to.

    Raises:
        DiskFull: there is no room; nothing has happened.
        OSError: a step failed.
    """
    name = segment_name(header.first_lsn, header.epoch)
    head = encode_header(MAGIC, header)
    end = len(head)

    def fill(file: File) -> None:
        nonlocal end
        file.allocate(capacity)
        file.write(0, head)
        for piece in tail:
            said = durable_lsn if piece.first_lsn - 1 - durable_lsn < 0xFF else UNSAID
            frame = encode_frame(header.nonce, end, *piece, said)
            file.write(end, frame)
            end += len(frame)

    file = publish(directory, name, fill, nonce=header.nonce, bytes_needed=capacity)
    return LiveSegment(Segment(name, header, len(head)), file, capacity, end)


def seal_segment(directory: Directory, segment: Segment, offset: int, next_lsn: int) -> None:
    """Have a segment of an earlier owner sealed, on disk.

    Where nothing but zeros follows the good frames, they are cut off. Else the seal goes after the
    last byte that was ever written, and everything stays as it is. It proves no more than what is
    trusted here: what was superseded must not seem to have been durable.

    Args:
        directory: where.
        segment: which.
        offset: where its trusted part ends.
        next_lsn: what would follow there; everything before it is durable.
    """
    file = directory.open(segment.name, write=True)
    try:
        size = file.size()
        nonce = segment.header.nonce
        reader = FrameReader(file.read, nonce, offset, size, next_lsn)
        seals = [frame.offset for frame in reader if frame.count == SEAL]
        used_end = reader.offset
        for end, frame in search(file.read, nonce, used_end, size, possible_lsns(segment, size)):
            used_end = max(used_end, end)
            seals += [frame.offset] if frame is not None and frame.count == SEAL else []
        if seals:
            # Seen in the cache: whoever wrote it may have failed to sync it, and a sync that
            # succeeds proves nothing of that. What is written again is synced.
            file.write(seals[-1], file.read(seals[-1], SEAL_BYTES))
        else:
            file.write(used_end, encode_frame(nonce, used_end, next_lsn, SEAL, b"", next_lsn - 1))
        file.sync()
        if not seals and used_end == reader.offset:
            file.truncate(used_end + SEAL_BYTES)
    finally:
        file.close()


def possible_lsns(segment: Segment, size: int) -> range:
    """The LSNs that a frame of this segment can begin with: every entry takes a byte or more."""
    first_lsn = segment.header.first_lsn
    return range(first_lsn, first_lsn + size + 1)


def running_checksum(payload: bytes, running: int) -> int:
    """The running checksum after these entries."""
    return crc32(payload, running)
