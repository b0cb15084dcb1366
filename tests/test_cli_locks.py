"""`cairn locks`: who has what, by the system and by the records."""

from __future__ import annotations

import ctypes
import json
import os
import re
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

import cairndb
from bank import Bank
from cairndb import locking_system
from cairndb.cli import locks as command
from cairndb.locking import FileLock
from cairndb.locking_holder import encode, this_process
from cairndb.locking_report import look
from commands import Cairn
from forking import Child
from fusing import FuseMount
from threads import wait_until

if TYPE_CHECKING:
    from pathlib import Path

PR_SET_DUMPABLE = 4
LINUX = os.uname().sysname == "Linux"
on_linux = pytest.mark.skipif(not LINUX, reason="it is Linux that tells")


@pytest.fixture
def cairn(capsys: pytest.CaptureFixture[str]) -> Cairn:
    """Runs commands in this process."""
    return Cairn(capsys)


@on_linux
def test_who_has_a_lock_and_who_waits(cairn: Cairn, tmp_path: Path) -> None:
    """One line for each: mode, kind, number, since when, command."""
    path = tmp_path / "a.lock"

    def wait() -> bytes:
        FileLock(path).acquire()
        return b""

    with FileLock(path), Child(wait, waits=True) as child:
        wait_until(lambda: f"  {child.pid}  " in cairn("locks", path))
        name, mine, others, *rest = cairn("locks", tmp_path).splitlines()

    assert name == str(path)
    assert re.match(rf"    exclusive +flock  {os.getpid()} +since \d{{4}}-\S+ \S+  \S", mine)
    assert re.match(rf"    waits \(exclusive\)  flock  {child.pid} +\S", others)
    assert rest == []


@on_linux
def test_a_database_has_an_owner_and_readers(cairn: Cairn, tmp_path: Path) -> None:
    """The owner has the directory, since what LOCK says; a reader a file in it."""
    path = tmp_path / "bank.cairn"
    with cairndb.open(path, Bank) as db, db.update() as bank:
        bank.holidays.add("monday")
    # A reader does that with a checkpoint, while it reads.
    with cairndb.open(path, Bank), FileLock(path / "DATABASE", shared=True):
        for shown in (cairn("locks", path), cairn("locks", path / "..", path)):
            owner, line, *_ = shown.splitlines()
            assert owner in {str(path), str(path / ".." / "bank.cairn")}
            assert re.match(rf"    exclusive +flock +{os.getpid()} +since ", line)
            assert "record:" not in shown
        assert re.search(
            rf"{path}/DATABASE\n    shared +flock +{os.getpid()} ", cairn("locks", path)
        )


def test_what_is_said_as_json(cairn: Cairn, tmp_path: Path) -> None:
    """The same as an object: locks, records, networks, and how much isn't seen."""
    path = tmp_path / "a.lock"
    with FileLock(path):
        found = cairn.json("locks", tmp_path, "--json")
        holder = FileLock(path).holder()

    assert holder is not None
    record = {"path": str(path), "host": holder.host, "pid": os.getpid()}
    since = holder.since.isoformat()
    record |= {"command": holder.command, "since": since, "stale": False}
    assert found["records"] == [record]
    assert (found["networks"], type(found["unseen"])) == ([], int)
    if LINUX:
        status = path.stat()
        (lock,) = found["locks"]
        assert lock == {
            "path": str(path),
            "pid": os.getpid(),
            "command": lock["command"],
            "kind": "flock",
            "mode": "exclusive",
            "device": status.st_dev,
            "inode": status.st_ino,
            "links": 1,
            "nameless": False,
            "waiting": False,
        }


def test_a_record_that_is_left_is_told_from_a_live_one(cairn: Cairn, tmp_path: Path) -> None:
    """Of a process that was killed, of one that has no lock any more, of another host."""
    path = tmp_path / "a.lock"

    def take() -> bytes:
        FileLock(path).acquire()
        return b""

    with Child(take) as child:
        child.end()
        assert f"    record: process {child.pid} on" in cairn("locks", path)
        assert cairn("locks", path).splitlines()[1].endswith(": stale, that process is gone")
    path.write_bytes(encode(this_process()))
    assert cairn("locks", path).splitlines()[1].endswith(": that process runs")
    path.write_bytes(encode(replace(this_process(), host="elsewhere")))
    assert "on elsewhere" in cairn("locks", tmp_path)
    assert "whether it runs isn't known from here" in cairn("locks", tmp_path)


@on_linux
def test_a_lost_name_is_marked(cairn: Cairn, tmp_path: Path) -> None:
    """A lock on a file that was replaced is under its name, beside that on the new file."""
    path = tmp_path / "a.lock"
    with FileLock(path):
        path.unlink()
        with FileLock(path):
            shown = cairn("locks", path)
            assert shown == cairn("locks", tmp_path)
    new, old, meaning = shown.splitlines()[1:]

    assert "lost" not in new
    assert "the file has lost this name" in old
    assert meaning == command._WHAT_LOST_MEANS


def test_nobody_has_it(cairn: Cairn, tmp_path: Path) -> None:
    """That is said for each path that was asked for; a path that isn't there is an error."""
    (tmp_path / "data").write_bytes(b"{}")
    first, second = cairn("locks", tmp_path, tmp_path / "data").splitlines()[:2]

    assert first == f"{tmp_path}: nobody is seen to have a lock"
    assert second == f"{tmp_path / 'data'}: nobody is seen to have a lock"
    cairn("locks", tmp_path / "none", code=3)
    assert cairn.error.startswith(f"cairn: {tmp_path / 'none'}: ")
    cairn("locks", code=2)


def test_names_act_on_no_terminal(cairn: Cairn, tmp_path: Path) -> None:
    """A path and a command are shown on one line, escaped; as JSON too if they aren't text."""
    path = os.fsencode(tmp_path) + b"/a\n\x1b\xff.lock"
    try:
        with open(path, "wb") as file:  # noqa: PTH123  bytes
            file.write(encode(replace(this_process(), command="\x1b[2J", host="h")))
    except OSError:
        pytest.skip("names are text here")
    assert f"{tmp_path}/a\\n\\x1b\\udcff.lock\n" in cairn("locks", tmp_path)
    assert "(\\x1b[2J)" in cairn("locks", tmp_path)
    (record,) = cairn.json("locks", tmp_path, "--json")["records"]
    assert record["path"] == f"{tmp_path}/a\n\x1b\\udcff.lock"


def test_without_the_system_there_are_the_records(
    cairn: Cairn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc tells nothing of locks, that is said, and the records are shown."""
    path = tmp_path / "a.lock"
    with FileLock(path):
        monkeypatch.setattr(locking_system, "_PROC", tmp_path)
        shown = cairn("locks", path)
        assert cairn.json("locks", path, "--json")["locks"] is None

    assert f"    record: process {os.getpid()} on" in shown
    assert shown.endswith(f"{command._ONLY_RECORDS}\n")


@pytest.mark.process
@pytest.mark.skipif(not LINUX or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_on_a_network_it_is_said_what_a_lock_means(cairn: Cairn, tmp_path: Path) -> None:
    """Whether other hosts are kept out, and that they aren't seen."""
    with FuseMount(tmp_path, "sshfs"):
        shown = cairn("locks", tmp_path)
        found = cairn.json("locks", tmp_path, "--json")["networks"]

    assert f"{tmp_path} is on a network file system (fuse.sshfs): flock keeps out" in shown
    assert [(each["path"], each["type"]) for each in found] == [(str(tmp_path), "fuse.sshfs")]


@on_linux
@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
def test_what_is_not_seen_is_counted(tmp_path: Path) -> None:
    """Another user's lock may be on any file that has lost its name."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here").chmod(0o755)

    def count() -> bytes:
        os.chdir(tmp_path / "here")
        os.setuid(65534)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
        report = look(["."])
        return json.dumps([report.locks, report.unseen > 0]).encode()

    with FileLock(tmp_path / "a.lock"), Child(count) as child:
        assert json.loads(child.said) == [[], True]
