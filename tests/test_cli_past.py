"""The commands that look at the past, and the one that goes back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import cairndb
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
