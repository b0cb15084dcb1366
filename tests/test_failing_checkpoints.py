"""Checkpoints that can't be made: told once, tried again later and later; updates go on."""

from __future__ import annotations

import logging
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.errors import CairnError
from owning import HelperInside, own_path
from writer import Counter, Counters, count_once

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.engine import Engine
    from cairndb.housekeeper import Report


class Failing(HelperInside):
    """A helper that fails as it is told, on a clock that the test moves; no threads."""

    now = 0.0
    problem: str | None = None
    tries = 0

    def __init__(self, engine: Engine, path: str, **given: Any) -> None:
        super().__init__(engine, path, **given | {"restart_target": 0.0, "clock": self.clock})

    def clock(self) -> float:
        return self.now

    def wake(self) -> None:
        """Nobody looks by himself."""

    def _run_helper(self, lsn: int) -> Report:
        self.tries += 1
        if self.problem is not None:
            name = f"checkpoint-{lsn:020}.ckpt.tmp-1-{self.tries:016x}"
            self._engine.store.directory.create(name).close()
            raise CairnError(f"{self.problem} at try {self.tries}")
        return super()._run_helper(lsn)


def failing(path: Path) -> tuple[cairndb.Database[Counters], Failing]:
    """A database whose log makes a checkpoint due, and its housekeeper."""
    db = own_path(path, helper=Failing)
    with db.update() as root:
        root.threads["x"] = Counter(0, "x" * (1 << 20))
    assert isinstance(db._housekeeper, Failing)
    return db, db._housekeeper


def test_a_failing_checkpoint_is_tried_again_later_and_later(tmp_path: Path) -> None:
    """Each pause is twice the one before; stats say why, since when, how often and when next."""
    db, keeper = failing(tmp_path / "x.cairn")
    with db:
        keeper.problem = "no room"
        for tries, now in enumerate((0.0, 1.0, 3.0, 7.0), 1):
            keeper.now = now - 0.5
            keeper._checkpoint_if_due()
            assert keeper.tries == tries - 1
            keeper.now = now
            assert keeper._checkpoint_if_due() == 2.0 ** (tries - 1)
            assert keeper.tries == tries
        keeper.now = 9.0
        stats = db.stats()
        count_once(db, "y")

        assert stats["checkpoint_problem"] == "no room at try 4"
        assert stats["checkpoint_failures_in_a_row"] == stats["checkpoints_failed"] == 4
        assert stats["checkpoint_failing_seconds"] == 9.0
        assert stats["checkpoint_next_try_seconds"] == 6.0
        assert not stats["checkpoint_due"]
        assert stats["checkpoint_reason"] == (
            "the last try failed 2 s ago (4 in a row): no room at try 4; next in 6 s"
        )


def test_a_success_ends_the_trouble(tmp_path: Path) -> None:
    """When the checkpoint can be made again, it is, and nothing is said of the past."""
    db, keeper = failing(tmp_path / "x.cairn")
    with db:
        keeper.problem = "no room"
        keeper._checkpoint_if_due()
        keeper.problem, keeper.now = None, 1.0

        assert keeper._checkpoint_if_due() == 0.0
        stats = db.stats()
        assert stats["checkpoint_lsn"] == db.lsn
        assert (stats["checkpoint_problem"], stats["checkpoint_failures_in_a_row"]) == (None, 0)
        assert (stats["checkpoints_made"], stats["checkpoints_failed"]) == (1, 1)
        assert stats["checkpoint_next_try_seconds"] is None


def test_a_problem_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not at each try, but again when it is another one, and when it is over."""
    db, keeper = failing(tmp_path / "x.cairn")
    with db, caplog.at_level(logging.INFO, "cairndb"):
        for problem in ("no room", "no room", "no room", "killed", "killed", None):
            keeper.problem = problem
            keeper._checkpoint_if_due()
            keeper.now += 100.0

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert "no room" in told[0]
    assert "killed" in told[1]
    assert "can be made again" in told[2]


def test_failures_leave_no_files(tmp_path: Path) -> None:
    """What a helper that failed has written is removed: else the disk would fill."""
    path = tmp_path / "x.cairn"
    db, keeper = failing(path)
    with db:
        keeper.problem = "killed"
        keeper._checkpoint_if_due()

        assert keeper.tries == 1
        assert [file.name for file in path.iterdir() if ".tmp-" in file.name] == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "problem"),
    [("/no/such/python", "No such file"), ("false", "ended with status 1"), (None, "signal 9")],
)
def test_a_real_helper_that_fails_is_told(
    program: str | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Python, one that ends at once, one that is killed: the reason is in the stats."""
    killing = tmp_path / "killing"
    killing.write_text("#!/bin/sh\nkill -9 $$\n")
    killing.chmod(0o700)
    with cairndb.open(tmp_path / "x.cairn", restart_target=0.0, sync_interval=0.001) as db:
        keeper = db._housekeeper
        assert keeper is not None
        monkeypatch.setattr(
            sys, "executable", str(shutil.which(program or "") or program or killing)
        )
        keeper._syncs.stop()
        with db.update() as root:
            root["x"] = "x" * (1 << 20)
        pause = keeper._checkpoint_if_due()
        with db.update() as root:
            root["y"] = "y"
        stats = db.stats()

        assert problem in stats["checkpoint_problem"]
        assert pause is not None
        assert pause > 0
        monkeypatch.undo()
        assert db.checkpoint() == db.lsn
        assert db.stats()["checkpoint_problem"] is None
