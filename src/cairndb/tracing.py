"""How processes use the file system to synchronise: a trace of their calls, mistakes marked.

    tracing_events      what a call is, and at which moment it counts
    tracing_running     a command under strace or bpftrace, tracing_system the files for that
    tracing_strace      the lines of strace, tracing_strace_calls their meaning
    tracing_lines       the lines of tracing_calls.bt (bpftrace) and tracing_calls.d (DTrace)
    tracing_paths       absolute paths; which were asked for
    tracing_tables      descriptors of all processes
    tracing_files       which file has which name
    tracing_holds       locks, and what is wrong with them
    tracing_model       all of that, call by call, to lines and tracing_anomalies
    tracing_picture     the holds as an SVG

A recording is the tracer's own lines after one line of JSON, so that whatever is learnt later of
how to judge them can be used on old recordings too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cairndb.tracing_anomalies import ADVICE, Anomaly, Judged, Line
from cairndb.tracing_events import Heading, Trace, TraceError
from cairndb.tracing_lines import LineReader
from cairndb.tracing_model import judge
from cairndb.tracing_picture import picture
from cairndb.tracing_running import Run, run
from cairndb.tracing_strace import StraceReader

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1

__all__ = [
    "ADVICE",
    "Anomaly",
    "Heading",
    "Judged",
    "Line",
    "Run",
    "Trace",
    "TraceError",
    "judge",
    "picture",
    "read",
    "run",
]


def read(lines: Iterable[str], directory: str) -> Trace:
    """Read a recording.

    Args:
        lines: of a recording, or as the script for DTrace writes them.
        directory: where the traced command was started, if the recording doesn't say.

    Returns:
        Its calls.

    Raises:
        TraceError: these aren't the lines of a recording.
    """
    rest = iter(lines)
    heading = _heading(next(rest, "").rstrip("\n"), directory)
    if heading.tracer == "strace":
        strace = StraceReader()
        for line in rest:
            strace.read(line)
        strace.finish()
        return Trace(heading, strace.calls, strace.not_understood)
    reader = LineReader(heading.system.lower())
    for line in rest:
        reader.read(line)
    calls = reader.calls
    if heading.root:
        # Until then it is the shell that has waited for the tracer.
        begun = [
            call.ended for call in calls if (call.name, call.process) == ("exec", heading.root)
        ]
        calls = [call for call in calls if begun and call.begun >= min(begun)]
    return Trace(heading, calls, reader.not_understood, reader.lost)


def _heading(line: str, directory: str) -> Heading:
    if line.startswith("cairn-trace\t"):
        _, version, tracer, system, *_ = [*line.split("\t"), "", "", ""]
        heading = Heading(
            cairn_trace=int(version) if version.isdigit() else 0,
            tracer=tracer,
            system=system,
            directory=directory,
            patterns=[directory],
        )
    else:
        try:
            heading = msgspec.json.decode(line, type=Heading)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise TraceError(
                "this isn't a recording of cairn trace: its first line isn't the heading. Make one "
                "with cairn trace --record FILE -- COMMAND"
            ) from None
    if heading.cairn_trace != FORMAT:
        raise TraceError(
            f"the recording has version {heading.cairn_trace}, and this cairn reads {FORMAT}: "
            "use the cairn that made it"
        )
    return heading
