"""The real system calls: the same as those of the simulation, and enough, whatever a crash leaves.

Each workload runs as a program of its own, with every call that it makes to the system traced.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import crashing
from cairndb.errors import CairnError, UsageError
from cairndb.files import RealDirectory
from cairndb.ownership import LOCK_NAME
from cairndb.store import Store, StoreOptions
from crashing import (
    FINGERPRINT,
    SCHEMA,
    Ledger,
    Nonces,
    complete,
    crash_points,
    digest_of,
    entries_of,
)
from effort import examples
from recording import RecordingDirectory
from simulated import Image, SimulatedDirectory, World, images
from traced_workload import (
    InlineHousekeeper,
    idle,
    open_engine,
    put,
    state,
    states,
    whole,
)
from tracing import Operation, Tracer, replay, trace, why_not
from workloads import workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


TESTS = Path(__file__).parent
pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "never"),
]


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory, if there is one: what is tested here is not the disk."""
    shared = Path("/dev/shm")  # noqa: S108  made safely by tempfile
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder).resolve()


def traced(folder: Path, *seed: str) -> list[Operation]:
    """What the real system was asked to do by one of the workloads."""
    path = folder / f"traced{''.join(seed)}.cairn"
    paths = os.pathsep.join(map(str, (TESTS / "fixed", TESTS.parent / "src", TESTS)))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, str(TESTS / "traced_workload.py"), str(path), *seed]
    lines = trace(program, folder / "trace", environment)
    return Tracer(path).operations(lines)


class Traced(NamedTuple):
    """A workload of a whole database, and what it asked the system to do."""

    seed: int
    operations: list[Operation]


@pytest.fixture(scope="module")
def store_operations(memory: Path) -> list[Operation]:
    """The store's."""
    return traced(memory)


@pytest.fixture(scope="module", params=range(examples(1)))
def database(memory: Path, request: pytest.FixtureRequest) -> Traced:
    """A whole database's, with the helper process."""
    return Traced(request.param, traced(memory, str(request.param)))


def without_process(operations: list[Operation]) -> list[Operation]:
    """With temporary names that don't say whose they are, and without what a program says."""
    return [
        operation._replace(name=re.sub(r"\.tmp-\d+-", ".tmp-", operation.name))
        for operation in operations
        if operation.kind != "note"
    ]


def without_chance(operations: list[Operation]) -> list[Operation]:
    """Nor times and the helper's random bytes: the length of what is written stays."""
    return [
        operation._replace(
            name=re.sub(r"\.tmp-.*", ".tmp", operation.name),
            data=b"" if operation.name == LOCK_NAME else bytes(len(operation.data)),
        )
        for operation in without_process(operations)
    ]


CREATION = [Operation("make directory", ""), Operation("sync parent", "")]


def test_the_store_asks_the_system_for_what_the_simulation_is_asked(
    store_operations: list[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Call by call and byte by byte the traced workload is the simulated one."""
    simulated: list[Operation] = []
    monkeypatch.setattr(
        crashing,
        "SimulatedDirectory",
        lambda world: RecordingDirectory(SimulatedDirectory(world), simulated),
    )
    workload(World(), Ledger())

    assert len(simulated) > 100
    assert without_process(store_operations) == CREATION + without_process(simulated)


def test_a_database_asks_the_system_for_what_the_simulation_is_asked(database: Traced) -> None:
    """Call by call, with the helper in a process of its own, and the same lengths everywhere."""
    world = World()
    simulated: list[Operation] = []
    whole(
        database.seed,
        lambda: RecordingDirectory(SimulatedDirectory(world), simulated),
        partial(idle, InlineHousekeeper),
        lambda _text: None,
    )

    assert len(simulated) > 20
    assert without_chance(database.operations) == CREATION + without_chance(simulated)


class Judge:
    """Opens what crashes leave with the real directory; equal images once.

    Args:
        folder: to put them in.
        recover: opens one, goes on with it, and says how many updates there were.
    """

    def __init__(self, folder: Path, recover: Callable[[Path], int]) -> None:
        self._folder = folder
        self._recover = recover
        # By day every second image has to do: there are thousands.
        self._every = 1 if examples(1) > 1 else 2
        self._seen: set[bytes] = set()
        self.outcomes: dict[bytes, int] = {}

    def check(self, operations: list[Operation], limit: int) -> None:
        """At every operation what was acknowledged is there, or more of what was submitted.

        Args:
            operations: from a trace.
            limit: of combinations at one operation, see `images`.
        """
        for point in crash_points(lambda world, ledger: follow(operations, world, ledger)):
            for image in images(point.moment, limit=limit):
                key = digest_of(image)
                if key not in self._seen:
                    self._seen.add(key)
                    if len(self._seen) % self._every == 0:
                        self.outcomes[key] = self._recover(self._written(image))
                if key not in self.outcomes:
                    continue
                assert point.acknowledged <= self.outcomes[key] <= point.submitted, point.call

    def _written(self, image: Image) -> Path:
        path = self._folder / "crashed.cairn"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name, content in image:
            (path / name).write_bytes(content)
        return path


def follow(operations: list[Operation], world: World, ledger: Ledger) -> None:
    """Do what was traced, but for LOCK, which means nothing."""

    def say(text: str) -> None:
        what, count = text.split()
        if what == "acknowledged":
            ledger.acknowledged = int(count)
        else:
            ledger.submitted[len(ledger.submitted) :] = [b""] * (int(count) - len(ledger.submitted))

    wanted = [operation for operation in operations if operation.name != LOCK_NAME]
    replay(wanted, SimulatedDirectory(world), say)


def open_real(directory: RealDirectory, seed: str, *, create: bool) -> Store:
    """A store on a real directory."""
    return Store.open(
        directory,
        schema=SCHEMA,
        fingerprint=FINGERPRINT,
        create=create,
        options=StoreOptions(4096 + 360, 4096 + 720, Nonces(seed)),
        clock=lambda: 0,
    )


def store_recovered(path: Path, submitted: list[bytes]) -> int:
    """Open a store, go on with an entry as long as the lost one, and open it again."""
    with closing(RealDirectory(str(path))) as directory:
        try:
            store = open_real(directory, "r", create=False)
        except UsageError:
            store = open_real(directory, "r", create=True)
        with closing(store):
            found = entries_of(store)
            lsn = store.applied_lsn
            assert found == b"".join(submitted[:lsn])
            assert store.warnings == []
            entry = b"!" * (len(submitted[lsn]) if lsn < len(submitted) else 20)
            if not store.reserve(len(entry)):
                store.rotate(len(entry))
            store.append(entry)
            store.write(store.take())
            store.sync()
        with closing(open_real(directory, "s", create=False)) as again:
            assert entries_of(again) == found + entry
    return lsn


def whole_recovered(path: Path, expected: list[dict[str, str]]) -> int:
    """Open a database, go on with it, and open it again."""
    directory = RealDirectory(str(path))
    try:
        engine = open_engine(directory, "r", create=False)
        lsn = engine.applied_lsn
        assert state(engine) == expected[lsn]
    except UsageError:
        lsn = 0
        engine = open_engine(directory, "r")
    put(engine, "after", "the crash")
    engine.close()
    engine = open_engine(RealDirectory(str(path)), "s", create=False)
    assert state(engine) == expected[lsn] | {"after": "the crash"}
    engine.close()
    return lsn


def test_no_crash_between_real_calls_loses_what_the_store_acknowledged(
    store_operations: list[Operation], memory: Path, evidence: Callable[[str, int], None]
) -> None:
    """At every traced call, whatever of the unsynced survives, a real directory gives it all."""
    submitted = complete(workload)
    judge = Judge(memory, lambda path: store_recovered(path, submitted))

    judge.check(store_operations, limit=examples(40))

    evidence("traced", len(judge.outcomes))
    assert len(judge.outcomes) > 500


def test_no_crash_between_real_calls_loses_what_a_database_acknowledged(
    database: Traced, memory: Path, evidence: Callable[[str, int], None]
) -> None:
    """The same for a whole database, with owners that are killed and the helper process."""
    expected = states(database.seed)
    judge = Judge(memory, lambda path: whole_recovered(path, expected))

    # By night there are many seeds, and the fixed one is looked at more closely.
    judge.check(database.operations, limit=40 if database.seed else examples(40))

    evidence("traced", len(judge.outcomes))
    assert len(judge.outcomes) > 100


@pytest.mark.parametrize("kind", ["sync", "sync directory"])
def test_a_program_that_left_out_syncs_would_be_caught(
    kind: str, store_operations: list[Operation], memory: Path
) -> None:
    """Take one kind of sync out of the trace: what a crash leaves then isn't right."""
    submitted = complete(workload)
    judge = Judge(memory, lambda path: store_recovered(path, submitted))
    operations = [operation for operation in store_operations if operation.kind != kind]

    with pytest.raises((AssertionError, CairnError)):
        judge.check(operations, limit=8)


def test_the_name_of_a_new_database_is_durable_before_anything_is_in_it(
    database: Traced,
) -> None:
    """The directory's parent is synced after the directory is made, and first of all."""
    assert database.operations[:2] == CREATION
    assert CREATION[1] not in database.operations[2:]
