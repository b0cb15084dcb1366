"""Two processes, each at every step of the protocol while the other is at every one of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import TYPE_CHECKING

import pytest

from cairndb.errors import FileLocked
from cairndb.locking import FileLock
from cairndb.locking_hold import take
from stepping import END, Stepped, every_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stepping import Body

pytestmark = [pytest.mark.process, pytest.mark.slow]


class Works:
    """The times that processes came to their work, and whether two were at it at once."""

    def __init__(self) -> None:
        self.count = 0
        self.counts: set[int] = set()
        self.together = 0
        self._before: list[str] = []

    def __call__(self, places: list[str]) -> None:
        """See where the processes are."""
        self.count += sum(
            place == "work" and before != "work"
            for place, before in zip(places, self._before or [""] * len(places), strict=True)
        )
        self.together += places.count("work") > 1
        self._before = places
        if all(place == END for place in places):
            self.counts.add(self.count)
            self.count = 0


@pytest.fixture
def start() -> Iterator[Callable[[Body], Stepped]]:
    """Starts processes, and ends them."""
    processes: list[Stepped] = []

    def begin(body: Body) -> Stepped:
        processes.append(Stepped(body))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A file's path."""
    return tmp_path / "job"


def naive(job: Path) -> Body:
    """Open, lock, work, remove, close: nothing is looked at."""

    def body(stop: Callable[[str], None]) -> None:
        try:
            descriptor = os.open(job, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return
        stop("work")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(job)  # noqa: PTH108  it is a step by this name
        os.close(descriptor)

    return body


def verified(job: Path) -> Body:
    """The same, but that the file must still have its name when it has been locked."""

    def body(stop: Callable[[str], None]) -> None:
        try:
            hold = take(str(job))
        except FileNotFoundError:
            return
        if hold is not None:
            stop("work")
            os.unlink(job)  # noqa: PTH108
            hold.close()

    return body


def locked(path: Path, *, blocking: bool, remove: bool) -> Body:
    """Work under a FileLock, and perhaps remove its file at the end."""

    def body(stop: Callable[[str], None]) -> None:
        try:
            with FileLock(path, blocking=blocking):
                stop("work")
                if remove:
                    os.unlink(path)  # noqa: PTH108
        except FileLocked:
            return

    return body


def test_the_naive_protocol_does_a_job_twice(start: Callable[[Body], Stepped], job: Path) -> None:
    """Without the look after locking some orders do the work twice: the search finds them."""
    works = Works()
    assert every_order([start(naive(job)), start(naive(job))], job.touch, works) == 76
    assert works.counts == {1, 2}


def test_a_job_is_done_once_in_every_order(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None]
) -> None:
    """With it there is no order in which the work is done twice, or not at all."""
    works = Works()
    orders = every_order([start(verified(job)), start(verified(job))], job.touch, works)
    assert orders >= 192
    assert works.counts == {1}
    evidence("orders", orders)


def replaced(job: Path) -> Body:
    """Work, move the file away, and put a new one under the name, which is no work."""

    def body(stop: Callable[[str], None]) -> None:
        hold = take(str(job), create=True)
        if hold is not None:
            if os.pread(hold.number, 10, 0):
                stop("work")
                os.rename(job, f"{job}.moved")  # noqa: PTH104  it is a step by this name
                os.close(os.open(job, os.O_CREAT))
            hold.close()

    return body


def test_a_file_that_is_moved_away_is_not_taken(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None]
) -> None:
    """Whoever locks a file whose name is another's meanwhile sees it, and takes that one."""
    works = Works()
    body = replaced(job)
    orders = every_order([start(body), start(body)], lambda: job.write_bytes(b"work"), works)
    assert orders >= 100
    assert works.counts == {1}
    evidence("orders", orders)


@pytest.mark.parametrize("remove", [False, True], ids=["kept", "removed"])
def test_one_at_a_time_in_every_order(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None], *, remove: bool
) -> None:
    """A FileLock is held by one at a time, also if its holders remove the file."""
    works = Works()
    body = locked(job, blocking=False, remove=remove)
    orders = every_order([start(body), start(body)], lambda: job.unlink(missing_ok=True), works)
    assert orders >= 130
    assert works.together == 0
    assert works.counts == {1, 2}
    evidence("orders", orders)


@pytest.mark.skipif(sys.platform != "linux", reason="who waits in the system is seen in /proc")
def test_who_waits_gets_it_in_every_order(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None]
) -> None:
    """Who waits for a FileLock gets it after the other, also if the other removes its file."""
    works = Works()
    body = locked(job, blocking=True, remove=True)
    orders = every_order([start(body), start(body)], lambda: job.unlink(missing_ok=True), works)
    assert orders >= 76
    assert works.together == 0
    assert works.counts == {2}
    evidence("orders", orders)
