"""`watch`: what changes under a pattern, as it happens, beside the program that changes it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from cairndb.cli import output, source, values
from cairndb.cli.reading import Database  # noqa: TC001  Typer looks at it at run time
from cairndb.watch_json import item_json
from cairndb.watch_start import Wish, watch_untyped

if TYPE_CHECKING:
    from cairndb.watch_items import Change, ValueChange

_BRIEF = 60


def watch(
    database: Database,
    pattern: Annotated[
        str,
        Argument(metavar="PATTERN", help="What to watch, as /accounts/*/balance, or /accounts/**."),
    ] = "/**",
    *,
    since: Annotated[
        str | None,
        Option("--since", metavar="POSITION", help="Go on after this position, or LSN."),
    ] = None,
    initial: Annotated[
        bool, Option("--initial", "-i", help="Begin with all that is there now.")
    ] = False,
    timeout: Annotated[
        float | None,
        Option("--timeout", min=0, metavar="SECONDS", help="End when nothing came for so long."),
    ] = None,
    limit: Annotated[
        int | None, Option("--limit", "-n", min=0, metavar="N", help="End after N items.")
    ] = None,
    bookmarks: Annotated[
        float | None,
        Option(
            "--bookmarks",
            min=0,
            metavar="SECONDS",
            help="Say how far it has got when updates came and none matched for so long.",
        ),
    ] = None,
    json: Annotated[bool, Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what changes under a pattern, as it happens.

    Each update is shown as soon as it is on disk. In a pattern * is any step, ** any number of
    them. Goes on until it is interrupted, whoever has the database open meanwhile. With --since
    nothing is left out, as far back as the log is kept.

    Example: cairn watch bank.cairn '/accounts/*/balance' --timeout 1
    """
    wish = Wish(pattern, since, initial, timeout, bookmarks)
    show = _show_json if json else _show
    with source.directory_of(database) as directory:
        with directory.telling("reading", 2 * source.bytes_of(directory)):
            watching = watch_untyped(directory, wish)
        with watching:
            for item in islice(watching, limit):
                show(item)
                output.flush()


def _show(item: Change) -> None:
    what = "" if item.kind == "update" else item.kind
    when = f"{item.time.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] if item.time else ""
    heading = [f"{item.lsn:>8}", when, item.call or "", what]
    output.write("  ".join(part for part in heading if part))
    for change in item.changes:
        output.write(f"{'':10}{_change_text(change)}")


def _change_text(change: ValueChange) -> str:
    before, after = _brief(change.before), _brief(change.after)
    if change.kind == "added":
        return f"+ {change.pointer} = {after}"
    if change.kind == "removed":
        return f"- {change.pointer} = {before}"
    return f"~ {change.pointer} = {before} -> {after}"


def _brief(value: Any) -> str:
    text = values.dumps(values.to_json(value))
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 1]}…"


def _show_json(item: Change) -> None:
    output.write_json(item_json(item), compact=True)
