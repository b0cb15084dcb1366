"""`log`: what changed, update by update; all of it, or what a pattern means."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cairndb import codec
from cairndb.cli import output, past, source, values
from cairndb.cli.path_history import PathHistory
from cairndb.cli.reading import Database  # noqa: TC001  Typer looks at it at run time
from cairndb.patch import ADD, BARRIER, DELETE, DISCARD, SPLICE
from cairndb.patch_json import (
    OPERATION_NAMES,
    entry_json,
    heading_json,
    moment_of,
    operations_of,
)
from cairndb.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cairndb.cli.counted import CountedDirectory
    from cairndb.difference import Difference
    from cairndb.patch import Call, Entry, Operation

_BRIEF = 80
_LOOK_SECONDS = 0.5


def log(
    database: Database,
    path: Annotated[
        str | None,
        Argument(metavar="PATH", help="Only what changed this, as /accounts/*/balance."),
    ] = None,
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

    With PATH, a pattern (* is any step, ** any number of them): only the updates that changed what
    it means, and the values before and after.

    Example: cairn log bank.cairn --limit 10
    """
    show = _show_json if json else _show
    with source.directory_of(database) as directory:
        pulse = source.Pulse(directory) if follow else None
        updates = _Updates(directory, since)
        if path is not None:
            updates = _Changes(directory, since, Pattern.parse(path))
        for update in _first_or_last(updates, since, limit):
            show(*update)
        while pulse is not None:
            output.flush()
            while not pulse.changed():
                time.sleep(_LOOK_SECONDS)
            pulse = source.Pulse(directory)
            for update in updates.more():
                show(*update)


Update = tuple[int, "Entry", "list[Difference] | None"]
"""LSN, what was done, and what that changed if a path was asked for."""


class _Updates:
    """The updates of a log that may grow.

    Args:
        directory: of the database.
        since: the first LSN; None for the oldest that is kept.
    """

    def __init__(self, directory: CountedDirectory, since: int | None) -> None:
        self._directory = directory
        self._following = since or 1

    def more(self) -> Iterator[Update]:
        """What has come since the last time."""
        for lsn, entry in source.entries(self._directory, self._following):
            self._following = lsn + 1
            yield lsn, entry, None

    def last(self, limit: int) -> Iterable[Update]:
        """Only so many, the last ones."""
        # All of it is read, perhaps twice (what is good first), before there is anything to show.
        with self._directory.telling("reading", 2 * source.bytes_of(self._directory)):
            return deque(self.more(), maxlen=limit)


class _Changes(_Updates):
    """Those of them that changed what a pattern means."""

    def __init__(self, directory: CountedDirectory, since: int | None, pattern: Pattern) -> None:
        super().__init__(directory, since)
        self._history = PathHistory(directory, pattern, since)

    def more(self) -> Iterator[Update]:
        """See `_Updates`."""
        return self._history.updates()

    def last(self, limit: int) -> Iterable[Update]:
        """See `_Updates`; the bar is its own."""
        return deque(self.more(), maxlen=limit)


def _first_or_last(updates: _Updates, since: int | None, limit: int | None) -> Iterable[Update]:
    if limit is None:
        return updates.more()
    if since is None:
        return updates.last(limit)
    return (update for _, update in zip(range(limit), updates.more(), strict=False))


def _show(lsn: int, entry: Entry, changes: list[Difference] | None) -> None:
    when = f"{moment_of(entry).astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]
    call = f"  {_call_text(entry.call)}" if entry.call else ""
    output.write(f"{lsn:>8}  {when}{call}")
    for change in changes or ():
        output.write(f"{'':10}{past.as_text(change)}")
    for operation in operations_of(entry) if changes is None else ():
        name = OPERATION_NAMES[operation.code]
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


def _show_json(lsn: int, entry: Entry, changes: list[Difference] | None) -> None:
    if changes is None:
        shown = entry_json(lsn, entry)
    else:
        shown = heading_json(lsn, entry) | {"changes": [past.as_json(each) for each in changes]}
    output.write_json(shown, compact=True)
