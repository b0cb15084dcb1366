"""Torn or corrupt, what is missing, and reading beside an owner."""

from itertools import pairwise

import pytest

from cairndb.chain_newest import End, Kept, Position
from cairndb.checkpoint import checkpoint_name
from cairndb.errors import CorruptError, UsageError
from cairndb.frame import EMPTY_FRAME_BYTES
from cairndb.log import Piece, parse_segment_name
from cairndb.recovery import read_chain, verify
from cairndb.store import Store, StoreOptions
from crashing import (
    FINGERPRINT,
    SCHEMA,
    Ledger,
    Nonces,
    Session,
    checkpoints_of,
    damage,
    open_store,
    reopened,
    segments_of,
    with_entries,
)
from simulated import SimulatedDirectory, SimulatedFile, World, images


def test_a_database_without_its_identity_is_refused() -> None:
    """DATABASE is missing: there is a log, or a checkpoint."""
    world, _ = with_entries(20)
    SimulatedDirectory(world).remove("DATABASE")
    with pytest.raises(
        CorruptError, match="DATABASE: at byte 0: it is missing, and there are entr"
    ):
        open_store(world, "b")
    world, session = with_entries(20)
    session.checkpoint()
    SimulatedDirectory(world).remove("DATABASE")
    with pytest.raises(CorruptError, match="it is missing, and there is checkpoint"):
        open_store(world, "b")


def test_a_lost_identity_is_no_absent_database() -> None:
    """Also whoever wouldn't make a database is told of the log that is there."""
    world, _ = with_entries(20)
    SimulatedDirectory(world).remove("DATABASE")
    for find in (lambda: reopened(world), lambda: read_chain(SimulatedDirectory(world))):
        with pytest.raises(CorruptError, match="DATABASE: at byte 0: it is missing"):
            find()


def test_a_newest_segment_that_was_cut_off_is_refused() -> None:
    """Its size was durable before its name: no crash shortens it, so its entries aren't torn."""
    world, _ = with_entries(20, 20, 20)
    name = segments_of(world)[-1]
    content = world.inodes[world.names[name]].cache
    ends = {length for length in range(len(content)) if content[length:].strip(b"\0")}
    for length in ends:
        image = tuple((n, world.inodes[i].cache) for n, i in world.names.items() if n != name)
        with pytest.raises(CorruptError):
            reopened(World((*image, (name, content[:length]))))
    assert len(ends) > 4096


def copied(world: World, ledger: Ledger, seed: str) -> Session:
    """An owner of a copy of a database."""
    image = tuple((name, world.inodes[number].cache) for name, number in world.names.items())
    return Session(World(image), Ledger(list(ledger.submitted)), seed)


def moved(name: str, source: World, target: World) -> None:
    """Put a file of one world into another."""
    content = source.inodes[source.names[name]].cache
    if name not in target.names:
        SimulatedDirectory(target).create(name)
    damage(target, name, 0, content)


def test_a_checkpoint_of_another_copy_is_refused_within_a_frame() -> None:
    """It ends within a frame that nothing proves: no entry of that is applied onto it."""
    world, session = with_entries(20)
    other = copied(world, session.ledger, "b")
    session.commit(5, 6)
    other.commit(5)
    other.checkpoint()
    moved(checkpoint_name(2), other.world, world)
    with pytest.raises(CorruptError, match="ends within a frame, so it isn't one of this log"):
        reopened(world)


def test_a_segment_of_another_copy_supersedes_nothing_that_was_proven() -> None:
    """Both copies go on after LSN 1; the files of one don't hide what the other acknowledged."""
    world, session = with_entries(20)
    other = copied(world, session.ledger, "b")
    other.commit(30)
    other = Session(other.world, other.ledger, "c")  # whose segment has a later epoch
    session.commit(7)
    session.commit(8)
    for name in set(segments_of(other.world)) - set(segments_of(world)):
        moved(name, other.world, world)
    with pytest.raises(CorruptError, match="of another copy goes on before it"):
        reopened(world)


def test_any_missing_segment_is_noticed() -> None:
    """The first, one in the middle, the newest; all of them."""
    world, _ = with_entries(20, 300, 300, 300, 300)
    names = segments_of(world)
    assert len(names) > 3
    for name in names:
        image = tuple((n, world.inodes[i].cache) for n, i in world.names.items() if n != name)
        with pytest.raises(CorruptError, match="missing"):
            reopened(World(image))
    image = tuple((n, world.inodes[i].cache) for n, i in world.names.items() if "log" not in n)
    with pytest.raises(CorruptError, match="no log"):
        reopened(World(image))


def test_a_bad_frame_below_what_is_proven_is_corruption() -> None:
    """File, offset and reason are named; nothing was changed."""
    world, _ = with_entries(20, 20, 20)
    before = world.moment()
    name = segments_of(world)[0]
    damage(world, name, 4096 + 40 + 30)
    with pytest.raises(CorruptError, match="LSN 2 was there: everything up to LSN 3 is") as caught:
        reopened(world)
    assert (caught.value.file, caught.value.offset) == (f"simulated.cairn/{name}", 4096 + 40)
    assert world.moment().names == before.names


def test_a_bad_last_frame_that_nothing_proves_is_torn() -> None:
    """The log ends before it, and goes on in another segment."""
    world, session = with_entries(20, 20, 20, mark=False)
    damage(world, segments_of(world)[0], 4096 + 80 + 30)
    store, found = reopened(world)

    assert found == b"".join(session.ledger.submitted[:2])
    assert store.durable_lsn == 2
    following = Session(world, Ledger(session.ledger.submitted[:2]), "c")
    following.commit(20)
    assert reopened(world)[1] == b"".join(following.ledger.submitted)


def test_evidence_behind_a_bad_frame_counts() -> None:
    """A later frame was written when this one was synced."""
    world, _ = with_entries(20, 20, 20, 20, mark=False)
    damage(world, segments_of(world)[0], 4096 + 40, bytes(40))
    with pytest.raises(CorruptError, match=r"zeros .* LSN 2 was there: everything up to LSN 3"):
        reopened(world)


def test_what_was_synced_long_ago_is_said_often_enough() -> None:
    """Hundreds of frames later, where most say nothing of it, the loss of all before them shows."""
    world = World()
    options = StoreOptions(1 << 17, 1 << 17, Nonces("a"))
    store = Store.open(
        SimulatedDirectory(world),
        schema=SCHEMA,
        fingerprint=FINGERPRINT,
        create=True,
        options=options,
        clock=lambda: 0,
    )
    places = []
    for lsn in range(1, 700):
        assert store.reserve(20)
        store.append(b"x" * 20)
        batch = store.take()
        store.write(batch)
        places.append(batch.offset)
        if lsn == 2:
            store.sync()
    name = segments_of(world)[0]
    for lost in (places[300], places[600]):
        damage(world, name, 4096, bytes(lost - 4096))
        with pytest.raises(CorruptError, match="LSN 1 was there: everything up to LSN 2 is"):
            reopened(world)


def test_damage_in_an_earlier_segment_is_corruption() -> None:
    """All of it up to the trusted end was synced before the next was published."""
    world, _ = with_entries(20, 300, 300)
    damage(world, segments_of(world)[0], 4096 + 30)
    with pytest.raises(CorruptError, match="checksum"):
        reopened(world)


def test_what_is_kept_is_bounded() -> None:
    """Of a newest segment the entries are kept until they have been folded, up to 32 MiB."""
    ends = [End(lsn, Position(lsn, 0)) for lsn in range(41)]
    payload = bytes(1 << 20)
    kept = Kept(ends[0])
    for before, after in pairwise(ends):
        kept.add(Piece(after.offset, 1, payload), before, after)

    taken = [end for _, end in kept.taken(ends[40])]

    assert taken == ends[1:33]
    assert list(kept.taken(ends[40])) == []


def test_the_entries_of_a_chain_can_be_read_again() -> None:
    """What was kept the first time comes from the file the second time."""
    world, session = with_entries(20, 30, 4000, 20, 40)
    reading = read_chain(SimulatedDirectory(world))

    first, second = (b"".join(p.payload for p in reading.log_frames()) for _ in range(2))

    assert first == second == b"".join(session.ledger.submitted)


def test_a_bad_header_is_damage() -> None:
    """Final names are given to whole files only."""
    world, _ = with_entries(20)
    damage(world, segments_of(world)[0], 100)
    with pytest.raises(CorruptError, match="header"):
        reopened(world)


def test_files_of_another_database_are_refused() -> None:
    """A segment copied from elsewhere."""
    world, _ = with_entries(20)
    other = World()
    Session(other, Ledger(), "other").commit(20)
    name = segments_of(world)[0]
    content = other.inodes[other.names[name]].cache
    damage(world, name, 0, content)
    with pytest.raises(CorruptError, match="belongs to the database"):
        reopened(world)


def test_a_damaged_checkpoint_is_passed_over() -> None:
    """The one before it and the log between give the same; a warning names the file."""
    world, session = with_entries(20)
    for size in (30, 40):
        session.checkpoint()
        session.commit(size)
    damage(world, checkpoint_name(2), 4096 + 30)
    store, found = reopened(world)

    assert found == b"".join(session.ledger.submitted)
    assert store.checkpoint_lsn == 1
    (warning,) = store.warnings
    assert checkpoint_name(2) in warning


def test_a_reader_keeps_what_it_began_with() -> None:
    """Its checkpoint and the log after it stay until it closes, and so does what it reads."""
    world, session = with_entries(20)
    session.checkpoint()
    reading = read_chain(SimulatedDirectory(world))
    for size in (30, 40, 50):
        session.commit(size)
        session.checkpoint()
    assert checkpoints_of(world) == [1, 3, 4]
    assert len(segments_of(world)) == 4
    assert reading.lsn == 1
    reading.close()
    session.commit(60)
    session.checkpoint()
    assert checkpoints_of(world) == [4, 5]


def test_a_reader_beside_the_owner_sees_what_was_written_and_syncs_it() -> None:
    """It shows nothing that a crash could take back, and doesn't wait for the owner's sync."""
    world, session = with_entries(20)
    session.append(30)
    session.write()
    reading = read_chain(SimulatedDirectory(world))

    assert b"".join(p.payload for p in reading.log_frames()) == b"".join(session.ledger.submitted)
    assert reading.lsn == 2
    assert reading.running == session.store.applied.running
    durable = World(next(iter(images(world.moment()))))
    assert reopened(durable)[1] == b"".join(session.ledger.submitted)
    reading.close()


def test_a_reader_takes_a_bad_tail_as_not_yet() -> None:
    """It reads up to it; damage below what is proven is damage to it as well."""
    world, session = with_entries(20, 20)
    name = segments_of(world)[0]
    damage(world, name, session.store.stats()["segment_bytes_used"], b"half a frame")
    assert read_chain(SimulatedDirectory(world)).lsn == 2
    damage(world, name, 4096 + 30)
    with pytest.raises(CorruptError, match="LSN 1 was there"):
        read_chain(SimulatedDirectory(world))


def test_a_reader_needs_a_database() -> None:
    """And says so."""
    with pytest.raises(UsageError, match="holds no database"):
        read_chain(SimulatedDirectory(World()))


class Busy(SimulatedDirectory):
    """A directory whose owner does something whenever a name is looked up."""

    def __init__(self, world: World, session: Session) -> None:
        super().__init__(world)
        self.session = session
        self.times = 6

    def names(self) -> list[str]:
        """The names as they were just before the owner went on."""
        names = super().names()
        if self.times:
            self.times -= 1
            self.session.commit(300)
            self.session.checkpoint()
        return names


def test_a_reader_starts_over_while_the_owner_rotates_and_retires() -> None:
    """In the end it shows a state that there was."""
    world, session = with_entries(20)
    reading = read_chain(Busy(world, session))
    found = b"".join(payload for _, payload in reading.checkpoint_frames())
    found += b"".join(piece.payload for piece in reading.log_frames())
    assert found == b"".join(session.ledger.submitted[: reading.lsn])
    reading.close()


class Growing(SimulatedDirectory):
    """A directory whose owner writes and syncs two updates after each look at the log."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        options = StoreOptions(1 << 16, 1 << 16, Nonces("a"))
        self.store = Store.open(
            SimulatedDirectory(world),
            schema=SCHEMA,
            fingerprint=FINGERPRINT,
            create=True,
            options=options,
            clock=lambda: 1,
        )
        self.commit()

    def commit(self) -> None:
        assert self.store.reserve(20)
        self.store.append(b"x" * 20)
        self.store.write(self.store.take())
        self.store.sync()

    def open(self, name: str, *, write: bool = False) -> SimulatedFile:
        file = super().open(name, write=write)
        look = file.read

        def read(offset: int, length: int) -> bytes:
            data = look(offset, length)
            if length > EMPTY_FRAME_BYTES:
                self.commit()
                self.commit()
            return data

        if parse_segment_name(name):
            setattr(file, "read", read)  # noqa: B010
        return file


def test_a_reader_beside_an_owner_at_full_speed_sees_no_damage() -> None:
    """What is written between two looks, and proven by what follows it, wasn't missing."""
    directory = Growing(World())
    reading = read_chain(directory)
    shown = b"".join(piece.payload for piece in reading.log_frames())

    assert reading.lsn > 1
    assert shown == b"x" * 20 * reading.lsn
    reading.close()


def test_verify_names_what_is_wrong_and_where() -> None:
    """Nothing on a whole database; each damaged file of a damaged one, also older ones."""
    world, session = with_entries(20)
    for size in (30, 40):
        session.checkpoint()
        session.commit(size)
    assert list(verify(SimulatedDirectory(world))) == []
    damage(world, checkpoint_name(1), 4096 + 30)
    damage(world, segments_of(world)[0], 4096 + 30)
    found = {error.file.rpartition("/")[2] for error in verify(SimulatedDirectory(world))}
    assert found == {checkpoint_name(1), segments_of(world)[0]}
