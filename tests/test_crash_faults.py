"""Calls to the system that fail, once or from then on: nothing is lost, whatever crash follows."""

import contextlib
import errno
from collections.abc import Callable
from random import Random

import pytest

from cairndb.errors import CairnError, DatabaseFailed
from crashing import CrashPoint, Ledger, Oracle, Session, taken_over
from effort import examples
from simulated import World
from survivors import sampled
from workloads import Workload, creation, workload

CODES = [errno.EIO, errno.ENOSPC]
Break = Callable[[World, int, int], None]


def once(world: World, number: int, code: int) -> None:
    """That call that changes something fails."""
    world.faults = {number: code}


def for_ever(world: World, number: int, code: int) -> None:
    """That call that changes something fails, and every later one."""
    world.faulty_from, world.fault = number, code


def once_reading(world: World, number: int, code: int) -> None:
    """That call that reads fails."""
    world.read_faults = {number: code}


def mend(world: World) -> None:
    """From now on nothing fails."""
    world.faults, world.read_faults, world.faulty_from, world.full = {}, {}, 1 << 60, False


def fail_and_go_on(work: Workload, fail: Break, number: int, code: int) -> None:
    """Let calls of the workload fail; what comes out of it must be right, whatever it was.

    Also if there is a crash right then, or when the next owner has gone on. Before what fails is
    mended somebody tries to open.
    """
    world, ledger = World(directory=False), Ledger()
    fail(world, number, code)
    with contextlib.suppress(OSError, CairnError):
        work(world, ledger)
    with contextlib.suppress(OSError, CairnError):
        taken_over(world, ledger, "y").commit(10)
    mend(world)
    submitted = ledger.submitted
    failed = CrashPoint(world.moment(), len(submitted), ledger.acknowledged, "failed", submitted)

    session = taken_over(world, ledger, "z")
    session.commit(*([20] if ledger.acknowledged else [20, 21]))
    session.checkpoint()
    session.commit(33)

    count = len(ledger.submitted)
    after = CrashPoint(world.moment(), count, count, "went on", ledger.submitted)
    random = Random(number)  # noqa: S311  reproducible, not secret
    for point in (failed, after):
        Oracle().check_images(point, sampled(point.moment, random, 10 + examples(2)))


def numbers_of(work: Workload, fail: Break) -> list[int]:
    """The calls of a workload that can fail so.

    But for one: where the sync of the parent fails, and then the removal of the directory, its name
    is in the cache and may never get to the disk, and nobody can find that out later.
    """
    world = World(directory=False)
    work(world, Ledger())
    if fail is once_reading:
        return list(range(1, len(world.reads) + 1))
    numbers = range(1, len(world.calls) + 1)
    hopeless = world.calls.index(("sync parent", "parent")) + 1 if fail is for_ever else 0
    return [number for number in numbers if number != hopeless]


@pytest.mark.slow
@pytest.mark.parametrize("work", [workload, creation])
@pytest.mark.parametrize("code", CODES, ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("fail", [once, for_ever])
def test_a_failure_of_any_call_loses_nothing(
    work: Workload, code: int, fail: Break, evidence: Callable[[str, int], None]
) -> None:
    """The owner stops or goes on, the next one finds all of it, also after a crash."""
    numbers = numbers_of(work, fail)
    for number in numbers:
        fail_and_go_on(work, fail, number, code)
    evidence("faults", len(numbers))


@pytest.mark.slow
def test_a_failure_to_read_loses_nothing(evidence: Callable[[str, int], None]) -> None:
    """So also for what is read: at open, in recovery, by the helper and in its checkpoint."""
    for work in (workload, creation):
        numbers = numbers_of(work, once_reading)
        for number in numbers:
            fail_and_go_on(work, once_reading, number, errno.EIO)
        evidence("faults", len(numbers))


def test_a_dead_store_refuses_everything() -> None:
    """After a failed sync every call says so, and what it would have promised stays unpromised."""
    world = World()
    session = Session(world, Ledger(), "a")
    session.commit(20)
    session.append(10)
    session.write()
    world.faults = {len(world.calls) + 1: errno.EIO}
    with pytest.raises(OSError, match="log-") as caught:
        session.store.sync()
    assert caught.value.errno == errno.EIO
    store = session.store
    for refused in (
        lambda: store.reserve(1),
        lambda: store.append(b"x"),
        store.take,
        store.sync,
        store.mark,
        store.start,
        store.seal,
        lambda: store.rotate(1),
    ):
        with pytest.raises(DatabaseFailed):
            refused()
    assert store.durable_lsn == 1
