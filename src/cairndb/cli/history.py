"""`log`: what changed, update by update."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cairndb import codec
from cairndb.cli import output, source, values
from cairndb.cli.reading import Database  # noqa: TC001  Typer looks at it at run time
from cairndb.patch import ADD, BARRIER, DELETE, DISCARD, MERGE, SET, SPLICE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.cli.counted import CountedDirectory
    from cairndb.patch import Call, Entry, Operation

_NAMES = {
    SET: "set",
    DELETE: "delete",
    SPLICE: "splice",
    ADD: "add",
    DISCARD: "discard",
    MERGE: "merge",
    BARRIER: "barrier",
}
_BRIEF = 80
_LOOK_SECONDS = 0.5


def log(
    database: Database,
    *,
    since: Annotated[
        int | None, Option(min=1, metavar="LSN", help="Begin with this update.")
    ] = None,
    limit: Annotated[
        int | None,
        Option(
            "--limit",
            "-n",
            min=0,
            metavar="N",
            help="Show only the last N updates, or with --since the first N.",
        ),
    ] = None,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Go on as updates come, until interrupted.")
    ] = False,
    json: Annotated[bool, Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what each update changed, oldest first.

    Updates are numbered 1, 2, 3, …: that is their LSN. What is older than the last checkpoints has
    been removed, and can't be shown.

    Example: cairn log bank.cairn --limit 10
    """
    show = _show_json if json else _show
    with source.directory_of(database) as directory:
        pulse = source.Pulse(directory) if follow else None
        following = since or 1
        for lsn, entry in _first_or_last(directory, since, limit):
            show(lsn, entry)
            following = lsn + 1
        while pulse is not None:
            output.flush()
            while not pulse.changed():
                time.sleep(_LOOK_SECONDS)
            pulse = source.Pulse(directory)
            for lsn, entry in source.entries(directory, following):
                show(lsn, entry)
                following = lsn + 1


def _first_or_last(
    directory: CountedDirectory, since: int | None, limit: int | None
) -> Iterator[tuple[int, Entry]]:
    entries = source.entries(directory, since or 1)
    if limit is None:
        yield from entries
    elif since is None:
        # All of it is read, perhaps twice (what is good first), before there is anything to show.
        with directory.telling("reading", 2 * source.bytes_of(directory)):
            last = deque(entries, maxlen=limit)
        yield from last
    else:
        for _, numbered in zip(range(limit), entries, strict=False):
            yield numbered


def _moment(entry: Entry) -> datetime:
    return datetime.fromtimestamp(entry.time / 1e6, UTC)


def _show(lsn: int, entry: Entry) -> None:
    when = f"{_moment(entry).astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]
    call = f"  {_call_text(entry.call)}" if entry.call else ""
    output.write(f"{lsn:>8}  {when}{call}")
    for operation in entry.operations:
        name = _NAMES[operation.code]
        path = values.path_text(operation.path)
        output.write(f"{'':10}{name:7} {path}{_argument_text(operation)}")


def _argument_text(operation: Operation) -> str:
    argument = operation.argument
    if operation.code in {DELETE, BARRIER}:
        return ""
    if operation.code == SPLICE:
        start, deleted, inserted = codec.open_list(argument)
        begin, count = codec.decode(start), codec.decode(deleted)
        return f" [{begin}:{begin + count}] = {values.brief(inserted, _BRIEF)}"
    sign = "" if operation.code in {ADD, DISCARD} else " ="
    return f"{sign} {values.brief(argument, _BRIEF)}"


def _call_text(call: Call) -> str:
    given = [values.dumps(values.to_json(value)) for value in call.args]
    given += [f"{k}={values.dumps(values.to_json(v))}" for k, v in call.kwargs.items()]
    return f"{call.name}({', '.join(given)})"


def _show_json(lsn: int, entry: Entry) -> None:
    output.write_json(entry_json(lsn, entry), compact=True)


def entry_json(lsn: int, entry: Entry) -> dict[str, Any]:
    """An update as `--json` shows it.

    Args:
        lsn: its number.
        entry: what it changed.
    """
    shown: dict[str, Any] = {"lsn": lsn, "time": _moment(entry).isoformat()}
    if entry.call:
        call = entry.call
        shown["call"] = {
            "name": call.name,
            "args": values.to_json(call.args),
            "kwargs": values.to_json(call.kwargs),
        }
    shown["operations"] = [_operation_json(operation) for operation in entry.operations]
    return shown


def _operation_json(operation: Operation) -> dict[str, Any]:
    shown = {"do": _NAMES[operation.code], "path": values.path_text(operation.path)}
    argument = values.to_json(codec.decode(operation.argument))
    if operation.code == SPLICE:
        start, deleted, inserted = argument
        return shown | {"start": start, "deleted": deleted, "inserted": inserted}
    if operation.code in {DELETE, BARRIER}:
        return shown
    if operation.code in {ADD, DISCARD}:
        return shown | {"elements": argument}
    return shown | {"items" if operation.code == MERGE else "value": argument}
