"""Frames and headers, as bytes: good ones come back, everything else is told apart."""

from collections.abc import Iterable
from itertools import pairwise
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.errors import CairnError, CorruptError
from cairndb.frame import (
    HEAD_BYTES,
    LARGE_HEAD_BYTES,
    MARK,
    SEAL,
    UNSAID,
    Frame,
    FrameReader,
    encode_frame,
    frame_bytes,
)
from cairndb.frame_header import decode_header, encode_header
from cairndb.frame_search import Rest, frame_at, scan_rest

NONCE = bytes(range(16))


class Header(msgspec.Struct):
    """Stands for any header."""

    name: str
    number: int = 0


class Bytes:
    """A file, to those who read it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def frames_of(payloads: list[bytes], *, first_lsn: int = 1, offset: int = 0) -> bytes:
    """Frames of one entry each, one after the other; an empty payload gives a mark."""
    data = b""
    for payload in payloads:
        count = 1 if payload else MARK
        data += encode_frame(NONCE, offset + len(data), first_lsn, count, payload, first_lsn - 1)
        first_lsn += count
    return data


def read(data: bytes, *, nonce: bytes = NONCE, chunk_bytes: int = 1 << 20) -> list[Frame]:
    """The good frames from the start of these bytes."""
    return list(FrameReader(Bytes(data), nonce, 0, len(data), 1, chunk_bytes=chunk_bytes))


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 90))
def test_frames_come_back(payloads: list[bytes], chunk_bytes: int) -> None:
    """Whatever the payloads, and however little is read at once."""
    frames = read(frames_of(payloads) + bytes(40), chunk_bytes=chunk_bytes)

    assert [frame.payload for frame in frames] == payloads
    assert all(f.end - f.offset == frame_bytes(len(f.payload), f.count) for f in frames)
    assert all(frame.durable_lsn == frame.first_lsn - 1 for frame in frames)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.data())
def test_every_changed_bit_is_noticed(payloads: list[bytes], data: st.DataObject) -> None:
    """Flip any bit but of the padding: the frames before are read, that one isn't."""
    good = frames_of(payloads)
    index = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[index] ^= 1 << data.draw(st.integers(0, 7))
    frames = read(good)
    (hit,) = [n for n, frame in enumerate(frames) if frame.offset <= index < frame.end]
    if index < frames[hit].content_end:
        assert read(bytes(bad)) == frames[:hit]


def test_a_cut_frame_is_no_frame() -> None:
    """However many bytes are there, but for missing padding."""
    good = frames_of([b"hello"])
    for length in range(HEAD_BYTES + 5):
        assert read(good[:length]) == []


def test_a_frame_is_good_in_its_place_only() -> None:
    """Moved by 8 bytes, or under another nonce, it doesn't verify; nor does its payload alone."""
    good = frames_of([b"hello"])

    assert frame_at(Bytes(bytes(8) + good), NONCE, 8, 999, range(1, 99)) is None
    assert read(good, nonce=bytes(16)) == []
    moved = encode_frame(NONCE, 8, 1, 1, b"hello", 0)
    assert read(moved[:4] + good[4:HEAD_BYTES] + moved[HEAD_BYTES:]) == []
    assert read(good[:4] + moved[4:HEAD_BYTES] + good[HEAD_BYTES:]) == []


def test_the_reader_says_what_is_there_instead() -> None:
    """Where it stopped, what LSN it waited for, and why it didn't go on."""
    data = frames_of([b"one", b"two"])
    cases = {
        bytes(64): "zeros",
        b"junk" * 16: "no good head",
        b"": "",
        b"short": "ends within the head",
        frames_of([b"five"], first_lsn=5, offset=len(data)): "LSN 5 where 3",
        frames_of([b"three"], first_lsn=3, offset=len(data))[:-8]: "ends within a frame",
    }
    for rest, reason in cases.items():
        reader = FrameReader(Bytes(data + rest), NONCE, 0, len(data + rest), 1)
        assert len(list(reader)) == 2
        assert (reader.offset, reader.next_lsn) == (len(data), 3)
        assert reason in reader.reason


def by_entries(frames: Iterable[Frame]) -> list[tuple[int, int, bytes]]:
    """What was read: LSNs and entries of runs put together, and what is between them."""
    found: list[tuple[int, int, bytes]] = []
    for frame in frames:
        if found and frame.entries and found[-1][1]:
            first, count, payload = found.pop()
            found.append((first, count + frame.count, payload + frame.payload))
        else:
            found.append((frame.first_lsn, frame.entries, frame.payload))
    return found


def proven(frames: Iterable[Frame]) -> int:
    """The largest LSN that they say is durable."""
    return max((frame.durable_lsn for frame in frames), default=UNSAID)


ANY_FRAME = st.tuples(st.binary(max_size=60), st.integers(1, 3), st.sampled_from([0, 2, 300, None]))


@given(
    st.lists(ANY_FRAME, max_size=12),
    st.sampled_from([1, 2**32 - 5]),
    st.tuples(st.integers(1, 200), st.integers(0, 14), st.sampled_from([0, 8, 60, 64, 200])),
    st.none() | st.tuples(st.integers(0, 1000), st.integers(1, 255)),
)
def test_merged_frames_are_the_same_frames(
    frames: list[tuple[bytes, int, int | None]],
    first_lsn: int,
    sizes: tuple[int, int, int],
    damage: tuple[int, int] | None,
) -> None:
    """However they are cut, and whatever is damaged: the same entries, proof, end and reason."""
    data, lsn = bytearray(), first_lsn
    for payload, count, unproven in frames:
        count = min(count, len(payload)) if payload else MARK  # noqa: PLW2901  of this frame
        durable_lsn = UNSAID if unproven is None else max(lsn - 1 - unproven, 0)
        data += encode_frame(NONCE, len(data), lsn, count, payload, durable_lsn)
        lsn += count
    data += bytes(40)
    if damage is not None:
        data[damage[0] % len(data)] ^= damage[1]
    run_bytes, pause, chunk_bytes = sizes
    pause_lsn = first_lsn - 1 + pause
    one, many = (
        FrameReader(Bytes(bytes(data)), NONCE, 0, len(data), first_lsn, chunk_bytes=chunk_bytes)
        for _ in range(2)
    )
    single, merged = list(one), list(many.merged(run_bytes, pause_lsn))

    assert by_entries(merged) == by_entries(single)
    places = [(frame.offset, frame.end) for frame in merged]
    assert all(end == offset for (_, end), (offset, _) in pairwise([(0, 0), *places]))
    assert proven(merged) == proven(single)
    assert (many.offset, many.next_lsn, many.reason, many.claimed_end) == (
        one.offset,
        one.next_lsn,
        one.reason,
        one.claimed_end,
    )
    last = {frame.first_lsn + frame.entries - 1 for frame in merged}
    ends = {frame.first_lsn + frame.entries - 1 for frame in single}
    assert pause_lsn in last or pause_lsn not in ends
    assert all(frame.end - frame.offset < run_bytes + 100 for frame in merged)


def test_an_empty_frame_takes_no_lsn() -> None:
    """A mark and a seal carry what is durable, and nothing else."""
    data = encode_frame(NONCE, 0, 8, MARK, b"", 5) + encode_frame(NONCE, 16, 8, SEAL, b"", 7)
    mark, seal = FrameReader(Bytes(data), NONCE, 0, 32, 8)

    assert (mark.durable_lsn, mark.entries) == (5, 0)
    assert (seal.durable_lsn, seal.entries, seal.count) == (7, 0, SEAL)


@pytest.mark.parametrize("junk", [bytes(32), b"\1" * 40, b"\0" * 3000 + b"\7" * 8])
def test_good_frames_behind_a_bad_place_are_found(junk: bytes) -> None:
    """They count as evidence, with the largest durable LSN; what was written ends after them."""
    start = len(junk)
    late = encode_frame(NONCE, start, 20, 1, b"late", 17)
    data = junk + late + encode_frame(NONCE, start + len(late), 21, SEAL, b"", 15)

    rest = scan_rest(Bytes(data + bytes(5000)), NONCE, 0, len(data) + 5000, range(1, 5000))

    assert rest == Rest(len(data), 17, sealed=True, frames=2)


@pytest.mark.parametrize("lsn", [1, 2**32 - 1, 2**32, 2**61])
@pytest.mark.parametrize(
    ("payload_bytes", "count", "unproven"),
    [(1, 1, 0), (65534, 254, 254), (65535, 1, 0), (300, 255, 0), (1, 1, 255), (0, MARK, 255)],
)
def test_a_frame_is_as_large_as_it_must_be(
    lsn: int, payload_bytes: int, count: int, unproven: int
) -> None:
    """Whatever doesn't fit the fields of a small frame comes back from a large one; at any LSN."""
    first_lsn, payload = lsn + unproven, b"x" * payload_bytes
    data = encode_frame(NONCE, 16, first_lsn, count, payload, lsn - 1)
    reader = FrameReader(Bytes(bytes(16) + data), NONCE, 16, 16 + len(data), first_lsn)
    end = 16 + len(data)

    (frame,) = reader

    small = (payload_bytes, count, unproven) in {(1, 1, 0), (65534, 254, 254)}
    content_end = 16 + payload_bytes + (HEAD_BYTES if small else LARGE_HEAD_BYTES)
    assert frame == Frame(16, end, first_lsn, count, lsn - 1, payload, content_end)
    assert len(data) == frame_bytes(payload_bytes, count, unproven)
    found = scan_rest(Bytes(bytes(16) + data), NONCE, 0, end, range(max(lsn - 9, 1), lsn + 999))
    assert (found.frames, found.durable_lsn) == (1, lsn - 1)


@pytest.mark.parametrize("count", [1, 300])
def test_a_frame_needs_not_say_what_is_durable(count: int) -> None:
    """Then it proves nothing, and is as long as if nothing before it were unproven."""
    data = encode_frame(NONCE, 0, 9, count, b"x" * 300, UNSAID)

    (frame,) = FrameReader(Bytes(data), NONCE, 0, len(data), 9)

    assert frame.durable_lsn == UNSAID
    assert len(data) == frame_bytes(300, count)


def test_only_a_large_head_is_believed_behind_a_bad_place() -> None:
    """A torn large frame has the bytes that it claims; of a small one every place is looked at."""
    for length, found in ((70_000, 0), (60_000, 1)):
        torn = encode_frame(NONCE, 0, 1, 1, b"x" * length, 0)[:64] + bytes(length)
        late = encode_frame(NONCE, 640, 2, 1, b"late", 1)
        data = torn[:640] + late + torn[640 + len(late) :]

        rest = scan_rest(Bytes(data), NONCE, 0, len(data), range(1, 99))

        assert rest.frames == found
        assert (rest.used_end > length) == (found == 0)


def test_quoted_frames_prove_nothing() -> None:
    """A frame within the payload of another, as a user may store it, isn't found."""
    inner = frames_of([b"inner"], offset=16)
    outer = bytearray(encode_frame(NONCE, 64, 1, 1, bytes(16 - HEAD_BYTES) + inner * 2, 0))
    outer[0] ^= 1
    assert outer.index(inner) % 8 == 0
    data = bytes(64) + bytes(outer)

    assert scan_rest(Bytes(data), NONCE, 0, len(data), range(1, 99)).frames == 0


def test_the_seal_goes_after_a_frame_that_ends_in_zeros() -> None:
    """The used part ends with the frame, not with its last byte that isn't zero."""
    data = encode_frame(NONCE, 0, 1, 1, bytes(100), 0)

    assert scan_rest(Bytes(data), NONCE, 0, len(data), range(1, 200)).used_end == len(data)
    assert scan_rest(Bytes(bytes(64)), NONCE, 8, 64, range(1, 2)).used_end == 8


def test_headers_come_back() -> None:
    """A short one and one of several blocks; frames begin at the next block."""
    for name in ("x", "y" * 9000):
        data = encode_header(b"MAGIC  \n", Header(name, 7))
        header, begin = decode_header(b"MAGIC  \n", Header, Bytes(data), "f")
        assert header == Header(name, 7)
        assert begin == len(data)
        assert begin % 4096 == 0


def test_a_bad_header_is_refused() -> None:
    """Another kind of file, a short one, a changed bit, another map: the path and reason say so."""
    data = encode_header(b"MAGIC  \n", Header("x"))
    other = encode_header(b"MAGIC  \n", msgspec.defstruct("Other", [("number", str)])("x"))
    for bad, reason in {
        b"": "doesn't begin",
        b"OTHER  \n" + data[8:]: "doesn't begin",
        data[:20]: "checksum",
        data[:30] + b"\1" + data[31:]: "checksum",
        data[:12] + b"\xff\xff\xff\xff" + data[16:]: "bytes long",
        other: "can't be read",
    }.items():
        with pytest.raises(CorruptError, match=reason) as caught:
            decode_header(b"MAGIC  \n", Header, Bytes(bad), "the file")
        assert caught.value.file == "the file"


def test_a_later_version_is_no_damage() -> None:
    """It asks for a later cairndb."""
    data = bytearray(encode_header(b"MAGIC  \n", Header("x")))
    data[8] = 9
    length = int.from_bytes(data[12:16], "little") + 16
    data[length : length + 4] = crc32(bytes(data[:length])).to_bytes(4, "little")
    with pytest.raises(CairnError, match="format version 9") as caught:
        decode_header(b"MAGIC  \n", Header, Bytes(bytes(data)), "f")
    assert not isinstance(caught.value, CorruptError)
