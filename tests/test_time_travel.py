"""The state as it was, by LSN and by time, as far back as it is kept."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.errors import ReadOnlyError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def counted(path: Path, *, updates: int = 6, checkpoint_after: tuple[int, ...] = ()) -> None:
    """A database whose root has `n` = LSN - 1, with checkpoints after some LSNs."""
    with cairndb.open(path, restart_target=None) as db:
        for number in range(1, updates + 1):
            with db.update() as root:
                root["n"] = number
            if db.lsn in checkpoint_after:
                db.checkpoint()


def state_at(path: Path, at: Any) -> dict[str, Any]:
    """What a reader of then sees."""
    with cairndb.open(path, at=at) as db, db.view() as root:
        return cairndb.plain(root)


@pytest.mark.parametrize("checkpoint_after", [(), (4,), (2, 5)], ids=repr)
def test_every_lsn_that_is_kept_can_be_seen(
    tmp_path: Path, checkpoint_after: tuple[int, ...]
) -> None:
    """With checkpoints or without, before, at and after them."""
    path = tmp_path / "x.cairn"
    counted(path, checkpoint_after=checkpoint_after)
    oldest = 2 if len(checkpoint_after) > 1 else 1
    states = [state_at(path, lsn) for lsn in range(oldest, 8)]
    assert states == [{"n": lsn - 1} if lsn > 1 else {} for lsn in range(oldest, 8)]


def test_what_isnt_there_is_told(tmp_path: Path) -> None:
    """Before what is kept, and after what has been written."""
    path = tmp_path / "x.cairn"
    counted(path, checkpoint_after=(3, 5))
    with pytest.raises(UsageError, match="goes back to LSN 3, and LSN 2"):
        state_at(path, 2)
    with pytest.raises(UsageError, match="has got to LSN 7, not yet to 8"):
        state_at(path, 8)


def test_a_time_names_the_last_update_before_it(tmp_path: Path) -> None:
    """Times between updates, across segments; before the first one there is nothing."""
    path = tmp_path / "x.cairn"
    before = dt.datetime.now(dt.UTC)
    times = []
    for number in range(1, 5):
        with cairndb.open(path, restart_target=None) as db:
            with db.update() as root:
                root["n"] = number
            times.append(dt.datetime.now(dt.UTC))
    assert [state_at(path, when) for when in times] == [{"n": n} for n in range(1, 5)]
    with pytest.raises(UsageError, match="isn't kept"):
        state_at(path, before)
    with pytest.raises(UsageError, match="no time zone"):
        state_at(path, times[0].replace(tzinfo=None))


def test_the_past_cant_be_changed(tmp_path: Path) -> None:
    """It is read-only, and may be read beside an owner."""
    path = tmp_path / "x.cairn"
    counted(path)
    with cairndb.open(path), cairndb.open(path, at=3) as db:
        assert db.lsn == 3
        with pytest.raises(ReadOnlyError), db.update():
            pass


class Item(cairndb.Record):
    count: int = 0


class Old(cairndb.Record):
    items: dict[str, Item] = {}


class New(cairndb.Record):
    items: dict[str, Item] = {}
    total: int = 0


def test_the_past_is_seen_with_the_types_of_then_and_of_now(tmp_path: Path) -> None:
    """Before a change of the schema: as it was declared then, or converted."""
    path = tmp_path / "x.cairn"
    with cairndb.open(path, Old) as db, db.update() as old:
        old.items["a"] = Item(1)
    with cairndb.open(path, New) as changed, changed.update() as new:
        new.total = 5
    with cairndb.open(path, Old, at=2) as db, db.view() as old:
        assert old.items["a"].count == 1
    totals = []
    for lsn in (2, 3, 4):
        with cairndb.open(path, New, at=lsn) as present, present.view() as new:
            totals.append((new.items["a"].count, new.total))
    assert totals == [(1, 0), (1, 0), (1, 5)]


@pytest.mark.parametrize(("retain", "oldest"), [(None, 6), ("1d", 1), ("all", 1), ("1kB", 6)])
def test_as_much_is_kept_as_was_asked_for(tmp_path: Path, retain: str | None, oldest: int) -> None:
    """By default what is safe, the log since the last checkpoint but one; with `retain` more."""
    path = tmp_path / "x.cairn"
    for number in range(1, 8):
        with cairndb.open(path, restart_target=None, retain=retain) as db:
            with db.update() as root:
                root["n"] = number
            db.checkpoint()
    found = []
    for lsn in range(1, 9):
        with contextlib.suppress(UsageError):
            assert state_at(path, lsn) == ({"n": lsn - 1} if lsn > 1 else {})
            found.append(lsn)
    assert found == list(range(oldest + 1 if oldest > 1 else 1, 9))
