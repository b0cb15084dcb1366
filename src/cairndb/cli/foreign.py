"""Files of other stores, read as data for a database without declared types.

Nothing that is stored in them is executed. Where values are pickles, which are programs, they are
refused, unless the user says that he trusts them: see `unpickling`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Never

from msgspec import Raw

from cairndb import codec
from cairndb.cli import output, values
from cairndb.errors import ValidationError, pointer
from cairndb.kinds import AnyKind, DictKind
from cairndb.schema import compile_root

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.cli.source import Progress

SQLITE_MAGIC: Final = b"SQLite format 3\0"
_TINYDB: Final = re.compile(rb'\s*\{\s*"[^"]*"\s*:\s*\{\s*"\d+"\s*:\s*\{')

Load = Callable[[bytes], Any]


class Origin(str, Enum):  # noqa: UP042  how Typer shows a StrEnum depends on its version
    """What wrote a file."""

    SHELVE = "shelve"
    SQLITE3 = "sqlite3"
    TINYDB = "tinydb"
    SQLITEDICT = "sqlitedict"
    DISKCACHE = "diskcache"


class Collector:
    """Takes keys and values, judges each, and makes the bytes of the root of them.

    Args:
        path: of the file, for messages.
        tables: the only ones that are wanted; empty for all.
        load: unpickles; None refuses to.
        progress: told how many values there have been, and will be.
    """

    def __init__(
        self, path: Path, tables: list[str], load: Load | None, progress: Progress
    ) -> None:
        self.path = path
        self.total = 0
        self._tables = tables
        self._load = load
        self._progress = progress
        self._root: dict[Any, Any] = {}
        self._count = 0
        root = compile_root(dict[str, Any], guard=False)
        assert isinstance(root, DictKind)
        assert isinstance(root.value, AnyKind)
        self._any = root.value

    def chosen(self, names: list[str]) -> list[str]:
        """The tables to read, of those that there are; each gets a dict, though it be empty."""
        for name in self._tables:
            if name not in names:
                known = ", ".join(names) or "none"
                raise output.Misuse(f"{self.path} has no table {name}; there are: {known}")
        chosen = [name for name in names if name in self._tables or not self._tables]
        for name in chosen:
            self._root[name] = {}
        return chosen

    def put(self, table: str | None, key: Any, value: Any) -> None:
        """Take a value: below its table, or below the root where there are no tables."""
        place = self._root if table is None else self._root[table]
        try:
            if table is None and not isinstance(key, str):
                self.refuse(table, key, "a key of the root is text")
            known = self._any.dict_kind.key.copy(key, 0)
            if known in place:
                self.refuse(table, key, "another key is equal to it")
            place[known] = Raw(self._any.encode(self._any.copy(value, len(("root", "table")))))
        except ValidationError as error:
            where = f"at {pointer(error.path)}: " if error.path else ""
            self.refuse(table, key, where + error.reason)
        self._count += 1
        if self._count % 256 == 0:
            self._progress(self._count, self.total)

    def unpickled(self, table: str | None, key: Any, data: bytes) -> Any:
        """What a pickle holds, if the user trusts it."""
        if self._load is None:
            self.refuse(
                table,
                key,
                "it is pickled, and loading a pickle runs whatever its writer put in it: if you "
                "trust the file as you trust a program, add --trust-pickles",
            )
        try:
            return self._load(data)
        except ValueError as error:
            self.refuse(table, key, str(error))

    def refuse(self, table: str | None, key: Any, reason: str) -> Never:
        """Raise the error for a value that can't be kept."""
        where = f"{key!r:.100}" if table is None else f"{table} {key!r:.100}"
        raise output.Misuse(f"{self.path}: {where}: {reason}. Nothing was imported") from None

    def state(self) -> bytes:
        """The bytes of the root."""
        return codec.encode(self._root)


def read(
    path: Path, origin: Origin, tables: list[str], *, trust: bool, progress: Progress
) -> bytes:
    """The state that a file's content makes: a `dict[str, Any]`.

    Args:
        path: of the file, or the directory of a diskcache.
        origin: what wrote it.
        tables: the only ones that are wanted; empty for all.
        trust: whether to load pickles.
        progress: told how many values there have been, and will be.

    Raises:
        Misuse: it isn't such a file, or holds what can't be kept.
        OSError: it can't be read.
    """
    load: Load | None = None
    if trust:
        from cairndb.cli.unpickling import unpickle as load  # noqa: PLC0415  never without the flag
    if not path.exists() and origin is not Origin.SHELVE:  # whose file may have an ending more
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if origin is Origin.SHELVE and tables:
        raise output.Misuse("a shelf has no tables: leave out --table")
    collector = Collector(path, tables, load, progress)
    if origin is Origin.TINYDB:
        _read_tinydb(path, collector)
    else:
        from cairndb.cli import foreign_tables  # noqa: PLC0415  sqlite3 isn't in every Python

        foreign_tables.READERS[origin.value](path, collector)
    return collector.state()


def detect(path: Path) -> Origin | None:
    """What wrote a file, as far as its bytes tell; None: perhaps an export, or nothing known.

    Raises:
        Misuse: it could be several things, or is a directory of something else.
    """
    if path.is_dir():
        if (path / "cache.db").exists():
            return Origin.DISKCACHE
        raise output.Misuse(
            f"{path} is a directory without a cache.db of diskcache: name a file. A cairndb "
            "database is imported from what 'cairn export' writes"
        )
    head = b""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(4096)
    if head.startswith(SQLITE_MAGIC):
        from cairndb.cli import foreign_tables  # noqa: PLC0415  as in `read`

        return Origin(foreign_tables.detect(path))
    if head.lstrip()[:1] == b"{":
        return Origin.TINYDB if _TINYDB.match(head) else None
    from cairndb.cli.foreign_tables import shelf_of  # noqa: PLC0415  as above

    return Origin.SHELVE if shelf_of(path) else None


def _read_tinydb(path: Path, collector: Collector) -> None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise output.Misuse(f"{path} isn't a file of TinyDB: {error}") from None
    tables = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(table, dict) for table in tables):
        raise output.Misuse(f"{path} isn't a file of TinyDB: its tables aren't objects")
    collector.total = sum(map(len, content.values()))
    for table in collector.chosen(list(content)):
        for key, document in content[table].items():
            collector.put(table, _document_id(key), document)


def _document_id(text: str) -> Any:
    """TinyDB's documents are numbered, and JSON has made text of the numbers."""
    return int(text) if re.fullmatch(r"0|[1-9]\d{0,17}", text) else text


def composite_key(parts: tuple[Any, ...]) -> Any:
    """One key of the columns of a primary key: of several, their JSON as text."""
    return parts[0] if len(parts) == 1 else values.dumps(values.to_json(parts))
