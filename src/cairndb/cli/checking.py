"""`verify` and `stats`: whether all is whole, and how much there is."""

import shlex
from datetime import datetime
from typing import Annotated, Any

from typer import Option

from cairndb.cli import maintenance, output, source
from cairndb.cli.reading import Database


def verify(
    database: Database,
    *,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Check every file, and that log and checkpoint agree.

    Each checksum, the order of the updates, and that the log, folded, gives what the checkpoint
    says. Changes nothing. The exit code is 1 if anything is wrong.

    Example: cairn verify bank.cairn
    """
    with source.directory_of(database) as directory:
        report = maintenance.check(directory)
    if json:
        output.write_json(report)
    else:
        for finding in report["findings"]:
            output.write(f"{finding['file']}: at byte {finding['offset']}: {finding['reason']}")
        for line in report["checked"]:
            output.write(line)
    if count := len(report["findings"]):
        raise output.Negative(
            f"{database}: {count} finding{'s' if count > 1 else ''}; nothing was changed. "
            "Keep a copy of the directory. To see what can be saved: "
            f"cairn doctor {shlex.quote(str(database))}"
        )


def stats(
    database: Database,
    *,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Show what is kept, how far back, and how soon it opens.

    Example: cairn stats bank.cairn
    """
    with source.directory_of(database) as directory:
        found = maintenance.statistics(directory)
    if json:
        output.write_json(found)
        return
    rows = [_row(name, value) for name, value in found.items() if value not in (None, [])]
    width = max(len(name) for name, _ in rows)
    for name, shown in rows:
        output.write(f"{name:{width}}  {shown}")


def _row(name: str, value: Any) -> tuple[str, str]:
    """A figure as people read it."""
    if name == "checkpoints":
        return name, ", ".join(map(_checkpoint, value))
    if name == "reaches_single_lsns":
        return name.replace("_", " "), ", ".join(map(str, value))
    if isinstance(value, bool):
        return name.replace("_", " "), "yes" if value else "no"
    if name.endswith("_seconds"):
        return name.removesuffix("_seconds").replace("_", " "), f"{value:,.1f} s"
    if "_bytes" in name:
        return name.replace("_bytes", "_size").replace("_", " "), output.size_text(value)
    if name in maintenance.MOMENTS:
        value = f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M:%S}"
    return name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)


def _checkpoint(found: dict[str, Any]) -> str:
    """One that is kept."""
    size, _, _ = output.size_text(found["bytes"]).partition(" (")
    pinned = ", pinned" if found["pinned"] else ""
    when = f"{datetime.fromisoformat(found['time']).astimezone():%Y-%m-%d %H:%M:%S}"
    return f"LSN {found['lsn']:,} ({when}, {size}{pinned})"
