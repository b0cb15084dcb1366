"""`get`, `ls` and `tree`: what stands at a path, without the application and beside its owner."""

from __future__ import annotations

import shlex
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from cairndb import codec
from cairndb.cli import output, source, values

if TYPE_CHECKING:
    from msgspec import Raw
    from rich.tree import Tree

    from cairndb.history import At

# Typer looks at these when the program runs, so they can't stand under TYPE_CHECKING.
Database = Annotated[
    Path,
    # Whether it can be read is for the database to say, with exit code 3.
    Argument(metavar="DATABASE", help="The database's directory.", readable=False),
]
PathArgument = Annotated[
    str, Argument(metavar="PATH", help="Where to look, as /accounts/alice/balance.")
]

AtOption = Annotated[
    str | None,
    Option("--at", metavar="LSN|TIME", help="As it was then: 4711, or 2026-11-24T12:00."),
]

_BRIEF = 60
_TREE_WIDTH = 10_000


def get(
    database: Database,
    path: PathArgument = "/",
    *,
    at: AtOption = None,
    raw: Annotated[
        bool, Option("--raw", "-r", help="Text as it is, without quotes and escapes.")
    ] = False,
    json: Annotated[bool, Option("--json", help="On one line, without colour.")] = False,
) -> None:
    """Print the value at PATH as JSON.

    Example: cairn get bank.cairn /accounts/alice
    """
    value = codec.decode(_find(database, path, at)[1])
    if raw and isinstance(value, str):
        output.write(value)
    else:
        output.write_json(values.to_json(value), compact=json)


def ls(
    database: Database,
    path: PathArgument = "/",
    *,
    at: AtOption = None,
    limit: Annotated[int | None, Option(min=0, metavar="N", help="Show at most N.")] = None,
    json: Annotated[bool, Option("--json", help="As a JSON array of objects.")] = False,
) -> None:
    """List the keys at PATH, with how much is below each.

    Example: cairn ls bank.cairn /accounts
    """
    found, value = _find(database, path, at)
    level = values.children(value)
    if level is None:
        where = values.path_text(found)
        see = _command("get", database, where)
        raise output.Negative(f"{database}: {where} is a value, nothing is below it: see {see}")
    rows = [_row(key, item) for key, item in islice(_items(level), limit)]
    if json:
        output.write_json(rows)
        return
    names = [values.step_text(row["key"]) for row in rows]
    width = min(max(map(len, names), default=0), _BRIEF) if output.on_terminal() else 0
    for name, (_, item) in zip(names, islice(_items(level), limit), strict=True):
        shown = values.shape(item) or values.brief(item, _BRIEF)
        output.write(f"{name:{width}}  {shown}" if width else f"{name}\t{shown}")


def tree(
    database: Database,
    path: PathArgument = "/",
    *,
    at: AtOption = None,
    depth: Annotated[int, Option(min=1, metavar="N", help="Go down N levels.")] = 3,
    limit: Annotated[int, Option(min=1, metavar="N", help="Show N of each node.")] = 20,
) -> None:
    """Draw what is below PATH.

    Example: cairn tree bank.cairn --depth 2 --limit 5
    """
    from rich.text import Text  # noqa: PLC0415  the other commands start faster without
    from rich.tree import Tree  # noqa: PLC0415

    found, value = _find(database, path, at)
    name = values.path_text(found) if found else database.name
    drawn = Tree(Text(f"{name} {values.shape(value) or values.brief(value, _BRIEF)}", "bold"))
    _grow(drawn, value, depth, limit)
    # Wide enough for every level: a long line is the terminal's to wrap, not to be cut off here.
    output.console(width=_TREE_WIDTH).print(drawn, soft_wrap=True)


def _grow(drawn: Tree, value: Raw | bytes, depth: int, limit: int) -> None:
    from rich.text import Text  # noqa: PLC0415  as above

    level = values.children(value)
    if not level:
        return
    if depth == 0:
        drawn.add(Text("…", style="dim"))
        return
    for key, item in islice(_items(level), limit):
        outline = values.shape(item)
        name = Text(values.step_text(key))
        if outline:
            name.append(f" {outline}", style="cyan")
        else:
            name.append(f": {values.brief(item, _BRIEF)}")
        _grow(drawn.add(name), item, depth - 1, limit)
    if len(level) > limit:
        drawn.add(Text(f"… {len(level) - limit:,} more", style="dim"))


def moment(text: str | None) -> At | None:
    """What `--at` says: an LSN, or a time; without a zone it is this machine's.

    Raises:
        Misuse: it is neither.
    """
    if text is None or text.isdigit():
        return None if text is None else int(text)
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise output.Misuse(
            f"{text!r} is neither an LSN, as 4711, nor a time, as 2026-11-24T12:00"
        ) from None


def _find(database: Path, path: str, at: str | None) -> tuple[list[Any], Raw | bytes]:
    state = source.read_state(database, moment(at))
    try:
        return values.find(state.encoded, values.parse_path(path))
    except values.NoSuchPath as error:
        see = _command("ls" if error.below else "get", database, error.where)
        raise output.Negative(f"{database}: {error}: see {see}") from None


def _command(name: str, database: Path, where: str) -> str:
    return f"'cairn {shlex.join([name, str(database), where])}'"


def _items(level: values.Level) -> Any:
    return level.items() if isinstance(level, dict) else enumerate(level)


def _row(key: Any, item: Raw) -> dict[str, Any]:
    kind = values.kind_of(item)
    row = {"key": values.to_json(key), "kind": kind}
    if kind == "value":
        return row | {"value": values.to_json(codec.decode(item))}
    return row | {"count": codec.header_count(item)}
