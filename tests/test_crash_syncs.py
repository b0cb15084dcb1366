"""Leave out each sync in turn: the oracle notices. So it would notice if the engine forgot one."""

import pytest

from cairndb.errors import CairnError
from crashing import Ledger, Oracle, crash_points
from simulated import World
from workloads import Workload, creation, workload

HELPER = "the helper's; the owner syncs the checkpoint too, when it has read it back"
FIRST = "the name of the only checkpoint: all of the log is kept, and a later sync covers the name"
ROOM = "of allocated room: it shows that there is room, where that isn't known before a sync"
MARK = "of a mark: nothing was promised"


def syncs_of(work: Workload) -> tuple[World, dict[int, str]]:
    """A world after the workload; which of its syncs the workload can do without, and why."""
    world = World(directory=False)
    work(world, Ledger())
    spare = {len(world.syncs): MARK}
    checkpoints = 0
    for number, call in enumerate(world.syncs, 1):
        (_, before), (what, path) = world.calls[call - 2 : call]
        if what == "sync" and "checkpoint" in path:
            spare[number] = HELPER
        elif what == "sync directory" and "checkpoint" in before:
            checkpoints += 1
            if checkpoints == 1:
                spare[number] = FIRST
        elif what == "sync" and world.calls[call - 2] == ("allocate", path):
            spare[number] = ROOM
    return world, spare


def is_missed(work: Workload, *numbers: int) -> bool:
    """Whether the oracle notices that these syncs (of a file or a directory) did nothing.

    Until the first of them nothing is different from the workload as it is, so that isn't looked at
    again.
    """
    world = World(directory=False)
    world.skipped = set(numbers)
    try:
        points = crash_points(work, world)
        behind = [point for point in points if point.syncs >= min(numbers)]
        Oracle(lose_files=True).check(behind, limit=1)
    except (AssertionError, CairnError):
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("work", [workload, creation])
def test_every_sync_is_needed(work: Workload) -> None:
    """Leave out each sync of the workload in turn: the oracle notices, but for those named here."""
    world, spare = syncs_of(work)

    unnoticed = {
        number: world.calls[call - 1]
        for number, call in enumerate(world.syncs, 1)
        if number not in spare and not is_missed(work, number)
    }

    assert unnoticed == {}
    helpers = [number for number, why in spare.items() if why == HELPER]
    assert len(helpers) == (3 if work is workload else 1)
    # Without the owner's as well it is needed.
    assert all(is_missed(work, number, number + 1) for number in helpers)


def test_what_the_workloads_sync() -> None:
    """The parent, the directory, every kind of file, and an extended segment are among them."""
    for work in (workload, creation):
        world, spare = syncs_of(work)
        assert world.calls[world.syncs[0] - 1] == ("sync parent", "parent")
        paths = {world.calls[call - 1] for call in world.syncs}
        assert {"DATABASE", "checkpoint", "log", "simulated.cairn"} == {
            path.removeprefix("simulated.cairn/").split("-")[0].split(".tmp")[0]
            for _, path in paths - {("sync parent", "parent")}
        }
        assert len(world.syncs) - len(spare) > 14
    assert set(spare.values()) == {HELPER, FIRST, ROOM, MARK}


@pytest.mark.nightly
@pytest.mark.parametrize("work", [workload, creation])
def test_the_spare_syncs_are_spare(work: Workload) -> None:
    """No crash shows that a sync which is named as spare is missing: the names are right."""
    _, spare = syncs_of(work)
    assert not [number for number in spare if is_missed(work, number)]
