"""What the tests have tried, counted: the table in docs/GUARANTEES.md.

A test that tries many cases says how many with the `evidence` fixture, under a key from here; the
counts of one key add up. `make evidence` runs the tests and writes the table; `make test` fails if
it comes to less than the table promises.
"""

from __future__ import annotations

import re
from collections import Counter as Tally
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROWS = {
    "images": "different disk images that a crash can leave, each opened and gone on with",
    "traced": "different disk images from the traced system calls of a real program, each opened",
    "faults": "calls to the system that failed, each in a run of its own",
    "interrupts": "instructions at which Ctrl-C struck, each in a run of its own",
    "cancellations": "awaits at which a task was cancelled, each in a run of its own",
    "memory errors": "allocations that failed, each in a run of its own",
    "schedules": "different orders in which threads ran through the locks",
    "transactions": "views and updates beside others, compared with the log",
    "damaged": "databases with a damaged, missing, foreign or misplaced file, each opened",
    "hostile": "inputs made to mislead the decoders, most of them with right checksums",
    "kills": "owners of a database killed with SIGKILL, of which everything acknowledged was found",
    "races": "rounds in which processes or threads raced for a database: one owner at any moment",
    "orders": "orders in which two processes went through the steps of a lock on a file: one owner",
    "diagnoses": "directories, damaged or crashed, diagnosed and compared with what opening did",
    "salvages": "damaged directories of which a new database was made, opened and compared",
    "power cuts": "power cuts below a mounted ext4, xfs or btrfs: all acknowledged was found",
}
"""Every key, and what one of it is."""

GUARANTEES = Path(__file__).parent.parent / "docs" / "GUARANTEES.md"
BEGIN, END = "<!-- written by `make evidence` -->", "<!-- until here -->"
PROPERTY = "evidence"
TIERS = ("test", "nightly")


def total(properties: Iterable[tuple[str, object]]) -> Tally[str]:
    """Add up what tests have recorded.

    Args:
        properties: the user properties of all reports.
    """
    counts: Tally[str] = Tally()
    for name, value in properties:
        if name == PROPERTY and isinstance(value, list | tuple):
            key, count = value
            counts[str(key)] += int(count)
    return counts


def promised(text: str, tier: str) -> dict[str, int]:
    """The counts that a document gives.

    Args:
        text: of the document.
        tier: which column, see `TIERS`.
    """
    rows = re.findall(r"^\| (.*) \| ([0-9,]+) \| ([0-9,]+) \|$", text, re.MULTILINE)
    keys = {what: key for key, what in ROWS.items()}
    column = 1 + TIERS.index(tier)
    return {keys[row[0]]: int(row[column].replace(",", "")) for row in rows if row[0] in keys}


def shortfall(text: str, tier: str, counts: Mapping[str, int]) -> list[str]:
    """In what a run came to less than a document promises.

    Args:
        text: of the document.
        tier: that was run.
        counts: what came out.
    """
    return [
        f"{ROWS[key]}: docs/GUARANTEES.md promises {count:,}, and there were {counts[key]:,}"
        for key, count in promised(text, tier).items()
        if counts.get(key, 0) < count
    ]


def rewritten(text: str, tier: str, counts: Mapping[str, int]) -> str:
    """A document with one column of its table written anew."""
    found = {key: _at_least(count) for key, count in counts.items()}
    columns = {name: promised(text, name) for name in TIERS} | {tier: found}
    lines = ["| tried, at least | by `make test` | by `make nightly` |", "| --- | ---: | ---: |"]
    for key, what in ROWS.items():
        cells = " | ".join(f"{columns[name].get(key, 0):,}" for name in TIERS)
        lines.append(f"| {what} | {cells} |")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return "\n".join([f"{before}{BEGIN}\n", *lines, f"\n{END}{after}"])


def _at_least(count: int) -> int:
    """A count's first digit: runs differ where threads are at work, and by version of Python."""
    digits = str(count)
    return int(digits[0].ljust(len(digits), "0"))
