"""Segments: their names and headers, and the arithmetic that keeps room for every promise."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.errors import CorruptError, ValidationError
from cairndb.frame import PAYLOAD_BYTES_MAX, SEAL, UNSAID, FrameReader, frame_bytes
from cairndb.log import (
    SegmentHeader,
    bytes_needed,
    parse_segment_name,
    publish_segment,
    read_segment,
    segment_name,
)
from crashing import Ledger, Session, open_store
from simulated import SimulatedDirectory, World


def header_of(first_lsn: int, epoch: int = 1) -> SegmentHeader:
    """A header for a segment that begins there."""
    return SegmentHeader(
        database=UUID(int=1),
        epoch=epoch,
        nonce=bytes(15) + bytes([epoch]),
        first_lsn=first_lsn,
        predecessor_nonce=b"",
        predecessor_end=0,
        running=0,
        fingerprint="00ff",
        schema="text",
        created=0,
    )


def test_names_sort_by_publication() -> None:
    """The epoch comes first, then the LSN; other names aren't segments."""
    assert segment_name(12346, 7) == "log-00000000000000012346-00000007.seg"
    assert parse_segment_name(segment_name(12346, 7)) == (7, 12346)
    for other in ("DATABASE", "log-1-1.seg", segment_name(1, 1) + ".tmp-1-ab", "checkpoint-1.ckpt"):
        assert parse_segment_name(other) is None


def test_a_segment_under_another_name_is_refused() -> None:
    """Somebody renamed it: the header says what it is."""
    world = World()
    directory = SimulatedDirectory(world)
    publish_segment(directory, header_of(5), 9000, durable_lsn=4).file.close()
    directory.rename(segment_name(5, 1), segment_name(6, 1))

    with pytest.raises(CorruptError, match="under another name"):
        read_segment(directory, segment_name(6, 1), directory.open(segment_name(6, 1)))


@given(st.lists(st.integers(1, 200), max_size=12), st.integers(0, 3), st.booleans())
def test_what_fits_can_be_written(sizes: list[int], frames: int, mark: bool) -> None:  # noqa: FBT001
    """However entries share frames and marks come between, the seal finds its room."""
    live = publish_segment(SimulatedDirectory(World()), header_of(1), 4096 + 700, durable_lsn=0)
    lsn, buffered = 1, list[int]()
    for number, size in enumerate(sizes):
        if not live.fits(len(buffered), sum(buffered), size):
            break
        buffered.append(size)
        if number % (frames + 1) == 0:
            payload = b"x" * sum(buffered)
            live.write(live.place(len(payload)), lsn, len(buffered), payload, lsn - 1)
            lsn += len(buffered)
            buffered.clear()
        if mark and not live.marked:
            live.mark(lsn, lsn - 1)
    if buffered:
        payload = b"x" * sum(buffered)
        live.write(live.place(len(payload)), lsn, len(buffered), payload, lsn - 1)
        lsn += len(buffered)
    live.finish(lsn)
    assert live.end <= live.capacity


def test_a_segment_that_is_as_large_as_needed_takes_its_entry() -> None:
    """The least size, to the byte."""
    header = header_of(1)
    for size in (1, 2, 3, 4, 5, 6, 7, 8, 4000):
        least = bytes_needed(header, (), size)
        live = publish_segment(SimulatedDirectory(World()), header, least, durable_lsn=0)
        assert live.fits(0, 0, size)
        assert not live.fits(0, 0, size + 1)


def test_what_is_durable_is_said_when_it_is_new_and_now_and_then() -> None:
    """And with every frame that needn't be large for that; the header says it of what is before."""
    live = publish_segment(SimulatedDirectory(World()), header_of(5), 1 << 20, durable_lsn=4)

    def said(first_lsn: int, durable_lsn: int) -> int:
        begin = live.end
        offset, lsn = live.place_entries(20, first_lsn, 1, durable_lsn)
        assert (offset, live.end - begin) == (begin, frame_bytes(20, 1, unproven(first_lsn, lsn)))
        return lsn

    def unproven(first_lsn: int, lsn: int) -> int:
        return -1 if lsn == UNSAID else first_lsn - 1 - lsn

    assert [said(lsn, 4) for lsn in (5, 259)] == [4, 4]
    assert {said(lsn, 4) for lsn in range(260, 500)} == {UNSAID}
    assert [said(500, 100), *(said(lsn, 100) for lsn in range(501, 565))] == [
        100,
        *[UNSAID] * 63,
        100,
    ]
    assert [said(565, 101), said(566, 566 - 255), said(567, 311)] == [101, 311, UNSAID]
    live.file.close()


def test_a_rotated_segment_ends_with_its_seal() -> None:
    """What was allocated and never written is given back."""
    world = World()
    session = Session(world, Ledger(), "a")
    session.commit(20)
    session.commit(200)
    session.commit(200)
    file = SimulatedDirectory(world).open(segment_name(1, 1))
    reader = FrameReader(file.read, read_header_nonce(world), 4096, file.size(), 1)
    frames = list(reader)
    assert frames[-1].count == SEAL
    assert frames[-1].end == file.size() < 4096 + 360


def read_header_nonce(world: World) -> bytes:
    """The nonce of the first segment."""
    directory = SimulatedDirectory(world)
    name = segment_name(1, 1)
    return read_segment(directory, name, directory.open(name)).header.nonce


def test_segments_grow_as_they_follow_each_other() -> None:
    """Each is twice as large as the one before it, up to the maximum, or what an entry needs."""
    session = Session(World(), Ledger(), "a")
    sizes = []
    for size in (150, 150, 150, 150, 150, 150, 3000, 100):
        session.commit(size)
        sizes.append(session.store.stats()["segment_bytes_allocated"] - 4096)
    assert sizes[0] == 360
    assert max(sizes[:6]) == 720
    assert sizes[6] > 3000
    assert session.store.applied_lsn == 8


def test_an_empty_segment_is_enlarged_in_place() -> None:
    """Another one would have the same name."""
    world = World()
    session = Session(world, Ledger(), "a")
    session.store.mark()
    session.commit(5000)
    assert [name for name in world.names if "log" in name] == [segment_name(1, 1)]
    assert open_store(world, "b").applied_lsn == 0  # nothing is proven yet
    with pytest.raises(ValidationError, match="split it"):
        session.store.reserve(PAYLOAD_BYTES_MAX + 1)
