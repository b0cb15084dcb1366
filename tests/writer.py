"""A program that tests kill: several threads update, and print what was acknowledged.

    python writer.py DATABASE THREADS [checkpoint]

Each thread counts up its own key, with some bytes beside it so that segments fill up, and prints
`KEY COUNT` after the update has returned. With `checkpoint`, one more thread makes checkpoints.
Whatever else counts so can be held against `check`.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import cairndb

if TYPE_CHECKING:
    from collections.abc import Mapping


class Counter(cairndb.Record):
    """How far a thread has come."""

    count: int = 0
    ballast: str = ""


class Counters(cairndb.Record):
    """The root."""

    threads: dict[str, Counter] = {}
    total: int = 0


def ballast(count: int) -> str:
    """What stands beside a count: of another length each time."""
    return "x" * (count * 997 % 5000)


def count_once(db: cairndb.Database[Counters], key: str, *, durable: bool = True) -> int:
    """One update.

    Returns:
        The count of the key after it.
    """
    with db.update(durable=durable) as root:
        counter = root.threads.setdefault(key, Counter())
        counter.count += 1
        counter.ballast = ballast(counter.count)
        root.total += 1
        return counter.count


def check(root: Counters, lsn: int, reached: Mapping[str, int]) -> None:
    """A state is one between two updates, and none that was acknowledged is missing.

    Args:
        root: the state.
        lsn: of it.
        reached: the counts that were acknowledged, by key.
    """
    for key, count in reached.items():
        assert key in root.threads, f"{key} is missing, acknowledged up to {count}"
        assert root.threads[key].count >= count, f"{key} is back at {root.threads[key].count}"
    for counter in root.threads.values():
        assert counter.ballast == ballast(counter.count)
    # Each update counts twice: once in its thread's record, once in all. LSN 1 is the empty root.
    assert root.total == sum(counter.count for counter in root.threads.values())
    assert lsn == 1 + root.total


def count(db: cairndb.Database[Counters], key: str) -> None:
    """Count for ever."""
    while True:
        os.write(1, f"{key} {count_once(db, key)}\n".encode())


def checkpoints(db: cairndb.Database[Counters]) -> None:
    """Make checkpoints for ever."""
    while True:
        db.checkpoint()


def main() -> None:
    """Run until killed."""
    db = cairndb.open(sys.argv[1], Counters)
    threads = [
        threading.Thread(target=count, args=(db, f"thread{number}"))
        for number in range(int(sys.argv[2]))
    ]
    if "checkpoint" in sys.argv:
        threads.append(threading.Thread(target=checkpoints, args=(db,)))
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
