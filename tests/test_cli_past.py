"""The commands that look at the past, and the one that goes back to it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from bank import Bank, filled
from cairndb.checkpoint import checkpoint_name
from cairndb.cli import past
from cairndb.cli.path_history import PathHistory
from cairndb.files import RealDirectory
from cairndb.pattern import Pattern
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from commands import Cairn

cairn = cairn_fixture


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database whose root changed at LSN 2, 3 and 4."""
    path = tmp_path / "notes.cairn"
    with cairndb.open(path) as db:
        with db.update() as root:
            root["a"] = {"b": [1, 2], "c": "x"}
        with db.update() as root:
            root["a"]["b"].append(3)
            root["n"] = 5
        with db.update() as root:
            del root["a"]["c"]
    return path


def test_a_state_of_the_past_is_shown(cairn: Cairn, path: Path) -> None:
    """By its LSN, in whatever form; and what isn't kept or isn't a moment is told."""
    assert cairn.json("get", path, "/a", "--at", 2) == {"b": [1, 2], "c": "x"}
    assert cairn("ls", path, "--at", 1) == ""
    assert "[2]" in cairn("tree", path, "--at", "2")
    cairn("get", path, "--at", "2020-01-01", code=2)
    assert "isn't kept" in cairn.error
    cairn("get", path, "--at", "9", code=2)
    assert "has got to LSN 4" in cairn.error
    cairn("get", path, "--at", "soon", code=2)
    assert "2026-11-24T12:00" in cairn.error


def test_diff_tells_what_changed(cairn: Cairn, path: Path) -> None:
    """One line for each path that is new, gone or changed; as JSON with both values."""
    assert cairn("diff", path, "--from", 2, "--to", 3).splitlines() == ["+ /a/b/2 = 3", "+ /n = 5"]
    assert cairn("diff", path, "--from", 3).splitlines() == ['- /a/c = "x"']
    assert cairn.json("diff", path, "/a", "--from", 3, "--json") == {"path": "/a/c", "before": "x"}
    assert cairn.json("diff", path, "/n", "--from", 2, "--json") == {"path": "/n", "after": 5}
    assert cairn("diff", path, "--from", 4) == ""


def test_rewind_goes_back_and_back_again(cairn: Cairn, path: Path) -> None:
    """The state is that of the past, under a new LSN; what it prints undoes it."""
    assert cairn.json("rewind", path, "--to", 2, "--json") == {"to": 2, "lsn": 5}
    assert cairn.json("get", path) == {"a": {"b": [1, 2], "c": "x"}}
    with cairndb.open(path) as db, db.update() as root:
        root["m"] = 1
    said = cairn("rewind", path, "--to", 4)
    assert "--to 6" in said
    assert cairn.json("get", path) == {"a": {"b": [1, 2, 3]}, "n": 5}
    cairn("rewind", path, "--to", 6)
    assert cairn.json("get", path, "/m") == 1
    cairn("rewind", path, "--to", 99, code=2)
    with cairndb.open(path):
        cairn("rewind", path, "--to", 2, code=3)


def test_a_backup_is_restored_and_so_is_the_past(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """Of a copy the last state, of a database any; LSNs go on, and what is there is left alone."""
    backup, restored, earlier = (tmp_path / name for name in ("b", "r.cairn", "e.cairn"))
    assert cairn.json("backup", path, backup, "--json")["lsn"] == 4
    assert cairn.json("restore", backup, restored, "--json")["lsn"] == 4
    assert cairn.json("get", restored) == cairn.json("get", path)
    cairn("restore", path, earlier, "--at", 3)
    assert cairn.json("get", earlier) == cairn.json("get", path, "--at", 3)
    with cairndb.open(earlier) as db, db.update() as root:
        root["more"] = True
    assert cairn.json("log", earlier, "--json")["lsn"] == 4
    cairn("verify", earlier)
    cairn("restore", backup, restored, code=3)
    assert "name a new directory" in cairn.error


def changes(cairn: Cairn, *arguments: object) -> list[tuple[int, list[dict[str, Any]]]]:
    """What `cairn log DATABASE PATH --json` says: LSNs, and the changes of each."""
    lines = cairn("log", *arguments, "--json").splitlines()
    return [(update["lsn"], update["changes"]) for update in map(json.loads, lines)]


def test_the_log_of_a_path_has_only_what_changed_it(cairn: Cairn, path: Path) -> None:
    """With the values before and after; picked by LSN and number."""
    b = {"path": "/a/b", "before": [1, 2], "after": [1, 2, 3]}
    assert changes(cairn, path, "/a/b") == [(2, [{"path": "/a/b", "after": [1, 2]}]), (3, [b])]
    assert changes(cairn, path, "/a/*", "--since", 3) == [
        (3, [b]),
        (4, [{"path": "/a/c", "before": "x"}]),
    ]
    assert changes(cairn, path, "/a/**", "--since", 3, "-n", 1) == [
        (3, [{"path": "/a/b/2", "after": 3}])
    ]
    assert [lsn for lsn, _ in changes(cairn, path, "n")] == [3]
    assert [lsn for lsn, _ in changes(cairn, path, "/", "-n", 2)] == [3, 4]
    assert changes(cairn, path, "/nowhere/**") == []
    shown = cairn("log", path, "/a/c", "--since", 4).splitlines()
    assert [line.strip() for line in shown[1:]] == ['- /a/c = "x"']


def test_the_log_of_a_path_says_which_call_it_was(cairn: Cairn, tmp_path: Path) -> None:
    """Who changed it: by name and arguments, where they are kept."""
    path = tmp_path / "bank.cairn"
    with filled(path, audit=True) as db:
        db.run(Bank.transfer, "alice", "bob", 5)
    shown = cairn("log", path, "/accounts/*/balance", "--limit", 1)
    assert 'Bank.transfer("alice","bob",5)' in shown.replace(", ", ",")
    assert "~ /accounts/alice/balance = 100 -> 95" in shown
    (update,) = map(json.loads, cairn("log", path, "/**", "-n", 1, "--json").splitlines())
    assert list(update) == ["lsn", "time", "call", "changes"]


def test_the_log_of_a_path_goes_over_checkpoints_and_barriers(cairn: Cairn, path: Path) -> None:
    """A rewind is an update as others; the log is told from the oldest checkpoint it follows."""
    cairn("rewind", path, "--to", 2)
    with cairndb.open(path) as db, db.update() as root:
        root["n"] = 6
    n = [
        (3, [{"path": "/n", "after": 5}]),
        (5, [{"path": "/n", "before": 5}]),
        (6, [{"path": "/n", "after": 6}]),
    ]
    assert changes(cairn, path, "/n") == n
    cairn("checkpoint", path)
    assert changes(cairn, path, "/n", "--since", 6) == n[2:]
    with cairndb.open(path) as db:
        with db.update() as root:
            root["n"] = 7
        db.checkpoint()
        with db.update() as root:
            root["n"] = 8
        assert [lsn for lsn, _ in changes(cairn, path, "/n")] == [7, 8]
        with db.update() as root:
            root["other"] = 1
        assert [lsn for lsn, _ in changes(cairn, path, "/n", "--since", 8)] == [8]


def test_the_log_of_a_path_tells_of_damage(cairn: Cairn, path: Path) -> None:
    """Where the checkpoint of a barrier is gone, nothing is made up."""
    cairn("rewind", path, "--to", 2)
    with cairndb.open(path) as db, db.update() as root:
        root["n"] = 6
    cairn("checkpoint", path)
    (path / checkpoint_name(5)).unlink()
    cairn("log", path, "/n", code=3)
    assert "checkpoint-00000000000000000005" in cairn.error
    assert [lsn for lsn, _ in changes(cairn, path, "/n", "--since", 7)] == []


def test_a_log_that_an_owner_shortens_meanwhile_is_told_from_then_on(path: Path) -> None:
    """What it removed before it was read can't be told; what follows is, with the right values."""
    with closing(RealDirectory(str(path))) as directory:
        history = PathHistory(directory, Pattern.parse("/n"), None)
        assert [update.lsn for update in history.updates()] == [3]
        with cairndb.open(path) as db:
            for number in range(4):
                with db.update() as root:
                    root["n"] = number
                db.checkpoint()
        # The last two checkpoints are those of LSN 7 and 8.
        ((lsn, _, (change,)),) = history.updates()
        assert (lsn, past.as_json(change)) == (8, {"path": "/n", "before": 2, "after": 3})


def test_a_backup_with_a_damaged_end_is_refused(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """What looks like a torn write at the end of a copy was there once: the copy was read back."""
    backup = tmp_path / "copy.backup"
    with cairndb.open(path, sync_interval=1000) as db:
        with db.update() as root:
            root["last"] = 1
        cairn("backup", path, backup)
    newest = max(backup.glob("log-*"))
    data = bytearray(newest.read_bytes())
    data[len(data.rstrip(b"\0")) - 3] ^= 1
    newest.write_bytes(data)
    (finding,) = cairn.json("verify", backup, "--json", code=1)["findings"]
    assert "it is a backup up to LSN 5" in finding["reason"]
    cairn("restore", backup, tmp_path / "new.cairn", code=3)
    assert "it is a backup up to LSN 5, and ends at LSN 4" in cairn.error
    assert not (tmp_path / "new.cairn").exists()
    cairn("restore", backup, tmp_path / "new.cairn", "--at", 4)


def test_a_backup_that_is_being_continued_is_restored(
    cairn: Cairn, path: Path, tmp_path: Path
) -> None:
    """Interrupted before its list was replaced it may go further than that says."""
    before, after = tmp_path / "before.backup", tmp_path / "after.backup"
    with cairndb.open(path, sync_interval=1000) as db:
        with db.update() as root:
            root["last"] = 1
        cairn("backup", path, before)
        with db.update() as root:
            root["last"] = 2
        cairn("backup", path, after)
    for file in after.glob("log-*"):
        (before / file.name).write_bytes(file.read_bytes())
    cairn("verify", before)
    assert cairn.json("restore", before, tmp_path / "new.cairn", "--json")["lsn"] == 6
