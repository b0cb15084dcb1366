"""Where the time of a view, an update and a load goes, step by step.

    make bench-steps
    make bench-steps ARGUMENTS="--rounds 30 --json"

Each step is done again and again by itself, in rounds in which all take turns, and the least of
them is shown: what it takes when nothing else gets in its way. It is processor time of this thread,
in which a wait for the disk doesn't count, but what the system itself does for a sync does. A sum
of steps is less than the whole, which also finds colder caches, and after a sync still colder ones.
"""

import argparse
import gc
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from check_work import Account, Bank
from machine import machine

import cairndb
from cairndb import draft as drafts
from cairndb.database import Database
from cairndb.locks_interrupts import deferred_interrupts
from cairndb.patch import decode_entry, encode_entry
from cairndb.schema import compile_root
from cairndb.transaction import need_stack

ACCOUNTS = 1000


class Step(NamedTuple):
    """One step: what it belongs to, its name, and what does it once, given a number."""

    group: str
    name: str
    work: Callable[[int], object]


KEYS = [f"account-{number:06}" for number in range(ACCOUNTS)]


def view_steps(database: Database[Bank]) -> Iterator[Step]:
    """Reading."""

    def empty(_number: int) -> None:
        with database.view():
            pass

    def read(number: int) -> None:
        with database.view() as bank:
            bank.accounts[KEYS[number % ACCOUNTS]].balance  # noqa: B018  the read is the work

    yield Step("view", "an empty one", empty)
    yield Step("view", "that reads a field", read)


def whole_steps(database: Database[Bank]) -> Iterator[Step]:
    """Updates as the application makes them."""

    def update(number: int) -> None:
        with database.update() as bank:
            bank.accounts[KEYS[number % ACCOUNTS]].balance += 1

    def without_flush(number: int) -> None:
        with database.update(durable=False) as bank:
            bank.accounts[KEYS[number % ACCOUNTS]].balance += 1

    def empty(_number: int) -> None:
        with database.update():
            pass

    yield Step("update", "of one field, the whole", update)
    yield Step("update", "the same, without its write", without_flush)
    yield Step("update", "that changes nothing", empty)


def draft_steps(database: Database[Bank]) -> Iterator[Step]:
    """What drafts cost: each of these does what those before it do, too."""
    tree = database._engine.tree  # noqa: SLF001  this is about the inside

    def opened(_number: int) -> None:
        drafts.close(drafts.open_draft(tree.kind, tree.root))

    def into_dict(_number: int) -> None:
        draft = drafts.open_draft(tree.kind, tree.root)
        draft.accounts  # noqa: B018  the access is the work
        drafts.close(draft)

    def into_record(number: int) -> None:
        draft = drafts.open_draft(tree.kind, tree.root)
        draft.accounts[KEYS[number % ACCOUNTS]].balance  # noqa: B018
        drafts.close(draft)

    def written(number: int) -> None:
        draft = drafts.open_draft(tree.kind, tree.root)
        draft.accounts[KEYS[number % ACCOUNTS]].balance += 1
        drafts.close(draft)

    def collected(number: int) -> None:
        draft = drafts.open_draft(tree.kind, tree.root)
        draft.accounts[KEYS[number % ACCOUNTS]].balance += 1
        drafts.collect(draft)
        drafts.close(draft)

    yield Step("drafts", "open and close the root's", opened)
    yield Step("drafts", "and look into the dict", into_dict)
    yield Step("drafts", "and read a field of a record", into_record)
    yield Step("drafts", "and write it", written)
    yield Step("drafts", "and collect the patch", collected)


def entry_steps(database: Database[Bank]) -> Iterator[Step]:
    """From the patch to the state."""
    engine = database._engine  # noqa: SLF001  this is about the inside
    tree = engine.tree
    draft = drafts.open_draft(tree.kind, tree.root)
    draft.accounts[KEYS[0]].balance += 1
    operations = drafts.collect(draft)
    drafts.close(draft)
    now = engine.clock()
    entry = encode_entry(now, operations)
    decoded = decode_entry(entry).operations
    prepared = tree.resolve(decoded)

    def deferred(_number: int) -> None:
        with deferred_interrupts:
            pass

    yield Step("entry", "read the clock", lambda _: engine.clock())
    yield Step("entry", "encode it", lambda _: encode_entry(now, operations))
    yield Step("entry", "decode it", lambda _: decode_entry(entry))
    yield Step("entry", "resolve it", lambda _: tree.resolve(decoded))
    yield Step("entry", "find room in the log", lambda _: engine.store.has_room(len(entry)))
    yield Step("entry", "apply it", lambda _: tree.apply(prepared))
    yield Step("guards", "see that there is stack left", lambda _: need_stack())
    yield Step("guards", "defer Ctrl-C", deferred)


def load_steps(count: int) -> Iterator[Step]:
    """What opening does with a record of a checkpoint, of many at once."""
    kind = compile_root(Bank, guard=True)
    plain = compile_root(Bank, guard=False)
    bank = Bank({KEYS[n]: Account(f"Owner number {n}", 100, ["a", "b"]) for n in range(count)})
    encoded = kind.encode(bank)
    yield Step("load", "decode a record", lambda _: plain.decode(encoded))
    yield Step("load", "decode and guard it", lambda _: kind.decode(encoded))


@contextmanager
def durable_steps(folder: Path) -> Iterator[list[Step]]:
    """What a sync costs, and does to everything after it; `measured` does fewer of these."""
    database = cairndb.open(folder / "durable.cairn", Bank, restart_target=None)
    with database.update() as bank:
        bank.accounts.update({key: Account(f"Owner of {key}") for key in KEYS})
    file = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, 1 << 24)
    sync = getattr(os, "fdatasync", os.fsync)
    sync(file)
    places = itertools.count(step=64)

    def raw(_number: int) -> None:
        os.pwrite(file, bytes(64), next(places))
        sync(file)

    def update(number: int) -> None:
        with database.update() as bank:
            bank.accounts[KEYS[number % ACCOUNTS]].balance += 1

    try:
        yield [
            Step("durable", "write 64 bytes and sync them, without a database", raw),
            Step("durable", "update of one field, the whole", update),
        ]
    finally:
        database.close()
        os.close(file)


def seconds_of(work: Callable[[int], object], count: int) -> float:
    """Processor time of so many in a row."""
    gc.collect()
    started = time.thread_time()
    for number in range(count):
        work(number)
    return time.thread_time() - started


def measured(steps: list[Step], count: int, rounds: int) -> list[dict[str, Any]]:
    """Every step's least and median time in microseconds, the loop's own subtracted."""
    samples: dict[int, list[float]] = {index: [] for index in range(len(steps))}
    for number in range(rounds + 1):
        sys.stderr.write(f"\rround {number} of {rounds}")
        loop = min(seconds_of(lambda _: None, count) for _ in range(3))
        for index, step in enumerate(steps):
            per = ACCOUNTS if step.group == "load" else 1
            repeats = max(1, count // (20 if step.group == "durable" else per))
            taken = seconds_of(step.work, repeats) - loop * repeats / count
            if number:  # the first is the warm-up
                samples[index].append(taken / repeats / per * 1e6)
    sys.stderr.write("\n")
    return [
        {"group": step.group, "step": step.name, "least": min(found), "median": median(found)}
        for step, found in zip(steps, samples.values(), strict=True)
    ]


def table(found: list[dict[str, Any]]) -> str:
    """For people."""
    lines = ["| | step | least, µs | median, µs |", "| --- | --- | ---: | ---: |"]
    group = ""
    for each in found:
        shown = "" if each["group"] == group else each["group"]
        group = each["group"]
        numbers = f"{each['least']:.2f} | {each['median']:.2f}"
        lines.append(f"| {shown} | {each['step']} | {numbers} |")
    lines += ["", *(f"{name}: {text}  " for name, text in machine().items())]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=3000, help="of each step in a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("folder", type=Path, nargs="?", help="where, if not in the current folder")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder or Path.cwd()) as folder,
        cairndb.open(
            Path(folder) / "bench.cairn", Bank, durability="process", restart_target=None
        ) as database,
        durable_steps(Path(folder)) as durable,
    ):
        with database.update() as bank:
            bank.accounts.update({key: Account(f"Owner of {key}", 100, ["a", "b"]) for key in KEYS})
        steps = [
            *view_steps(database),
            *whole_steps(database),
            *draft_steps(database),
            *entry_steps(database),
            *load_steps(ACCOUNTS),
            *durable,
        ]
        found = measured(steps, given.count, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps({"machine": machine(), "steps": found}, indent=2) + "\n")
    else:
        sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
