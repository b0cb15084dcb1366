"""A crash at every operation of a fixed workload, in every form that the assumptions allow."""

import errno

import pytest

from cairndb.errors import CairnError, CorruptError, DatabaseFailed
from crashing import (
    CrashPoint,
    Ledger,
    Oracle,
    Session,
    complete,
    crash_points,
    entries_of,
    open_store,
)
from effort import examples
from simulated import World, images


def workload(world: World, ledger: Ledger) -> None:
    """Three owners, of which the first two are killed: everything that a store does."""
    first = Session(world, ledger, "a")
    first.commit(20)
    first.commit(5, 1, 30)  # group commit
    first.store.mark()
    first.commit(700)  # larger than a segment
    first.commit(600)  # torn over sectors
    first.try_checkpoint()
    first.commit(9)
    first.append(40)
    first.write()
    first.append(41)
    first.write()  # two frames that nobody synced
    second = Session(world, ledger, "b")
    ledger.acknowledged = len(ledger.submitted)  # shown to views
    second.commit(30)
    second.try_checkpoint()
    second.commit(11)
    second.store.mark()
    second.append(12)
    second.write()
    third = Session(world, ledger, "c")
    ledger.acknowledged = len(ledger.submitted)
    third.store.mark()
    fourth = Session(world, ledger, "d")
    fourth.commit(50)
    fourth.try_checkpoint()
    fourth.commit(7)
    fourth.store.mark()
    fourth.store.sync()


def test_no_crash_loses_what_was_acknowledged() -> None:
    """At every operation, whatever of the unsynced survives, recovery gives a right history."""
    oracle = Oracle(complete(workload))

    points = crash_points(workload)
    oracle.check(points)

    assert len(points) > 100
    assert oracle.images > 2000


@pytest.mark.slow
def test_a_missing_file_is_noticed_after_every_crash() -> None:
    """Take any one file away from any image: refused, or everything acknowledged is there."""
    Oracle(complete(workload), lose_files=True).check(crash_points(workload))


@pytest.mark.slow
def test_crashes_during_recovery_lose_nothing() -> None:
    """Crash, crash again at every operation of the recovery, and again: all the same."""
    submitted = complete(workload)
    oracle = Oracle(submitted)
    for point in crash_points(workload)[::6]:
        for image in list(images(point.moment))[::7]:
            world, ledger = World(image), Ledger(list(submitted), point.acknowledged)

            def recover(world: World, ledger: Ledger) -> None:
                session = Session(world, Ledger(), "again")
                ledger.acknowledged = session.store.applied_lsn
                session.store.close()

            oracle.check(crash_points(recover, world, ledger))


def is_needed(oracle: Oracle, *numbers: int) -> bool:
    """Whether the oracle notices that these syncs (of a file or the directory) did nothing."""
    world = World()
    world.skipped = set(numbers)
    try:
        oracle.check(crash_points(workload, world))
    except (AssertionError, CorruptError):
        return True
    return False


def spare_syncs(syncs: list[tuple[str, str]]) -> dict[int, str]:
    """The syncs that the workload can do without, each alone, and why."""
    spare = {len(syncs): "a mark: nothing was promised"}
    for number, (call, path) in enumerate(syncs, 1):
        if call == "sync" and "checkpoint" in path:
            spare[number] = "the helper syncs, and the owner when it has read the file back"
        elif call == "sync directory" and "checkpoint" in syncs[number - 2][1]:
            spare[number] = "the last two checkpoints are kept: the name is needed at the next one"
    return spare


@pytest.mark.slow
def test_every_sync_is_needed() -> None:
    """Leave out each sync of the workload in turn: the oracle notices, but for those named here."""
    world = World()
    workload(world, Ledger())
    spare = spare_syncs(world.syncs)
    oracle = Oracle(complete(workload), lose_files=True)

    unnoticed = {
        number: call
        for number, call in enumerate(world.syncs, 1)
        if number not in spare and not is_needed(oracle, number)
    }

    assert unnoticed == {}
    helpers = [number for number, why in spare.items() if why.startswith("the helper")]
    assert len(helpers) == 3
    assert all(is_needed(oracle, number, number + 1) for number in helpers)


def fail_and_go_on(number: int, code: int) -> None:
    """Let one call of the workload fail; what comes out of it must be right, whatever it was."""
    world, ledger = World(), Ledger()
    world.faults = {number: code}
    try:
        workload(world, ledger)
    except (OSError, CairnError):
        acknowledged = ledger.acknowledged
    else:
        acknowledged = len(ledger.submitted)
    assert len(world.calls) >= number
    before = world.moment()
    world.faults = {}

    session = Session(world, Ledger(), "z")

    recovered = session.store.applied_lsn
    assert acknowledged <= recovered <= len(ledger.submitted), world.calls[number - 1]
    assert session.recovered == b"".join(ledger.submitted[:recovered])
    session.ledger.submitted = ledger.submitted[:recovered]
    session.commit(*([20] if recovered else [20, 21]))
    session.checkpoint()
    session.commit(33)
    crashed = CrashPoint(before, len(ledger.submitted), acknowledged, str(world.calls[number - 1]))
    Oracle(ledger.submitted).check([crashed], limit=examples(25))
    count = len(session.ledger.submitted)
    Oracle(session.ledger.submitted).check(
        [CrashPoint(world.moment(), count, count, "after the failure")], limit=examples(25)
    )


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_failure_of_any_call_loses_nothing(code: int) -> None:
    """Each call fails once: the owner stops or goes on, the next finds all, also after a crash."""
    world = World()
    workload(world, Ledger())
    for number in range(1, len(world.calls) + 1):
        fail_and_go_on(number, code)


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


def damaged_images() -> tuple[list[tuple[str, bytes]], int]:
    """A database after the workload, with everything in it proven durable, and its last LSN."""
    world, ledger = World(), Ledger()
    workload(world, ledger)
    return list(next(images(world.moment()))), len(ledger.submitted)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [1, 16])
def test_damage_is_noticed(damage: int) -> None:
    """Flip a bit, or zero 16 bytes, anywhere: everything is there, or the file is refused."""
    files, lsns = damaged_images()
    entries = entries_of(open_store(World(tuple(files)), "d", create=False))
    refused = 0
    for index, (name, content) in enumerate(files):
        for offset in range(0, len(content), damage):
            after = content[offset + damage :]
            middle = bytes([content[offset] ^ 0x10]) if damage == 1 else bytes(damage)
            changed = content[:offset] + middle[: len(content) - offset] + after
            if changed == content or (
                damage == 1 and not content[offset : offset + 8].strip(b"\0")
            ):
                continue
            world = World((*files[:index], (name, changed), *files[index + 1 :]))
            try:
                store = open_store(world, "d", create=False)
                found = entries_of(store)
            except CairnError:
                refused += 1
                continue
            assert (store.applied_lsn, found) == (lsns, entries), (name, offset)
    assert refused > 10
