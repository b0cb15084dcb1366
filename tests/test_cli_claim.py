"""`cairn claim`: what is run, what is told, and what becomes of jobs when somebody is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cairndb.locking import claim, put
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from commands import Cairn

pytestmark = pytest.mark.process
cairn = cairn_fixture
CLAIM = [sys.executable, "-m", "cairndb", "claim"]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A directory of three jobs."""
    inbox = tmp_path / "in box"
    inbox.mkdir()
    for name in ("a", "b", "c d"):
        put(inbox, name, name.encode())
    return inbox


def jobs(inbox: Path) -> list[str]:
    """The names of those that are there."""
    return sorted(entry.name for entry in inbox.iterdir() if entry.is_file())


def test_a_command_is_run_for_each_file(cairn: Cairn, inbox: Path, tmp_path: Path) -> None:
    """With its path wherever {} stands, or at the end; what succeeds is removed."""
    assert cairn("claim", inbox, "--pattern", "?", "--", "cp", "{}", "{}.out").splitlines() == [
        "done      a",
        "done      b",
        "2 done",
    ]
    assert jobs(inbox) == ["a.out", "b.out", "c d"]
    said = tmp_path / "said"
    script = 'echo "$1" >> "$0"'
    assert cairn("claim", inbox, "-j", 3, "--", "sh", "-c", script, said).endswith("\n3 done\n")
    paths = [str(inbox / name) for name in ("a.out", "b.out", "c d")]
    assert sorted(said.read_text().splitlines()) == paths
    assert cairn("claim", inbox, "--", "false") == "no jobs\n"


def test_what_fails_is_tried_again_and_given_up(cairn: Cairn, inbox: Path) -> None:
    """Once in a run; then it is a dead letter, whose record has the exit status."""
    command = ("claim", inbox, "--attempts", 2, "--", "sh", "-c", 'case "$1" in *b) exit 7; esac')
    shown = cairn(*command, "-", "{}", code=1)
    assert shown.splitlines()[1:] == [
        "failed    b (exit status 7)",
        "done      c d",
        "2 done, 1 failed",
    ]
    assert cairn.error == "cairn: 1 of 3 jobs failed\n"
    assert jobs(inbox) == ["b"]
    shown = cairn(*command, "-", "{}", code=1)
    assert shown.startswith(f"given up  b (exit status 7): now {inbox}/dead-letters/b")
    text = (inbox / "dead-letters" / ".errors" / "b").read_text()
    assert json.loads(text)["error"].endswith("CommandFailed: exit status 7")
    assert jobs(inbox) == []


def test_json_has_an_object_for_each(cairn: Cairn, inbox: Path) -> None:
    """A signal is a negative exit status; what killed its workers is told as well."""
    lines = cairn("claim", inbox, "--json", "--", "sh", "-c", "kill -9 $$", code=1).splitlines()
    told = [json.loads(line) for line in lines]
    assert [each.pop("seconds") >= 0 for each in told] == [True] * 3
    assert told[2] == {
        "job": "c d",
        "outcome": "failed",
        "reason": "ended by SIGKILL",
        "attempt": 1,
        "exit": -9,
    }
    told = [
        json.loads(line)
        for line in cairn(
            "claim", inbox, "--json", "--attempts", 1, "--", "true", code=1
        ).splitlines()
    ]
    assert [each["outcome"] for each in told] == ["given up"] * 3
    assert told[0]["dead_letter"] == str(inbox / "dead-letters" / "a")


def test_json_is_not_mixed_with_what_commands_say(inbox: Path) -> None:
    """Their output goes to standard error then."""
    arguments = [str(inbox), "--json", "--pattern", "a", "--", "echo", "said"]
    done = subprocess.run([*CLAIM, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outcome"] == "done"
    assert done.stderr == f"said {inbox / 'a'}\n"


def test_a_command_that_isnt_there_is_no_attempt(cairn: Cairn, inbox: Path) -> None:
    """It is asked wrongly; but a job that should be run and can't has failed."""
    cairn("claim", inbox, "--", "no-such-command", code=2)
    assert "no-such-command: No such file" in cairn.error
    assert jobs(inbox) == ["a", "b", "c d"]
    assert not (inbox / ".attempts" / "a").exists()
    shown = cairn("claim", inbox, "--", "{}", code=1)
    assert "failed    a (it can't be run: Permission denied)" in shown
    (inbox / "a").write_text("#!/bin/sh\nexit 0\n")
    (inbox / "a").chmod(0o755)
    assert "done      a\n" in cairn("claim", inbox, "--", "{}", code=1)


def test_it_is_asked_wrongly(cairn: Cairn, inbox: Path, tmp_path: Path) -> None:
    """No command, no directory."""
    cairn("claim", inbox, code=2)
    assert "COMMAND" in cairn.error
    cairn("claim", tmp_path / "nowhere", "--", "true", code=3)
    assert "nowhere: there is no such directory" in cairn.error


def test_an_error_ends_the_jobs_that_run(cairn: Cairn, inbox: Path) -> None:
    """If a job can't be moved to the dead letters, what was begun before is done all the same."""
    cairn("claim", inbox, "--pattern", "b", "--", "false", code=1)
    where = inbox / "nowhere" / "dead"
    arguments = ("--attempts", 1, "--dead-letters", where, "--", "sh", "-c", "exit 0")
    shown = cairn("claim", inbox, "-j", 2, *arguments, code=3)
    assert shown == "done      a\n"
    assert f"{where}: there is no directory" in cairn.error
    assert jobs(inbox) == ["b", "c d"]


@pytest.fixture
def waiting(inbox: Path) -> Iterator[subprocess.Popen[str]]:
    """A `cairn` whose command says its process id, waits for a line from a pipe, and succeeds."""
    os.mkfifo(inbox.parent / "go")
    script = 'echo $$; read line < "$0" && exit $line'
    command = ["--", "sh", "-c", script, str(inbox.parent / "go"), "{}"]
    with subprocess.Popen(
        [*CLAIM, str(inbox), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as cairn:
        yield cairn


def let_go(inbox: Path, line: str) -> None:
    """Let the command end."""
    with (inbox.parent / "go").open("w") as pipe:
        pipe.write(line)


def process_of(cairn: subprocess.Popen[str]) -> int:
    """The command's process."""
    assert cairn.stdout is not None
    return int(cairn.stdout.readline())


def test_the_command_has_the_lock_when_cairn_is_killed(
    waiting: subprocess.Popen[str], inbox: Path
) -> None:
    """Nobody begins the job beside it; when the command has ended it can be had again."""
    process_of(waiting)
    waiting.kill()
    waiting.wait()
    assert claim(inbox / "a") is None
    let_go(inbox, "0\n")
    assert waiting.stdout is not None
    assert waiting.stdout.read() == ""  # until the command has closed it, at its end
    job = claim(inbox / "a")
    assert job is not None
    with job:
        assert job.attempt == 2


@pytest.mark.parametrize(("line", "outcome"), [("0\n", "done"), ("1\n", "stopped")])
def test_an_interrupt_waits_for_the_command(
    waiting: subprocess.Popen[str], inbox: Path, line: str, outcome: str
) -> None:
    """What succeeds all the same is done; what fails then is no attempt. No other is begun."""
    process_of(waiting)
    waiting.send_signal(signal.SIGINT)
    assert waiting.stderr is not None
    assert waiting.stderr.readline().startswith("cairn: nothing more is begun")
    let_go(inbox, line)
    shown, error = waiting.communicate()
    assert (waiting.returncode, error) == (130, "")
    assert shown.startswith(f"{outcome:8}  a")
    assert jobs(inbox) == ["a", "b", "c d"][outcome == "done" :]
    assert list((inbox / ".attempts").iterdir()) == []


@pytest.mark.parametrize("signals", ["TERM", "INT INT"])
def test_signals_are_passed_on(waiting: subprocess.Popen[str], inbox: Path, signals: str) -> None:
    """SIGTERM, and a second interrupt, end the command too."""
    process_of(waiting)
    assert waiting.stderr is not None
    *first, last = (signal.Signals[f"SIG{name}"] for name in signals.split())
    for number in first:
        waiting.send_signal(number)
        assert waiting.stderr.readline().startswith("cairn: nothing more is begun")
    waiting.send_signal(last)
    shown, error = waiting.communicate()
    assert (waiting.returncode, error) == (130, "")
    assert shown == "stopped   a (ended by SIGTERM)\n1 stopped\n"
    assert jobs(inbox) == ["a", "b", "c d"]
