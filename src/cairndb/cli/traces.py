"""How a trace is shown: a line a call for people or for programs, and what it comes to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cairndb import tracing
from cairndb.cli import output, values

if TYPE_CHECKING:
    from cairndb.tracing import Judged, Line, Trace


class _Shown:
    def __init__(self, found: Trace, judged: Judged) -> None:
        self.found = found
        self.judged = judged
        self._below = found.heading.directory.rstrip("/") + "/"
        self.counts = Counter(each.kind for line in judged.lines for each in line.anomalies)

    def short(self, text: str) -> str:
        """A path, or what names paths, as seen from where the command ran."""
        return text.replace(self._below, "") if self._below != "/" else text

    def show(self, ended: tracing.Run | None) -> None:
        """Write all of it."""
        raise NotImplementedError


class Text(_Shown):
    """For people."""

    def show(self, ended: tracing.Run | None) -> None:
        """See `_Shown`."""
        lines = self.judged.lines
        width = min(48, max([len(self._what(line)) for line in lines] + [4]))
        if lines:
            output.write(
                f"{'seconds':>11} {'process':>7} {'call':7} {'path':{width}} result   inode links"
            )
        for line in lines:
            self._line(line, width)
        self._summary(ended)

    def _what(self, line: Line) -> str:
        other = f" -> {self.short(line.other)}" if line.other else ""
        return (self.short(line.path) or "?") + other

    def _line(self, line: Line, width: int) -> None:
        sign = "~" if line.inferred else ""
        inode = f"{sign}{line.inode}" if line.inode else "-"
        links = f"{sign}{line.links}" if line.links >= 0 else "-"
        call = _CALL_TEXT.get(line.call, line.call)
        if line.call == "lock" and "shared" in line.words:
            call = "lock sh"
        output.write(
            f"{line.time:11.6f} {line.process:>7} {call:7} {self._what(line):{width}} "
            f"{line.result:7} {inode:>8} {links:>2}"
        )
        for each in line.anomalies:
            _warn(f"{'':11} !!! {each.kind}: {self.short(each.text)}")

    def _summary(self, ended: tracing.Run | None) -> None:
        lines, found = self.judged.lines, self.found
        processes = len({line.process for line in lines})
        count = sum(self.counts.values())
        output.write(
            f"{len(lines)} calls by {processes} processes were asked for, of "
            f"{self.judged.calls} that {found.heading.tracer} saw; anomalies: {count or 'none'}"
        )
        for kind, number in self.counts.items():
            output.write(f"  {kind} ({number}): {tracing.ADVICE[kind]}")
        if found.lost:
            output.write(f"  {found.lost} calls were lost: what they would show isn't known")
        if found.not_understood:
            output.write(f"  {found.not_understood} lines of the tracer weren't understood")
        if ended is not None and ended.code:
            how = f"with {ended.code}" if ended.code > 0 else f"by signal {-ended.code}"
            output.write(f"  the command ended {how}")


class Json(_Shown):
    """For programs."""

    def show(self, ended: tracing.Run | None) -> None:
        """See `_Shown`."""
        for line in self.judged.lines:
            write = {"kind": "call", **_line_json(line)}
            output.write(values.dumps(write))
        summary: dict[str, Any] = {
            "kind": "summary",
            "tracer": self.found.heading.tracer,
            "calls": self.judged.calls,
            "shown": len(self.judged.lines),
            "anomalies": dict(self.counts),
            "lost": self.found.lost,
            "not_understood": self.found.not_understood,
        }
        if ended is not None:
            summary["code"] = ended.code
        output.write(values.dumps(summary))


_CALL_TEXT = {"syncall": "sync"}


def _line_json(line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {
        "time": round(line.time, 9),
        "process": line.process,
        "thread": line.thread,
        "call": line.call,
        "path": line.path or None,
        "result": line.result,
    }
    if line.other:
        found["other"] = line.other
    if line.descriptor >= 0:
        found["descriptor"] = line.descriptor
    if line.words:
        found["words"] = line.words
    if line.inode:
        found |= {"inode": line.inode, "inferred": line.inferred}
    if line.links >= 0:
        found["links"] = line.links
    found["anomalies"] = [
        {"kind": each.kind, "path": each.path, "processes": each.processes, "text": each.text}
        for each in line.anomalies
    ]
    return found


def _warn(text: str) -> None:
    if output.on_terminal():
        from rich import text as rich_text  # noqa: PLC0415  not needed in a pipe, and slow to import

        output.console().print(rich_text.Text(text, style="bold red"), soft_wrap=True)
    else:
        output.write(text)
