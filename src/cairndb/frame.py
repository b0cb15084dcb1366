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
WHOLE_HEAD = Struct("<IIQII")
_CHECK = Struct("<I")
_OFFSET = Struct("<Q")
_ZERO_HEAD = bytes(HEAD_BYTES)


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

    def merged(self, payload_bytes: int, pause_lsn: int = 0) -> Iterator[Frame]:
        """The same frames, with runs of them that have entries made one.

        Args:
            payload_bytes: how long a run gets, but for the last frame in it.
            pause_lsn: no run goes on after a frame that ends with this LSN or a later one, if it
                began before that.

        Yields:
            Frames, of which a run has the place and the entries of all, and the largest durable
            LSN; what has no entries comes alone.
        """
        payloads: list[bytes] = []
        while True:
            offset, first_lsn = self.offset, self.next_lsn
            pause = pause_lsn if pause_lsn >= first_lsn else sys.maxsize
            durable_lsn = self._run(payloads, payload_bytes, pause)
            if payloads:
                count, payload = self.next_lsn - first_lsn, b"".join(payloads)
                payloads.clear()
                yield Frame(offset, self.offset, first_lsn, count, durable_lsn, payload)
            else:  # at the end of the chunk, or it isn't a frame with entries
                frame = next(iter(self), None)
                if frame is None:
                    return
                yield frame

    def _run(self, payloads: list[bytes], payload_bytes: int, pause_lsn: int) -> int:
        """Go through the frames with entries in the chunk; put down their payloads.

        What isn't plainly good is left to `_frame`, which says what it is. The same checks in a
        loop without calls take a fifth of the time.

        Returns:
            The largest LSN that they prove durable.
        """
        chunk, nonce_check = self._chunk, self._nonce_check
        shift = self._chunk_offset
        position, next_lsn = self.offset - shift, self.next_lsn
        last = len(chunk) - EMPTY_FRAME_BYTES
        unpack, check_at, offset_bytes = WHOLE_HEAD.unpack_from, _CHECK.unpack_from, _OFFSET.pack
        proven = 0
        while position <= last and payload_bytes > 0 and next_lsn <= pause_lsn:
            length, count, first_lsn, unproven, head_check = unpack(chunk, position)
            start = position + HEAD_BYTES
            stop = start + length
            end = (stop + 4 + ALIGNMENT - 1) & -ALIGNMENT
            if first_lsn != next_lsn or not 0 < count <= length or end > len(chunk):
                break
            seed = crc32(offset_bytes(shift + position), nonce_check)
            payload = chunk[start:stop]
            if (
                crc32(chunk[position : start - 4], seed) != head_check
                or crc32(payload, head_check) != check_at(chunk, stop)[0]
            ):
                break
            payloads.append(payload)
            payload_bytes -= length
            proven = max(proven, first_lsn - unproven)
            next_lsn += count
            position = end
        self.offset, self.next_lsn = shift + position, next_lsn
        return proven - 1

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
        length, count, first_lsn, unproven, head_check = WHOLE_HEAD.unpack_from(
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


def plain_header(header: Any) -> dict[str, Any]:
    """A header as a person or a tool wants to see it: field names to plain values."""
    fields: dict[str, Any] = msgspec.to_builtins(header, builtin_types=(bytes,))
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }
