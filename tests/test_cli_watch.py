"""`cairn watch`: in this process for what it prints, and as a process beside real owners."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import cairndb
from bank import Account, Bank
from test_cli import cairn as cairn_fixture
from test_cli import path as path_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from commands import Cairn

cairn = cairn_fixture
path = path_fixture


def test_changes_are_shown_path_by_path(cairn: Cairn, path: Path) -> None:
    """+ new, - gone, ~ changed, under the update's number and time; all there is, if asked for."""
    with cairndb.open(path, Bank) as db:
        with db.update() as bank:
            bank.accounts["alice"].balance = 5
            bank.accounts["carol"] = Account("Carol", 7)
        with db.update() as bank:
            del bank.accounts["carol"]
    shown = cairn("watch", path, "/accounts/*/balance", "--since", 2, "--timeout", 0).splitlines()
    assert [line.split()[0] for line in shown] == ["3", "~", "+", "4", "-"]
    assert shown[1].strip() == "~ /accounts/alice/balance = 100 -> 5"
    assert shown[4].strip() == "- /accounts/carol/balance = 7"
    shown = cairn("watch", path, "/accounts/alice/balance", "-i", "-n", 1).splitlines()
    assert shown == ["       4  initial", "          + /accounts/alice/balance = 5"]
    assert cairn("watch", path, "--timeout", 0) == ""


def test_json_has_a_position_to_go_on_from(cairn: Cairn, path: Path) -> None:
    """One object a line; bookmarks too."""
    with cairndb.open(path, Bank, audit=True) as db:
        for amount in (1, 2):
            db.run(Bank.transfer, "alice", "b/o~b", amount)
    arguments = ("watch", path, "/accounts/alice/balance", "--timeout", 0, "--json")
    first, second = map(json.loads, cairn(*arguments, "--since", 2).splitlines())
    assert (first["kind"], first["lsn"], first["call"]) == ("update", 3, "Bank.transfer")
    assert first["changes"] == [{"path": "/accounts/alice/balance", "before": 100, "after": 99}]
    assert cairn.json(*arguments, "--since", first["position"]) == second
    other = ("watch", path, "/accounts/bob", "--timeout", 0, "--json", "--bookmarks", 0)
    bookmark = cairn.json(*other, "--since", 2)
    assert (bookmark["kind"], bookmark["position"]) == ("bookmark", second["position"])
    assert "changes" not in bookmark


def test_what_isnt_there_is_told(cairn: Cairn, path: Path) -> None:
    """Another history, and what is no position."""
    cairn("watch", path, "--since", "2-00000000", code=2)
    assert "another history" in cairn.error
    cairn("watch", path, "--since", "soon", code=2)
    assert "isn't a position" in cairn.error


@pytest.mark.process
def test_it_follows_one_owner_after_the_other(path: Path) -> None:
    """Through a checkpoint, the end of an owner and the next one; an interrupt ends it with 130."""
    with subprocess.Popen(
        [sys.executable, "-m", "cairndb", "watch", path, "/accounts/*/balance", "-i", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert json.loads(watching.stdout.readline())["kind"] == "initial"
        for lsn in range(3, 7):
            with cairndb.open(path, Bank) as db:
                with db.update() as bank:
                    bank.accounts["alice"].balance = lsn
                item = json.loads(watching.stdout.readline())
                assert item["lsn"] == lsn
                assert item["changes"][0]["after"] == lsn
                if lsn in {4, 5}:
                    db.checkpoint()
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 130
        assert watching.stderr.read() == ""
