"""The standard library's sqlite3: write-ahead log, a connection for each thread, one table."""

import sqlite3
import threading
from pathlib import Path
from typing import ClassVar

import msgspec

from contenders.work import Contender, Level, key_of, owner_of, tags_of

COMMON = "journal_mode=WAL, 256 MiB of cache and of mmap, WITHOUT ROWID"


class Sqlite(Contender):
    """An UPDATE statement is a transaction of its own."""

    settings: ClassVar[dict[Level, str]] = {
        "commit": f"synchronous=FULL, {COMMON}",
        "process": f"synchronous=OFF, {COMMON}",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / "bench.sqlite"

    def open(self, level: Level) -> None:
        """See Contender."""
        self.synchronous = {"commit": "FULL", "process": "OFF"}[level]
        self.local = threading.local()
        self.opened: list[sqlite3.Connection] = []
        # SQLite has threads that wait for each other sleep: this is thirty times as fast.
        self.writing = threading.Lock()
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS accounts "
            "(key TEXT PRIMARY KEY, owner TEXT, balance INTEGER, tags TEXT) WITHOUT ROWID"
        )

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self.local, "connection"):
            made = sqlite3.connect(
                self.file, isolation_level=None, timeout=60, check_same_thread=False
            )
            made.execute(f"PRAGMA synchronous={self.synchronous}")
            made.execute("PRAGMA cache_size=-262144")
            made.execute("PRAGMA mmap_size=268435456")
            self.local.connection = made
            self.opened.append(made)
        connection: sqlite3.Connection = self.local.connection
        return connection

    def close(self) -> None:
        """See Contender."""
        for connection in self.opened:
            connection.close()

    def load(self, count: int) -> None:
        """See Contender."""
        encode = msgspec.json.encode
        rows = (
            (key_of(number), owner_of(number), 100, encode(tags_of(number)).decode())
            for number in range(count)
        )
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?)", rows)
        self.connection.execute("COMMIT")

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        execute = self.connection.execute
        execute("BEGIN")
        for key in keys:
            execute("SELECT balance FROM accounts WHERE key = ?", (key,)).fetchone()[0]
        execute("COMMIT")

    def iterate(self) -> int:
        """See Contender."""
        return sum(row[0] for row in self.connection.execute("SELECT balance FROM accounts"))

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
            with self.writing:
                execute("UPDATE accounts SET balance = balance + 1 WHERE key = ?", (key,))
