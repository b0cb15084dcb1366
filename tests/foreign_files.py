"""Files of other stores for tests, and what an import makes of them."""

from __future__ import annotations

import dbm.dumb
import pickle
import shelve
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import cairndb

if TYPE_CHECKING:
    from pathlib import Path

    from commands import Cairn

EXECUTED: list[str] = []

VALUES: dict[str, Any] = {
    "a": {"x": [1, None, 2.5], "when": datetime(2025, 1, 1, tzinfo=UTC)},
    "ž": b"\x00",
}


def executed(text: str) -> str:
    """What a pickle calls that shows whether it was loaded."""
    EXECUTED.append(text)
    return text


class Exploit:
    """Pickles as a call."""

    def __reduce__(self) -> Any:
        return executed, ("loaded",)


def content(path: Path) -> dict[str, Any]:
    """Everything in an imported database."""
    with cairndb.open(path) as db, db.view() as root:
        plain: dict[str, Any] = cairndb.plain(root)
        return plain


def refused(cairn: Cairn, copy: Path, *arguments: object) -> str:
    """The message of an import that must be refused, and leave nothing."""
    EXECUTED.clear()
    before = sorted(copy.parent.iterdir())
    cairn("import", copy, *arguments, code=2)
    assert sorted(copy.parent.iterdir()) == before
    assert EXECUTED == []
    return cairn.error


def run_sql(path: Path, script: str) -> None:
    """Make a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def dumb_shelf(path: Path, values: dict[str, Any]) -> Path:
    """A shelf on a dbm that is everywhere."""
    store: Any = dbm.dumb.open(str(path), "c")  # noqa: SIM115  the shelf closes it
    shelf: shelve.Shelf[Any]
    with shelve.Shelf(store) as shelf:
        shelf.update(values)
    return path


def sqlite_shelf(path: Path, values: dict[str, Any]) -> Path:
    """A shelf as Python 3.13 makes it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
        rows = [(key.encode(), pickle.dumps(value)) for key, value in values.items()]
        connection.executemany("INSERT INTO Dict VALUES (?, ?)", rows)
    return path


def sqlitedict_file(path: Path, values: dict[str, Any]) -> Path:
    """The tables of sqlitedict 2."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE TABLE "unnamed" (key TEXT PRIMARY KEY, value BLOB)')
        rows = [(key, pickle.dumps(value)) for key, value in values.items()]
        connection.executemany("INSERT INTO unnamed VALUES (?, ?)", rows)
    return path


def diskcache_folder(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    """The table of diskcache 5, with key, raw, expire_time, mode, filename, value."""
    path.mkdir()
    with closing(sqlite3.connect(path / "cache.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL,"
            " expire_time REAL, access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB,"
            " size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0, filename TEXT, value BLOB)"
        )
        connection.executemany(
            "INSERT INTO Cache (key, raw, expire_time, mode, filename, value) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
    return path
