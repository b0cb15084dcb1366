"""Good frames behind a bad place: what a crash or a bad disk has left of what was written.

Bytes in, findings out, as in `frame`.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple

from cairndb.frame import ALIGNMENT, CHUNK_BYTES, HEAD, SEAL, Frame, FrameReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.frame import Read

_ZERO_CHUNK = bytes(CHUNK_BYTES)


class Rest(NamedTuple):
    """What is in a file after the first place that isn't a good frame."""

    used_end: int
    """After the last good frame, and after the last byte that isn't zero; a multiple of 8."""
    durable_lsn: int
    """The largest LSN that a good frame there proves durable; -1 if none does."""
    sealed: bool
    frames: int


def scan_rest(read: Read, nonce: bytes, start: int, size: int, lsns: range) -> Rest:
    """Look for good frames, and for the end of what was ever written, after a bad place.

    A frame that ended up behind a hole proves as much as any other. A good frame can begin at any
    multiple of 8; what to look at is picked by its first LSN, which must be possible in this file:
    a test of one word, since junk may fill the whole file. What the good head of a large frame
    claims is its frame's alone, torn or not, and a small one has less than 64 KiB: so no byte is
    looked at often. Zeros are skipped by comparing memory.

    Args:
        read: reads from the file: (offset, length).
        nonce: of the file.
        start: the bad place, a multiple of 8.
        size: of the file.
        lsns: that a frame of this file can have as its first.
    """
    used_end, durable_lsn, sealed, frames = start, -1, False, 0
    for end, frame in search(read, nonce, start, size, lsns):
        used_end = max(used_end, end)
        if frame is not None:
            durable_lsn = max(durable_lsn, frame.durable_lsn)
            sealed = sealed or frame.count == SEAL
            frames += 1
    return Rest(used_end, durable_lsn, sealed, frames)


def search(
    read: Read, nonce: bytes, start: int, size: int, lsns: range
) -> Iterator[tuple[int, Frame | None]]:
    """What `scan_rest` finds, one by one.

    Args:
        read: reads from the file: (offset, length).
        nonce: of the file.
        start: where to begin, a multiple of 8.
        size: of the file.
        lsns: that a frame of this file can have as its first.

    Yields:
        Each good frame and where it ends; and with None where something else than zeros ends.
    """
    assert start % ALIGNMENT == 0
    resume = start
    for offset in range(start, size, CHUNK_BYTES):
        chunk = read(offset, min(CHUNK_BYTES, size - offset))
        if chunk == _ZERO_CHUNK[: len(chunk)]:
            continue
        yield _aligned(offset + len(chunk.rstrip(b"\0"))), None
        for index in _plausible(chunk, lsns):
            candidate = offset + index * ALIGNMENT
            if candidate < resume:
                continue
            reader = _reader_at(read, nonce, candidate, size, lsns[0])
            frame = next(iter(reader), None)
            if frame is None:
                claimed = reader.claimed_end if reader.claimed_end <= size else 0
                if claimed > resume and reader.claimed_large:
                    # In use, though it ends with zeros: a seal must not go where nobody looks.
                    resume = claimed
                    yield claimed, None
            else:
                resume = frame.end
                yield frame.end, frame


def frame_at(read: Read, nonce: bytes, offset: int, size: int, lsns: range) -> Frame | None:
    """The good frame at that place, or None.

    Args:
        read: reads from the file: (offset, length).
        nonce: of the file.
        offset: a multiple of 8.
        size: of the file.
        lsns: that a frame of this file can have as its first.
    """
    return next(iter(_reader_at(read, nonce, offset, size, lsns[0])), None)


def _reader_at(read: Read, nonce: bytes, offset: int, size: int, low_lsn: int) -> FrameReader:
    """A reader that takes whatever LSN is there, from a lowest one on."""
    head = read(offset, HEAD.size).ljust(HEAD.size, b"\0")
    first_lsn = low_lsn + ((HEAD.unpack(head)[1] - low_lsn) & 0xFFFFFFFF)
    return FrameReader(read, nonce, offset, size, first_lsn, chunk_bytes=0)


def _plausible(chunk: bytes, lsns: range) -> list[int]:
    """Which multiples of 8 may be a frame's place, by the first LSN in its second half."""
    words: array[int] = array("I", chunk[: len(chunk) & -ALIGNMENT])
    if sys.byteorder == "big":
        words.byteswap()
    low, span = lsns[0] & 0xFFFFFFFF, len(lsns)
    return [index for index, word in enumerate(words[1::2]) if (word - low) & 0xFFFFFFFF < span]


def _aligned(offset: int) -> int:
    return (offset + ALIGNMENT - 1) & -ALIGNMENT
