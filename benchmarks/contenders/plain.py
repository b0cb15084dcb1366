"""Plain Python objects behind a lock, the floor: slotted dataclasses in a dict, lost at the end.

Only `open` and `settle` know a file: a pickle, the quickest that Python itself has.
"""

import gc
import pickle
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from contenders.work import (
    FIRST,
    HOT,
    ITERATE,
    LOAD,
    READ,
    UPDATE,
    VIEW,
    Contender,
    Level,
    key_of,
    owner_of,
    tags_of,
)


@dataclass(slots=True)
class PlainAccount:
    """An account without a database."""

    owner: str
    balance: int = 0
    tags: list[str] = field(default_factory=list)


class Plain(Contender):
    """A dict of objects and a lock."""

    figures = frozenset({READ, HOT, ITERATE, VIEW, UPDATE, LOAD, FIRST})
    settings: ClassVar[dict[Level, str]] = {
        "commit": "nothing is kept",
        "process": "nothing is kept; a view is `with threading.Lock():`; first read: from a pickle",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / "accounts.pickle"
        self.lock = threading.Lock()
        self.accounts: dict[str, PlainAccount] = {}

    def open(self, level: Level) -> None:
        """See Contender."""
        del level
        if self.file.exists():
            gc.disable()  # it looks at all that is loaded, again and again: five times as slow
            self.accounts = pickle.loads(self.file.read_bytes())  # noqa: S301  our own
            gc.enable()

    def close(self) -> None:
        """See Contender."""
        self.accounts = {}

    def settle(self) -> None:
        """See Contender."""
        gc.disable()  # as in `open`
        self.file.write_bytes(pickle.dumps(self.accounts, pickle.HIGHEST_PROTOCOL))
        gc.enable()

    def load(self, count: int) -> None:
        """See Contender."""
        accounts = self.accounts
        for number in range(count):
            accounts[key_of(number)] = PlainAccount(owner_of(number), 100, tags_of(number))

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        with self.lock:
            accounts = self.accounts
            for key in keys:
                accounts[key].balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        with self.lock:
            return sum(account.balance for account in self.accounts.values())

    def view(self, count: int) -> None:
        """See Contender."""
        for _ in range(count):
            with threading.Lock():  # noqa: PLW2101  made anew, as a view is
                pass

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            with self.lock:
                self.accounts[key].balance += 1

    def objects(self) -> Any:
        """The object that holds all accounts."""
        return self.accounts
