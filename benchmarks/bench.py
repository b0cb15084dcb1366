"""cairndb beside what a Python developer would pick instead: the same work, in the same run.

Writes results.md, results.json and results.svg. Says on standard error how far it is.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contenders import CAIRN, PLACES, contender
from machine import machine, redis_version
from plot import svg
from report import markdown, summary
from rounds import Pass, Plan

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"


def there(wanted: list[str]) -> tuple[list[str], list[str]]:
    """Those of the contenders that can take part, and why the others can't."""
    names, notes = [], []
    for name in wanted:
        try:
            contender(name)
        except ImportError as error:
            notes.append(f"{name} was left out: {error}.")
        else:
            names.append(name)
    return names, notes


def plans(given: argparse.Namespace) -> dict[int, Plan]:
    """How much is done with how many accounts."""
    short = given.short
    first, *more = sorted(given.accounts or ([20_000] if short else [100_000, 1_000_000]))
    seconds = given.seconds or (0.03 if short else 0.05)
    rounds, turns = given.rounds or (1 if short else 5), given.turns or (5)
    one = Plan(rounds, turns, seconds, True, 0 if more else given.few, 20 * seconds, 2 - short)
    # A round with many takes minutes, which is why there are fewer.
    many = Plan(min(rounds, 3), turns, seconds, False, given.few, 20 * seconds, 1)
    return {first: one, **dict.fromkeys(more, many)}


def measure(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All passes; the report so far after each of them."""
    names, left_out = there(given.contenders)
    begun, load = time.monotonic(), os.getloadavg()[0]
    notes = left_out + [note for name in names for note in contender(name).notes]
    settings = {name: contender(name).settings for name in names}
    packages = ["cairndb", *(each for name in names for each in contender(name).packages)]
    done = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as folder:
        found = machine(Path(folder), dict.fromkeys(packages))
        if "Redis" in names:
            found["redis-server"] = redis_version(shutil.which("redis-server") or "")
        for accounts, plan in plans(given).items():
            able = [name for name in names if contender(name).accounts_max >= accounts]
            slow = [name for name in names if name not in able]
            if slow:
                notes.append(f"With {accounts:,} accounts these take too long: {', '.join(slow)}.")
            done.append(Pass(Path(folder) / str(accounts), accounts, able, plan))
            done[-1].run()
            found["run"] = (
                f"{time.strftime('%Y-%m-%d')}, {(time.monotonic() - begun) / 60:.0f} minutes, "
                f"load average before {load:.1f}, after {os.getloadavg()[0]:.1f}"
            )
            yield summary(done, {"machine": found, "settings": settings, "notes": notes})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="a minute: one round, 20,000 accounts")
    parser.add_argument("--accounts", type=int, nargs="+", help="instead of 100,000 and 1,000,000")
    parser.add_argument("--few", type=int, default=10_000, help="what many are compared with")
    parser.add_argument("--rounds", type=int, help="instead of 5 (3 with many accounts)")
    parser.add_argument("--turns", type=int, help="of each contender in a round, instead of 5")
    parser.add_argument("--seconds", type=float, help="of a turn, instead of 0.05")
    parser.add_argument(
        "--contenders", nargs="+", choices=list(PLACES), default=list(PLACES), help="only these"
    )
    parser.add_argument(
        "--output", type=Path, help="folder for the results; else docs/benchmarks, none if --short"
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path.cwd(), help="where the data is meanwhile"
    )
    given = parser.parse_args()
    # Compiling isn't importing: what is started anew finds the modules of all contenders compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if CAIRN not in given.contenders:
        parser.error("--contenders must include cairndb, which the others are compared with")
    output = given.output or (None if given.short else RESULTS)
    for report in measure(given):
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
            (output / "results.json").write_text(text, encoding="utf-8")
            (output / "results.md").write_text(markdown(report), encoding="utf-8")
            (output / "results.svg").write_text(svg(report), encoding="utf-8")
    sys.stdout.write(markdown(report))


if __name__ == "__main__":
    main()
