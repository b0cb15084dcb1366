"""The lock and the group commit in every order of a few threads, with few preemptions."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from cairndb.errors import DatabaseFailed
from cairndb.flusher import Flusher
from cairndb.locks import ThreeModeLock, current_holder
from conftest import PROFILE
from scheduling import schedules

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduling import Scene

DEEPER = 1 if PROFILE == "nightly" else 0


class Guarded:
    """What a lock guards: two numbers that are the same, but while an update is applied."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self.lock = ThreeModeLock()
        self.pause = pause
        self.first = self.second = 0
        self.views = self.updates = 0

    def view(self) -> None:
        """Both numbers are the same from the beginning to the end."""
        hold = self.lock.acquire_shared()
        self.views += 1
        before = self.first
        self.pause()
        inner = self.lock.acquire_shared()
        assert self.first == self.second == before, "torn"
        self.lock.release_shared(inner)
        self.views -= 1
        self.lock.release_shared(hold)

    def update(self) -> None:
        """One at a time; applied beside no view."""
        self.lock.acquire_update()
        self.updates += 1
        assert self.updates == 1, "two updates"
        self.pause()
        self.lock.upgrade()
        assert not self.views, "applied under a view"
        self.first += 1
        self.pause()
        self.second += 1
        assert not self.views, "a view under what is applied"
        self.updates -= 1
        self.lock.release_update(current_holder())


def lock_scene(kinds: str) -> Callable[[Callable[[], None]], Scene]:
    """Threads with a view (v) or an update (u) each."""

    def scene(pause: Callable[[], None]) -> Scene:
        guarded = Guarded(pause)
        bodies = [guarded.view if kind == "v" else guarded.update for kind in kinds]
        return bodies, [guarded.lock._mutex]

    return scene


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "bound"), [("vu", 2), ("uu", 2), ("vvu", 1), ("vuu", 1), ("uuu", 1)]
)
def test_the_lock_in_every_order(
    kinds: str, bound: int, monkeypatch: pytest.MonkeyPatch, evidence: Callable[[str, int], None]
) -> None:
    """Updates exclude each other, nothing is applied under a view, and all get their turn."""
    number = 0
    for number in schedules(lock_scene(kinds), bound + DEEPER, monkeypatch):  # noqa: B007
        pass
    assert number > 50
    evidence("schedules", number)


class Log:
    """A log whose flush takes its time, or fails."""

    def __init__(self, pause: Callable[[], None], *, fails: bool) -> None:
        self.pause = pause
        self.fails = fails
        self.appended = self.durable = 0
        self.flushing = False
        self.flusher = Flusher(self.flush, lambda _: None)

    def alone(self) -> None:
        """Nobody else writes meanwhile."""
        assert not self.flushing, "two at once"
        self.flushing = True
        self.pause()
        self.flushing = False

    def flush(self) -> int:
        """What was appended before is durable."""
        covered = self.appended
        self.alone()
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        self.durable = covered
        return covered

    def write(self) -> None:
        """One update: acknowledged only if it is durable."""
        self.appended += 1
        mine = self.appended
        try:
            self.flusher.wait(mine)
        except DatabaseFailed:
            assert self.fails
        else:
            assert self.durable >= mine, "acknowledged before it was durable"

    def rotate(self) -> None:
        """Other work in the role."""
        try:
            self.flusher.run(self.alone)
        except DatabaseFailed:
            assert self.fails


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("kinds", "bound"), [("ww", 2), ("wr", 2), ("www", 1), ("wwr", 1)])
def test_group_commit_in_every_order(
    kinds: str,
    bound: int,
    monkeypatch: pytest.MonkeyPatch,
    evidence: Callable[[str, int], None],
    *,
    fails: bool,
) -> None:
    """One writes at a time, what is acknowledged is durable, and nobody waits for ever."""

    def scene(pause: Callable[[], None]) -> Scene:
        log = Log(pause, fails=fails)
        return [log.write if kind == "w" else log.rotate for kind in kinds], [log.flusher._mutex]

    number = 0
    for number in schedules(scene, bound + DEEPER, monkeypatch):  # noqa: B007
        pass
    assert number > 50
    evidence("schedules", number)
