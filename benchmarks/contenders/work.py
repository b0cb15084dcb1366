"""The work that all contenders do: the accounts, and what is done with them.

A contender does each piece of work with the calls and settings that its users would choose for
speed. What an operation means is the same for all: an update changes one field of one account and
is whole or absent after a crash; a read gets one field of one account.
"""

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final, Literal

Level = Literal["commit", "process"]

# How many different random keys there are; they come round again.
KEYS: Final = 1 << 17
# How many accounts are read when they are said to be hot.
HOT_ACCOUNTS: Final = 1000
THREADS: Final = 16
TASKS: Final = 1000

READ: Final = "read"
HOT: Final = "hot"
ITERATE: Final = "iterate"
VIEW: Final = "view"
UPDATE: Final = "update"
DURABLE: Final = "durable"
CROWD: Final = "threads"
AT_ONCE: Final = "tasks"
LOAD: Final = "load"
FIRST: Final = "first"

STORES_ALL: Final = frozenset({READ, HOT, ITERATE, VIEW, UPDATE, DURABLE, CROWD, LOAD, FIRST})


def key_of(number: int) -> str:
    """An account's key."""
    return f"account-{number:07}"


def owner_of(number: int) -> str:
    """An account's owner."""
    return f"Owner number {number}"


def tags_of(number: int) -> list[str]:
    """An account's tags: strings of its own, as if read from somewhere."""
    return [f"tag-{number % 1000}", f"group-{number % 10}"]


def random_keys(accounts: int, count: int = KEYS, part: int = 0, parts: int = 1) -> list[str]:
    """Keys in random order, the same in every run; of one part of all accounts."""
    draw = random.Random(part).randrange  # noqa: S311  not a secret
    slots = max(accounts // parts, 1)
    return [key_of(draw(slots) * parts + part) for _ in range(count // parts)]


class Contender(ABC):
    """Whoever takes part; each method does its work once, the caller holds the watch.

    Args:
        folder: of its own, there already.
    """

    # What of the work it can do.
    figures: ClassVar[frozenset[str]] = STORES_ALL
    # The settings used, by durability level.
    settings: ClassVar[dict[Level, str]]
    # Why some of the work isn't done, or done otherwise.
    notes: ClassVar[tuple[str, ...]] = ()
    # The packages whose versions matter.
    packages: ClassVar[tuple[str, ...]] = ()
    # More accounts than this take it too long.
    accounts_max: ClassVar[int] = 100_000_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def open(self, level: Level) -> None:
        """Open what is in the folder, or make it."""

    @abstractmethod
    def close(self) -> None:
        """End cleanly."""

    def settle(self) -> None:
        """Do, once loaded, what makes the next opening quick; here nothing."""
        return

    def load(self, count: int) -> None:
        """Fill an empty one, in one update."""
        raise NotImplementedError

    def read(self, keys: list[str]) -> None:
        """One field of each of these accounts, in one view."""
        raise NotImplementedError

    def iterate(self) -> int:
        """Sum up all balances, in one view."""
        raise NotImplementedError

    def view(self, count: int) -> None:
        """Begin and end a view, again and again."""
        raise NotImplementedError

    def update(self, keys: list[str]) -> None:
        """Add one to the balance of each, each in an update of its own."""
        raise NotImplementedError

    def update_at_once(self, keys: list[str]) -> None:
        """The same by as many tasks of asyncio, all beside each other."""
        raise NotImplementedError
