"""A program that tests kill: several threads update, and print what was acknowledged.

    python writer.py DATABASE THREADS [checkpoint]

Each thread counts up its own key, with some bytes beside it so that segments fill up, and prints
`KEY COUNT` after the update has returned. With `checkpoint`, one more thread makes checkpoints.
"""

from __future__ import annotations

import os
import sys
import threading

import cairndb


class Counter(cairndb.Record):
    """How far a thread has come."""

    count: int = 0
    ballast: str = ""


class Counters(cairndb.Record):
    """The root."""

    threads: dict[str, Counter] = {}
    total: int = 0


def count(db: cairndb.Database[Counters], key: str) -> None:
    """Count for ever."""
    while True:
        with db.update() as root:
            counter = root.threads.setdefault(key, Counter())
            counter.count += 1
            counter.ballast = "x" * (counter.count * 997 % 5000)
            root.total += 1
            reached = counter.count
        os.write(1, f"{key} {reached}\n".encode())


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
