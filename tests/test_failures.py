"""The whole engine on a disk that fails: usable or dead, never in between, nothing lost."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from cairndb.appender_parts import StoreOptions
from cairndb.errors import CairnError, DatabaseFailed, DiskFull, ReadOnlyError
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from crashing import segments_of
from lives import Folding
from planted_seam import Seam, plant_files
from simulated import SimulatedDirectory, World
from traced_workload import InlineHousekeeper, idle

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine

KIND = compile_root(dict[str, str], guard=True)
OPTIONS = StoreOptions(4096 + 400, 4096 + 800)


def open_engine(world: World) -> Engine:
    """An engine with segments that hold a few updates."""
    return own(SimulatedDirectory(world), KIND, create=True, options=OPTIONS).engine


def put(engine: Engine, key: str, value: str) -> None:
    """One update."""
    with Update[dict[str, str]](engine, None, durable=True) as root:
        root[key] = value


def state(engine: Engine) -> dict[str, str]:
    """What a view shows."""
    with View[dict[str, str]](engine, None, durable=True) as root:
        return dict(root)


def calls_of_a_workload() -> int:
    """How many calls that change something the workload makes when all goes well."""
    world = World()
    run(world)
    return len(world.calls)


Outcome = tuple[dict[str, str], dict[str, str], list[CairnError | OSError]]


def run(world: World) -> Outcome:
    """Open, update over several segments, close: what was acknowledged, submitted, went wrong."""
    acknowledged: dict[str, str] = {}
    submitted: dict[str, str] = {}
    errors: list[CairnError | OSError] = []
    try:
        engine = open_engine(world)
    except (CairnError, OSError) as error:
        return acknowledged, submitted, [error]
    for number in range(12):
        key, value = str(number), "x" * (40 * number)
        before = dict(acknowledged)
        try:
            put(engine, key, value)
        except DiskFull as error:
            errors.append(error)
            assert state(engine) == before, "DiskFull, and yet something happened"
        except DatabaseFailed as error:
            errors.append(error)
            submitted[key] = value
            for use in (lambda: put(engine, "x", "y"), lambda: state(engine)):
                with pytest.raises(DatabaseFailed):
                    use()
            break
        else:
            acknowledged[key] = submitted[key] = value
            assert state(engine) == acknowledged
    try:
        engine.close()
    except (CairnError, OSError) as error:
        errors.append(error)
    return acknowledged, submitted, errors


each_code = pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
for_how_long = pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])


def fail(world: World, number: int, code: int, *, for_ever: bool) -> Callable[[], int]:
    """Have a call fail, counted from now on, or all from it on; gives how many there were."""
    calls = [0]

    def observe(what: str) -> None:
        calls[0] += 1
        if calls[0] == number or (for_ever and calls[0] > number):
            raise OSError(code, os.strerror(code), what)

    world.observe = observe
    return lambda: calls[0]


def heal(world: World) -> None:
    """The disk works again, and whoever had the database is gone."""
    world.observe = lambda _: None
    for directory in world.locks[:]:
        directory.close()


@each_code
@for_how_long
def test_a_fault_at_any_call_loses_nothing(
    code: int, *, for_ever: bool, evidence: Callable[[str, int], None]
) -> None:
    """Each call that changes something fails: the object is usable or dead, and says so."""
    calls = calls_of_a_workload()
    assert calls > 40
    for number in range(1, calls + 1):
        world = World()
        fail(world, number, code, for_ever=for_ever)
        acknowledged, submitted, errors = run(world)
        heal(world)
        engine = open_engine(world)
        found = state(engine)
        assert found.items() >= acknowledged.items(), (number, errors)
        assert found.items() <= submitted.items(), (number, errors)
        put(engine, "after", "the fault")
        engine.close()
        assert state(open_engine(world)) == found | {"after": "the fault"}
    evidence("faults", calls)


LEFT = {str(number): "x" * number for number in range(9)}


def left_by_a_kill() -> World:
    """A database with two checkpoints, and updates after them that nothing proves durable."""
    world = World()
    engine = open_engine(world)
    for key, value in LEFT.items():
        put(engine, key, value)
        if key in "25":
            Folding(engine, world, "commit").checkpoint()
    heal(world)
    return world


def try_to_open(world: World) -> dict[str, str] | None:
    """What is shown by somebody who opens; None if it can't be opened."""
    try:
        engine = open_engine(world)
        found = state(engine)
    except (CairnError, OSError):
        return None
    with suppress(CairnError):
        engine.close()
    return found


@each_code
@for_how_long
def test_a_fault_at_any_call_of_recovery_loses_nothing(
    code: int, *, for_ever: bool, evidence: Callable[[str, int], None]
) -> None:
    """Each call of an opening fails: it is refused, or shows what is proven; the next shows all."""
    number, calls = 0, 1
    while number < calls:
        number += 1
        world = left_by_a_kill()
        counted = fail(world, number, code, for_ever=for_ever)
        found = try_to_open(world)
        calls = counted()
        assert found is None or found.items() >= (LEFT.items() - {("8", LEFT["8"])}), number
        heal(world)
        assert try_to_open(world) == LEFT, number
    assert number >= 10
    evidence("faults", number)


def test_a_fault_at_any_read_of_recovery_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, evidence: Callable[[str, int], None]
) -> None:
    """What can't be read is neither torn nor damaged: opening is refused; the next shows all."""
    reads = [0, 0]

    class Unreadable(Seam):
        def read(self, offset: int, length: int) -> bytes:
            reads[0] += 1
            if reads[0] == reads[1]:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.path)
            return super().read(offset, length)

    plant_files(monkeypatch, Unreadable)
    for number in count(1):
        world = left_by_a_kill()
        reads[:] = 0, number
        found = try_to_open(world)
        if reads[0] < number:
            break
        assert found is None, number
        heal(world)
        reads[1] = 0
        assert try_to_open(world) == LEFT, number
    assert number > 12
    evidence("faults", number - 1)


def test_a_checkpoint_whose_name_cannot_be_synced_is_the_end_of_the_object() -> None:
    """The store has given up then, and so must the object: no views beside refused updates."""
    world = World()
    engine = open_engine(world)
    put(engine, "before", "x")
    syncs = []

    def fail_the_last_sync(what: str) -> None:
        syncs.append(what == "sync directory")
        if sum(syncs) == 2:  # the first is that of the segment's name
            raise OSError(errno.EIO, "Input/output error", "checkpoint")

    world.observe = fail_the_last_sync
    with pytest.raises(DatabaseFailed):
        Folding(engine, world, "commit").checkpoint()
    world.observe = lambda _: None
    for use in (lambda: put(engine, "x", "y"), lambda: state(engine)):
        with pytest.raises(DatabaseFailed):
            use()
    engine.close()
    assert state(open_engine(world)) == {"before": "x"}


def test_a_full_disk_lets_reading_go_on_until_there_is_room() -> None:
    """While no segment can be made every update is refused; then they go through again."""
    world = World()
    engine = open_engine(world)
    put(engine, "before", "x")
    world.observe = lambda what: None if what != "allocate" else full()
    with pytest.raises(DiskFull):
        put_many(engine)
    reached = state(engine)
    with pytest.raises(DiskFull):
        put(engine, "again", "x" * 90)
    assert state(engine) == reached
    world.observe = lambda _: None
    put(engine, "again", "x" * 90)
    assert state(engine) == reached | {"again": "x" * 90}


def put_many(engine: Engine) -> None:
    """More than a segment holds."""
    for number in range(20):
        put(engine, str(number), "x" * 90)


def full() -> None:
    """No room."""
    raise OSError(errno.ENOSPC, "No space left on device", "segment")


def test_a_kill_without_room_for_the_tail_shows_what_is_proven_then_all() -> None:
    """An unproven tail that can't be rewritten waits for room; updates are refused until then."""
    world = World()
    engine = open_engine(world)
    put(engine, "first", "x")
    put(engine, "second", "y")  # the last frame: nothing proves that it was synced
    for directory in world.locks[:]:
        directory.close()
    world.observe = lambda what: None if what != "allocate" else full()
    engine = open_engine(world)
    assert state(engine) == {"first": "x"}
    with pytest.raises(DiskFull):
        put(engine, "third", "z")
    world.observe = lambda _: None
    put(engine, "third", "z")
    assert state(engine) == {"first": "x", "second": "y", "third": "z"}


def test_a_directory_that_may_not_be_written_to_refuses_updates_and_stays_usable() -> None:
    """Where no segment can be created an update is refused by name; later it goes through."""
    world = World()
    engine = open_engine(world)
    put(engine, "before", "x")
    engine.close()
    engine = open_engine(world)
    world.observe = forbidden
    with pytest.raises(ReadOnlyError, match="can't be written to"):
        put(engine, "after", "y")
    assert state(engine) == {"before": "x"}
    world.observe = lambda _: None
    put(engine, "after", "y")
    assert state(engine) == {"before": "x", "after": "y"}


def forbidden(what: str) -> None:
    """Files can't be created."""
    if what == "create":
        raise OSError(errno.EACCES, "Permission denied", "segment")


def test_a_checkpoint_whose_name_is_not_synced_leaves_nothing_usable() -> None:
    """When the sync of the directory fails, views and updates are refused alike."""
    world = World()
    engine = open_engine(world)
    put(engine, "before", "x")
    keeper = idle(InlineHousekeeper, engine)

    def fail_when_renamed(what: str) -> None:
        if what == "sync directory" and "checkpoint" in world.calls[-1][1]:
            raise OSError(errno.EIO, "Input/output error", "simulated.cairn")

    world.observe = fail_when_renamed

    with pytest.raises(DatabaseFailed, match="Input/output error"):
        keeper.checkpoint()
    with pytest.raises(DatabaseFailed):
        state(engine)
    with pytest.raises(DatabaseFailed):
        put(engine, "after", "y")


def test_a_checkpoint_stands_though_what_it_replaces_can_not_be_removed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The failure is told in the log, the checkpoint counts, and the next one removes the rest."""
    world = World()
    engine = open_engine(world)
    keeper = idle(InlineHousekeeper, engine)
    segments = []
    for number in range(3):
        put(engine, str(number), "x")
        world.observe = unremovable if number == 1 else lambda _: None
        assert keeper.checkpoint() == engine.store.checkpoint_lsn == number + 2
        segments.append(len(segments_of(world)))
    assert segments == [2, 3, 2]
    assert caplog.text.count("could not all be removed") == 1
    engine.close()
    assert state(open_engine(world)) == {"0": "x", "1": "x", "2": "x"}


def unremovable(what: str) -> None:
    """Names can't be removed."""
    if what == "remove":
        raise OSError(errno.EIO, "Input/output error", "segment")


def test_a_limit_on_the_size_of_files_is_no_room() -> None:
    """Larger segments than allowed are made smaller; where that isn't enough nothing happens."""
    world = World()
    engine = open_engine(world)
    world.observe = lambda what: None if what != "allocate" else too_large()
    with pytest.raises(DiskFull, match="File too large"):
        put_many(engine)
    reached = state(engine)
    world.observe = lambda _: None
    put(engine, "after", "x" * 90)
    assert state(engine) == reached | {"after": "x" * 90}


def too_large() -> None:
    """A limit of the process or of the file system."""
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), "segment")
