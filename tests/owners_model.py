"""One disk and the owners of a database on it, one after the other, as a state machine.

What follows an owner (watches, replicas) is tested by machines that add rules to this one.
"""

from __future__ import annotations

import enum
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cairndb import rewinding
from cairndb.appender_parts import StoreOptions
from cairndb.errors import UsageError
from cairndb.opening import own
from cairndb.record import Record
from cairndb.schema import compile_root
from cairndb.transaction import Update
from cairndb.watch_hub import Hub
from crashing import Nonces
from lives import Folding
from simulated import SimulatedDirectory, World
from survivors import sampled


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


class Owners(RuleBasedStateMachine):
    """One disk, and its owners."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.random = Random(0)  # noqa: S311  no secret
        self.states: dict[int, bytes] = {}
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
        """The owner's process ends for those who follow in it, or the machine for all."""

    def crashed(self) -> None:
        """The next owner is there, after a crash."""

    @rule(changes=CHANGES, durable=st.booleans())
    def update(self, changes: list[tuple[int, str, int]], *, durable: bool) -> None:
        """One update."""
        self.make(changes, durable=durable)

    def make(self, changes: list[tuple[int, str, int]], *, durable: bool) -> None:
        """Make it."""
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
        self.crashed()

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
