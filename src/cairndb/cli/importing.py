"""`import`: an export, or another store's file, into a new database or to one place of an old one.

Everything is read and judged before anything is written: nothing is ever half imported.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from typer import Argument, Option

from cairndb import codec
from cairndb.cli import building, exports, foreign, output, values, writing
from cairndb.cli.exporting import STANDARD
from cairndb.cli.reading import Database  # noqa: TC001  Typer looks at it at run time
from cairndb.cli.writing import RootOption  # noqa: TC001  as above
from cairndb.errors import ValidationError
from cairndb.kinds import RecordKind
from cairndb.patch import Call
from cairndb.schema import compile_root, describe
from cairndb.schema_classes import UnknownType, kind_of_text
from cairndb.schema_text import parse_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from cairndb.kinds import Kind


class Content(NamedTuple):
    """What is imported: the root's bytes, as its schema wants them."""

    state: bytes
    schema: str
    kind: Kind | None
    source: dict[str, Any]
    """Where it comes from, for the log and for who asked."""


def import_(
    database: Database,
    file: Annotated[str, Argument(metavar="FILE", help="What to read; - is standard input.")],
    *,
    origin: Annotated[
        foreign.Origin | None,
        Option("--from", help="What wrote FILE, if that isn't 'cairn export'."),
    ] = None,
    into: Annotated[
        str | None,
        Option(metavar="PATH", help="Put it at this place of a database that is there already."),
    ] = None,
    replace: Annotated[
        bool, Option("--replace", help="With --into: instead of what stands there.")
    ] = False,
    trust_pickles: Annotated[
        bool, Option("--trust-pickles", help="Unpickle: runs whatever FILE's writer wants.")
    ] = False,
    table: Annotated[
        list[str] | None, Option(metavar="NAME", help="Only this table; can be repeated.")
    ] = None,
    root: RootOption = None,
    json: Annotated[bool, Option("--json", help="Say what was done as a JSON object.")] = False,
) -> None:
    """Make a new database of an export, or of another store's file.

    Other stores become a database without declared types: shelve, sqlite3, tinydb, sqlitedict,
    diskcache. Nothing that is stored in them is executed.

    Example: cairn import copy.cairn bank.jsonl
    """
    if into is None:
        if replace or root:
            raise output.Misuse("--replace and --root go with --into PATH")
        building.check_new(database)
    content = _read(file, origin, table or [], trust=trust_pickles)
    if into is None:
        call = Call("import", [], content.source)
        entries = building.entries_of(content.state, content.kind, call)
        lsn = building.build(database, content.schema, entries)
    else:
        lsn = _put(database, into, content.state, root, replace=replace)
    if json:
        done = {"database": str(database), "lsn": lsn, "path": into or "/"}
        output.write_json(done | {"source": content.source}, compact=True)
    else:
        where = f"{database} {into}" if into else str(database)
        output.write(f"imported {file} to {where}, LSN {lsn}")


def _read(file: str, origin: foreign.Origin | None, tables: list[str], *, trust: bool) -> Content:
    if origin is None and file != STANDARD:
        origin = foreign.detect(Path(file))
    if origin is not None:
        return _read_foreign(file, origin, tables, trust=trust)
    if tables or trust:
        raise output.Misuse("--table and --trust-pickles go with --from")
    with _source(file) as opened, output.progress("reading") as progress:
        total = 0 if file == STANDARD else Path(file).stat().st_size
        name = "standard input" if file == STANDARD else file
        export = exports.read_export(opened, name, progress, total)
    source = {"file": file, "from": "cairn", "database": export.database, "lsn": export.lsn}
    return judged(name, export.schema, export.state, source)


def _read_foreign(file: str, origin: foreign.Origin, tables: list[str], *, trust: bool) -> Content:
    if file == STANDARD:
        raise output.Misuse(f"--from {origin.value} reads a file: name it")
    kind = compile_root(dict[str, Any], guard=False)
    with output.progress("reading") as progress:
        state = foreign.read(Path(file), origin, tables, trust=trust, progress=progress)
    return Content(state, describe(kind), kind, {"file": file, "from": origin.value})


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as opened:
        yield opened


def judged(name: str, schema: str, state: bytes, source: dict[str, Any]) -> Content:
    """What the declared types make of an export: it may have been edited."""
    try:
        parse_schema(schema)
    except ValueError as error:
        raise output.Misuse(f"{name}: {error}: nothing was imported") from None
    try:
        kind = kind_of_text(schema)
    except UnknownType as error:
        raise output.Misuse(f"{name}: {error}: nothing was imported") from None
    except ValueError as error:
        # Whoever exported it must get it back, even if only his own classes can judge it.
        output.say_error(f"warning: {name} is taken as it is, unchecked: {error}")
        return Content(state, schema, None, source)
    try:
        return Content(kind.encode(kind.decode(state)), schema, kind, source)
    except ValidationError as error:
        raise output.Misuse(f"{name}: {error}, by the schema in it: nothing was imported") from None


def _put(database: Path, path: str, state: bytes, root: str | None, *, replace: bool) -> int:
    """Put a value where there is nothing yet, in one update."""
    with writing.opened(database, root) as (db, kind):
        with db.view() as current:
            place = writing.locate(kind, current, path)
        if place.exists and not replace:
            field = isinstance(place.way[-1][0], RecordKind)
            what = "is a field, which has a value already" if field else "is there already"
            raise output.Misuse(f"{path} {what}: --replace puts the import in its place")
        value = _typed(place.kind, state, path)
        with db.update() as draft:
            writing.put(writing.reach(draft, place), *place.way[-1], value)
        return db.lsn


def _typed(kind: Kind, state: bytes, path: str) -> Any:
    try:
        value = kind.decode(state)
    except ValidationError as error:
        raise error.under(tuple(values.parse_path(path))) from None
    for lost in _lost(codec.decode(state), codec.decode(kind.encode(value)), ()):
        where = values.path_text(lost)
        raise output.Misuse(f"{path}: {kind.name} has no place for {where} of the import")
    return kind.plain(value)


def _lost(given: Any, kept: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Paths of keys that decoding has dropped: fields that a record doesn't have."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], (*path, key))
            else:
                yield (*path, key)
    elif isinstance(given, list) and isinstance(kept, list):
        for position, pair in enumerate(zip(given, kept, strict=False)):
            yield from _lost(*pair, (*path, position))
