"""Who takes part: cairndb, plain Python objects, SQLite, all with the same accounts.

SQLite is the standard library's, in WAL mode, with the statements that it would be used with: one
transaction per update, `synchronous` FULL where cairndb says "commit", NORMAL for "interval" and
OFF for "process". Plain objects are slotted dataclasses in a dict behind a lock.
"""

import asyncio
import json
import pickle
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cairndb


class Account(cairndb.Record):
    """What is stored a hundred thousand times."""

    owner: str
    balance: int = 0
    tags: list[str] = []


class Bank(cairndb.Record):
    """The root."""

    accounts: dict[str, Account] = {}


@dataclass(slots=True)
class PlainAccount:
    """The same without a database."""

    owner: str
    balance: int = 0
    tags: list[str] = field(default_factory=list)


def key_of(number: int) -> str:
    """An account's key."""
    return f"account-{number:06}"


def owner_of(number: int) -> str:
    """An account's owner."""
    return f"Owner number {number}"


class Contender(Protocol):
    """Whoever takes part; each method does its work once, the caller holds the watch."""

    def load(self, count: int) -> None:
        """Fill an empty one, in one transaction."""

    def read(self, keys: list[str]) -> None:
        """One field of each account, in one view."""

    def iterate(self) -> None:
        """Sum up all balances."""

    def view(self, count: int) -> None:
        """Begin and end reading, again and again."""

    def update(self, keys: list[str]) -> None:
        """One field of each, each in an update of its own."""

    def open(self) -> None:
        """Come back after a clean end, until the first read of everything."""

    def close(self) -> None:
        """End."""


class Cairn:
    """cairndb itself."""

    def __init__(self, folder: Path, level: str = "commit") -> None:
        self.path = folder / "bench.cairn"
        self.level: Any = level
        self.open()

    def open(self) -> None:
        """See Contender."""
        self.db = cairndb.open(
            self.path, Bank, durability=self.level, sync_interval=0.1, restart_target=None
        )

    def close(self) -> None:
        """See Contender."""
        self.db.close()

    def load(self, count: int) -> None:
        """See Contender."""
        with self.db.update() as bank:
            for number in range(count):
                bank.accounts[key_of(number)] = Account(owner_of(number), 100)

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        with self.db.view() as bank:
            accounts = bank.accounts
            for key in keys:
                accounts[key].balance  # noqa: B018  the read is the work

    def iterate(self) -> None:
        """See Contender."""
        with self.db.view() as bank:
            sum(account.balance for account in bank.accounts.values())

    def view(self, count: int) -> None:
        """See Contender."""
        for _ in range(count):
            with self.db.view():
                pass

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            with self.db.update() as bank:
                bank.accounts[key].balance += 1

    def update_at_once(self, keys: list[str]) -> None:
        """One field of each, each in an update of a task of its own, all beside each other."""

        async def update(key: str) -> None:
            async with self.db.update_async() as bank:
                bank.accounts[key].balance += 1

        async def program() -> None:
            await asyncio.gather(*map(update, keys))

        asyncio.run(program())


class Plain:
    """A dict of objects and a lock, which forgets at the end."""

    def __init__(self, folder: Path, level: str = "commit") -> None:
        del level
        self.file = folder / "plain.pickle"
        self.lock = threading.Lock()
        self.accounts: dict[str, PlainAccount] = {}

    def open(self) -> None:
        """See Contender."""
        self.accounts = pickle.loads(self.file.read_bytes())  # noqa: S301  our own, of just now

    def close(self) -> None:
        """See Contender."""
        self.file.write_bytes(pickle.dumps(self.accounts))

    def load(self, count: int) -> None:
        """See Contender."""
        for number in range(count):
            self.accounts[key_of(number)] = PlainAccount(owner_of(number), 100)

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        accounts = self.accounts
        for key in keys:
            accounts[key].balance  # noqa: B018  the read is the work

    def iterate(self) -> None:
        """See Contender."""
        sum(account.balance for account in self.accounts.values())

    def view(self, count: int) -> None:
        """See Contender."""
        for _ in range(count):
            with self.lock:
                pass

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            with self.lock:
                self.accounts[key].balance += 1


class Sqlite:
    """The standard library's database; a connection for each thread."""

    def __init__(self, folder: Path, level: str = "commit") -> None:
        self.file = folder / "bench.sqlite"
        self.level = {"commit": "FULL", "interval": "NORMAL", "process": "OFF"}[level]
        self.local = threading.local()
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS accounts "
            "(key TEXT PRIMARY KEY, owner TEXT, balance INTEGER, tags TEXT) WITHOUT ROWID"
        )

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self.local, "connection"):
            made = sqlite3.connect(self.file, isolation_level=None, timeout=60)
            made.execute(f"PRAGMA synchronous={self.level}")
            self.local.connection = made
        connection: sqlite3.Connection = self.local.connection
        return connection

    def open(self) -> None:
        """See Contender."""
        rows = self.connection.execute("SELECT key, owner, balance, tags FROM accounts")
        {key: PlainAccount(owner, balance, json.loads(tags)) for key, owner, balance, tags in rows}

    def close(self) -> None:
        """See Contender."""
        self.connection.close()
        del self.local.connection

    def load(self, count: int) -> None:
        """See Contender."""
        rows = ((key_of(number), owner_of(number), 100, "[]") for number in range(count))
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?)", rows)
        self.connection.execute("COMMIT")

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        execute = self.connection.execute
        for key in keys:
            execute("SELECT balance FROM accounts WHERE key = ?", (key,)).fetchone()[0]

    def iterate(self) -> None:
        """See Contender."""
        sum(row[0] for row in self.connection.execute("SELECT balance FROM accounts"))

    def view(self, count: int) -> None:
        """See Contender."""
        execute = self.connection.execute
        for _ in range(count):
            execute("BEGIN")
            execute("COMMIT")

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        execute = self.connection.execute
        for key in keys:
            execute("BEGIN IMMEDIATE")
            execute("UPDATE accounts SET balance = balance + 1 WHERE key = ?", (key,))
            execute("COMMIT")


KINDS: dict[str, Callable[..., Contender]] = {"cairndb": Cairn, "plain": Plain, "sqlite3": Sqlite}
