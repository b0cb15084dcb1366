"""Watches against the states themselves: owners, readers, kills, crashes, rewinds, checkpoints.

What a watch must give is what comparing the whole states, LSN by LSN, finds under its pattern.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from msgspec import Raw

from cairndb import rewinding, touched
from cairndb.appender_parts import StoreOptions
from cairndb.errors import Compacted, UsageError
from cairndb.fold import Fold
from cairndb.opening import own, read
from cairndb.pattern import Pattern
from cairndb.record import Record
from cairndb.schema import compile_root
from cairndb.transaction import Update
from cairndb.watch_hub import Hub
from cairndb.watch_items import parse_position
from cairndb.watch_start import Wish, watch_beside, watch_own
from cairndb.watch_types import Typed
from crashing import Nonces
from lives import Folding
from simulated import SimulatedDirectory, World
from survivors import sampled

if TYPE_CHECKING:
    from cairndb.watch import Watch
    from cairndb.watch_items import ValueChange


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Account(Record):
    balance: int = 0
    tags: set[str] = set()
    notes: list[str] = []


class Circle(Record, tag="circle"):
    color: Color = Color.RED
    size: int = 1


class Square(Record, tag="square"):
    color: str = "red"
    sizes: list[int] = []


class Root(Record):
    accounts: dict[str, Account] = {}
    items: list[Account] = []
    shapes: dict[int, Circle | Square] = {}
    words: list[str] = []
    anything: Any = None


KIND = compile_root(Root, guard=True)
PATTERNS = ["/**", "/*", "/", "/accounts/*/balance", "/accounts/a", "/accounts/a/**", "/accounts/*"]
PATTERNS += ["/items/*/tags", "/items/1", "/items/**", "/words/*", "/words", "/words/**"]
PATTERNS += ["/shapes/*/color", "/shapes/1/**", "/anything/**", "/anything/x/*", "/**/balance"]
KEYS = st.sampled_from("abc")
SMALL = st.integers(0, 3)


def change_account(accounts: Any, what: int, key: str, number: int) -> None:
    """A small change of a dict of records."""
    if what == 0:
        accounts[key] = Account(number)
    elif what == 1:
        accounts.pop(key, None)
    elif key in accounts:
        account = accounts[key]
        account.balance = number if what == 2 else account.balance
        (account.tags.add if what == 3 else account.tags.discard)(str(number))
        account.notes += [key] if what == 4 else []


def change_list(root: Any, what: int, key: str, number: int) -> None:
    """A small change of a list, of records or texts."""
    items, words = root.items, root.words
    if what == 0:
        items.insert(min(number, len(items)), Account(number, {key}))
    elif what == 1:
        del items[number : number + 1]
    elif what == 2 and number < len(items):
        items[number].balance += 1
        items[number].tags = {key, str(number)}
    elif what == 3:
        words.insert(min(number, len(words)), key)
    elif what == 4:
        del words[number : number + 2]


def change_choice(root: Any, what: int, key: str, number: int) -> None:
    """A small change where a value decides on its type."""
    shapes = root.shapes
    if what == 0:
        shapes[number] = Circle() if key == "a" else Square(key)
    elif what == 1 and number in shapes:
        shapes[number].color = Color.BLUE if hasattr(shapes[number], "size") else key
    elif what == 2:
        shapes.pop(number, None)
    elif what == 3 and root.anything is not None:
        root.anything["x"][key] = number
        root.anything["y"].append(number)
    else:
        root.anything = {"x": {key: number}, "y": [number]} if number else None


def change(root: Any, what: int, key: str, number: int) -> None:
    """One of many small changes, if it can be made."""
    if what == 15:
        root.accounts = {key: Account(number)}
    elif what >= 10:
        change_choice(root, what - 10, key, number)
    elif what >= 5:
        change_list(root, what - 5, key, number)
    else:
        change_account(root.accounts, what, key, number)


CHANGES = st.lists(st.tuples(st.integers(0, 15), KEYS, SMALL), min_size=1, max_size=4)


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


class Watches(RuleBasedStateMachine):
    """One disk, its owners, and those who watch."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.random = Random(0)  # noqa: S311  no secret
        self.states: dict[int, bytes] = {}
        self.watching: list[Watching] = []
        self.positions: list[tuple[str, str]] = []
        self.told: list[tuple[int, int]] = []
        """Which LSN was asked for, where it is gone, and which is the oldest that isn't."""
        self.lives = 0
        self.open()

    def open(self) -> None:
        """The next owner."""
        self.lives += 1
        options = StoreOptions(4096 + 600, 4096 + 1200, Nonces(str(self.lives)))
        directory = SimulatedDirectory(self.world)
        self.engine = own(directory, KIND, create=True, options=options).engine
        self.hub = Hub(self.engine, self.random.choice([0, 300, 1 << 20]))
        lsn = self.engine.applied_lsn
        state = KIND.encode(self.engine.tree.root)
        assert self.states.setdefault(lsn, state) == state
        self.states = {known: old for known, old in self.states.items() if known <= lsn}

    def leave(self, *, beside: bool = False) -> None:
        """The watches of the owner end, or all."""
        for each in self.watching:
            if beside or not each.beside:
                self.positions.append((each.pattern, each.watch.position))
                each.watch.close()
        self.watching = [w for w in self.watching if w.beside and not beside]

    @rule(changes=CHANGES, durable=st.booleans())
    def update(self, changes: list[tuple[int, str, int]], *, durable: bool) -> None:
        """One update."""
        with Update[Any](self.engine, None, durable=durable) as root:
            for each in changes:
                change(root, *each)
        self.states[self.engine.applied_lsn] = KIND.encode(self.engine.tree.root)

    @rule()
    def checkpoint(self) -> None:
        """A checkpoint, with which old files go."""
        Folding(self.engine, self.world, "commit").checkpoint()

    @rule()
    def reopen(self) -> None:
        """An orderly end, and the next owner."""
        self.leave()
        self.engine.close()
        self.open()

    @rule()
    def kill(self) -> None:
        """The process ends at once; the cache stays."""
        self.leave()
        self.engine.directory.close()
        self.open()

    @rule()
    def crash(self) -> None:
        """The machine ends at once: nobody may have seen what is lost."""
        self.leave(beside=True)
        self.world = World(self.random.choice(list(sampled(self.world.moment(), self.random, 8))))
        self.open()
        for _, position in self.positions:
            assert parse_position(position).lsn <= self.engine.applied_lsn

    @precondition(lambda self: self.engine.applied_lsn > 2)
    @rule(back=st.integers(1, 4))
    def rewind(self, back: int) -> None:
        """Back to a state of the past, as an update."""
        self.leave()
        self.engine.close()
        lsn = max(1, self.engine.applied_lsn - back)
        directory = SimulatedDirectory(self.world)
        try:
            to, made = rewinding.rewind(directory, lsn, lambda _: None)
            self.states[made] = self.states[to]
        except UsageError:
            pass  # it isn't kept
        finally:
            directory.close()
        self.open()

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
