"""What a comparison says: same, less, more, or a regression; and the table of all."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from check_figures import Figure
from check_measure import Tree

REGRESSION: Final = 1.10
SAME: Final = 0.01
"""By so much instructions and bytes may differ before a word is said."""
CHANCE: Final = 0.01
"""How often pure noise may look like a difference, before it is measured a second time."""


@dataclass
class Verdict:
    """One line of the table: per operation, in `unit`."""

    figure: str
    unit: str
    ref: float | None
    tree: float | None
    ratio: float | None
    verdict: str

    @property
    def regressed(self) -> bool:
        """Whether that fails the check."""
        return self.verdict == "REGRESSION"

    @property
    def broken(self) -> bool:
        """Whether the tree can't do this at all."""
        return self.tree is None


def judge(figure: Figure, ref: Tree, tree: Tree, *, counting: bool) -> Verdict:
    """Compare one figure.

    Args:
        figure: which.
        ref: what it is compared with.
        tree: what it is about.
        counting: whether instructions were counted; else there are samples in pairs.
    """
    unit = "B" if figure.kind == "bytes" else "instructions" if counting else "s"
    before, after = ref.value(figure), tree.value(figure)
    if after is None:
        why = f"FAILS: {tree.notes[figure.name]}"
        return Verdict(figure.name, unit, before, after, None, why)
    if before is None:
        why = f"left out: {ref.notes[figure.name]}"
        return Verdict(figure.name, unit, before, after, None, why)
    exact = counting or figure.kind == "bytes"
    if exact:
        ratio = after / before
        differs = abs(ratio - 1) > SAME
    else:
        ratios = [
            b / a for a, b in zip(ref.values[figure.name], tree.values[figure.name], strict=True)
        ]
        ratio = statistics.median(ratios)
        differs = chance_of(ratios) < CHANCE
    verdict = "same"
    if differs:
        verdict = "REGRESSION" if ratio > REGRESSION else "more" if ratio > 1 else "less"
    return Verdict(figure.name, unit, before, after, ratio, verdict)


def chance_of(ratios: list[float]) -> float:
    """The sign test: how probable so one-sided a list of ratios is, if there is no difference."""
    count = len(ratios)
    one_side = max(sum(ratio > 1 for ratio in ratios), sum(ratio < 1 for ratio in ratios))
    tail = sum(math.comb(count, number) for number in range(one_side, count + 1))
    return min(math.ldexp(tail, 1 - count), 1.0)


def table(verdicts: Iterable[Verdict], ref: str, tree: str) -> str:
    """For people."""
    lines = [f"{'per operation':26} {ref:>16} {tree:>16} {'ratio':>7}  verdict"]
    for line in verdicts:
        ratio = "" if line.ratio is None else f"{line.ratio:.3f}"
        before, after = shown(line.ref, line.unit), shown(line.tree, line.unit)
        lines.append(f"{line.figure:26} {before:>16} {after:>16} {ratio:>7}  {line.verdict}")
    return "\n".join(lines)


def shown(value: float | None, unit: str) -> str:
    """A number with its unit."""
    if value is None:
        return "-"
    if unit == "s":
        return f"{value * 1e6:,.3f} µs"
    return f"{value:,.0f} instr" if unit == "instructions" else f"{value:,.1f} B"


def as_json(verdicts: Iterable[Verdict]) -> list[dict[str, object]]:
    """For programs."""
    return [asdict(line) for line in verdicts]
