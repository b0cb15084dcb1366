"""Whether what threads saw is what the log says: histories, and the judge of them."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

import cairndb
from cairndb.chain import Chain, Files, Position
from cairndb.fold import Fold
from cairndb.identity import read_identity
from cairndb.linking import link
from cairndb.patch import decode_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.files import Directory

CELLS: Final = tuple("abcdefgh")
Cells = dict[str, int]


class Ledger(cairndb.Record):
    """Cells, and the number of the update that was the last: so every state is another."""

    cells: dict[str, int] = {}
    stamp: int = 0

    @cairndb.update
    def note(self, cell: str, stamp: int) -> Cells:
        """Write a cell; returns what was there before."""
        before = dict(self.cells) | {"stamp": self.stamp}
        self.cells[cell] = stamp
        self.stamp = stamp
        return before

    @cairndb.query
    def shown(self) -> Cells:
        """Everything."""
        return dict(self.cells) | {"stamp": self.stamp}


class Seen(NamedTuple):
    """One transaction: when it was, on a clock that all share, and what it saw."""

    began: int
    ended: int
    lsn_before: int
    lsn_after: int
    durable_lsn: int
    durable: bool
    state: Cells
    stamp: int | None
    """Of an update."""


@dataclass
class History:
    """What the threads of one run have seen, by thread.

    Args:
        db: that they use.
        promised: up to where the state is as durable as the level promises.
    """

    db: cairndb.Database[Ledger]
    promised: Callable[[], int]
    clock: Any = field(default_factory=lambda: itertools.count(1))
    threads: list[list[Seen]] = field(default_factory=list)

    def _add(
        self, seen: list[Seen], act: Callable[[], Cells], stamp: int | None, *, durable: bool
    ) -> None:
        began, before = next(self.clock), self.db.lsn
        state = act()
        known, after = self.promised(), self.db.lsn
        seen.append(Seen(began, next(self.clock), before, after, known, durable, state, stamp))

    def _change(self, stamp: int, chance: random.Random, *, durable: bool) -> Cells:
        with self.db.update(durable=durable) as ledger:
            before = dict(ledger.cells) | {"stamp": ledger.stamp}
            ledger.cells[chance.choice(CELLS)] = stamp
            ledger.cells[chance.choice(CELLS)] = -stamp
            ledger.stamp = stamp
            return before

    def _look(self, *, durable: bool) -> Cells:
        with self.db.view(durable=durable) as ledger:
            first = {cell: ledger.cells.get(cell, 0) for cell in CELLS}
            stamp = ledger.stamp
            assert {cell: ledger.cells.get(cell, 0) for cell in CELLS} == first, "torn"
            return first | {"stamp": stamp}

    def _give_up(self, chance: random.Random) -> None:
        try:
            with self.db.update() as ledger:
                ledger.cells[chance.choice(CELLS)] = -1
                ledger.stamp = ledger.cells["nothing"]
        except KeyError:
            pass

    def work(self, seed: int, rounds: int) -> None:
        """One thread's: views, updates and methods at random, until the database is closed."""
        seen: list[Seen] = []
        self.threads.append(seen)
        chance = random.Random(seed)  # noqa: S311  reproducible, not secret
        for number in range(rounds):
            try:
                self._transaction(seen, seed * 1_000_000 + number + 1, chance)
            except cairndb.UsageError as error:
                assert "closed" in str(error)  # noqa: PT017  any other is a failure
                return

    def _transaction(self, seen: list[Seen], stamp: int, chance: random.Random) -> None:
        cell, durable = chance.choice(CELLS), chance.random() < 0.7
        kind = chance.randrange(8)
        if kind < 3:
            self._add(seen, lambda: self._look(durable=durable), None, durable=durable)
        elif kind < 5:
            change = partial(self._change, stamp, chance, durable=durable)
            self._add(seen, change, stamp, durable=durable)
        elif kind == 5:
            note = partial(self.db.run, Ledger.note, cell, stamp)
            self._add(seen, note, stamp, durable=True)
        elif kind == 6:
            self._add(seen, lambda: self.db.run(Ledger.shown), None, durable=True)
        else:
            self._give_up(chance)


def states(directory: Directory) -> list[Cells]:
    """What the log says, LSN by LSN; the whole log must be there."""
    files = Files(directory, keep=True)
    try:
        database = read_identity(directory).database
        segments, superseded, _ = link(files, directory.names(), database, 0)
        chain = Chain(files, segments, superseded, Position(0, 0), 0)
        fold, found = Fold(), [dict[str, int]()]
        for _, count, payload in chain.pieces(chain.newest.good.position.lsn):
            for entry in decode_entries(payload, count):
                fold.apply(entry.operations)
                state = msgspec.msgpack.decode(fold.encode())
                found.append(complete(state["cells"] | {"stamp": state["stamp"]}))
        return found
    finally:
        files.close()


def complete(cells: Cells) -> Cells:
    """With a zero for each cell that isn't there."""
    return dict.fromkeys(CELLS, 0) | cells


def judge(history: History, log: list[Cells]) -> int:
    """Raise AssertionError if the history isn't the log's; returns how many transactions it has."""
    by_stamp = {state.get("stamp"): lsn for lsn, state in enumerate(log)}
    acknowledged: list[tuple[int, int]] = []
    judged: list[tuple[Seen, int]] = []
    for thread in history.threads:
        last = 0
        for seen in thread:
            lsn = by_stamp[seen.state["stamp"]]
            assert complete(seen.state) == log[lsn], f"not what LSN {lsn} left"
            own = lsn
            if seen.stamp is not None:
                own = by_stamp[seen.stamp]
                assert own == lsn + 1, "an update between what it read and what it wrote"
                acknowledged.append((seen.ended, own))
            assert lsn >= seen.lsn_before or seen.stamp is None, "older than when it began"
            assert seen.lsn_before <= lsn <= seen.lsn_after
            assert own <= seen.lsn_after
            assert lsn >= last, "a thread went back"
            last = own
            assert not seen.durable or seen.durable_lsn >= own, "shown before it was durable"
            judged.append((seen, lsn))
    # In the order of the clock: whatever begins after an acknowledgement sees it.
    acknowledged.sort()
    judged.sort(key=lambda each: each[0].began)
    newest, waiting = 0, iter([*acknowledged, (1 << 60, 0)])
    ended, own = next(waiting)
    for seen, lsn in judged:
        while ended < seen.began:
            newest = max(newest, own)
            ended, own = next(waiting)
        assert lsn >= newest, "an acknowledged update was not seen"
    return len(judged)
