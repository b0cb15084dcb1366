"""`diff`: what changed between two moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Raw
from typer import Option

from cairndb import codec
from cairndb.cli import output, source, values
from cairndb.cli.reading import Database, PathArgument, moment
from cairndb.difference import Difference, differences

if TYPE_CHECKING:
    from collections.abc import Iterator

_BRIEF = 60


def diff(
    database: Database,
    path: PathArgument = "/",
    *,
    start: Annotated[str, Option("--from", metavar="LSN|TIME", help="The earlier state.")],
    to: Annotated[
        str | None, Option("--to", metavar="LSN|TIME", help="The later one; without, the last.")
    ] = None,
    json: Annotated[bool, Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what changed between two moments, path by path.

    Example: cairn diff bank.cairn --from 1
    """
    steps = values.parse_path(path)
    earlier = source.read_state(database, moment(start))
    later = source.read_state(database, moment(to))
    prefix, before = _part(earlier.encoded, steps)
    found, after = _part(later.encoded, steps)
    for each in _between(before, after, tuple(found or prefix)):
        if json:
            output.write_json(as_json(each), compact=True)
        else:
            output.write(as_text(each))


def _part(encoded: bytes, steps: list[str]) -> tuple[list[Any], Raw | None]:
    try:
        found, value = values.find(encoded, steps)
    except values.NoSuchPath:
        return [], None
    return found, Raw(value)


def _between(before: Raw | None, after: Raw | None, path: tuple[Any, ...]) -> Iterator[Difference]:
    if before is not None and after is not None:
        yield from differences(before, after, path)
    elif before is not None or after is not None:
        yield Difference(path, before, after)


def as_text(each: Difference) -> str:
    """One line: + new, - gone, ~ changed."""
    path = values.path_text(list(each.path))
    before = values.brief(each.before, _BRIEF) if each.before is not None else ""
    after = values.brief(each.after, _BRIEF) if each.after is not None else ""
    if each.before is None:
        return f"+ {path} = {after}"
    return f"~ {path} = {before} -> {after}" if each.after is not None else f"- {path} = {before}"


def as_json(each: Difference) -> dict[str, Any]:
    """An object with `path`, `before` and `after`."""
    shown: dict[str, Any] = {"path": values.path_text(list(each.path))}
    for name in ("before", "after"):
        value = getattr(each, name)
        if value is not None:
            shown[name] = values.to_json(codec.decode(value))
    return shown
