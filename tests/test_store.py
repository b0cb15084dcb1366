"""The store of a directory: opening, writing, checkpoints and what they replace."""

import errno
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.checkpoint import checkpoint_name
from cairndb.errors import CairnError, CorruptError, DiskFull, UsageError
from cairndb.frame import FrameReader
from cairndb.log import LiveSegment, parse_segment_name, read_segment
from cairndb.store import Store, StoreOptions
from crashing import (
    FINGERPRINT,
    SCHEMA,
    Ledger,
    Session,
    checkpoints_of,
    entries_of,
    open_store,
    reopened,
    segments_of,
    with_entries,
)
from simulated import SimulatedDirectory, World, images


def test_entries_come_back_in_order() -> None:
    """Over several segments and owners; LSNs go on."""
    world, session = with_entries(20, 200, 200, 30)
    store, found = reopened(world)

    assert found == b"".join(session.ledger.submitted)
    assert (store.applied_lsn, store.durable_lsn, store.created) == (4, 4, False)
    assert store.applied.running == session.store.applied.running
    assert (store.stored_schema, store.stored_fingerprint) == (SCHEMA, FINGERPRINT)


def test_there_must_be_a_database_unless_it_is_to_be_created() -> None:
    """An empty directory, and one with other files in it."""
    with pytest.raises(UsageError, match="create=True"):
        open_store(World(), "a", create=False)
    with pytest.raises(UsageError, match="directory of its own"):
        open_store(World((("thesis.txt", b"mine"),)), "a")
    open_store(World((("LOCK", b"me"), (".hidden", b""), ("lost+found", b""))), "a")


@pytest.mark.parametrize("calls", range(1, 12))
def test_an_interrupted_creation_goes_on(calls: int) -> None:
    """Whatever step it stopped at; LSN 1 is still to be committed."""
    world = World()
    world.faults = {calls: errno.EIO}
    with pytest.raises((OSError, CairnError)):
        Session(world, Ledger(), "a").commit(10)
    store = open_store(world, "b")
    if not store.created:
        assert entries_of(store)
    else:
        assert (store.applied_lsn, list(store.log_frames())) == (0, [])


def test_the_last_two_checkpoints_and_their_log_are_kept() -> None:
    """What is older goes; each open reads the newest only."""
    world, session = with_entries(20)
    for size in (30, 40, 50, 60):
        session.checkpoint()
        session.commit(size)

    assert checkpoints_of(world) == [3, 4]
    assert [parse_segment_name(name) for name in segments_of(world)] == [(1, 4), (1, 5)]
    store, found = reopened(world)
    assert found == b"".join(session.ledger.submitted)
    assert [lsn for lsn, _, _ in store.log_frames()] == [5]
    assert store.total_bytes > 0


def test_temporary_files_are_removed_at_open() -> None:
    """Those of dead owners and helpers; others are left alone."""
    world, _ = with_entries(20)
    for name in ("checkpoint-00000000000000000001.ckpt.tmp-12-ab", "notes.txt"):
        SimulatedDirectory(world).create(name)
    reopened(world)
    assert [name for name in world.names if "tmp" in name or "notes" in name] == ["notes.txt"]


def test_without_room_for_the_tail_only_what_is_proven_is_shown() -> None:
    """Updates are refused until there is room; then the tail is there."""
    world, session = with_entries(20, 30, mark=False)
    start = len(world.calls)
    world.faults = {start + number: errno.ENOSPC for number in range(1, 99)}
    store = open_store(world, "b")

    assert entries_of(store) == session.ledger.submitted[0]
    assert not store.reserve(5)
    with pytest.raises(DiskFull):
        store.rotate(5)
    world.faults = {}
    store.start()
    assert b"".join(p.payload for p in store.tail_frames()) == session.ledger.submitted[1]
    assert (store.applied_lsn, store.durable_lsn) == (2, 2)


def test_what_nothing_proves_is_written_again_in_one_frame() -> None:
    """However many frames it was in: opening takes no write for each of them."""
    world, session = with_entries(20)
    for size in (5, 30, 7):
        session.append(size)
        session.write()
    store, found = reopened(world)

    assert found == b"".join(session.ledger.submitted)
    name = segments_of(world)[-1]
    file = store.directory.open(name)
    nonce = read_segment(store.directory, name, file).header.nonce
    reader = FrameReader(file.read, nonce, 4096, file.size(), 2)
    assert [frame.count for frame in reader] == [3]


def test_no_room_for_a_segment_changes_nothing() -> None:
    """A smaller one is tried; at last DiskFull, and later the update goes through."""
    world, session = with_entries(20, 250)
    names = dict(world.names)
    start = len(world.calls)
    world.faults = {start + number: errno.ENOSPC for number in range(1, 60)}

    world.faults.pop(start + 1)  # the sync of the old segment
    with pytest.raises(DiskFull, match=r"log-00000000000000000003.* bytes are needed"):
        session.store.rotate(400)
    assert world.names == names
    world.faults = {}
    session.commit(400)
    assert reopened(world)[1] == b"".join(session.ledger.submitted)


def test_what_is_being_taken_still_needs_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that asks for room while a batch is being taken isn't given the batch's own."""
    _, session = with_entries(20)
    store = session.store
    session.append(100)
    most = next(size for size in range(1 << 20, 0, -1) if store.has_room(size))
    place = LiveSegment.place_entries
    given: list[bool] = []

    def asked_meanwhile(self: LiveSegment, *arguments: int) -> tuple[int, int]:
        given.append(store.has_room(most + 1))
        return place(self, *arguments)

    monkeypatch.setattr(LiveSegment, "place_entries", asked_meanwhile)
    store.take()
    assert given == [False]


def test_a_mark_is_written_once() -> None:
    """When there is something to prove, and between two frames only."""
    _, session = with_entries(20, mark=False)
    assert session.store.mark()
    assert not session.store.mark()
    session.append(30)
    assert not session.store.mark()
    session.write()
    assert not session.store.mark()
    session.store.sync()
    assert session.store.mark()


def test_a_checkpoint_must_be_of_this_log() -> None:
    """Another LSN, another history, damaged, unchecked: refused, and removed where it is bad."""
    world, session = with_entries(20)
    with pytest.raises(UsageError, match="before adopt"):
        session.store.adopt("unknown")
    other = World()
    stranger = Session(other, Ledger(), "a")
    stranger.commit(21)
    stranger.checkpoint()
    content = other.inodes[other.names[checkpoint_name(1)]].cache
    session.store.seal()
    for bad, lsn in ((content, 1), (content[:-8], 1), (content, 2)):
        file = SimulatedDirectory(world).create("checkpoint.tmp-1-a")
        file.write(0, bad)
        with pytest.raises(CorruptError):
            session.store.check_checkpoint("checkpoint.tmp-1-a", lsn)
        assert "checkpoint.tmp-1-a" not in world.names
    session.checkpoint()
    with pytest.raises(UsageError, match="LSN 1 already"):
        session.checkpoint()


def test_a_new_schema_gets_a_segment_of_its_own() -> None:
    """Rewritten entries stay under the schema that they were written with."""
    world, session = with_entries(20, 30, mark=False)
    store = Store.open(
        SimulatedDirectory(world),
        schema="new",
        fingerprint="11",
        create=False,
        options=StoreOptions(4096 + 360, 4096 + 720),
        clock=lambda: 0,
    )
    assert entries_of(store) == b"".join(session.ledger.submitted)
    assert store.stored_schema == SCHEMA
    assert not store.reserve(1)
    store.rotate(1)
    store.append(b"!")
    store.write(store.take())
    store.sync()
    last, found = reopened(world)
    assert found == b"".join([*session.ledger.submitted, b"!"])
    assert [segment.header.schema for segment in last.segments] == [SCHEMA, SCHEMA, "new"]
    assert last.stored_schema == "new"


def test_stats_are_numbers() -> None:
    """All are ints, of a store that does nothing and of one that does."""
    world, session = with_entries(20)
    session.checkpoint()
    for store in (session.store, reopened(world)[0]):
        stats = store.stats()
        assert all(type(value) is int for value in stats.values())
        assert stats["checkpoint_lsn"] == stats["durable_lsn"] == 1
        assert stats["entries_since_checkpoint"] == stats["log_bytes_since_checkpoint"] == 0
        assert stats["checkpoint_bytes"] > 4096


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "write", "mark", "checkpoint", "kill", "crash"]),
        st.integers(1, 400),
    ),
    max_size=14,
)


@given(ACTIONS)
def test_any_history_of_owners_and_crashes_is_right(actions: list[tuple[str, int]]) -> None:
    """Random owners, killed and crashed: a prefix comes back, with all that was acknowledged."""
    world, ledger = World(), Ledger()
    session = Session(world, ledger, "0")
    session.commit(1)
    for number, (action, size) in enumerate(actions):
        if action == "commit":
            session.commit(size, size // 2 + 1)
        elif action == "write":
            session.append(size)
            session.write()
        elif action == "mark":
            session.store.mark()
        elif action == "checkpoint" and session.store.checkpoint_lsn < session.store.applied_lsn:
            session.checkpoint()
            ledger.acknowledged = session.store.durable_lsn
        elif action in {"kill", "crash"}:
            if action == "crash":
                choices = list(islice(images(world.moment(), limit=20), 60))
                world = World(choices[size % len(choices)])
            session = Session(world, Ledger(), str(number))
            lsn = session.store.applied_lsn
            assert ledger.acknowledged <= lsn <= len(ledger.submitted)
            assert session.recovered == b"".join(ledger.submitted[:lsn])
            ledger = session.ledger = Ledger(ledger.submitted[:lsn], lsn)
