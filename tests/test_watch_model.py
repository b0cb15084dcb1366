"""Watches against the states themselves: owners, readers, kills, crashes, rewinds, checkpoints.

What a watch must give is what comparing the whole states, LSN by LSN, finds under its pattern.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec import Raw

from cairndb import touched
from cairndb.errors import Compacted
from cairndb.fold import Fold
from cairndb.opening import read
from cairndb.pattern import Pattern
from cairndb.watch_items import parse_position
from cairndb.watch_start import Wish, watch_beside, watch_own
from cairndb.watch_types import Typed
from owners_model import KIND, Owners
from simulated import SimulatedDirectory

if TYPE_CHECKING:
    from cairndb.watch import Watch
    from cairndb.watch_items import ValueChange

PATTERNS = ["/**", "/*", "/", "/accounts/*/balance", "/accounts/a", "/accounts/a/**", "/accounts/*"]
PATTERNS += ["/items/*/tags", "/items/1", "/items/**", "/words/*", "/words", "/words/**"]
PATTERNS += ["/shapes/*/color", "/shapes/1/**", "/anything/**", "/anything/x/*", "/**/balance"]


def expected(before: bytes | None, after: bytes, pattern: str) -> list[ValueChange]:
    """What differs under a pattern, of two whole states."""
    typed, fold = Typed(KIND), Fold()
    fold.root = Raw(after)
    typed.begin(fold)
    old = None if before is None else Raw(before)
    found = touched.compare(old, Raw(after), Pattern.parse(pattern), typed.differ)
    return sorted(map(typed.change, found), key=repr)


@dataclass
class Watching:
    """A watch, and what it must give."""

    watch: Watch
    pattern: str
    lsn: int
    initial: bool
    beside: bool
    seen: list[tuple[int, Any]] = field(default_factory=list)


class Watches(Owners):
    """Those who watch, too."""

    def __init__(self) -> None:
        self.watching: list[Watching] = []
        self.positions: list[tuple[str, str]] = []
        self.told: list[tuple[int, int]] = []
        """Which LSN was asked for, where it is gone, and which is the oldest that isn't."""
        super().__init__()

    def leave(self, *, beside: bool = False) -> None:
        """The watches of the owner end, or all."""
        for each in self.watching:
            if beside or not each.beside:
                self.positions.append((each.pattern, each.watch.position))
                each.watch.close()
        self.watching = [w for w in self.watching if w.beside and not beside]

    def crashed(self) -> None:
        for _, position in self.positions:
            assert parse_position(position).lsn <= self.engine.applied_lsn

    @rule(pattern=st.sampled_from(PATTERNS), initial=st.booleans(), beside=st.booleans())
    def begin(self, pattern: str, *, initial: bool, beside: bool) -> None:
        """Watch from now on."""
        self.start(Wish(pattern, initial=initial, bookmarks=0), beside=beside)

    @precondition(lambda self: self.positions)
    @rule(which=st.integers(0, 99), beside=st.booleans(), pattern=st.sampled_from(PATTERNS))
    def resume(self, which: int, pattern: str, *, beside: bool) -> None:
        """Watch from where an earlier watch had got to."""
        pattern, position = self.positions[which % len(self.positions)]
        self.start(Wish(pattern, position, bookmarks=0), beside=beside)

    @rule(lsn=st.integers(0, 30), beside=st.booleans(), pattern=st.sampled_from(PATTERNS))
    def go_back(self, lsn: int, pattern: str, *, beside: bool) -> None:
        """Watch from some LSN on, that may be long ago."""
        if lsn <= self.engine.store.written.lsn:
            self.start(Wish(pattern, lsn), beside=beside)

    def start(self, wish: Wish, *, beside: bool) -> None:
        """Begin a watch; what isn't kept any more is told."""
        lsn = None if wish.since is None else parse_position(wish.since).lsn
        try:
            if beside:
                reader = read(SimulatedDirectory(self.world), KIND, None).engine
                watch = watch_beside(reader, wish)
                lsn = reader.applied_lsn if lsn is None else lsn
            else:
                watch = watch_own(self.hub, wish)
                lsn = self.engine.applied_lsn if lsn is None else lsn
        except Compacted as error:
            self.told.append((lsn or 0, error.oldest_lsn))
            return
        self.watching.append(Watching(watch, wish.pattern, lsn, wish.initial, beside))

    @precondition(lambda self: self.watching)
    @rule(which=st.integers(0, 99), steps=st.integers(1, 5))
    def look(self, which: int, steps: int) -> None:
        """Somebody takes a few items."""
        each = self.watching[which % len(self.watching)]
        for _ in range(steps):
            self.take(each)

    def take(self, each: Watching) -> bool:
        """One step of a watch."""
        item, behind = each.watch.step()
        if item is not None and item.kind != "bookmark":
            each.seen.append((item.lsn, sorted(item.changes, key=repr)))
        return behind

    @precondition(lambda self: self.watching)
    @rule(which=st.integers(0, 99))
    def drain(self, which: int) -> None:
        """A watch has given all that there was, and nothing else."""
        each = self.watching.pop(which % len(self.watching))
        store = self.engine.store
        while self.take(each):
            pass
        end = store.written.lsn if each.beside else self.hub.promised_lsn()
        assert each.watch.reached_lsn == end
        wanted = []
        if each.initial:
            wanted.append((each.lsn, expected(None, self.states[each.lsn], each.pattern)))
        for lsn in range(each.lsn + 1, end + 1):
            found = expected(self.states.get(lsn - 1), self.states[lsn], each.pattern)
            wanted += [(lsn, found)] if found else []
        assert each.seen == wanted
        self.positions.append((each.pattern, each.watch.position))
        each.watch.close()

    def teardown(self) -> None:
        """Nothing stays open, and everybody has got everything."""
        while self.watching:
            self.drain(0)
        assert all(oldest > lsn for lsn, oldest in self.told)
        assert self.hub.watched() == 0
        assert self.engine.on_promise is None
        self.engine.close()


class TestWatches(Watches.TestCase):  # type: ignore[misc,valid-type]  # made at run time
    """Every watch gives every change under its pattern once, in order."""

    settings = settings(
        max_examples=60, stateful_step_count=30, deadline=None, phases=[Phase.generate]
    )


TestWatches.runTest = pytest.mark.slow(TestWatches.runTest)
