"""Frames: bytes that tell what was written from what a crash or a bad disk left.

Bytes in, bytes out: reading goes through a function that is handed in.

    file    = header frame* (zeros | end)      for the header see `frame_header`
    frame   = check:u32 fields head_check payload, zeros to a multiple of 8
    fields  = first:u32 length:u16 count:u8 unproven:u8            small: head_check is a u24
            | first:u32 FFFF:u16 0:u16 length:u32 count:u32 unproven:u32    large: it is a u32
    count   = 0: a mark (no payload) | all bits: the seal (no payload) | entries in the payload

All integers are little-endian. Both checksums are zlib's CRC-32. They start from
crc32(nonce) ^ offset / 8, with the file's nonce and the frame's own offset: so stale, moved or
quoted bytes don't verify. head_check covers the fields; of that a small frame has the lowest three
bytes. check goes on from the whole of it over the payload; it doesn't run over head_check, because
a CRC that runs over itself forgets what came before: the payload would no longer be tied to nonce
and offset.

So 32 bits decide whether a frame is good, its fields included. head_check by itself says where a
bad frame would have ended, which tells a file that was cut off from a torn write. Of a small one
nothing else is believed: junk looks like it once in 16 million times, of which a file has many.

`first` is the LSN of the first entry, modulo 2**32; for a mark or the seal, of the next one.
`unproven` is first - 1 - durable: how many LSNs before this frame weren't known to be synced when
it was written; all bits: it isn't said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

ALIGNMENT = 8
HEAD_BYTES = 15
LARGE_HEAD_BYTES = 28
EMPTY_FRAME_BYTES = 32
"""Of the largest; that of a mark or a seal is half of it, nearly always."""
SEAL_BYTES = 16
FRAME_OVERHEAD_MAX = LARGE_HEAD_BYTES + ALIGNMENT - 1
PAYLOAD_BYTES_MAX = (1 << 32) - (1 << 16)
MARK = 0
SEAL = 0xFFFFFFFF
UNSAID = -1
"""In the place of a durable LSN."""
CHUNK_BYTES = 1 << 20

Read = Callable[[int, int], bytes]

# One byte more than there is: the last word's lowest three are head_check.
HEAD = Struct("<IIHBBI")
LARGE_HEAD = Struct("<IIHBBIIII")
_FIELDS = Struct("<IHBB")
_LARGE_FIELDS = Struct("<IHBBIII")
_WHOLE_HEAD = Struct("<I8sI")
_WHOLE_LARGE_HEAD = Struct("<I20sI")
_PADDING = [bytes(length) for length in range(ALIGNMENT)]
LARGE = 0xFFFF
_LSN_MASK = 0xFFFFFFFF
_ALL_BITS = 0xFF
_SMALL_CHECK = 0xFFFFFF
_ZERO_HEAD = bytes(HEAD_BYTES)


class Frame(NamedTuple):
    """A frame whose checksums are right."""

    offset: int
    end: int
    first_lsn: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    durable_lsn: int
    """What it proves to be synced; -1 if it doesn't say."""
    payload: bytes
    content_end: int
    """Where its padding begins."""

    @property
    def entries(self) -> int:
        """How many LSNs it takes."""
        return 0 if self.count == SEAL else self.count


def frame_bytes(payload_bytes: int, count: int, unproven: int = 0) -> int:
    """How long a frame is.

    Args:
        payload_bytes: of its entries.
        count: of its entries, or `MARK` or `SEAL`.
        unproven: how many LSNs before it aren't known to be synced; -1 if it isn't to say that.
    """
    small = payload_bytes < LARGE and (count < 0xFF or count == SEAL) and unproven < 0xFF
    return payload_bytes + (HEAD_BYTES if small else LARGE_HEAD_BYTES) + ALIGNMENT - 1 & -ALIGNMENT


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
        durable_lsn: what is known to be synced, or `UNSAID`.
    """
    # The path of every update: no helper calls.
    assert offset % ALIGNMENT == 0
    length = len(payload)
    assert length <= PAYLOAD_BYTES_MAX
    unproven = -1 if durable_lsn == UNSAID else first_lsn - 1 - durable_lsn
    seed = crc32(nonce) ^ offset // ALIGNMENT
    if length < LARGE and (count < 0xFF or count == SEAL) and unproven < 0xFF:
        fields = _FIELDS.pack(first_lsn & _LSN_MASK, length, count & 0xFF, unproven & 0xFF)
        head_check = crc32(fields, seed)
        head = _WHOLE_HEAD.pack(crc32(payload, head_check), fields, head_check)[:HEAD_BYTES]
    else:
        fields = _LARGE_FIELDS.pack(
            first_lsn & _LSN_MASK, LARGE, 0, 0, length, count, unproven & 0xFFFFFFFF
        )
        head_check = crc32(fields, seed)
        head = _WHOLE_LARGE_HEAD.pack(crc32(payload, head_check), fields, head_check)
    return head + payload + _PADDING[-(len(head) + length) % ALIGNMENT]


class _Head(NamedTuple):
    """What a frame says of itself."""

    size: int
    check: int
    first: int
    length: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    unproven: int
    """-1 if it isn't said."""
    head_check: int
    """All of it, as it should be."""
    good: bool


class FrameReader:
    """Reads the good frames of a file, one after the other, up to the first that isn't.

    After the iteration `offset` is where the next frame would begin, `next_lsn` what it would hold,
    and `reason` says what is there instead: "" at the limit. If that is a bad frame with a good
    head, `claimed_end` is where it would end, maybe over the limit; else 0. `claimed_large` is
    whether that is a large frame's: what looks like the head of a small one may be junk.

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
        self.claimed_large = False
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

    def merged(self, run_bytes: int, pause_lsn: int = 0) -> Iterator[Frame]:
        """The same frames, with runs of them that have entries made one.

        Args:
            run_bytes: how long the frames of a run are together, but for the last.
            pause_lsn: frames that begin with this LSN, or an earlier one, aren't put together.

        Yields:
            Frames, of which a run has the place and the entries of all, and the largest durable
            LSN; what has no entries comes alone.
        """
        payloads: list[bytes] = []
        while True:
            offset, first_lsn = self.offset, self.next_lsn
            # Up to the pause one by one, since the loop looks at no LSN but the next.
            durable_lsn, end = self._run(payloads, run_bytes if pause_lsn < first_lsn else 1)
            if payloads:
                count, payload = self.next_lsn - first_lsn, b"".join(payloads)
                payloads.clear()
                yield Frame(offset, self.offset, first_lsn, count, durable_lsn, payload, end)
            else:  # at the end of the chunk, or large, or it isn't a frame with entries
                frame = next(iter(self), None)
                if frame is None:
                    return
                yield frame

    def _run(self, payloads: list[bytes], frames_bytes: int) -> tuple[int, int]:
        """Go through the small frames with entries in the chunk; put down their payloads.

        What isn't plainly good is left to `_frame`, which says what it is. The same checks in a
        loop without calls take a sixth of the time: of what is left, half are the four calls of C.

        Returns:
            The largest LSN that they prove durable, and where the padding of the last begins.
        """
        # Whole multiples of 8, so that a frame whose content is there has its padding too.
        chunk = self._chunk if not len(self._chunk) % ALIGNMENT else b""
        nonce_check, shift = self._nonce_check, self._chunk_offset
        position, low = self.offset - shift, self.next_lsn & _LSN_MASK
        last = min(len(chunk) - HEAD.size, position + frames_bytes - 1)
        unpack, unpack_fields, append = _WHOLE_HEAD.unpack_from, _FIELDS.unpack, payloads.append
        begin, stop = low, 0
        proven = nothing = begin - 0xFF
        while position <= last:
            check, fields, word = unpack(chunk, position)
            first, length, count, unproven = unpack_fields(fields)
            start = position + 15
            payload = chunk[start : start + length]
            head = crc32(fields, nonce_check ^ (shift + position >> 3))
            if crc32(payload, head) != check or (head ^ word) & 0xFFFFFF or first != low:
                break
            if count != 1 or unproven:
                if not 0 < count <= length < 0xFFFF or count == 0xFF:
                    break
                if unproven != 0xFF and low - unproven > proven:
                    proven = low - unproven
            elif 0 < length < 0xFFFF:
                proven = low
            else:
                break
            append(payload)
            low += count
            stop = start + length
            position = stop + 7 & -8
        lsn_of_zero = self.next_lsn - begin
        self.offset, self.next_lsn = shift + position, lsn_of_zero + low
        return UNSAID if proven == nothing else lsn_of_zero + proven - 1, shift + stop

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
        head = self._head()
        if head is None:
            return "the file ends within the head of a frame"
        if not head.good:
            zeros = self._chunk.startswith(_ZERO_HEAD, self.offset - self._chunk_offset)
            return f"{'zeros' if zeros else 'no good head'} where a frame should be"
        content_end = self.offset + head.size + head.length
        end = (content_end + ALIGNMENT - 1) & -ALIGNMENT
        self.claimed_end, self.claimed_large = end, head.size == LARGE_HEAD_BYTES
        position = self._available(end - self.offset)
        if position < 0:
            return f"the file ends within a frame of {end - self.offset} bytes"
        payload = self._chunk[position + head.size : position + head.size + head.length]
        if crc32(payload, head.head_check) != head.check:
            return "the checksum of a frame is wrong"
        count, length = head.count, head.length
        # An entry takes a byte at least.
        if (count in (MARK, SEAL)) != (length == 0) or (length and count > length):
            return f"a frame of {count} entries in {length} bytes"
        self.claimed_end = 0
        first_lsn = nearest_lsn(head.first, self.next_lsn)
        durable_lsn = UNSAID if head.unproven < 0 else first_lsn - 1 - head.unproven
        return Frame(self.offset, end, first_lsn, count, durable_lsn, payload, content_end)

    def _head(self) -> _Head | None:
        """What may be the head of a frame at `offset`; None if there is no room for one."""
        position = self._available(HEAD.size)
        if position < 0:
            return None
        check, first, length, count, unproven, word = HEAD.unpack_from(self._chunk, position)
        seed = self._nonce_check ^ self.offset // ALIGNMENT
        if length != LARGE:
            found = crc32(self._chunk[position + 4 : position + 12], seed)
            count = SEAL if count == _ALL_BITS else count
            unproven = -1 if unproven == _ALL_BITS else unproven
            good = not (found ^ word) & _SMALL_CHECK
            return _Head(HEAD_BYTES, check, first, length, count, unproven, found, good)
        position = self._available(LARGE_HEAD_BYTES)
        if position < 0:
            return None
        fields = LARGE_HEAD.unpack_from(self._chunk, position)
        *_, length, count, unproven, head_check = fields
        found = crc32(self._chunk[position + 4 : position + LARGE_HEAD_BYTES - 4], seed)
        unproven = -1 if unproven == 0xFFFFFFFF else unproven
        good = found == head_check
        return _Head(LARGE_HEAD_BYTES, check, first, length, count, unproven, found, good)


def nearest_lsn(first: int, lsn: int) -> int:
    """The LSN nearest to a given one that a frame's `first` may stand for."""
    return lsn + ((first - lsn + (1 << 31)) & _LSN_MASK) - (1 << 31)
