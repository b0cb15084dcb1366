"""`trace`: what processes do to files to keep out of each other's way, and where they fail to."""

from __future__ import annotations

import contextlib
import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from cairndb import tracing, tracing_system
from cairndb.cli import output
from cairndb.cli.traces import Json, Text

if TYPE_CHECKING:
    from collections.abc import Iterator


class Tracer(Enum):
    """What to trace with."""

    STRACE = "strace"
    BPFTRACE = "bpftrace"


Command = Annotated[
    list[str] | None, Argument(metavar="-- COMMAND", help="The program and its arguments.")
]
Patterns = Annotated[
    list[str] | None,
    Option(
        "--path",
        metavar="PATTERN",
        help="A file, a directory with all below it, or a pattern: only what is done to these. "
        "Several times: any of them. By default all below the current directory.",
    ),
]
OutputFile = Annotated[
    str | None,
    Option("--output", "-o", metavar="FILE", help="Write the trace there, not to stdout."),
]
Record = Annotated[
    str | None, Option("--record", metavar="FILE", help="Keep what the tracer said.")
]
Replay = Annotated[
    str | None,
    Option("--replay", metavar="FILE", help="Judge a recording instead of running a command."),
]
With = Annotated[
    Tracer | None, Option("--with", help="By default bpftrace if it works here, else strace.")
]


def trace(
    command: Command = None,
    *,
    path: Patterns = None,
    json: Annotated[bool, Option("--json", help="One JSON object a line.")] = False,
    output_file: OutputFile = None,
    svg: Annotated[
        str | None, Option("--svg", metavar="FILE", help="Draw who held what when.")
    ] = None,
    everything: Annotated[
        bool, Option("--all", help="Reads, writes, stats, forks, execs and exits too.")
    ] = False,
    tracer: With = None,
    record: Record = None,
    replay: Replay = None,
    script: Annotated[
        bool, Option("--script", help="Only say where the script for DTrace is.")
    ] = False,
) -> None:
    """Show how processes lock files, and what goes wrong.

    A line for each open, lock, unlink, rename, sync and close, of all its processes, in one order.
    Marked are a lock on a file that has lost its name, two holders of one name, an unlink that came
    second, and a rename before its sync. Ends with 1 if there are any, else as the command does.

    Example: cairn trace --path jobs -- python worker.py
    """
    if script:
        output.write(tracing_system.script("d"))
        return
    if bool(command) == (replay is not None):
        raise output.Misuse("give either a command, as in cairn trace -- make, or --replay FILE")
    patterns = [each for one in path or () for each in tracing_system.absolute(one)]
    ended = _run(command, patterns, tracer) if command else None
    if ended is not None and record is not None:
        tracing_system.write_text(record, "\n".join(ended.lines) + "\n")
    lines = ended.lines if ended is not None else tracing_system.read_lines(replay or "")
    try:
        found = tracing.read(lines, tracing_system.current_directory())
    except tracing.TraceError as error:
        raise output.Misuse(f"{replay}: {error}") from None
    judged = tracing.judge(found, patterns or None, everything=everything)
    if svg is not None:
        tracing_system.write_text(svg, tracing.picture(judged, found.heading.directory))
    with _to(output_file):
        (Json if json else Text)(found, judged).show(ended)
    if ended is not None and ended.interrupted:
        raise typer.Exit(output.INTERRUPTED)
    anomalies = [each.kind for line in judged.lines for each in line.anomalies]
    if anomalies:
        kinds = ", ".join(dict.fromkeys(anomalies))
        raise output.Negative(f"anomalies in the use of files: {len(anomalies)} ({kinds})")
    if ended is not None:
        raise typer.Exit(ended.code if ended.code >= 0 else 128 - ended.code)


def _run(command: list[str], patterns: list[str], tracer: Tracer | None) -> tracing.Run:
    sys.stdout.flush()
    asked = patterns or tracing_system.absolute(".")
    with_ = tracer.value if tracer is not None else ""
    try:
        ended = tracing.run(command, asked, with_, output.say_error)
    except tracing.TraceError as error:
        raise output.Misuse(str(error)) from None
    if ended.left:
        output.say_error(
            "the command left processes running; they go on, and aren't traced any more"
        )
    return ended


@contextlib.contextmanager
def _to(path: str | None) -> Iterator[None]:
    """Have what is written go to a file."""
    if path is None:
        yield
        return
    with tracing_system.writable(path) as file, contextlib.redirect_stdout(file):
        yield
