"""Threads at full speed, judged by the log: every view is a state of it, in the order it says."""

from __future__ import annotations

import faulthandler
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb import opening
from cairndb.appender_parts import StoreOptions
from cairndb.database import Database
from cairndb.files import RealDirectory
from cairndb.housekeeper import Housekeeper
from cairndb.recovery import read_chain
from cairndb.schema import compile_root
from effort import examples
from serialisability import History, Ledger, judge, states
from simulated import SimulatedDirectory, World
from threads import Aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cairndb.engine import Engine
    from cairndb.opener import Durability

KIND = compile_root(Ledger, guard=True)
TINY = StoreOptions(segment_bytes_min=2048, segment_bytes_max=4096)


@pytest.fixture(autouse=True)
def _hurried() -> Iterator[None]:
    """Threads that are switched as often as can be; if they hang, their stacks are shown."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    faulthandler.dump_traceback_later(300, exit=False)
    yield
    faulthandler.cancel_dump_traceback_later()
    sys.setswitchinterval(before)


def until(over: threading.Event, act: Callable[[], object]) -> None:
    """Do it again and again, until the database is closed."""
    while not over.is_set():
        try:
            act()
        except cairndb.CairnError as error:
            assert "closed" in str(error)  # noqa: PT017  any other is a failure
            return


def at_once(
    history: History, others: Sequence[Callable[[], object]], *, rounds: int, seed: int, close: bool
) -> None:
    """Six threads' work beside others; then, or meanwhile, the end of the database."""
    over = threading.Event()
    upkeep = [Aside(partial(until, over, act)) for act in others]
    work = [
        Aside(partial(history.work, 10 * seed + number, 10**9 if close else rounds))
        for number in range(6)
    ]
    if close:
        while sum(map(len, history.threads)) < 6 * rounds:
            history.db.sync()
        ends = [Aside(history.db.close) for _ in range(2)]
        for end in ends:
            end.result()
    for each in work:
        each.result()
    over.set()
    for each in upkeep:
        each.result()
    history.db.close()


def upkeep_of(engine: Engine) -> Housekeeper:
    """What seals segments."""
    return Housekeeper(
        engine,
        "simulated.cairn",
        sync_interval=1.0,
        sync_soon=True,
        restart_target=None,
        load_rate=None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("sync_at_commit", [True, False])
def test_histories_on_a_simulated_directory(
    evidence: Callable[[str, int], None], *, sync_at_commit: bool, close: bool
) -> None:
    """With tiny segments, sealed all the time, and at each level, all that is seen is the log's."""
    for seed in range(1, 1 + examples(1)):
        world = World()
        directory = SimulatedDirectory(world)
        engine = opening.own(
            directory, KIND, create=True, sync_at_commit=sync_at_commit, options=TINY
        ).engine
        db = Database[Ledger](engine, None, "simulated.cairn", audit=False)
        promise = partial(getattr, engine.store, "durable_lsn" if sync_at_commit else "written_lsn")
        history = History(db, promise)
        others = [db.sync, upkeep_of(engine)._seal]
        at_once(history, others, rounds=300, seed=seed, close=close)
        evidence("transactions", judge(history, states(SimulatedDirectory(world))))


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("durability", ["commit", "interval", "process"])
def test_histories_on_files(
    tmp_path: Path, evidence: Callable[[str, int], None], durability: Durability
) -> None:
    """With checkpoints, readers and a close on the way, all that is seen is the log's."""
    for seed in range(1, 1 + examples(1)):
        path = str(tmp_path / f"{seed}.cairn")
        db = cairndb.open(path, Ledger, durability=durability)
        directory = RealDirectory(path)
        held = read_chain(directory)  # so that checkpoints leave the whole log
        store = db._engine.store
        level = "durable_lsn" if durability == "commit" else "written_lsn"
        history = History(db, partial(getattr, store, level))

        def read(path: str = path) -> None:
            with cairndb.open(path, Ledger, read_only=True) as reader:
                reader.run(Ledger.shown)

        try:
            at_once(history, [db.checkpoint, db.sync, read], rounds=300, seed=seed, close=True)
            evidence("transactions", judge(history, states(directory)))
        finally:
            held.close()
            directory.close()
