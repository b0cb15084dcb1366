"""The first open: the directory's own name, which is its parent's, and what is first in it."""

import errno
from collections.abc import Callable

import pytest

from cairndb.publishing import create_within
from crashing import CrashPoint, Ledger, Oracle, Session, crash_points
from simulated import DIRECTORY, SimulatedParent, World, images
from workloads import creation


def first_commit(world: World, ledger: Ledger) -> None:
    """Make a database, with one entry in it."""
    Session(world, ledger, "a").commit(20)


def test_a_crash_at_creation_leaves_nothing_or_a_database(
    evidence: Callable[[str, int], None],
) -> None:
    """At every operation, also with the directory's name lost; opening is never refused."""
    oracle = Oracle()

    points = crash_points(creation, World(directory=False))
    oracle.check(points)

    assert {"make directory", "sync parent"} <= {point.call for point in points}
    evidence("images", oracle.images)
    assert oracle.images > 300


def test_the_directory_vanishes_until_its_parent_is_synced() -> None:
    """Before that it may be gone whatever is synced in it; afterwards not."""
    points = crash_points(first_commit, World(directory=False))
    calls = [point.call for point in points]
    synced = calls.index("sync parent")
    assert calls[:2] == ["make directory", "sync parent"]
    for index, point in enumerate(points):
        gone = () in set(images(point.moment))
        assert gone or index > synced
    assert () not in set(images(points[-1].moment))

    world = World(directory=False)
    world.skipped = {1}
    with pytest.raises(AssertionError):
        Oracle().check(crash_points(first_commit, world))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", [1, 2])
def test_a_parent_that_fails_is_tried_again_from_the_start(call: int, code: int) -> None:
    """The directory is made anew: no later sync would prove the name that is there."""
    world, ledger = World(directory=False), Ledger()
    world.faults = {call: code}
    with pytest.raises(OSError, match="parent" if call == 2 else DIRECTORY) as caught:
        first_commit(world, ledger)
    assert caught.value.errno == code
    assert not world.there

    points = crash_points(first_commit, world, ledger)

    Oracle().check(points)
    assert world.rooted
    assert points[-1].acknowledged == 1


def test_a_killed_creator_is_finished_by_the_next() -> None:
    """The directory is there and its parent not synced: whoever comes next syncs it."""
    world, ledger = World(directory=False), Ledger()
    SimulatedParent(world).make_directory(DIRECTORY)

    Oracle().check(crash_points(first_commit, world, ledger))

    assert world.rooted
    create_within(SimulatedParent(world), DIRECTORY)
    Oracle(ledger.submitted).check([CrashPoint(world.moment(), 1, 1, "again")])
