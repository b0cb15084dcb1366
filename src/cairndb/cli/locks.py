"""`locks`: who has which lock, by what the system tells and by the records."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path  # noqa: TC003  Typer looks at it at run time
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from cairndb.cli import output
from cairndb.locking_holder import describe, printable, since_text
from cairndb.locking_report import look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.locking_holder import Holder
    from cairndb.locking_report import Report
    from cairndb.locking_system import HeldLock

_LOST = "the file has lost this name"
_WHAT_LOST_MEANS = (
    "A lock on a file that has lost its name keeps out nobody who comes by that name: whoever "
    "removed or replaced the file should have had the lock, or left the file."
)
_ONLY_RECORDS = "Only the records are shown: it is Linux that tells who has a lock."


def locks(
    paths: Annotated[list[Path], Argument(metavar="PATH", help="Files, databases, directories.")],
    *,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Show who has locks on files, or waits for them.

    Of a directory, also of a database, its own lock and those on what is directly in it. Since when
    is what the file says of its holder. On Linux the system tells of every process, of other users'
    in full only to root; elsewhere there is only what the files say.

    Example: cairn locks bank.cairn
    """
    report = look(paths)
    if json:
        output.write_json(_as_json(report))
        return
    for line in _as_text(report, paths):
        output.write(line)


def _as_text(report: Report, paths: list[Path]) -> Iterator[str]:
    by_path = {path: list(found) for path, found in groupby(report.locks or (), lambda x: x.path)}
    for path in sorted({*by_path, *report.records}):
        yield printable(path)
        yield from _lines(by_path.get(path, []), report.records.get(path))
    shown = [*by_path, *report.records]
    for path in map(str, paths):
        if not any(each == path or each.startswith(path.rstrip("/") + "/") for each in shown):
            yield f"{printable(path)}: nobody is seen to have a lock"
    for place in report.networks:
        yield f"{printable(place.path)} is on a network file system ({place.type}): {place.meaning}"
    if any(lock.nameless for lock in report.locks or ()):
        yield _WHAT_LOST_MEANS
    if report.locks is None:
        yield _ONLY_RECORDS
    if report.unseen:
        yield f"Locks of other users' processes on files that only root is told: {report.unseen}."


def _lines(found: list[HeldLock], record: Holder | None) -> Iterator[str]:
    rows = [_row(lock, record) for lock in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(cells)}".rstrip()
    if record is not None and not any(_is_of(record, lock) for lock in found):
        yield f"    record: {describe(record)}: {_worth(record)}"


def _row(lock: HeldLock, record: Holder | None) -> tuple[str, ...]:
    since = ""
    if record is not None and _is_of(record, lock):
        since = since_text(record)
    notes = [note for note in (since, _LOST if lock.nameless else "") if note]
    return (
        f"waits ({lock.mode})" if lock.waiting else lock.mode,
        lock.kind,
        "?" if lock.pid is None else str(lock.pid),
        "; ".join(notes),
        printable(lock.command) or "?",
    )


def _is_of(record: Holder, lock: HeldLock) -> bool:
    """Whether a record is that of who has a lock."""
    if lock.waiting or lock.nameless or record.pid != lock.pid:
        return False
    return record.stale is False


def _worth(record: Holder) -> str:
    return {
        True: "stale, that process is gone",
        False: "that process runs",
        None: "whether it runs isn't known from here",
    }[record.stale]


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "locks": None if report.locks is None else list(map(_lock_json, report.locks)),
        "records": [_record_json(path, record) for path, record in report.records.items()],
        "networks": [_encodable(place._asdict()) for place in report.networks],
        "unseen": report.unseen,
    }


def _lock_json(lock: HeldLock) -> dict[str, Any]:
    return _encodable(lock._asdict())


def _record_json(path: str, record: Holder) -> dict[str, Any]:
    return _encodable(
        {
            "path": path,
            "host": record.host,
            "pid": record.pid,
            "command": record.command,
            "since": record.since.isoformat(),
            "stale": record.stale,
        }
    )


def _encodable(shown: dict[str, Any]) -> dict[str, Any]:
    """With escapes for the bytes of a path that aren't UTF-8."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in shown.items()
    }
