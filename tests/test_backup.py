"""Hot backups: whole at every moment, continued where they were, never taken for a database."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from cairndb.backup import back_up
from cairndb.errors import CairnError, UsageError
from cairndb.identity import read_backup
from cairndb.recovery import read_chain, verify
from crashing import Ledger, Session, crash_points, damage, entries_of, open_store, segments_of
from simulated import SimulatedDirectory, World, images

if TYPE_CHECKING:
    from simulated import Image


def backed_up(source: World, copy: World) -> int:
    """Make or continue a backup; its LSN."""
    directory = SimulatedDirectory(copy)
    try:
        return back_up(SimulatedDirectory(source), directory, lambda _: None).lsn
    finally:
        directory.close()


def entries_in(world: World) -> bytes:
    """All that a reader finds."""
    reading = read_chain(SimulatedDirectory(world))
    parts = [payload for _, payload in reading.checkpoint_frames()]
    parts += [piece.payload for piece in reading.log_frames()]
    reading.close()
    return b"".join(parts)


def life(session: Session, round_number: int) -> None:
    """What an owner does between two backups."""
    session.commit(40)
    session.commit(300, 5)
    if round_number % 3 == 2:
        session.checkpoint()
    session.commit(20)


def test_a_backup_is_the_database_as_of_its_lsn() -> None:
    """Made again and again beside an owner that rotates and makes checkpoints; verify is clean."""
    source, copy = World(), World()
    session = Session(source, Ledger(), "a")
    for round_number in range(12):
        life(session, round_number)
        lsn = backed_up(source, copy)
        assert lsn == session.store.durable_lsn
        assert entries_in(copy) == b"".join(session.ledger.submitted[:lsn])
        assert list(verify(SimulatedDirectory(copy))) == []
        if round_number % 4 == 3:
            session = Session(source, session.ledger, "abcdef"[round_number // 4 + 1])


def test_only_what_is_new_is_copied() -> None:
    """A second run copies the frames since the first, not the segments that are there."""
    source, copy = World(), World()
    session = Session(source, Ledger(), "a")
    for round_number in range(5):
        life(session, round_number)
    backed_up(source, copy)
    session.commit(16)
    directory = SimulatedDirectory(copy)
    report = back_up(SimulatedDirectory(source), directory, lambda _: None)
    directory.close()
    newest = source.inodes[source.names[segments_of(source)[-1]]]
    assert 0 < report.bytes_copied <= len(newest.cache)
    assert read_backup(directory) == report


def test_a_backup_has_no_owner() -> None:
    """Opened for writing it is refused with what to do instead."""
    source, copy = World(), World()
    Session(source, Ledger(), "a").commit(20)
    backed_up(source, copy)
    with pytest.raises(UsageError, match="cairn restore"):
        open_store(copy, "b")


def test_what_isnt_a_backup_is_left_alone() -> None:
    """A database, other files, another database's backup: refused, and nothing is changed."""
    source, other, copy = World(), World(), World()
    Session(source, Ledger(), "a").commit(20)
    Session(other, Ledger(), "b").commit(20)
    with pytest.raises(UsageError, match="name an empty place"):
        backed_up(source, other)
    assert entries_of(open_store(World(next(iter(images(other.moment())))), "c"))
    backed_up(source, copy)
    before = dict(copy.names)
    with pytest.raises(UsageError, match="another database"):
        backed_up(other, copy)
    assert copy.names == before


def continued(image: Image, source: World, least: int, entries: bytes) -> None:
    """A crash left this of a backup: it is one already, or is made one by the next run."""
    copy = World(image)
    marker = read_backup(SimulatedDirectory(copy))
    if marker is not None and marker.lsn:
        assert marker.lsn >= least
        assert entries.startswith(entries_in(copy))
        assert list(verify(SimulatedDirectory(copy))) == []
    backed_up(source, copy)
    assert entries_in(copy) == entries


def test_an_interrupted_backup_is_good_and_can_be_continued() -> None:
    """Crash at every operation on the copy: the last good state is there, and the next run ends."""
    source = World()
    session = Session(source, Ledger(), "a")
    seen = set()
    done = 0
    copy = World()
    for round_number in range(8):
        life(session, round_number)
        points = crash_points(lambda world, _: void(backed_up(source, world)), copy)
        copy.observe = lambda _: None
        for point in points:
            for image in images(point.moment, limit=20):
                if image not in seen:
                    seen.add(image)
                    continued(image, source, done, b"".join(session.ledger.submitted))
        done = session.store.durable_lsn
    assert len(seen) > 60


def void(_: object) -> None:
    """Nothing."""


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_failing_disk_under_the_copy_harms_nothing(code: int) -> None:
    """Each call on the copy fails once: the error is told, and the next run makes it whole."""
    source = World()
    session = Session(source, Ledger(), "a")
    for round_number in range(3):
        life(session, round_number)
    entries = b"".join(session.ledger.submitted)
    number = failed = 0
    while failed == number:
        number += 1
        copy = World()
        copy.faults = {number: code}
        try:
            backed_up(source, copy)
        except (OSError, CairnError):
            failed += 1
        copy.faults = {}
        backed_up(source, copy)
        assert entries_in(copy) == entries
    assert failed > 20


def test_a_copy_that_went_bad_is_told() -> None:
    """Damage in what was copied before is found when the copy is read back."""
    source, copy = World(), World()
    session = Session(source, Ledger(), "a")
    life(session, 0)
    backed_up(source, copy)
    damage(copy, next(name for name in sorted(copy.names) if name.startswith("log-")), 4096 + 30)
    life(session, 1)
    with pytest.raises(CairnError):
        backed_up(source, copy)
