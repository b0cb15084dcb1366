"""Stores that are SQLite files, or shelves: the rows of their tables as keys and values.

sqlitedict: every table has the columns key and value, of which values are pickles. diskcache: the
table Cache says of each value whether it is as it is, in a file of its own, or pickled. A shelf is
any `dbm`; Python 3.13 makes a SQLite file of it, with a table Dict.
"""

from __future__ import annotations

import dbm
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from cairndb.cli import output
from cairndb.cli.foreign import SQLITE_MAGIC, composite_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cairndb.cli.foreign import Collector

# diskcache's modes of a value (`diskcache.core`, 5.6).
_RAW, _BINARY, _TEXT, _PICKLE = 1, 2, 3, 4


def detect(path: Path) -> str:
    """Which store a SQLite file belongs to: `sqlite3` if it is just tables.

    Raises:
        Misuse: it may be that or another.
    """
    with _opened(path) as connection:
        columns = {name: _columns(connection, name) for name in _tables(connection)}
    if {"raw", "mode", "filename", "value"} <= set(columns.get("Cache", ())):
        return "diskcache"
    if columns and all(names == ["key", "value"] for names in columns.values()):
        raise output.Misuse(
            f"{path} may be sqlitedict's, a shelf, or just tables: say which, --from sqlitedict, "
            "--from shelve or --from sqlite3"
        )
    return "sqlite3"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite file as of one moment, read without running what its schema may call."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            opened.execute("PRAGMA trusted_schema = OFF")
            opened.execute("BEGIN")
            yield opened
    except sqlite3.Error as error:
        raise output.Misuse(f"{path} can't be read by SQLite: {error}") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables(connection: sqlite3.Connection, *, warn: bool = False) -> list[str]:
    """The names of real tables: a virtual one is code, and what holds its data isn't for people."""
    kinds = {str(row[1]): row[2] for row in connection.execute("PRAGMA table_list")}
    query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
    names = [str(name) for (name,) in connection.execute(query)]
    for name in names:
        if kinds.get(name) == "virtual" and warn:
            output.say_error(f"warning: {name} is a virtual table, and left out")
    hidden = {"virtual", "shadow"}
    return [
        name for name in names if not name.startswith("sqlite_") and kinds.get(name) not in hidden
    ]


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [str(row[1]) for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")]


def _select(
    connection: sqlite3.Connection, columns: str, table: str, collector: Collector
) -> sqlite3.Cursor:
    (count,) = connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()  # noqa: S608  quoted
    collector.total += count
    return connection.execute(f"SELECT {columns} FROM {_quoted(table)}")  # noqa: S608  as above


def _read_sqlite3(path: Path, collector: Collector) -> None:
    with _opened(path) as connection:
        for table in collector.chosen(_tables(connection, warn=True)):
            _read_table(connection, table, collector)


def _read_table(connection: sqlite3.Connection, table: str, collector: Collector) -> None:
    """Every row as a dict by column, by its primary key or its rowid."""
    info = connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
    primary = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
    taken = {str(row[1]).lower() for row in info}
    aliases = [name for name in ("rowid", "oid", "_rowid_") if name not in taken]
    if not primary and not aliases:
        collector.refuse(table, "", "it has no primary key, and columns hide the rowid")
    keys = primary or aliases[:1]
    rows = _select(connection, f"{', '.join(map(_quoted, keys))}, *", table, collector)
    names = [column[0] for column in rows.description][len(keys) :]
    for row in rows:
        key = row[: len(keys)]
        if None in key:
            collector.refuse(table, key, "there is a NULL in its primary key")
        collector.put(table, composite_key(key), dict(zip(names, row[len(keys) :], strict=True)))


def _read_sqlitedict(path: Path, collector: Collector) -> None:
    with _opened(path) as connection:
        tables = [
            name for name in _tables(connection) if _columns(connection, name) == ["key", "value"]
        ]
        if not tables:
            raise output.Misuse(f"{path} isn't sqlitedict's: no table has just key and value")
        for table in collector.chosen(tables):
            for key, value in _select(connection, "key, value", table, collector):
                if isinstance(value, bytes):
                    collector.put(table, key, collector.unpickled(table, key, value))
                else:  # written with an encoder of one's own, as json.dumps
                    collector.put(table, key, value)


def _read_diskcache(path: Path, collector: Collector) -> None:
    """What hasn't expired, as `Cache` of the root."""
    folder = path if path.is_dir() else path.parent
    with _opened(folder / "cache.db" if path.is_dir() else path) as connection:
        if "filename" not in _columns(connection, "Cache"):
            raise output.Misuse(f"{path} isn't diskcache's: it has no table Cache of that kind")
        for table in collector.chosen(["Cache"]):
            columns = "key, raw, mode, filename, value, expire_time"
            for key, raw, *stored, expires in _select(connection, columns, table, collector):
                if expires is None or expires > time.time():
                    known = key if raw else collector.unpickled(table, key, key)
                    collector.put(table, known, _cached(folder, collector, known, stored))


def _cached(folder: Path, collector: Collector, key: Any, stored: list[Any]) -> Any:
    mode, filename, value = stored
    if filename is not None:
        file = (folder / filename).resolve()
        if not file.is_relative_to(folder.resolve()):
            collector.refuse("Cache", key, f"its file {filename} is outside of the cache")
        value = file.read_bytes()
    if mode == _PICKLE:
        return collector.unpickled("Cache", key, value)
    if mode == _TEXT:
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            collector.refuse("Cache", key, f"its text isn't UTF-8: {error}")
    if mode not in {_RAW, _BINARY}:
        collector.refuse("Cache", key, f"diskcache has no mode {mode}")
    return value


def shelf_of(path: Path) -> str | None:
    """The name that dbm knows a shelf by: its file's, perhaps without an ending."""
    for name in (str(path), str(path.with_suffix(""))):
        if dbm.whichdb(name):
            return name
    return None


def _read_shelve(path: Path, collector: Collector) -> None:
    for key, value in _shelf_items(path, collector):
        try:
            name = key.decode()  # as shelve encodes it, unless told otherwise
        except UnicodeDecodeError:
            collector.refuse(None, key, "a key of a shelf is UTF-8")
        collector.put(None, name, collector.unpickled(None, name, value))


def _shelf_items(path: Path, collector: Collector) -> Iterator[tuple[bytes, bytes]]:
    if path.is_file() and _head(path) == SQLITE_MAGIC:
        with _opened(path) as connection:
            for key, value in _select(connection, "key, value", "Dict", collector):
                yield bytes(key), bytes(value)
        return
    name = shelf_of(path)
    if name is None:
        raise output.Misuse(f"{path} isn't a shelf, or of a dbm that this Python lacks")
    try:
        with dbm.open(name, "r") as shelf:
            keys: list[Any] = list(shelf.keys())
            collector.total = len(keys)
            for key in keys:
                yield bytes(key), bytes(shelf[key])
    except dbm.error as error:
        raise output.Misuse(f"{path} can't be read as a shelf: {error}") from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC))


READERS: Final[dict[str, Callable[[Path, Collector], None]]] = {
    "sqlite3": _read_sqlite3,
    "sqlitedict": _read_sqlitedict,
    "diskcache": _read_diskcache,
    "shelve": _read_shelve,
}
