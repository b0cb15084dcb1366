"""Group commit: one flush for all who wait, and one failure for all who wait."""

from __future__ import annotations

import errno
import threading
from functools import partial
from typing import Self

import pytest

from cairndb.errors import DatabaseFailed, DiskFull
from cairndb.flusher import Background, Flusher
from threads import Aside, interrupt_main_thread_when, wait_until


class Log:
    """A log that counts: `appended` is what a flush promises, and a flush can be held up."""

    def __init__(self) -> None:
        self.appended = 0
        self.flushes = 0
        self.error: OSError | None = None
        self.failures: list[BaseException] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.flusher = Flusher(self.flush, self.failures.append)

    def flush(self) -> int:
        promised = self.appended
        self.flushes += 1
        self.entered.set()
        self.go_on.wait()
        if self.error is not None:
            raise self.error
        return promised


@pytest.fixture
def log() -> Log:
    """An empty log."""
    return Log()


def test_a_lone_writer_flushes_by_itself(log: Log) -> None:
    """Without company, waiting is flushing, in the same thread."""
    log.appended = 1
    log.flusher.wait(1)
    assert (log.flushes, log.flusher.promised_lsn) == (1, 1)


def test_what_is_promised_already_is_not_flushed_again(log: Log) -> None:
    """Waiting for an old update costs nothing."""
    log.appended = 2
    log.flusher.wait(2)
    log.flusher.wait(1)
    assert log.flushes == 1


class Overtaken(int):
    """An LSN that somebody else promises right after the look whether it is promised."""

    def __new__(cls, lsn: int, log: Log) -> Self:
        """An LSN of a log."""
        made = super().__new__(cls, lsn)
        made.log = log
        return made

    log: Log

    def __gt__(self, promised: int) -> bool:
        """Whether it isn't promised yet, as `promised < lsn` asks."""
        looked = int(self) > promised
        self.log.flusher.wait(int(self))
        return looked


def test_who_is_overtaken_touches_nothing(log: Log) -> None:
    """Between the look and the role another may flush, and close: nothing is flushed after that."""
    log.appended = 1
    log.flusher.wait(Overtaken(1, log))
    assert log.flushes == 1


def test_one_flush_serves_all_who_came_while_another_ran(log: Log) -> None:
    """Ten threads that wait during a flush are covered by the next one."""
    log.go_on.clear()
    log.appended = 1
    leader = Aside(lambda: log.flusher.wait(1))
    log.entered.wait()
    log.appended = 11
    followers = [Aside(partial(log.flusher.wait, lsn)) for lsn in range(2, 12)]
    wait_until(lambda: len(log.flusher._gates) == 10)
    log.go_on.set()
    for aside in [leader, *followers]:
        aside.result()
    assert log.flushes == 2


def test_what_was_appended_during_a_flush_is_not_promised_by_it(log: Log) -> None:
    """A flush covers what was there when it was entered, and no more."""
    log.go_on.clear()
    log.appended = 1
    leader = Aside(lambda: log.flusher.wait(1))
    log.entered.wait()
    log.appended = 2
    log.go_on.set()
    leader.result()
    assert log.flusher.promised_lsn == 1


def test_a_failed_flush_fails_everybody_for_ever(log: Log) -> None:
    """Leader, followers and later callers get DatabaseFailed; no flush is tried again."""
    log.go_on.clear()
    log.appended = 1
    log.error = OSError(errno.EIO, "Input/output error")
    leader = Aside(lambda: log.flusher.wait(1))
    log.entered.wait()
    log.appended = 2
    follower = Aside(lambda: log.flusher.wait(2))
    wait_until(lambda: log.flusher._gates)
    log.go_on.set()
    for aside in (leader, follower):
        with pytest.raises(DatabaseFailed, match="Input/output error"):
            aside.result()
    log.error = None
    with pytest.raises(DatabaseFailed):
        log.flusher.wait(2)
    assert log.flushes == 1
    assert len(log.failures) == 1


def test_a_full_disk_is_no_failure(log: Log) -> None:
    """DiskFull from work in the role is raised, and the log goes on."""

    def rotate() -> None:
        raise DiskFull("no room")

    with pytest.raises(DiskFull):
        log.flusher.run(rotate)
    log.appended = 1
    log.flusher.wait(1)
    assert not log.failures


def test_work_in_the_role_waits_for_a_running_flush(log: Log) -> None:
    """Rotation and the like never run beside a flush."""
    log.go_on.clear()
    log.appended = 1
    leader = Aside(lambda: log.flusher.wait(1))
    log.entered.wait()
    work = Aside(lambda: log.flusher.run(lambda: "done"))
    wait_until(lambda: log.flusher._queue)
    assert not work.done()
    log.go_on.set()
    leader.result()
    assert work.result() == "done"


def test_work_that_breaks_fails_the_database(log: Log) -> None:
    """An unexpected error in the role means that nobody knows what is on disk."""

    def broken() -> None:
        raise MemoryError

    with pytest.raises(DatabaseFailed):
        log.flusher.run(broken)
    with pytest.raises(DatabaseFailed):
        log.flusher.run(lambda: None)
    assert log.flusher.run(lambda: "closing", after_failure=True) == "closing"


def test_what_comes_while_the_background_falls_asleep_is_seen() -> None:
    """Poking only whom one finds asleep, as updates do, never leaves work undone."""
    wanted = [0]
    seen = [0]

    def look() -> float | None:
        seen[0] = wanted[0]
        return None

    background = Background("test", look)
    for _ in range(300):
        wanted[0] += 1
        if background.asleep:
            background.poke()
        wait_until(lambda: seen == wanted)
    background.stop()
    background.poke()


def test_background_work_is_called_again_after_its_time() -> None:
    """Work that gives a number of seconds is called again by itself."""
    calls = threading.Semaphore(0)

    def look() -> float | None:
        calls.release()
        return 0.0

    background = Background("test", look)
    background.poke()
    for _ in range(3):
        assert calls.acquire(timeout=30)
    background.stop()


def test_pokes_do_not_shorten_a_pause() -> None:
    """Work that wants to be called later isn't called for each poke until then."""
    calls = []

    def look() -> float | None:
        calls.append("look")
        background.poke()
        return 3600.0

    background = Background("test", look)
    background.poke()
    wait_until(lambda: calls and background.pausing)
    background.poke()
    background.stop()
    assert calls == ["look"]


def test_work_gets_its_turn_though_a_writer_never_stops(log: Log) -> None:
    """The role goes to the work that waits for it, not to whoever flushes again at once."""
    log.go_on.clear()
    log.appended = 1
    leader = Aside(lambda: log.flusher.wait(1))
    log.entered.wait()
    turns: list[str] = []
    work = Aside(lambda: log.flusher.run(lambda: turns.append("work")))
    wait_until(lambda: log.flusher._queue)
    again = Aside(lambda: log.flusher.run(lambda: turns.append("later work")))
    wait_until(lambda: len(log.flusher._queue) == 2)
    log.go_on.set()
    for aside in (leader, work, again):
        aside.result()
    assert turns == ["work", "later work"]
    assert not log.flusher._busy


def test_interrupted_work_leaves_the_queue(log: Log) -> None:
    """Ctrl-C while waiting for the role neither takes it nor keeps it."""
    log.go_on.clear()
    log.appended = 1
    leader = Aside(lambda: log.flusher.wait(1))
    log.entered.wait()
    interrupt_main_thread_when(lambda: log.flusher._queue)
    with pytest.raises(KeyboardInterrupt):
        log.flusher.run(lambda: None)
    assert not log.flusher._queue
    log.go_on.set()
    leader.result()
    assert log.flusher.run(lambda: "free") == "free"
