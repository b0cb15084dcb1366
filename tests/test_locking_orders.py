"""Two processes, each at every step of the protocol while the other is at every one of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import TYPE_CHECKING

import pytest

from cairndb.locking import FileLock, claim, claims, put
from cairndb.locking_hold import take
from stepping import Stepped, every_order, every_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stepping import Body

pytestmark = [pytest.mark.process, pytest.mark.slow]


class Works:
    """The times that processes came to their work, and whether two were at it at once.

    Args:
        at_end: called with the count when all have come to their end.
    """

    def __init__(self, at_end: Callable[[int], None] = lambda _count: None) -> None:
        self._at_end = at_end
        self.count = 0
        self.counts: set[int] = set()
        self.together = 0
        self._before: list[str] = []

    def look(self, places: list[str]) -> None:
        """See `Judge.look`."""
        self.count += sum(
            place == "work" and before != "work"
            for place, before in zip(places, self._before or [""] * len(places), strict=True)
        )
        self.together += places.count("work") > 1
        self._before = places

    def end(self) -> None:
        """See `Judge.end`."""
        self.counts.add(self.count)
        self._at_end(self.count)
        self.count, self._before = 0, []


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
        lock = FileLock(path, record=False)
        if blocking:
            lock.acquire()
        elif not lock.try_acquire():
            return
        stop("work")
        if remove:
            os.unlink(path)  # noqa: PTH108
        lock.release()

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


def claiming(job: Path, attempts: int | None) -> Body:
    """Claim a job, and do it."""

    def body(stop: Callable[[str], None]) -> None:
        if (claimed := claim(job, attempts=attempts)) is not None:
            with claimed:
                stop("work")

    return body


def failing(job: Path) -> Body:
    """Claim a job for the last time, and fail."""

    def body(stop: Callable[[str], None]) -> None:
        if (claimed := claim(job, attempts=1)) is not None:
            with contextlib.suppress(ZeroDivisionError), claimed:
                stop("work")
                raise ZeroDivisionError

    return body


def putting(job: Path) -> Body:
    """Put a job of the same name, if there is none."""

    def body(stop: Callable[[str], None]) -> None:
        with contextlib.suppress(FileExistsError):
            put(job.parent, job.name, b"new")
            stop("put")

    return body


@pytest.mark.parametrize("second", ["claim", "fail"])
def test_a_counted_job_is_done_once_by_every_pair(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None], second: str
) -> None:
    """Claimed by two, each stopped at each step, a job is done once, or given up once."""

    def at_end(count: int) -> None:
        assert count == 1
        buried = job.parent / "dead-letters" / job.name
        assert not job.exists()
        if buried.exists():
            assert second == "fail"
            buried.unlink()

    works = Works(at_end)
    one = start(claiming(job, 5))
    other = start(claiming(job, 5) if second == "claim" else failing(job))
    pairs = every_pair(one, other, job.touch, works) + every_pair(other, one, job.touch, works)
    assert pairs >= 400
    evidence("orders", pairs)


def test_a_new_job_isnt_removed_by_who_did_the_old_one(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None]
) -> None:
    """Putting never replaces a job, so the holder of one can't remove another in its place."""
    put_again: set[bool] = set()

    def at_end(count: int) -> None:
        assert count == 1
        assert job.exists() == (job.exists() and job.read_bytes() == b"new")
        put_again.add(job.exists())

    works = Works(at_end)
    one, other = start(claiming(job, None)), start(putting(job))

    def begin() -> None:
        job.write_bytes(b"old")

    pairs = every_pair(one, other, begin, works) + every_pair(other, one, begin, works)
    assert pairs >= 200
    assert put_again == {False, True}
    evidence("orders", pairs)


def test_a_job_that_is_put_while_remnants_are_removed(
    start: Callable[[Body], Stepped], job: Path, evidence: Callable[..., None]
) -> None:
    """Whoever removes what killed calls of `put` have left takes nothing from one that lives."""

    def clean(_stop: Callable[[str], None]) -> None:
        for _job in claims(job.parent, "nothing is called so", attempts=None):
            raise AssertionError

    def at_end(_count: int) -> None:
        assert [path.name for path in job.parent.iterdir()] == [job.name]
        assert job.read_bytes() == b"new"

    works = Works(at_end)
    one, other = start(putting(job)), start(clean)

    def begin() -> None:
        job.unlink(missing_ok=True)

    pairs = every_pair(one, other, begin, works) + every_pair(other, one, begin, works)
    assert pairs >= 100
    evidence("orders", pairs)
