"""`cairn doctor` as it is typed: what it says, to people and to scripts, and what it leaves."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cairndb
from bank import Account, Bank
from cairndb import cli
from commands import Cairn
from writer import Counters


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bank with updates 1 to 5, closed."""
    path = tmp_path / "bank.cairn"
    with cairndb.open(path, Bank) as db:
        for number in range(4):
            with db.update() as bank:
                bank.accounts["alice"] = Account("Alice", number)
    return path


@pytest.fixture
def cairn(capsys: pytest.CaptureFixture[str]) -> Cairn:
    """Runs commands in this process."""
    return Cairn(capsys)


def damage(path: Path) -> None:
    """Break update 3."""
    (segment,) = path.glob("log-*")
    content = bytearray(segment.read_bytes())
    content[content.index(b"Alice", content.index(b"Alice") + 9)] ^= 0xFF
    segment.write_bytes(content)


def test_a_whole_database_is_a_line_and_a_zero(cairn: Cairn, path: Path) -> None:
    """The verdict comes first; then files, log, opening and what can be done."""
    shown = cairn("doctor", path)
    assert shown.startswith(f"{path} is whole: opening gives the state at LSN 5\n")
    for word in ("DATABASE", "identity", "segment", "log\n", "opening\n", "what can be done"):
        assert word in shown
    found = cairn.json("doctor", path, "--json")
    assert set(found) == {
        "directory",
        "verdict",
        "healthy",
        "database",
        "files",
        "log",
        "opening",
        "choices",
        "notes",
    }
    assert found["healthy"] is True
    assert (found["opening"]["outcome"], found["opening"]["lsn"]) == ("opens", 5)


def test_from_a_refused_open_to_a_rescued_state(
    cairn: Cairn, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the command, that shows another one, and that saves what there is."""
    damage(path)
    with pytest.raises(cairndb.CorruptError) as caught:
        cairndb.open(path, Bank)
    shown = str(caught.value).rpartition(": ")[2]
    assert shown == f"cairn doctor {path}"
    monkeypatch.chdir(tmp_path)
    shown = cairn(*shlex.split(shown)[1:], code=1)
    assert "opening refuses it; the state at LSN 2 of 5 can be saved" in cairn.error
    assert "readable behind the bad place: LSN 4..5" in shown
    assert caught.value.reason in shown
    command = cairn.json("doctor", path, "--json", code=1)["choices"][0]["command"]
    shown = cairn(*shlex.split(command)[1:])
    assert "LSN 1..2 kept; 3..5 lost, of which 4..5 are readable but don't connect" in shown
    with cairndb.open(tmp_path / "bank-salvaged.cairn", Bank) as db, db.view() as bank:
        assert bank.accounts["alice"].balance == 0
        assert db.lsn == 2


def test_every_refusal_names_the_directory(path: Path, tmp_path: Path) -> None:
    """Whether a file is to blame or the directory, the command is about the directory."""
    spaced = path.rename(tmp_path / "my bank.cairn")
    command = f": cairn doctor {shlex.quote(str(spaced))}"
    identity = (spaced / "DATABASE").read_bytes()
    (spaced / "DATABASE").write_bytes(identity[:40])
    with pytest.raises(cairndb.CorruptError) as caught:
        cairndb.open(spaced, Bank)
    assert str(caught.value).endswith(command)
    (spaced / "DATABASE").write_bytes(identity)
    next(spaced.glob("log-*")).unlink()
    with pytest.raises(cairndb.CorruptError) as caught:
        cairndb.open(spaced, Bank)
    assert str(caught.value).endswith(command)


def test_lost_updates_are_written_for_people(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """As `cairn log --json` shows them, with the file; never over a file that is there."""
    lines = [json.loads(line) for line in cairn("log", path, "--json").splitlines()]
    damage(path)
    lost = tmp_path / "lost.jsonl"
    report = cairn.json("doctor", path, "--salvage", tmp_path / "x", "--lost", lost, "--json")
    assert (report["lsn"], report["lost"], report["lost_readable"]) == (2, [[3, 5]], [[4, 5]])
    written = [json.loads(line) for line in lost.read_text(encoding="utf-8").splitlines()]
    (name,) = {update.pop("file") for update in written}
    assert name.startswith("log-")
    assert written == lines[3:]
    cairn("doctor", path, "--salvage", tmp_path / "y", "--lost", lost, code=3)
    assert "File exists" in cairn.error
    assert not (tmp_path / "y").exists()


def test_a_salvage_that_is_refused_leaves_nothing(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """Wrong places and LSNs are one line; neither a database nor a list of updates appears."""
    before = sorted(tmp_path.rglob("*"))
    lost = ("--lost", tmp_path / "lost")
    cairn("doctor", path, "--salvage", path / "inside", *lost, code=2)
    cairn("doctor", path, "--salvage", tmp_path, *lost, code=3)
    assert "there is something already" in cairn.error
    cairn("doctor", path, "--salvage", tmp_path / "x", "--at", 9, *lost, code=2)
    assert "these can: LSN 1 to 5" in cairn.error
    cairn("doctor", path, "--at", 3, code=2)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["empty", "foreign", "pipe", "link", "folder", "secret"])
def test_any_directory_will_do(cairn: Cairn, tmp_path: Path, kind: str) -> None:
    """What isn't a database, or can't be read, is said, without an end or a traceback."""
    path = tmp_path / "some.dir"
    path.mkdir()
    odd = path / "log-00000000000000000001-00000001.seg"
    if kind == "foreign":
        (path / "thesis.txt").write_text("mine", encoding="utf-8")
    elif kind == "pipe":
        os.mkfifo(odd)
        os.mkfifo(path / "pipe")
    elif kind == "link":
        odd.symlink_to("nowhere")
    elif kind == "folder":
        odd.mkdir()
    elif kind == "secret":
        odd.touch(mode=0)
    cairn("doctor", path, code=1)
    found = cairn.json("doctor", path, "--json", code=1)
    assert found["healthy"] is False
    assert len(found["files"]) == len(list(path.iterdir()))


def test_what_is_no_directory(cairn: Cairn, tmp_path: Path) -> None:
    """A missing directory and a file are told apart."""
    cairn("doctor", tmp_path / "nowhere", code=3)
    assert "there is no database at" in cairn.error
    (tmp_path / "file").touch()
    cairn("doctor", tmp_path / "file", code=3)
    assert "that is a file" in cairn.error


@pytest.mark.process
@pytest.mark.slow
def test_beside_an_owner_at_work_there_is_no_false_alarm(tmp_path: Path) -> None:
    """While threads of another process update and make checkpoints: healthy, every time."""
    path = tmp_path / "counters.cairn"
    writer = Path(__file__).parent / "writer.py"
    with subprocess.Popen(
        [sys.executable, str(writer), str(path), "2", "checkpoint"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(writer.parent.parent / "src")},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        try:
            for number in range(8):
                assert cli.run(["doctor", str(path)]) == 0
                saved = tmp_path / f"saved {number}"
                assert cli.run(["doctor", str(path), "--salvage", str(saved)]) == 0
                with cairndb.open(saved, Counters) as db:
                    assert db.lsn > 0
        finally:
            process.kill()
            drain.join()
