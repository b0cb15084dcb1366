"""How a watch begins: now, or where an earlier one has got to; here, or beside the owner.

From now on: the position and what is there are taken in one view. From a position in the past: it
is found in the log, and what was there then is folded from a checkpoint before it.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from cairndb.errors import Compacted, SchemaError, UsageError
from cairndb.history import folded, read_at
from cairndb.pattern import Pattern
from cairndb.recovery import read_chain
from cairndb.schema_change import Evolution, change_from
from cairndb.schema_text import parse_schema
from cairndb.transaction import View
from cairndb.watch import Watch
from cairndb.watch_hub import LogSource
from cairndb.watch_items import Start, parse_position
from cairndb.watch_scope import Scope, captured
from cairndb.watch_types import Reading, Typed, Untyped

if TYPE_CHECKING:
    from cairndb.chain import Position
    from cairndb.engine import Engine
    from cairndb.files import Directory
    from cairndb.kinds import Kind
    from cairndb.log import SegmentHeader
    from cairndb.watch_hub import Hub, OwnSource


class Wish(Struct, frozen=True):
    """What is asked for; the arguments of `Database.watch`."""

    pattern: str
    since: str | int | None = None
    initial: bool = False
    timeout: float | None = None
    bookmarks: float | None = None

    def check(self) -> None:
        """Raise UsageError for what can't be meant."""
        if self.initial and self.since is not None:
            raise UsageError(
                "initial=True begins with what is there now, and since= with what came after a "
                "position: give one of them"
            )


def watch_own(hub: Hub, wish: Wish, *, typed: bool = True) -> Watch:
    """Watch a database that is open for writing in this process, or a replica.

    Args:
        hub: of the database.
        wish: what is asked for.
        typed: whether values are of their declared types; else they look as they are stored.

    Raises:
        Compacted, UnknownPosition: `since` isn't in the log any more, or never was.
    """
    wish.check()
    engine, pattern = hub.engine, Pattern.parse(wish.pattern)
    declared = Typed(engine.tree.kind)
    declared.check(pattern)
    reading: Reading = declared if typed else Untyped()
    kind = engine.tree.kind if typed else None
    start = None if wish.since is None else parse_position(wish.since)
    source = hub.source()
    source.capture = partial(_now, engine, pattern, reading)
    try:
        position = None
        if start is None or start.lsn == engine.applied_lsn:
            state: Raw | None
            position, state = _now(engine, pattern, reading)
            if start is not None and start not in {Start(*position), Start(position.lsn, None)}:
                position = None
        if position is None:
            assert start is not None
            position = source.begin(start)
            if kind is not None:
                _check_schemas(source.headers, kind, start.lsn, source.directory)
            state = _then(source.directory, start.lsn)
        return _made(source, pattern, reading, position, state, wish, kind)
    except BaseException:
        source.close()
        raise


def watch_beside(engine: Engine, wish: Wish) -> Watch:
    """Watch a database that is open for reading: from what it shows on."""
    wish.check()
    kind, pattern = engine.tree.kind, Pattern.parse(wish.pattern)
    reading = Typed(kind)
    reading.check(pattern)
    start = Start(engine.applied_lsn, None)
    if wish.since is not None:
        start = parse_position(wish.since)
    source = LogSource(engine.directory, start, engine.check_usable)
    try:
        _check_schemas(source.headers, kind, start.lsn, source.directory)
        if wish.since is None:
            with View[Any](engine, None, durable=True) as root:
                state: Raw | None = captured(kind, root, pattern, reading.tags)
        else:
            state = _then(source.directory, start.lsn)
        return _made(source, pattern, reading, source.position, state, wish, kind)
    except BaseException:
        source.close()
        raise


def watch_untyped(directory: Directory, wish: Wish) -> Watch:
    """Watch a database without its types, beside an owner or without one.

    Args:
        directory: of the database; not closed.
        wish: what is asked for.
    """
    wish.check()
    reading = Untyped()
    if wish.since is None:
        with closing(read_chain(directory)) as now:
            start = Start(now.lsn, now.running)
            state: Raw | None = Raw(folded(now, directory.path, lambda _: None).fold.encode())
    else:
        start = parse_position(wish.since)
    source = LogSource(directory, start, lambda: None)
    try:
        if wish.since is not None:
            state = _then(directory, start.lsn)
        pattern = Pattern.parse(wish.pattern)
        return _made(source, pattern, reading, source.position, state, wish, None)
    except BaseException:
        source.close()
        raise


def _made(  # noqa: PLR0917  what a watch is made of
    source: OwnSource | LogSource,
    pattern: Pattern,
    reading: Reading,
    position: Position,
    state: Raw | None,
    wish: Wish,
    kind: Kind | None,
) -> Watch:
    return Watch(
        source,
        Scope(pattern, reading.tags, state, reading.differ),
        reading,
        position,
        initial=wish.initial,
        timeout=wish.timeout,
        bookmarks=wish.bookmarks,
        reads=lambda text: kind is None or _reads(kind, text, source.directory.path),
    )


def _now(engine: Engine, pattern: Pattern, reading: Reading) -> tuple[Position, Raw]:
    """Where the log is, and what is there under a pattern; promised when this returns."""
    with View[Any](engine, None, durable=True) as root:
        state = captured(engine.tree.kind, root, pattern, reading.tags)
        position = engine.position
    return position, state


def _then(directory: Directory, lsn: int) -> Raw | None:
    """What was there at an LSN; None before the first."""
    if lsn == 0:
        return None
    with closing(read_at(directory, lsn)) as reading:
        return Raw(folded(reading, directory.path, lambda _: None).fold.encode())


def _check_schemas(
    headers: list[SegmentHeader], kind: Kind, lsn: int, directory: Directory
) -> None:
    """Raise if what comes after an LSN was written with types that these can't stand for."""
    needed = [h for h in headers if h.first_lsn > lsn]
    needed += [h for h in headers if h.first_lsn <= max(lsn, 1)][-1:]
    unread = [h for h in needed if not _reads(kind, h.schema, directory.path)]
    if not unread:
        return
    last = max(h.first_lsn for h in unread)
    later = [h.first_lsn for h in headers if h.first_lsn > last]
    if not later:
        raise SchemaError(
            f"{directory.path} has been given other types since: open it with the new ones"
        )
    raise Compacted(
        f"{directory.path}: what comes after LSN {lsn} was written with other types, until LSN "
        f"{min(later)}: begin there, or with initial=True; 'cairn watch' shows it untyped",
        min(later),
    )


def _reads(kind: Kind, text: str, path: str) -> bool:
    """Whether values of a stored schema read as they are."""
    try:
        version = parse_schema(text).version
        return not change_from(text, kind, Evolution(version), path).rewrites
    except (SchemaError, ValueError):
        return False
