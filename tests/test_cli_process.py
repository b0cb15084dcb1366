"""The `cairn` command as a process: pipes, terminals, interrupts."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cairndb

pytestmark = pytest.mark.process

CAIRN = [sys.executable, "-m", "cairndb"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database without types, with ten thousand keys, in many updates."""
    path = tmp_path / "notes.cairn"
    with cairndb.open(path, durability="process") as db:
        for number in range(200):
            with db.update() as root:
                for key in range(50):
                    root[f"key {number} {key}"] = {"number": number}
    return path


def test_a_reader_that_leaves_is_no_error(path: Path) -> None:
    """`cairn log … | head -1` ends at once and says nothing."""
    with subprocess.Popen(
        [*CAIRN, "log", str(path), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as cairn:
        assert cairn.stdout is not None
        assert cairn.stderr is not None
        assert json.loads(cairn.stdout.readline())["lsn"] == 1
        cairn.stdout.close()
        assert cairn.stderr.read() == b""
        assert cairn.wait() == -signal.SIGPIPE


def test_a_database_error_is_a_line_and_a_three(tmp_path: Path) -> None:
    """The exit code and the message reach the shell."""
    done = subprocess.run(
        [*CAIRN, "get", str(tmp_path / "nowhere.cairn")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("cairn: there is no database at ")


def test_follow_shows_what_comes(path: Path) -> None:
    """An update made while `log --follow` runs appears; an interrupt ends it quietly with 130."""
    with subprocess.Popen(
        [*CAIRN, "log", str(path), "--limit", "1", "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as cairn:
        assert cairn.stdout is not None
        assert cairn.stderr is not None
        assert json.loads(cairn.stdout.readline())["lsn"] == 201
        with cairndb.open(path) as db:
            for number in range(2):
                with db.update() as root:
                    root["new"] = number
                shown = json.loads(cairn.stdout.readline())
                assert shown["lsn"] == 202 + number
                assert shown["operations"] == [{"do": "set", "path": "/new", "value": number}]
                if number == 0:
                    db.checkpoint()
        cairn.send_signal(signal.SIGINT)
        assert cairn.wait() == 130
        assert cairn.stderr.read() == ""


def test_follow_shows_what_changes_a_path(path: Path) -> None:
    """Of the updates made while it runs only those, with the value that was there before."""
    with subprocess.Popen(
        [*CAIRN, "log", str(path), "/new", "--follow", "--json"], stdout=subprocess.PIPE, text=True
    ) as cairn:
        assert cairn.stdout is not None
        with cairndb.open(path) as db:
            for number in range(2):
                with db.update() as root:
                    root["other"] = number
                with db.update() as root:
                    root["new"] = number
                shown = json.loads(cairn.stdout.readline())
                before = {"before": number - 1} if number else {}
                assert shown["changes"] == [{"path": "/new", **before, "after": number}]
        cairn.send_signal(signal.SIGINT)
        assert cairn.wait() == 130


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals(
    path: Path, environment: dict[str, str], *, coloured: bool
) -> None:
    """On a terminal JSON and trees are coloured, unless NO_COLOR says no."""
    for command in ("tree", "get"):
        outside, inside = pty.openpty()
        inherited = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"}}
        with subprocess.Popen(
            [*CAIRN, command, str(path), "/key 0 0"],
            stdout=inside,
            env={**inherited, "TERM": "xterm-256color", **environment},
        ) as cairn:
            assert cairn.wait() == 0
        os.close(inside)
        text = os.read(outside, 1 << 16).decode()
        os.close(outside)
        assert "number" in text
        assert ("\x1b[" in text) is coloured


def test_any_encoding_will_do(path: Path) -> None:
    """What the output's encoding lacks is escaped, in trees too."""
    with cairndb.open(path) as db, db.update() as root:
        root["snow"] = "\N{SNOWMAN}"
    for command in ("tree", "ls", "get"):
        done = subprocess.run(
            [*CAIRN, command, str(path), "/"],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert command == "tree" or b"\\u2603" in done.stdout


def test_completion_is_offered() -> None:
    """The shell is told how to complete."""
    done = subprocess.run(
        [*CAIRN, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "complete" in done.stdout
