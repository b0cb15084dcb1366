"""What `db.stats()` and `cairn stats` say of what is kept is what `open(at=…)` finds."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.errors import UsageError
from cairndb.files import RealDirectory
from cairndb.rewinding import rewind
from commands import Cairn
from owning import own_path
from writer import Counters, count_once

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cairn(capsys: pytest.CaptureFixture[str]) -> Cairn:
    """The command."""
    return Cairn(capsys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "x.cairn"


def counted(path: Path, checkpoint_after: tuple[int, ...], last_lsn: int = 7) -> dict[str, Any]:
    """A database with that many updates, and checkpoints; its owner's stats."""
    with own_path(path) as db:
        while db.lsn < last_lsn:
            count_once(db, "x")
            if db.lsn in checkpoint_after:
                db.checkpoint()
        return db.stats()


def check_reach(path: Path, said: dict[str, Any]) -> None:
    """Every LSN and time that is said to be kept can be opened, and nothing before it."""
    oldest, last = said["reaches_lsn"], said["log_last_lsn"]
    for lsn in (*said["reaches_single_lsns"], *range(oldest, last + 1)):
        cairndb.open(path, Counters, at=lsn).close()
    for lsn in set(range(1, oldest)) - set(said["reaches_single_lsns"]):
        with pytest.raises(UsageError, match="goes back to LSN"):
            cairndb.open(path, Counters, at=lsn)
    time = dt.datetime.fromisoformat(said["reaches_time"])
    cairndb.open(path, Counters, at=time).close()
    with pytest.raises(UsageError):
        cairndb.open(path, Counters, at=time - dt.timedelta(microseconds=1))


@pytest.mark.parametrize("checkpoint_after", [(), (4,), (3, 5), (2, 4, 6)], ids=repr)
def test_what_is_said_to_be_kept_can_be_opened(
    path: Path, cairn: Cairn, checkpoint_after: tuple[int, ...]
) -> None:
    """Without checkpoints, with one, with two, and when older ones have been removed."""
    owned = counted(path, checkpoint_after)
    shown = cairn.json("stats", path, "--json")

    for said in (owned, shown):
        assert [each["lsn"] for each in said["checkpoints"]] == list(checkpoint_after[-2:])
        assert said["reaches_lsn"] == (checkpoint_after[-2] if len(checkpoint_after) > 1 else 1)
        assert said["log_last_lsn"] == 7
        check_reach(path, said)


def test_a_rewind_leaves_a_pinned_checkpoint(path: Path, cairn: Cairn) -> None:
    """The way back over the barrier is named, also when the log before it is gone."""
    counted(path, ())
    with closing(RealDirectory(str(path))) as directory:
        assert rewind(directory, 4, lambda _: None) == (4, 8)
    before = cairn.json("stats", path, "--json")
    check_reach(path, before)
    with own_path(path) as db:
        for _ in range(3):
            count_once(db, "y")
            db.checkpoint()
    said = cairn.json("stats", path, "--json")

    assert [(each["lsn"], each["pinned"]) for each in before["checkpoints"]] == [
        (7, True),
        (8, False),
    ]
    assert [(each["lsn"], each["pinned"]) for each in said["checkpoints"]] == [
        (7, True),
        (10, False),
        (11, False),
    ]
    assert said["reaches_single_lsns"] == [7]
    check_reach(path, said)
    assert "LSN 7 " in cairn("stats", path)
    assert ", pinned)" in cairn("stats", path)


def test_a_change_of_the_schema_leaves_one_too(path: Path, cairn: Cairn) -> None:
    """The state before a migration is a single state that can be seen."""
    with cairndb.open(path, dict[str, int]) as db, db.update() as root:
        root["x"] = 1
    migrations = {1: lambda root: {key: str(value) for key, value in root.items()}}
    with cairndb.open(path, dict[str, str], version=2, migrations=migrations) as changed:
        owned = changed.stats()
    said = cairn.json("stats", path, "--json")

    for each in (owned, said):
        assert [(one["lsn"], one["pinned"]) for one in each["checkpoints"]] == [
            (2, True),
            (3, False),
        ]
        assert each["reaches_lsn"] == 1


def test_stats_beside_an_owner_say_what_the_owner_says(path: Path, cairn: Cairn) -> None:
    """But for what only the owner knows, they are the same."""
    with cairndb.open(path, retain="36h") as db:
        for number in range(3):
            with db.update() as root:
                root[str(number)] = "x" * 1000
        owned, said = db.stats(), cairn.json("stats", path, "--json")

    same = {"lsn", "checkpoint_lsn", "segments", "checkpoints", "log_first_lsn", "log_last_lsn"} | {
        "log_bytes", "reaches_lsn", "reaches_time", "reaches_single_lsns", "retain"
    }  # fmt: skip
    assert {name: said[name] for name in same} == {name: owned[name] for name in same}
    assert said["retain"] == "36h"
    assert said["checkpoint_reason"] == owned["checkpoint_reason"] == "the log is under 1 MiB"


def test_stats_of_a_backup_say_what_it_holds(path: Path, cairn: Cairn) -> None:
    """Its own files, and that it gets no checkpoints."""
    with own_path(path) as db:
        count_once(db, "x")
        db.backup(path.with_name("copy"))
    said = cairn.json("stats", path.with_name("copy"), "--json")

    assert said["log_last_lsn"] == 2
    assert said["checkpoint_reason"] == "a backup never gets one"
