"""How many jobs that are files are put, and claimed and removed, in a second.

    python benchmarks/claims.py [FILES] [DIRECTORY]

The work is nothing, so that what is left is what `claims` takes: with attempts counted and without,
by one process and by four at the same time; and, to compare, the protocol that is wrong
(tests/naive_claims.py). Printed: jobs a second, the best of three runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cairndb.locking import claims, put

if TYPE_CHECKING:
    from collections.abc import Callable

NAIVE = Path(__file__).parent.parent / "tests" / "naive_claims.py"
PUTS = 500


def counted(inbox: str) -> None:
    """Do all, and count attempts."""
    for job in claims(inbox):
        with job:
            pass


def uncounted(inbox: str) -> None:
    """Do all."""
    for job in claims(inbox, attempts=None):
        with job:
            pass


def naive(inbox: str) -> None:
    """Do all, not looking whether it is done."""
    sys.path.insert(0, str(NAIVE.parent))
    import naive_claims  # noqa: PLC0415  found just now

    naive_claims.work(inbox, os.devnull)


def measured(act: Callable[[str], None], files: int, workers: int, directory: str | None) -> float:
    """How many jobs that many processes do in a second."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        return files / seconds(act, Path(folder), files, workers)


def seconds(act: Callable[[str], None], inbox: Path, files: int, workers: int) -> float:
    """How long it takes them to do that many jobs."""
    for number in range(files):
        (inbox / f"{number:06}").write_bytes(b"x" * 100)
    ready, go = os.pipe(), os.pipe()
    children = []
    for _ in range(workers):
        child = os.fork()
        if not child:
            os.close(go[1])
            os.write(ready[1], b".")
            os.read(go[0], 1)
            try:
                act(str(inbox))
            finally:
                os._exit(0)
        children.append(child)
    for _ in children:
        os.read(ready[0], 1)
    started = time.perf_counter()
    os.close(go[1])
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - started


def main(files: str = "10000", directory: str | None = None) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        inbox = Path(folder)
        started = time.perf_counter()
        for number in range(PUTS):
            put(inbox, f"{number:06}", b"x" * 100)
        print(f"{'put, synced':24}{PUTS / (time.perf_counter() - started):8,.0f}")
    for name, act in (("claims", counted), ("attempts=None", uncounted), ("naive", naive)):
        for workers in (1, 4):
            best = max(measured(act, int(files), workers, directory) for _ in range(3))
            print(f"{f'{name}, {workers} processes':24}{best:8,.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
