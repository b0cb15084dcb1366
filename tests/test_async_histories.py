"""Tasks and threads at full speed, judged by the log: every view is a state of it."""

from __future__ import annotations

import random
import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from cairndb import opening
from cairndb.appender_parts import StoreOptions
from cairndb.database import Database
from cairndb.errors import UsageError
from cairndb.schema import compile_root
from effort import examples
from serialisability import CELLS, Cells, History, Ledger, Seen, judge, states
from simulated import SimulatedDirectory, World
from tasks import BACKENDS, run
from threads import Aside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

KIND = compile_root(Ledger, guard=True)
TINY = StoreOptions(segment_bytes_min=2048, segment_bytes_max=4096)


@pytest.fixture(autouse=True)
def _hurried() -> Iterator[None]:
    """Threads that are switched as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class TaskHistory(History):
    """What tasks have seen, too, each with its own list."""

    async def _pause(self, chance: random.Random) -> None:
        for _ in range(chance.randrange(3)):
            await anyio.lowlevel.checkpoint()

    async def _change_async(self, stamp: int, chance: random.Random, *, durable: bool) -> Cells:
        async with self.db.update_async(durable=durable) as ledger:
            before = dict(ledger.cells) | {"stamp": ledger.stamp}
            await self._pause(chance)
            ledger.cells[chance.choice(CELLS)] = stamp
            ledger.stamp = stamp
            return before

    async def _look_async(self, chance: random.Random, *, durable: bool) -> Cells:
        async with self.db.view_async(durable=durable) as ledger:
            first = dict(ledger.cells) | {"stamp": ledger.stamp}
            await self._pause(chance)
            assert dict(ledger.cells) | {"stamp": ledger.stamp} == first, "torn"
            return first

    async def work_async(self, seed: int, rounds: int) -> None:
        """One task's: views, updates and methods at random, until the database is closed."""
        seen: list[Seen] = []
        self.threads.append(seen)
        chance = random.Random(seed)  # noqa: S311  reproducible, not secret
        for number in range(rounds):
            stamp, durable = seed * 1_000_000 + number + 1, chance.random() < 0.7
            kind, cell = chance.randrange(4), chance.choice(CELLS)
            own: int | None = stamp
            act: Callable[[], Awaitable[Cells]]
            if kind == 0:
                act = partial(self._change_async, stamp, chance, durable=durable)
            elif kind == 1:
                act, durable = partial(self.db.run_async, Ledger.note, cell, stamp), True
            else:
                act, own = partial(self._look_async, chance, durable=durable), None
            try:
                await self._add_async(seen, act, own, durable=durable)
            except UsageError as error:
                assert "closed" in str(error)  # noqa: PT017  any other is a failure
                return

    async def _add_async(
        self,
        seen: list[Seen],
        act: Callable[[], Awaitable[Cells]],
        stamp: int | None,
        *,
        durable: bool,
    ) -> None:
        began, before = next(self.clock), self.db.lsn
        state = await act()
        known, after = self.promised(), self.db.lsn
        seen.append(Seen(began, next(self.clock), before, after, known, durable, state, stamp))


async def tasks_of(history: TaskHistory, seed: int, rounds: int, *, close: bool) -> None:
    """Six tasks of one loop, and, if it is to be, the end of the database meanwhile."""
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(history.work_async, 100 * seed + number, rounds)
        if close:
            while sum(map(len, history.threads)) < 3 * rounds:
                await history.db.sync_async()
            await history.db.close_async()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sync_at_commit", "close"), [(True, False), (False, True), (True, True)])
def test_histories_of_tasks_and_threads(
    backend: str, evidence: Callable[[str, int], None], *, sync_at_commit: bool, close: bool
) -> None:
    """Two loops and two threads, with tiny segments: all that is seen is the log's, in order."""
    for seed in range(1, 1 + examples(1)):
        world = World()
        engine = opening.own(
            SimulatedDirectory(world),
            KIND,
            create=True,
            sync_at_commit=sync_at_commit,
            options=TINY,
        ).engine
        db = Database[Ledger](engine, None, "simulated.cairn", audit=False)
        promise = partial(getattr, engine.store, "durable_lsn" if sync_at_commit else "written_lsn")
        history = TaskHistory(db, promise)
        rounds = 100
        work: list[Callable[[], object]] = [
            partial(run, backend, partial(tasks_of, history, seed, rounds, close=close)),
            partial(run, "asyncio", partial(tasks_of, history, seed + 5000, rounds, close=False)),
            *(partial(history.work, 10 * seed + number, rounds) for number in range(2)),
        ]
        for aside in [Aside(act) for act in work]:
            aside.result()
        db.close()
        evidence("transactions", judge(history, states(SimulatedDirectory(world))))
