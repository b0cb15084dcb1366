"""Opening, owning, reading beside, closing: the life of a database on a real directory."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from bank import Bank, balances, filled
from cairndb.checkpointer import make_checkpoint
from owning import HelperInside, own_path
from threads import Aside, wait_until
from writer import count_once

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.housekeeper import Report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "bank.cairn"


@pytest.mark.parametrize("durability", ["commit", "interval", "process"])
def test_every_level_keeps_updates_over_an_end_without_close(path: Path, durability: Any) -> None:
    """An owner that just stops, as one that is killed, loses nothing it handed to the system."""
    db = filled(path, durability=durability)
    os_copy = path.with_name("copy.cairn")
    os_copy.mkdir()
    for file in path.iterdir():
        (os_copy / file.name).write_bytes(file.read_bytes())
    with cairndb.open(os_copy, Bank) as copy:
        assert balances(copy) == {"alice": 100, "bob": 0}
    db.close()


def test_a_second_owner_is_refused_by_name(path: Path) -> None:
    """Opening twice says who has it; deleting LOCK changes nothing."""
    with filled(path):
        with pytest.raises(cairndb.DatabaseLocked, match="this very process"):
            cairndb.open(path, Bank)
        (path / "LOCK").unlink()
        with pytest.raises(cairndb.DatabaseLocked):
            cairndb.open(path, Bank, lock_timeout=0.05)
    cairndb.open(path, Bank).close()


def test_lock_timeout_waits_for_the_owner(path: Path) -> None:
    """With a timeout, opening goes on when the owner closes."""
    db = filled(path)
    second = Aside(lambda: cairndb.open(path, Bank, lock_timeout=30.0))
    db.close()
    with second.result() as db:
        assert balances(db) == {"alice": 100, "bob": 0}


def test_a_reader_beside_the_owner_sees_what_is_durable(path: Path) -> None:
    """read_only=True needs no lock, shows the state as of its opening, and refuses updates."""
    with filled(path) as db:
        with cairndb.open(path, Bank, read_only=True) as reader:
            db.run(Bank.transfer, "alice", "bob", 5)
            assert balances(reader) == {"alice": 100, "bob": 0}
            with pytest.raises(cairndb.ReadOnlyError, match="read_only"), reader.update():
                pass
        with cairndb.open(path, Bank, read_only=True) as reader:
            assert balances(reader) == {"alice": 95, "bob": 5}


def test_create_false_makes_nothing(path: Path) -> None:
    """Opening what isn't there says so, and leaves no directory behind."""
    with pytest.raises(cairndb.CairnError, match="create"):
        cairndb.open(path, Bank, create=False)
    with pytest.raises(cairndb.CairnError):
        cairndb.open(path, Bank, read_only=True)
    assert not path.exists()


def test_another_schema_is_refused(path: Path) -> None:
    """A stored database isn't read as what it isn't."""
    filled(path).close()
    with pytest.raises(cairndb.SchemaError):
        cairndb.open(path, dict[str, int])
    with cairndb.open(path, Bank) as db:
        assert balances(db) == {"alice": 100, "bob": 0}


def test_a_type_that_cannot_be_kept_makes_no_database(path: Path) -> None:
    """The schema check comes before anything is written."""

    class Bad(cairndb.Record):
        when: complex = 0j

    with pytest.raises(cairndb.SchemaError, match="when"):
        cairndb.open(path, Bad)
    assert not path.exists()


def test_after_close_every_call_says_so(path: Path) -> None:
    """A closed object refuses views, updates and syncs; closing again is harmless."""
    db = filled(path)
    db.close()
    db.close()
    for call in (db.view, db.update):
        with pytest.raises(cairndb.UsageError, match="closed"), call():
            pass
    with pytest.raises(cairndb.UsageError, match="closed"):
        db.sync()


def test_a_checkpoint_replaces_the_log(path: Path) -> None:
    """After a checkpoint and more updates, opening gives the same state."""
    with filled(path) as db:
        lsn = db.checkpoint()
        assert lsn == db.lsn
        assert db.checkpoint() == lsn
        db.run(Bank.transfer, "alice", "bob", 5)
        assert db.stats()["checkpoint_lsn"] == lsn
    with cairndb.open(path, Bank) as db:
        assert balances(db) == {"alice": 95, "bob": 5}


def test_what_a_checkpoint_replaces_gives_back_its_room(path: Path) -> None:
    """Files that are removed are held open until the log can be written again, and no longer."""
    with own_path(path) as db:
        store = db._engine.store
        for _ in range(3):
            count_once(db, "key")
            db.checkpoint()
        assert store._removed == []
        count_once(db, "key")
        store.seal()
        report = make_checkpoint(store.directory, db.lsn, lambda: None)
        store.check_checkpoint(report.file, db.lsn)
        store.adopt(report.file)
        assert store._removed
        assert {file.path for file in store._removed}.isdisjoint(map(str, path.iterdir()))


@pytest.mark.process
def test_a_checkpoint_after_the_working_directory_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database opened by a relative path makes checkpoints wherever the process goes."""
    monkeypatch.chdir(path.parent)
    with cairndb.open(path.name) as db:
        monkeypatch.chdir("/")
        with db.update() as root:
            root["x"] = 1
        assert db.checkpoint() == db.lsn


@pytest.mark.process
def test_the_helper_runs_nothing_from_the_working_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file there that is called like a library is neither run nor in the way."""
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    for name in ("msgspec", "select", "cairndb"):
        (elsewhere / f"{name}.py").write_text("raise RuntimeError('run by the helper')")
    with filled(path) as db:
        monkeypatch.chdir(elsewhere)
        assert db.checkpoint() == db.lsn


@pytest.mark.process
def test_the_helper_writes_to_no_other_database(path: Path) -> None:
    """When another database is put where an open one was, no checkpoint gets into it."""
    with filled(path) as db:
        path.rename(path.with_name("moved.cairn"))
        with filled(path) as other:
            other.checkpoint()
            names = sorted(file.name for file in path.iterdir())
            with pytest.raises(cairndb.CairnError, match="another database"):
                db.checkpoint()
            assert sorted(file.name for file in path.iterdir()) == names
    with cairndb.open(path.with_name("moved.cairn"), Bank) as db:
        assert balances(db) == {"alice": 100, "bob": 0}


def test_a_checkpoint_that_vanishes_is_told(path: Path) -> None:
    """If the helper's file can't be read back, that is a CairnError, and the next one succeeds."""

    class Losing(HelperInside):
        lost = False

        def _run_helper(self, lsn: int) -> Report:
            report = super()._run_helper(lsn)
            if not Losing.lost:
                Losing.lost = True
                (path / report.file).unlink()
            return report

    with own_path(path, helper=Losing) as db:
        count_once(db, "key")
        with pytest.raises(cairndb.CairnError, match="could not be made"):
            db.checkpoint()
        assert db.checkpoint() == db.lsn


def test_what_is_not_on_disk_takes_longer_to_open(path: Path) -> None:
    """Opening would write it again, so that a sync makes the prediction smaller."""
    with cairndb.open(path, durability="process", restart_target=None) as db:
        with db.update() as root:
            root["x"] = "x" * 5_000_000
        before = db.stats()["predicted_replay_seconds"]
        db.sync()
        assert before > db.stats()["predicted_replay_seconds"] > 0


def test_a_checkpoint_comes_by_itself(path: Path) -> None:
    """When opening would take too long, the helper process is started."""
    with cairndb.open(path, restart_target=0.0) as db:
        for number in range(3):
            with db.update() as root:
                root[str(number)] = "x" * 600_000
        wait_until(lambda: db.stats()["checkpoint_lsn"] > 0)
    with cairndb.open(path) as db, db.view() as root:
        assert set(root) == {"0", "1", "2"}


def test_an_unclosed_database_warns_and_lets_go(path: Path) -> None:
    """An object that is dropped gives the database back."""
    db = filled(path)
    databases = [db]
    del db
    with pytest.warns(ResourceWarning, match="unclosed"):
        databases.clear()
    cairndb.open(path, Bank).close()


LEFT_OPEN = """
import sys
import cairndb

db = cairndb.open(sys.argv[1])
with db.update() as root:
    root["acknowledged"] = "yes"
db._housekeeper._checkpoints._mutex.acquire()  # as a thread that was ended
"""


@pytest.mark.process
def test_a_program_that_closes_nothing_ends(path: Path) -> None:
    """What a thread of the background had taken when the interpreter ended it isn't waited for."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, path], check=False, capture_output=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")
    with cairndb.open(path) as db, db.view() as root:
        assert root == {"acknowledged": "yes"}


@pytest.mark.process
def test_a_forked_child_cannot_use_it(path: Path) -> None:
    """The child's object refuses; the parent keeps the lock and goes on."""
    with filled(path) as db:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                with db.view():
                    os._exit(1)
            except cairndb.UsageError as error:
                os._exit(0 if "fork" in str(error) else 2)
            finally:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(cairndb.DatabaseLocked):
            cairndb.open(path, Bank)
        db.run(Bank.transfer, "alice", "bob", 1)


def test_progress_is_told_while_recovering(path: Path) -> None:
    """The callback ends with all bytes read."""
    with cairndb.open(path) as db:
        with db.update() as root:
            root["x"] = "x" * 100_000
        db.checkpoint()
        with db.update() as root:
            root["y"] = "y" * 100_000
    told: list[tuple[int, int]] = []
    with cairndb.open(path, progress=lambda done, total: told.append((done, total))):
        pass
    assert told
    assert told[-1][0] == told[-1][1] > 200_000
    assert told == sorted(told)


def test_the_package_imports_without_the_command_line() -> None:
    """The library needs msgspec and nothing else."""
    assert "typer" not in sys.modules or "cairndb.cli" in sys.modules


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A missing parent, a file in the way, somebody else's directory: nothing is written there."""
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("not a database")
    for name in ("missing/bank.cairn", "file", "home"):
        with pytest.raises(cairndb.CairnError, match=name.partition("/")[0]):
            cairndb.open(tmp_path / name, Bank)
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["letter.txt"]


def test_many_short_openings_do_not_pile_up_files(path: Path) -> None:
    """Every opening that writes makes a segment; a checkpoint comes before there are too many."""
    for number in range(66):
        with cairndb.open(path) as db, db.update() as root:
            root["runs"] = number
    with cairndb.open(path) as db:
        with db.update() as root:
            root["runs"] = 66
        wait_until(lambda: db.stats()["checkpoint_lsn"] > 0)
    with cairndb.open(path) as db, db.view() as root:
        assert root == {"runs": 66}


def test_a_checkpoint_under_way_delays_no_sync(path: Path) -> None:
    """While a checkpoint is made, updates that nobody waits for are synced as promised."""
    with cairndb.open(path, durability="interval", restart_target=0.0) as db:
        assert db._housekeeper is not None
        with db._housekeeper._checkpointing:  # as whoever is making one holds it
            for number in range(3):
                with db.update() as root:
                    root[str(number)] = "x" * 600_000
            wait_until(lambda: db.stats()["checkpoint_due"])
            lsn = db.lsn
            wait_until(lambda: db.durable_lsn >= lsn)
            with db.update() as root:
                root["last"] = "y"
            last = db.lsn
            wait_until(lambda: db.durable_lsn >= last)
            assert db.stats()["checkpoint_lsn"] == 0
        wait_until(lambda: db.stats()["checkpoint_lsn"] > 0)
