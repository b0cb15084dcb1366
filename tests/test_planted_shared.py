"""The test of the tests, above the store: a shared sync, and the directory's own name."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb import descriptors, files
from cairndb.engine import Engine
from cairndb.flusher import Flusher
from cairndb.locks_gates import closed_gate, wait_at
from lives import Judge, Point, State, open_engine, put, without_lock
from planted_engine import acknowledge_what_came_meanwhile
from planted_seam import Seam, plant_files
from simulated import World
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from planted_seam import Plant


def share_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread updates while another's sync runs; lose power at every call and acknowledgement."""
    world, points = World(), list[Point]()
    states: list[State] = [None, {}]
    durable = [0]
    meanwhile: list[Callable[[], None]] = []

    class Overtaken(Seam):
        def sync(self) -> None:
            self.inner.sync()
            if meanwhile and not self.temporary:
                meanwhile.pop()()

    def note(what: str) -> None:
        moment = without_lock(world.moment())
        points.append(Point(moment, states, len(states) - 1, durable[0], what))

    def update(key: str) -> None:
        lsn = len(states)
        states.append({**(states[-1] or {}), key: lsn})
        put(engine, key, lsn)
        durable[0] = max(durable[0], lsn)
        note(f"{key} is acknowledged")

    def follow() -> None:
        followers.append(Aside(lambda: update("follower")))
        wait_until(lambda: engine.flusher._gates)

    plant_files(monkeypatch, Overtaken)
    world.observe = note
    followers: list[Aside[None]] = []
    engine = open_engine(world, "shared", room=2000)
    meanwhile.append(follow)
    update("leader")
    followers[0].result()
    Judge().check(points, limit=40, most=100)


def promise_what_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its sync returns, the leader takes what is in memory by then to be on disk."""
    flush = Engine._flush

    def flushed(self: Engine) -> int:
        flush(self)
        return self.applied_lsn

    monkeypatch.setattr(Engine, "_flush", flushed)


def believe_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is woken by the leader takes its own update to be covered."""
    wait = Flusher.wait

    def waited(self: Flusher, lsn: int) -> None:
        if not self._busy:
            wait(self, lsn)
            return
        gate = closed_gate()
        self._gates.append((0, gate))
        wait_at(gate)

    monkeypatch.setattr(Flusher, "wait", waited)


@pytest.mark.parametrize(
    ("plant", "caught"),
    [
        (None, False),
        (promise_what_is_applied, True),
        (believe_the_leader, True),
        # Harmless here: nobody writes while the role is held. See test_planted_bugs.
        (acknowledge_what_came_meanwhile, False),
    ],
)
def test_what_is_appended_while_a_sync_runs_is_not_acknowledged_by_it(
    plant: Plant | None, *, caught: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader, or a follower, that takes it to be so is caught; the engine is not."""
    if plant is not None:
        plant(monkeypatch)
    with pytest.raises(AssertionError, match="follower") if caught else nullcontext():
        share_a_sync(monkeypatch)


def sync_all_but(parent: Path) -> Callable[[files.RealDirectory], None]:
    """Syncs directories, and leaves the names in one of them to chance."""
    sync = files.RealDirectory.sync

    def synced(self: files.RealDirectory) -> None:
        if self.path != str(parent):
            sync(self)

    return synced


@pytest.mark.parametrize("planted", [False, True])
def test_a_parent_that_is_not_synced_is_caught(
    *, planted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is acknowledged the parent is synced with the new directory in it."""
    path, covered = tmp_path / "db.cairn", []
    sync = descriptors._sync

    def observed(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == tmp_path.stat().st_ino:
            covered.append(path.exists())
        sync(descriptor)

    monkeypatch.setattr(descriptors, "_sync", observed)
    if planted:
        monkeypatch.setattr(files.RealDirectory, "sync", sync_all_but(tmp_path))
    cairndb.open(path, dict[str, int]).close()
    assert (covered == [True]) is not planted
