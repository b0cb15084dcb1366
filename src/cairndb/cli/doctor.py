"""`doctor`: what is in a directory, what is wrong with it, what can be done, and doing it."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from pathlib import Path  # noqa: TC003  as Database
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from typer import Option

from cairndb import files
from cairndb.cli import output, source, values
from cairndb.cli.reading import Database  # noqa: TC001  Typer looks at it at run time
from cairndb.diagnosis import BROKEN, Choice, Diagnosis, Examined, examine
from cairndb.patch_json import entry_json
from cairndb.salvage import Range, Salvaged, salvage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.cli.counted import CountedDirectory
    from cairndb.diagnosis_files import FileReport
    from cairndb.salvage import Lost

_READ_TIMES = 3  # by recovery twice, by the survey once; more where something is wrong
_ATTEMPTS = 3


def doctor(
    database: Database,
    *,
    destination: Annotated[
        Path | None,
        Option("--salvage", metavar="DEST", help="Save what can be had to a new directory."),
    ] = None,
    lsn: Annotated[
        int | None, Option("--at", min=1, metavar="LSN", help="Save an earlier state.")
    ] = None,
    lost: Annotated[
        Path | None,
        Option(
            "--lost", metavar="FILE", help="Write updates that are readable and lost to a new file."
        ),
    ] = None,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Find out what is wrong, and save what can be.

    Says of every file in the directory what it is and whether it is whole, what opening would do,
    and what can be done. Changes nothing there: what can be saved goes to a new database. The exit
    code is 1 if anything is wrong.

    Example: cairn doctor bank.cairn --salvage saved.cairn
    """
    if destination is None and (lsn is not None or lost is not None):
        raise output.Misuse("--at and --lost need --salvage DEST")
    with source.any_directory(database) as directory:
        with directory.telling("reading", _READ_TIMES * _bytes_of(directory)):
            examined = examine(directory)
        if destination is not None:
            report = _salvage(directory, examined, destination, lsn, lost)
            if json:
                output.write_json(_plain(report))
            else:
                _show_salvaged(report, examined.diagnosis)
            return
    if json:
        output.write_json(_plain(examined.diagnosis))
    else:
        _show(examined.diagnosis)
    if not examined.diagnosis.healthy:
        raise output.Negative(examined.diagnosis.verdict)


def _bytes_of(directory: CountedDirectory) -> int:
    """As `source.bytes_of`, of any directory: what can't be opened doesn't count."""
    total = 0
    for name in directory.names():
        with suppress(OSError):
            total += source.size_of(directory, name)
    return total


def _plain(report: Any) -> Any:
    return msgspec.to_builtins(report)


def _salvage(
    directory: CountedDirectory,
    examined: Examined,
    destination: Path,
    lsn: int | None,
    lost: Path | None,
) -> Salvaged:
    with output.progress("saving") as progress, _lost_file(lost) as keep_lost:
        for attempt in range(_ATTEMPTS):
            try:
                report = salvage(
                    examined.survey,
                    examined.routes,
                    str(destination),
                    lsn=lsn,
                    keep_lost=keep_lost,
                    proceed=lambda: progress(0, 0),
                )
                report.ignored = [
                    {"file": file.name, "condition": file.condition, "reason": file.reason}
                    for file in examined.diagnosis.files
                    if file.condition in BROKEN and file.name not in report.files
                ]
            except FileNotFoundError as error:
                # An owner has removed a file that isn't needed any more.
                if attempt + 1 == _ATTEMPTS or not str(error.filename).startswith(directory.path):
                    raise
                examined = examine(directory)
            else:
                return report
    raise AssertionError


@contextmanager
def _lost_file(path: Path | None) -> Iterator[Callable[[Iterator[Lost]], None] | None]:
    """Something that writes lost updates to a new file, which is removed if the block raises."""
    if path is None:
        yield None
        return
    with closing(files.RealDirectory(str(path.absolute().parent))) as parent:
        with closing(parent.create(path.name)) as file:

            def write(lost: Iterator[Lost]) -> None:
                offset = 0
                for each in lost:
                    shown: dict[str, Any] = {"lsn": each.lsn, "error": "it can't be decoded"}
                    if each.entry is not None:
                        shown = entry_json(each.lsn, each.entry)
                    line = values.dumps(shown | {"file": each.file}, indent=None).encode() + b"\n"
                    file.write(offset, line)
                    offset += len(line)
                file.sync()

            try:
                yield write
            except BaseException:
                parent.remove(path.name)
                raise
        parent.sync()


def _show(found: Diagnosis) -> None:
    output.write(found.verdict)
    for note in found.notes:
        output.write(f"  {note}")
    if found.files:
        output.write("\nfiles")
    width = max((len(file.name) for file in found.files), default=0)
    for file in found.files:
        where = f" at byte {file.offset:,}" if file.offset is not None else ""
        why = f": {file.reason}" if file.reason else ""
        size = output.size_text(file.size)
        kind = file.kind if file.kind != "foreign" else "not a database's"
        output.write(f"  {file.name:{width}}  {kind}, {size}, {file.condition}{where}{why}")
        if details := _details(file):
            output.write(f"  {'':{width}}  {details}")
    _show_log(found)
    _show_opening(found)
    if found.choices:
        output.write("\nwhat can be done, best first")
    for choice in found.choices:
        _show_choice(choice)


def _details(file: FileReport) -> str:
    if file.kind == "checkpoint" and file.last_lsn is not None:
        return f"LSN {file.last_lsn}, {file.operations} operations"
    if file.first_lsn is None:
        return ""
    parts = [f"epoch {file.epoch}"]
    if file.last_lsn is not None and file.last_lsn >= file.first_lsn:
        parts.append(f"LSN {_range((file.first_lsn, file.last_lsn))}")
    parts.append(f"{file.frames} frames, {file.entries} updates, {file.marks} marks")
    if file.sealed:
        parts.append("sealed")
    if file.trusted_end is not None:
        by = f" by {file.trusted_by}" if file.trusted_by else ""
        parts.append(f"proven up to byte {file.trusted_end:,}{by}")
    if file.behind:
        parts.append(f"readable behind the bad place: LSN {_ranges(file.behind)}")
    return "; ".join(parts)


def _show_log(found: Diagnosis) -> None:
    log = found.log
    if not found.database:
        return
    output.write("\nlog")
    when = f", of {log.last_time}" if log.last_time else ""
    output.write(f"  it can be followed up to LSN {log.end_lsn}{when}")
    by = f", which {log.proven_by} says at byte {log.proven_at:,}" if log.proven_by else ""
    output.write(f"  up to LSN {log.proven_lsn} all was synced{by}")
    if log.unproven:
        output.write(f"  LSN {_ranges(log.unproven)}: nothing proves that they were synced")
    if log.missing:
        output.write(f"  LSN {_ranges(log.missing)}: lost or damaged")
    if log.readable:
        when = f", from {log.next_time} on" if log.next_time else ""
        output.write(f"  LSN {_ranges(log.readable)}: readable, and don't connect{when}")


def _show_opening(found: Diagnosis) -> None:
    opening = found.opening
    output.write("\nopening")
    for warning in opening.warnings:
        output.write(f"  would warn: {warning}")
    if opening.outcome == "refuses":
        where = f"{opening.file}: at byte {opening.offset}: " if opening.file else ""
        output.write(f"  would be refused: {where}{opening.reason or opening.error}")
    elif opening.outcome == "creates":
        output.write("  would make a new database here")
    else:
        base = f"{opening.base} and " if opening.base else ""
        output.write(
            f"  would give LSN {opening.lsn}: {base}{opening.replayed} updates, "
            f"{opening.rewritten} of them to be written again first"
        )


def _show_choice(choice: Choice) -> None:
    output.write(f"  {choice.text}")
    if choice.loses:
        output.write(f"    loses LSN {_ranges(choice.loses)}")
    if choice.unchecked_lsn is not None:
        output.write(f"    unchecked from LSN {choice.unchecked_lsn} on")
    if choice.command:
        output.write(f"    {choice.command}")


def _range(lsns: Range) -> str:
    first, last = lsns
    return f"{first}..{last}" if last > first else str(first)


def _ranges(lsns: list[Range]) -> str:
    return ", ".join(map(_range, lsns))


def _show_salvaged(report: Salvaged, diagnosis: Diagnosis) -> None:
    parts = [f"LSN {_range((1, report.lsn))} kept"]
    if report.lost:
        parts.append(f"{_ranges(report.lost)} lost")
    if report.lost_readable:
        parts[-1] += f", of which {_ranges(report.lost_readable)} are readable but don't connect"
    output.write(f"{report.destination}: {'; '.join(parts)}")
    made_of = [report.base] if report.base else []
    output.write(f"made of {', '.join([*made_of, *report.files])}")
    if report.unchecked_lsn is not None:
        output.write(
            f"from LSN {report.unchecked_lsn} on no running checksum could be compared: what comes "
            "before is damaged, and the updates connect by their numbers only"
        )
    for text in (report.problem, *report.notes):
        if text:
            output.write(text)
    for file in report.ignored:
        output.write(f"nothing taken from {file['file']}: {file['condition']}: {file['reason']}")
    if diagnosis.log.undecidable:
        output.write("whether something was acknowledged after what is there, nothing tells")
