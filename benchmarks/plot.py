"""The figures as bars, an SVG by hand: readable on light and dark, with no library to keep.

A panel for each figure, a bar for each contender, the best on top. Bars have logarithmic lengths,
since between the first and the last there may be a factor of a million.
"""

import math
from html import escape
from typing import Any

from figures import FIGURES
from report import ranked, shown

WIDTH = 900
LABEL = 200
VALUE = 90
BAR = 14
GAP = 5
HEAD = 34
# The least bar, so that the best of them all is seen.
SHORTEST = 0.04
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.head { font-weight: 600; font-size: 13px; }
.note { fill: #59636e; }
.bar { fill: #9aa4af; }
.ours { fill: #1a7f5a; }
.limit { fill: #d0a215; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .bar { fill: #59636e; }
  .ours { fill: #3fb950; }
  .limit { fill: #bb8009; }
}
"""
LIMITS = ("plain objects", "raw device")


def svg(report: dict[str, Any]) -> str:
    """The plot of a report's first pass, and of what only others have."""
    panels, below = [], 10.0
    for name, figure in _shown_figures(report).items():
        text, height = _panel(name, figure["by"], below)
        panels.append(text)
        below += height
    first = report["passes"][0]["accounts"]
    note = (
        f"Logarithmic lengths; medians of one run with {first:,} accounts. "
        "Green: cairndb; yellow: the floor and the limit; grey: peers."
    )
    body = "\n".join([*panels, f'<text class="note" x="10" y="{below + 14:g}">{note}</text>'])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {below + 26:g}" '
        f'width="{WIDTH}" height="{below + 26:g}" role="img">\n'
        f"<title>cairndb beside its peers</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _shown_figures(report: dict[str, Any]) -> dict[str, Any]:
    """Those of the first pass that compare several contenders."""
    figures = report["passes"][0]["figures"]
    return {
        name: figure
        for name, figure in figures.items()
        if len(figure["by"]) > 1 and FIGURES[name].unit != "×"
    }


def _panel(name: str, by: dict[str, Any], top: float) -> tuple[str, float]:
    """One figure, and its height."""
    kind = FIGURES[name]
    unit = "a second, more is better" if kind.more_is_better else kind.unit
    lines = [f'<text class="head" x="10" y="{top + 18:g}">{escape(kind.title)} ({unit})</text>']
    values = [found["median"] for found in by.values()]
    # At least a factor of ten across: what is nearly as good looks so.
    least, most = min(values), max(*values, 10 * min(values))
    room, line = WIDTH - LABEL - VALUE - 20, top + HEAD
    for who, found in ranked(by, kind):
        part = math.log(found["median"] / least) / math.log(most / least)
        length = room * (SHORTEST + (1 - SHORTEST) * part)
        look = "ours" if who.startswith("cairndb") else "limit" if who in LIMITS else "bar"
        base = line + BAR - 3
        lines += [
            f'<text x="{LABEL - 8}" y="{base:g}" text-anchor="end">{escape(who)}</text>',
            f'<rect class="{look}" x="{LABEL}" y="{line:g}" width="{length:.1f}" height="{BAR}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{base:g}">{shown(found["median"])}</text>',
        ]
        line += BAR + GAP
    return "\n".join(lines), HEAD + len(by) * (BAR + GAP) + 10
