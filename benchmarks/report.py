"""The table of all peers, as JSON and as Markdown."""

import statistics
from collections.abc import Iterable
from typing import Any

from figures import FIGURES, TARGETS, Figure, Samples
from rounds import Pass

Report = dict[str, Any]

HEAD = """# cairndb beside its peers

Written by `make bench`; `benchmarks/rounds.py` says how it measures. All figures are of one run, in
which the contenders took turns, each in processes of its own, warmed up, with the settings below.
Shown are medians of rounds. Less is better, but for rates ("a second").

![A bar for each contender and figure](results.svg)
"""


def summary(done: list[Pass], facts: Report) -> Report:
    """Everything that was measured, ready for JSON.

    Args:
        done: the passes.
        facts: about the machine, the settings and what was left out.
    """
    return facts | {
        "targets": [row for row in targets(done) if row["measured"]],
        "passes": [
            {
                "accounts": each.accounts,
                "rounds": each.plan.rounds,
                "figures": {
                    figure: {
                        "title": FIGURES[figure].title,
                        "unit": FIGURES[figure].unit,
                        "by": {
                            who: spread(values)
                            | {"operations": each.operations.get(figure, {}).get(who)}
                            for who, values in by.items()
                        },
                    }
                    for figure, by in ordered(each.samples)
                },
                "extras": each.extras,
            }
            for each in done
        ],
    }


def ordered(samples: Samples) -> Iterable[tuple[str, dict[str, list[float]]]]:
    """The figures in the order in which they are declared."""
    return ((figure, samples[figure]) for figure in FIGURES if figure in samples)


def spread(values: list[float]) -> Report:
    """The median of the rounds, and from where to where they go."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "samples": [float(f"{value:.6g}") for value in values],
    }


def targets(done: list[Pass]) -> list[Report]:
    """Each target, and what was measured by number of accounts."""
    rows = []
    for target in TARGETS:
        measured = {each.accounts: target.measured(each.samples) for each in done}
        rows.append(
            {
                "figure": target.title,
                "target": target.asked,
                "measured": {
                    str(accounts): {"value": value, "met": target.met(value)}
                    for accounts, value in measured.items()
                    if value is not None
                },
            }
        )
    return rows


def markdown(report: Report) -> str:
    """The tables for people."""
    lines = [HEAD]
    lines += ["## Targets", "", *_targets(report), ""]
    for each in report["passes"]:
        lines += [f"## {each['accounts']:,} accounts", "", *_figures(each)]
    lines += ["## Settings", "", *_settings(report), ""]
    lines += ["## What was left out, or is otherwise", ""]
    lines += [f"- {note}" for note in report["notes"]]
    lines += ["", "## Machine", ""]
    lines += [f"- {name}: {text}" for name, text in report["machine"].items()]
    return "\n".join(lines) + "\n"


def _targets(report: Report) -> list[str]:
    sizes = [str(each["accounts"]) for each in report["passes"]]
    heads = " | ".join(f"{int(size):,} accounts" for size in sizes)
    lines = [f"| figure of cairndb | target | {heads} |", "| --- | --- |" + " --- |" * len(sizes)]
    for row in report["targets"]:
        cells = []
        for size in sizes:
            found = row["measured"].get(size)
            cells.append(
                f"{shown(found['value'])}, {'met' if found['met'] else '**not met**'}"
                if found
                else ""
            )
        lines.append(f"| {row['figure']} | {row['target']} | {' | '.join(cells)} |")
    return lines


def _figures(each: Report) -> list[str]:
    lines = []
    for name, figure in each["figures"].items():
        kind = FIGURES[name]
        lines += [f"### {kind.title} ({kind.unit.replace('/s', 'a second')})", ""]
        lines += ["| | median | least to most | × cairndb | operations |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        base = figure["by"].get("cairndb")
        for who, found in ranked(figure["by"], kind):
            times = shown(found["median"] / base["median"]) if base else ""
            count = f"{found['operations']:,}" if found["operations"] else ""
            lines.append(
                f"| {who} | {shown(found['median'])} "
                f"| {shown(found['least'])} to {shown(found['most'])} | {times} | {count} |"
            )
        lines.append("")
    return lines


def ranked(by: dict[str, Any], kind: Figure) -> list[tuple[str, Any]]:
    """The contenders of a figure, the best first."""
    return sorted(by.items(), key=lambda item: item[1]["median"], reverse=kind.more_is_better)


def _settings(report: Report) -> list[str]:
    lines = ["| | durable | not synced |", "| --- | --- | --- |"]
    lines += [
        f"| {who} | {found['commit']} | {found['process']} |"
        for who, found in report["settings"].items()
    ]
    return lines


def shown(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
