"""Holds as a picture in time, an SVG by hand: a lane for each process, a bar for each hold.

A thin line is an open file, from its open to its close; a bar on it the lock, coloured by the name;
a cross is an unlink, an arrow a rename. What is an anomaly is red and numbered, and said below.
Times in which nothing happens are drawn shorter than they were, and marked so.
"""

from __future__ import annotations

from bisect import bisect_right
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cairndb.tracing_anomalies import Judged, Line
    from cairndb.tracing_holds import Hold

_WIDTH: Final = 900
_LABEL: Final = 110
_RIGHT: Final = 20
_ROW: Final = 26
_BAR: Final = 14
_TOP: Final = 34
_COLOURS: Final = 6
# Of the whole width what a pause without any call may take, at most.
_PAUSE: Final = 1 / 10
_NEAR: Final = 5
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.head { font-weight: 600; }
.note, .tick { fill: #59636e; }
.tick { font-size: 11px; }
.lane, .axis { stroke: #d1d9e0; }
.pause { stroke: #59636e; stroke-dasharray: 2 3; }
.open { stroke: #818b98; stroke-width: 2; }
.in { fill: #ffffff; font-size: 11px; }
.mark { stroke: #1f2328; stroke-width: 2; fill: none; }
.wrong { stroke: #cf222e; stroke-width: 2; fill: none; }
.number, .said { fill: #cf222e; font-weight: 600; }
.c0 { fill: #0969da; } .c1 { fill: #1a7f37; } .c2 { fill: #8250df; }
.c3 { fill: #9a6700; } .c4 { fill: #bf3989; } .c5 { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note, .tick { fill: #9198a1; }
  .lane, .axis { stroke: #3d444d; }
  .pause { stroke: #9198a1; }
  .open { stroke: #9198a1; }
  .in { fill: #0d1117; }
  .mark { stroke: #e6edf3; }
  .wrong { stroke: #ff7b72; }
  .number, .said { fill: #ff7b72; }
  .c0 { fill: #58a6ff; } .c1 { fill: #3fb950; } .c2 { fill: #bc8cff; }
  .c3 { fill: #d29922; } .c4 { fill: #ff80c8; } .c5 { fill: #8b949e; }
}
"""


def picture(judged: Judged, directory: str) -> str:
    """The holds of a trace as an SVG.

    Args:
        judged: the trace.
        directory: that paths are shown relative to.
    """
    drawing = _Drawing(judged, directory)
    body = "\n".join(drawing.parts)
    height = drawing.height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" '
        f'width="{_WIDTH}" height="{height:g}" role="img">\n'
        f"<title>Which process held which file when</title>\n<style>{_STYLE}</style>\n"
        f"{body}\n</svg>\n"
    )


class _Scale:
    """From seconds to places on the page.

    Args:
        times: at which something happened.
    """

    def __init__(self, times: Iterable[float]) -> None:
        self.times = sorted(set(times)) or [0.0]
        gaps = [after - before for before, after in pairwise(self.times)]
        longest = sum(gaps) * _PAUSE
        # A few rounds: what is cut off makes the whole shorter, and so the limit too.
        for _ in range(8):
            longest = sum(min(gap, longest) for gap in gaps) * _PAUSE if gaps else 0.0
        longest = max(longest, max(gaps, default=0.0) * 1e-3)
        # What happened in quick succession is still told apart.
        least = longest / 6
        shown = [max(min(gap, longest), least) for gap in gaps]
        room = _WIDTH - _LABEL - _RIGHT - 20
        unit = room / (sum(shown) or 1.0)
        self._places = [_LABEL + 10.0]
        for length in shown:
            self._places.append(self._places[-1] + length * unit)
        self.pauses = [
            (self._places[number], self._places[number + 1], gap)
            for number, gap in enumerate(gaps)
            if gap > 2 * longest
        ]

    def at(self, time: float) -> float:
        """Where on the page a moment is."""
        number = bisect_right(self.times, time) - 1
        if number < 0:
            return self._places[0]
        if number + 1 >= len(self.times):
            return self._places[-1]
        before, after = self.times[number : number + 2]
        start, end = self._places[number : number + 2]
        return start + (end - start) * (time - before) / (after - before)


class _Drawing:
    def __init__(self, judged: Judged, directory: str) -> None:
        self._judged = judged
        self._directory = directory.rstrip("/") + "/"
        self._lines = [line for line in judged.lines if line.call != "open" or line.result == "ok"]
        ends = [
            judged.ended if h.ended_time is None else h.ended_time - judged.begun
            for h in judged.holds
        ]
        self._ends = ends
        self._scale = _Scale([line.time for line in self._lines] + ends)
        names = dict.fromkeys(hold.path for hold in judged.holds)
        self._colours = {path: number % _COLOURS for number, path in enumerate(names)}
        self.parts: list[str] = []
        self.height = float(_TOP)
        for process in dict.fromkeys(line.process for line in self._lines):
            self._lane(process)
        self._axis()
        self._say()

    def _short(self, path: str) -> str:
        return path if self._directory == "/" else path.removeprefix(self._directory)

    def _add(self, text: str) -> None:
        self.parts.append(text)

    def _lane(self, process: int) -> None:
        opens = self._opens(process)
        rows = _Rows()
        top = self.height
        for begun, ended, path, descriptor in opens:
            y = top + _ROW * rows.place(begun, ended) + _ROW / 2
            self._add(
                f'<line class="open" x1="{begun:.1f}" y1="{y:g}" x2="{ended:.1f}" y2="{y:g}"/>'
            )
            for hold, end in zip(self._judged.holds, self._ends, strict=True):
                start = self._scale.at(hold.call.time - self._judged.begun)
                same = (hold.call.process, hold.call.descriptor, hold.path)
                if same == (process, descriptor, path) and begun <= start <= ended:
                    self._bar(hold, start, self._scale.at(end), y)
        height = _ROW * max(rows.count, 1)
        middle = top + height / 2
        for line in self._lines:
            if line.process == process and line.call in {"unlink", "rename"}:
                self._sign(line, middle)
        self._numbers(process, top)
        self._add(f'<text x="10" y="{middle + 4:g}">process {process}</text>')
        self.height = top + height + 10
        y = self.height - 5
        self._add(f'<line class="lane" x1="10" y1="{y:g}" x2="{_WIDTH - 10}" y2="{y:g}"/>')

    def _opens(self, process: int) -> list[tuple[float, float, str, int]]:
        """From where to where on the page a process had which path open, by which descriptor."""
        running: dict[int, Line] = {}
        found = []
        last = self._scale.at(self._scale.times[-1])
        locked = {hold.path for hold in self._judged.holds}
        for line in self._lines:
            if line.process != process or line.path not in locked:
                continue
            if line.call == "open":
                running[line.descriptor] = line
            elif line.call == "close" and (opened := running.pop(line.descriptor, None)):
                places = self._scale.at(opened.time), self._scale.at(line.time)
                found.append((*places, opened.path, line.descriptor))
        found += [
            (self._scale.at(opened.time), last, opened.path, opened.descriptor)
            for opened in running.values()
        ]
        return sorted(found)

    def _bar(self, hold: Hold, start: float, end: float, y: float) -> None:
        width = max(end - start, 3.0)
        top = y - _BAR / 2
        wrong = ' class="wrong"' if hold.went_on else ""
        colour = self._colours[hold.path]
        inode = f", inode {hold.file.inode}" if hold.file.inode else ""
        title = escape(self._short(hold.path) + inode)
        self._add(
            f'<g><title>{title}</title><rect class="c{colour}" x="{start:.1f}" y="{top:g}" '
            f'width="{width:.1f}" height="{_BAR}" rx="2"/>'
        )
        if wrong:
            self._add(
                f'<rect{wrong} x="{start:.1f}" y="{top:g}" width="{width:.1f}" '
                f'height="{_BAR}" rx="2"/>'
            )
        name = self._short(hold.path).rpartition("/")[2]
        if len(name) * 7 < width:
            self._add(f'<text class="in" x="{start + 4:.1f}" y="{y + 4:g}">{escape(name)}</text>')
        self._add("</g>")

    def _sign(self, line: Line, y: float) -> None:
        look = "wrong" if line.anomalies else "mark"
        x = self._scale.at(line.time)
        if line.call == "unlink":
            path = f"M{x - _NEAR:.1f} {y - _NEAR:g}l10 10m0 -10l-10 10"
        else:
            path = f"M{x - _NEAR:.1f} {y:g}h10l-4 -4m4 4l-4 4"
        title = escape(f"{line.call} {self._short(line.path)}: {line.result}")
        self._add(f'<path class="{look}" d="{path}"><title>{title}</title></path>')

    def _numbered(self) -> list[tuple[int, Line, str]]:
        """The anomalies, with their numbers."""
        found = [
            (line, f"{each.kind}: {each.text}") for line in self._lines for each in line.anomalies
        ]
        return [(number, line, text) for number, (line, text) in enumerate(found, 1)]

    def _numbers(self, process: int, top: float) -> None:
        places: dict[float, list[str]] = {}
        for number, line, _ in self._numbered():
            if line.process == process:
                places.setdefault(self._scale.at(line.time), []).append(str(number))
        for x, numbers in places.items():
            text = ", ".join(numbers)
            self._add(
                f'<text class="number" x="{x:.1f}" y="{top + 3:g}" '
                f'text-anchor="middle">{text}</text>'
            )

    def _axis(self) -> None:
        y = self.height + 6
        first, last = (self._scale.at(self._scale.times[place]) for place in (0, -1))
        self._add(f'<line class="axis" x1="{first:.1f}" y1="{y:g}" x2="{last:.1f}" y2="{y:g}"/>')
        for start, end, gap in self._scale.pauses:
            middle = (start + end) / 2
            self._add(
                f'<line class="pause" x1="{middle:.1f}" y1="{_TOP - 16}" '
                f'x2="{middle:.1f}" y2="{y:g}"/>'
            )
            self._add(
                f'<text class="tick" x="{middle:.1f}" y="{_TOP - 20}" text-anchor="middle">'
                f"{_duration(gap)}</text>"
            )
        reached = 0.0
        for time in self._scale.times:
            x = self._scale.at(time)
            if x < reached:
                continue
            reached = x + 62
            self._add(
                f'<line class="axis" x1="{x:.1f}" y1="{y:g}" x2="{x:.1f}" y2="{y + 4:g}"/>'
                f'<text class="tick" x="{x:.1f}" y="{y + 16:g}" '
                f'text-anchor="middle">{time:.4f}</text>'
            )
        self.height = y + 22

    def _say(self) -> None:
        self.height += 14
        note = (
            "Seconds. Line: open; bar: locked; cross: unlink; arrow: rename; "
            "dotted: a pause, drawn shorter than it was."
        )
        self._add(f'<text class="note" x="10" y="{self.height:g}">{note}</text>')
        for number, _, text in self._numbered():
            self.height += 18
            said = escape(text if self._directory == "/" else text.replace(self._directory, ""))
            self._add(f'<text class="said" x="10" y="{self.height:g}">{number}  {said}</text>')
        self.height += 12


class _Rows:
    """Rows of one lane, so that what overlaps is drawn side by side."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._ends)

    def place(self, begun: float, ended: float) -> int:
        """The first row that is free from there on."""
        for row, end in enumerate(self._ends):
            if end <= begun:
                self._ends[row] = ended
                return row
        self._ends.append(ended)
        return len(self._ends) - 1


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
