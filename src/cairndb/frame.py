"""Frames and file headers: bytes that tell what was written from what a crash or a bad disk left.

Bytes in, bytes out: reading goes through a function that is handed in.

    file    = header frame* (zeros | end)
    header  = magic[8] version:u32 length:u32 map[length] check:u32, zeros to a multiple of 4096
    frame   = length:u32 count:u32 first:u64 unproven:u32 head_check:u32
              payload[length] check:u32, zeros to a multiple of 8
    count   = 0: a mark (no payload) | 0xFFFFFFFF: the seal (no payload) | entries in the payload

All integers are little-endian. Every checksum is zlib's CRC-32. A header's covers all before it. A
frame's two start from crc32(nonce + offset:u64), with the file's nonce and the frame's own offset:
so stale, moved or quoted bytes don't verify. head_check covers the 20 bytes before it. check covers
the same 20 and the payload; it doesn't run over head_check, because a CRC that runs over itself
forgets what came before: the payload would no longer be tied to nonce and offset.

`first` is the LSN of the first entry; for a mark or the seal, the LSN of the next one. `unproven`
is first - 1 - durable: how many LSNs before this frame weren't known to be synced when it was
written.

The header fills whole blocks of 4096, and frames begin at multiples of 8: no write of a frame
touches a sector of the header.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Annotated, Any, NamedTuple, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta

from cairndb.errors import CairnError, CorruptError

VERSION = 1
MAGIC_BYTES = 8
ALIGNMENT = 8
HEADER_ALIGNMENT = 4096
HEADER_BYTES_MAX = 1 << 26
HEAD_BYTES = 24
EMPTY_FRAME_BYTES = 32
FRAME_OVERHEAD_MAX = HEAD_BYTES + 4 + ALIGNMENT - 1
PAYLOAD_BYTES_MAX = (1 << 32) - (1 << 16)
MARK = 0
SEAL = 0xFFFFFFFF
CHUNK_BYTES = 1 << 20

# What a header can say, so that whatever is counted on from there stays within 64 bits, and every
# moment is one that can be shown.
Counted = Annotated[int, Meta(ge=1, le=1 << 62)]
Offset = Annotated[int, Meta(ge=0, le=1 << 62, multiple_of=8)]
Checksum = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Nonce = Annotated[bytes, Meta(min_length=16, max_length=16)]
NonceOrNone = Annotated[bytes, Meta(max_length=16)]
Moment = Annotated[int, Meta(ge=-62_135_596_800_000_000, le=253_402_300_799_000_000)]

Read = Callable[[int, int], bytes]
HeaderType = TypeVar("HeaderType")

_PREAMBLE = Struct("<8sII")
_HEAD = Struct("<IIQI")
_WHOLE_HEAD = Struct("<IIQII")
_CHECK = Struct("<I")
_ZERO_HEAD = bytes(HEAD_BYTES)
_ZERO_CHUNK = bytes(CHUNK_BYTES)


class Frame(NamedTuple):
    """A frame whose checksums are right."""

    offset: int
    end: int
    first_lsn: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    durable_lsn: int
    payload: bytes

    @property
    def entries(self) -> int:
        """How many LSNs it takes."""
        return 0 if self.count == SEAL else self.count


def encode_header(magic: bytes, header: msgspec.Struct) -> bytes:
    """The first bytes of a file.

    Args:
        magic: which kind of file.
        header: what it says of itself.

    Returns:
        A multiple of 4096 bytes.
    """
    fields = msgspec.msgpack.encode(header)
    data = _PREAMBLE.pack(magic, VERSION, len(fields)) + fields
    data += _CHECK.pack(crc32(data))
    return data + bytes(-len(data) % HEADER_ALIGNMENT)


def decode_header(
    magic: bytes, kind: type[HeaderType], read: Read, path: str
) -> tuple[HeaderType, int]:
    """Read and check the header of a file.

    Args:
        magic: which kind of file it must be.
        kind: the type of the header.
        read: reads from the file: (offset, length).
        path: of the file, for messages.

    Returns:
        The header, and where the frames begin.

    Raises:
        CorruptError: it isn't what was written.
        CairnError: a later version of cairndb wrote it.
    """
    data = read(0, HEADER_ALIGNMENT)
    if len(data) < _PREAMBLE.size or data[:MAGIC_BYTES] != magic:
        raise CorruptError(path, 0, f"the file doesn't begin with {magic!r}")
    _, version, length = _PREAMBLE.unpack_from(data)
    end = _PREAMBLE.size + length
    if length > HEADER_BYTES_MAX:
        raise CorruptError(path, 12, f"the header says that it is {length} bytes long")
    # In pieces, so that a length that isn't true takes no more memory than there is file.
    while end + 4 > len(data) and (more := read(len(data), min(CHUNK_BYTES, end + 4 - len(data)))):
        data += more
    if len(data) < end + 4 or _CHECK.unpack_from(data, end)[0] != crc32(data[:end]):
        raise CorruptError(path, 0, "the header's checksum is wrong")
    if version != VERSION:
        raise CairnError(
            f"{path} has format version {version}, and this cairndb reads version {VERSION}; "
            "open it with the cairndb that wrote it, or a later one"
        )
    try:
        header = msgspec.msgpack.decode(data[_PREAMBLE.size : end], type=kind)
    except (ValueError, RecursionError) as error:
        raise CorruptError(path, _PREAMBLE.size, f"the header can't be read: {error}") from error
    return header, end + 4 + -(end + 4) % HEADER_ALIGNMENT


def header_bytes(read: Read) -> int:
    """How long the header of a file is without its padding; `decode_header` has found it good."""
    length: int = _PREAMBLE.unpack(read(0, _PREAMBLE.size))[2]
    return _PREAMBLE.size + length + 4


def frame_bytes(payload_bytes: int) -> int:
    """How long a frame with a payload of that many bytes is."""
    return (HEAD_BYTES + payload_bytes + 4 + ALIGNMENT - 1) & -ALIGNMENT


def encode_frame(  # noqa: PLR0917  the fields of a frame, in their order
    nonce: bytes, offset: int, first_lsn: int, count: int, payload: bytes, durable_lsn: int
) -> bytes:
    """A frame, ready to be written at that offset of the file with that nonce, and nowhere else.

    Args:
        nonce: of the file.
        offset: where the frame will be, a multiple of 8.
        first_lsn: the LSN of its first entry, or the next LSN if it has none.
        count: how many entries, or `MARK` or `SEAL`.
        payload: the entries, one after the other.
        durable_lsn: what is known to be synced.
    """
    assert offset % ALIGNMENT == 0
    assert len(payload) <= PAYLOAD_BYTES_MAX
    head = _HEAD.pack(len(payload), count, first_lsn, first_lsn - 1 - durable_lsn)
    head_check = crc32(head, crc32(offset.to_bytes(8, "little"), crc32(nonce)))
    check = crc32(payload, head_check)
    padding = bytes(-(HEAD_BYTES + len(payload) + 4) % ALIGNMENT)
    return b"".join((head, _CHECK.pack(head_check), payload, _CHECK.pack(check), padding))


class FrameReader:
    """Reads the good frames of a file, one after the other, up to the first that isn't.

    After the iteration `offset` is where the next frame would begin, `next_lsn` what it would hold,
    and `reason` says what is there instead: "" at the limit. If that is a bad frame with a good
    head, `claimed_end` is where it would end, maybe over the limit; else 0.

    Args:
        read: reads from the file: (offset, length).
        nonce: of the file.
        offset: where to begin.
        limit: where the frames end at the latest.
        next_lsn: the first frame's first LSN.
        chunk_bytes: how much to read at once, at least.
    """

    def __init__(
        self,
        read: Read,
        nonce: bytes,
        offset: int,
        limit: int,
        next_lsn: int,
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.offset = offset
        self.next_lsn = next_lsn
        self.reason = ""
        self.claimed_end = 0
        self._read = read
        self._nonce_check = crc32(nonce)
        self._limit = limit
        self._chunk_bytes = chunk_bytes
        self._chunk = b""
        self._chunk_offset = offset

    def __iter__(self) -> Iterator[Frame]:
        while self.offset < self._limit:
            frame = self._frame()
            if isinstance(frame, str):
                self.reason = frame
                return
            if frame.first_lsn != self.next_lsn:
                self.reason = f"a frame of LSN {frame.first_lsn} where {self.next_lsn} should be"
                return
            self.offset = frame.end
            self.next_lsn += frame.entries
            yield frame

    def _available(self, length: int) -> int:
        """Have that many bytes in the chunk from `offset` on; where in the chunk that is, or -1."""
        position = self.offset - self._chunk_offset
        if position + length <= len(self._chunk):
            return position
        wanted = min(max(length, self._chunk_bytes), self._limit - self.offset)
        self._chunk = self._read(self.offset, wanted) if wanted >= length else b""
        self._chunk_offset = self.offset
        return 0 if length <= len(self._chunk) else -1

    def _frame(self) -> Frame | str:
        """The frame at `offset`, or what is wrong with it."""
        position = self._available(HEAD_BYTES)
        if position < 0:
            return "the file ends within the head of a frame"
        length, count, first_lsn, unproven, head_check = _WHOLE_HEAD.unpack_from(
            self._chunk, position
        )
        seed = crc32(self.offset.to_bytes(8, "little"), self._nonce_check)
        head = self._chunk[position : position + HEAD_BYTES - 4]
        if crc32(head, seed) != head_check:
            zeros = self._chunk.startswith(_ZERO_HEAD, position)
            return f"{'zeros' if zeros else 'no good head'} where a frame should be"
        size = frame_bytes(length)
        self.claimed_end = self.offset + size
        position = self._available(size)
        if position < 0:
            return f"the file ends within a frame of {size} bytes"
        start = position + HEAD_BYTES
        payload = self._chunk[start : start + length]
        (check,) = _CHECK.unpack_from(self._chunk, start + length)
        if crc32(payload, head_check) != check:
            return "the checksum of a frame is wrong"
        # An entry takes a byte at least.
        if (count in (MARK, SEAL)) != (length == 0) or (length and count > length):
            return f"a frame of {count} entries in {length} bytes"
        self.claimed_end = 0
        durable_lsn = first_lsn - 1 - unproven
        return Frame(self.offset, self.offset + size, first_lsn, count, durable_lsn, payload)


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
    a test of one word, since junk may fill the whole file. What a good head claims is its frame's
    alone, torn or not, so no byte is looked at twice. Zeros are skipped by comparing memory.

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
            candidate = offset + (index - 1) * ALIGNMENT
            if candidate < resume:
                continue
            reader = _reader_at(read, nonce, candidate, size)
            frame = next(iter(reader), None)
            if frame is None:
                claimed = reader.claimed_end if reader.claimed_end <= size else 0
                if claimed > resume:
                    # In use, though it ends with zeros: a seal must not go where nobody looks.
                    resume = claimed
                    yield claimed, None
            else:
                resume = frame.end
                yield frame.end, frame


def frame_at(read: Read, nonce: bytes, offset: int, size: int) -> Frame | None:
    """The good frame at that place, whatever its LSN, or None.

    Args:
        read: reads from the file: (offset, length).
        nonce: of the file.
        offset: a multiple of 8.
        size: of the file.
    """
    return next(iter(_reader_at(read, nonce, offset, size)), None)


def _reader_at(read: Read, nonce: bytes, offset: int, size: int) -> FrameReader:
    """A reader that takes whatever LSN is there."""
    head = read(offset, HEAD_BYTES).ljust(HEAD_BYTES, b"\0")
    first_lsn = _WHOLE_HEAD.unpack(head)[2]
    return FrameReader(read, nonce, offset, size, first_lsn, chunk_bytes=0)


def _plausible(chunk: bytes, lsns: range) -> list[int]:
    """The indices of the words that may be the first LSN of a frame: its second word."""
    words: array[int] = array("Q", chunk[: len(chunk) & -ALIGNMENT])
    if sys.byteorder == "big":
        words.byteswap()
    low, high = lsns[0], lsns[-1]
    return [index for index, word in enumerate(words) if low <= word <= high]


def _aligned(offset: int) -> int:
    return (offset + ALIGNMENT - 1) & -ALIGNMENT


def plain_header(header: Any) -> dict[str, Any]:
    """A header as a person or a tool wants to see it: field names to plain values."""
    fields: dict[str, Any] = msgspec.to_builtins(header, builtin_types=(bytes,))
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }
