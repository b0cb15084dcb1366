"""What indexes cost: loading, updating, opening and finding, with none, one and three of them.

In each round the databases take turns, so that a slow moment of the machine hits all of them; what
is shown are medians, and their ratio to those without an index. Updates are one field of one record
each, at the level `process`, so that no disk is in the way. One of the three indexes is ordered,
one unique, one has two keys per record; the updates change a key of one of them, or of none.
"""

import argparse
import gc
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cairndb
from cairndb import Index


class Account(cairndb.Record):
    """What is indexed."""

    owner: str
    number: int
    balance: int = 0
    tags: list[str] = []


class Bank(cairndb.Record):
    """Without an index."""

    accounts: dict[str, Account] = {}


class Indexed(cairndb.Record):
    """With one."""

    accounts: dict[str, Account] = {}
    by_owner = Index(Account, "accounts/*", key=lambda account: account.owner)


class ThreeTimes(cairndb.Record):
    """With three."""

    accounts: dict[str, Account] = {}
    by_owner = Index(Account, "accounts/*", key=lambda account: account.owner, ordered=True)
    by_number = Index(Account, "accounts/*", key=lambda account: account.number, unique=True)
    by_tag = Index(Account, "accounts/*", keys=lambda account: account.tags)


ROOTS: dict[str, type[Any]] = {"none": Bank, "one": Indexed, "three": ThreeTimes}
Samples = dict[str, dict[str, list[float]]]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--updates", type=int, default=3000, help="of each kind, in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="as JSON, with the samples")
    parser.add_argument("folder", type=Path, nargs="?", help="where, if not in the current folder")
    given = parser.parse_args()
    samples: Samples = {}
    for turn in range(given.rounds):
        names = list(ROOTS)
        names = names[turn % 3 :] + names[: turn % 3]
        for name in names:
            with tempfile.TemporaryDirectory(dir=given.folder or Path.cwd()) as folder:
                measure(name, Path(folder) / "x.cairn", given, samples)
    medians = {
        figure: {who: statistics.median(values) for who, values in by.items()}
        for figure, by in samples.items()
    }
    system = (
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    )
    if given.json:
        report = {"machine": system, "medians": medians, "samples": samples}
        sys.stdout.write(json.dumps(report) + "\n")
        return
    print(f"{'microseconds':32}" + "".join(f"{name:>16}" for name in ROOTS))
    for figure, by in medians.items():
        base = by.get("none")
        cells = [f"{by[name]:,.2f}" if name in by else "" for name in ROOTS]
        if base:
            cells = [f"{by[name]:,.2f} ({by[name] / base:.2f})" for name in ROOTS]
        print(f"{figure:32}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"{given.accounts:,} accounts; in brackets: times as much as without; {system}")


def measure(name: str, path: Path, given: argparse.Namespace, samples: Samples) -> None:
    """One database: make it, change it, open it again, search it."""
    accounts, updates = given.accounts, given.updates
    chance = random.Random(accounts)  # noqa: S311  not a secret

    def timed(figure: str, count: int, work: Callable[[], object]) -> None:
        gc.collect()
        begun = time.perf_counter()
        work()
        took = (time.perf_counter() - begun) / count * 1e6
        samples.setdefault(figure, {key: [] for key in ROOTS if key == name})
        samples[figure].setdefault(name, []).append(took)

    def opened() -> cairndb.Database[Any]:
        return cairndb.open(path, ROOTS[name], durability="process", restart_target=None)

    keys = [f"account {chance.randrange(accounts)}" for _ in range(updates)]
    with opened() as db:
        timed("load in one update, a record", accounts, lambda: load(db, accounts))
        timed("update of no key", updates, lambda: each(db, keys, "balance"))
        timed("update of a key", updates, lambda: each(db, keys, "owner"))
        db.checkpoint()
    begun = time.perf_counter()
    db = opened()
    took = (time.perf_counter() - begun) / accounts * 1e6
    samples.setdefault("open, a record", {}).setdefault(name, []).append(took)
    owners = [f"owner {chance.randrange(accounts // 2)}" for _ in range(updates)]
    with db, db.view() as bank:
        if name != "none":
            timed("find by key, in a view", updates, lambda: [bank.by_owner[o] for o in owners])
        if name == "three":
            ranges = [bank.by_owner.range] * updates
            timed("ten in order, in a view", updates, lambda: [r(limit=10) for r in ranges])


def load(db: cairndb.Database[Any], accounts: int) -> None:
    """Put all accounts in."""
    with db.update() as bank:
        for i in range(accounts):
            tags = [f"tag {i % 1000}", "all"]
            bank.accounts[f"account {i}"] = Account(f"owner {i // 2}", i, 0, tags)


def each(db: cairndb.Database[Any], keys: list[str], field: str) -> None:
    """An update for each key."""
    for i, key in enumerate(keys):
        with db.update() as bank:
            setattr(bank.accounts[key], field, i if field == "balance" else f"new {i}")


if __name__ == "__main__":
    main()
