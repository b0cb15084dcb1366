"""`cairn trace`: recordings judged again, what is shown of them, and runs from beginning to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from cairndb import cli, tracing, tracing_system
from cairndb.tracing_anomalies import ADVICE, EARLY_RENAME, LATE_UNLINK, NAMELESS, TWO_HOLDERS
from commands import Cairn
from trace_script import anomalies

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden" / "traces"
EXPECTED = {
    "naive": [NAMELESS, LATE_UNLINK],
    "careful": [],
    "claims": [],
    "removed-lock": [NAMELESS, TWO_HOLDERS],
    "rename": [EARLY_RENAME],
}
TRACERS = ["strace", "bpftrace"]

Traced = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def cairn(capsys: pytest.CaptureFixture[str]) -> Cairn:
    """Runs commands."""
    return Cairn(capsys)


@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("name", EXPECTED)
def test_recordings_are_judged_as_they_were(name: str, tracer: str) -> None:
    """Each recorded run has just the anomalies that its program is known for."""
    text = (GOLDEN / f"{name}.{tracer}").read_text(encoding="utf-8")
    trace = tracing.read(text.splitlines(), "/")
    assert (trace.not_understood, trace.lost) == (0, 0)
    assert [kind for kind, _ in anomalies(tracing.judge(trace))] == EXPECTED[name]


PROGRAMS = {"naive": "naive_claims.py", "careful": "traced_careful.py"}


@pytest.mark.parametrize("name", ["naive", "careful", "removed-lock"])
def test_both_tracers_tell_the_same(name: str) -> None:
    """The same calls with the same results, and the same inodes where strace knows them."""
    told = []
    for tracer in TRACERS:
        text = (GOLDEN / f"{name}.{tracer}").read_text(encoding="utf-8")
        lines = tracing.judge(tracing.read(text.splitlines(), "/")).lines
        processes = list(dict.fromkeys(line.process for line in lines))
        told.append(
            [(processes.index(line.process), line.call, line.path, line.result) for line in lines]
        )
    assert told[0] == told[1]


def test_a_recording_as_text(cairn: Cairn) -> None:
    """A line for each call, the mark below it, and at the end what it means."""
    text = cairn("trace", "--replay", GOLDEN / "naive.bpftrace", code=1)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "seconds process call path result inode links"
    assert "17898 lock /jobs/a ok 2523173 1" in lines[7]
    mark = next(n for n, line in enumerate(lines) if line.startswith(f"!!! {NAMELESS}"))
    assert "lock /jobs/a ok 2523173 0" in lines[mark - 1]
    assert "/jobs/a was removed by 17898" in lines[mark]
    assert lines[-2] == f"{NAMELESS} (1): {ADVICE[NAMELESS]}"


def test_a_recording_as_json(cairn: Cairn) -> None:
    """An object for each call, and a summary."""
    text = cairn("trace", "--replay", GOLDEN / "naive.strace", "--json", code=1)
    *calls, summary = [json.loads(line) for line in text.splitlines()]
    marked = [call for call in calls if call["anomalies"]]
    assert summary["anomalies"] == {NAMELESS: 1, LATE_UNLINK: 1}
    assert summary["shown"] == len(calls)
    assert [(call["call"], call["result"]) for call in marked] == [
        ("lock", "ok"),
        ("unlink", "ENOENT"),
    ]
    assert marked[0]["anomalies"][0]["kind"] == NAMELESS
    assert (marked[0]["path"], marked[0]["links"], marked[0]["inferred"]) == ("/jobs/a", 0, True)


def test_a_good_recording_is_a_zero(cairn: Cairn) -> None:
    """No anomalies, no finding."""
    assert "anomalies: none" in cairn("trace", "--replay", GOLDEN / "careful.strace")


def test_only_some_paths(cairn: Cairn) -> None:
    """Patterns choose from a recording too."""
    text = cairn("trace", "--replay", GOLDEN / "naive.strace", "--path", "/jobs/b*")
    assert "/jobs/b" in text
    assert "/jobs/a" not in text


@pytest.mark.parametrize("name", EXPECTED)
def test_a_picture(name: str, cairn: Cairn, tmp_path: Path) -> None:
    """A bar for each hold, in a lane for each process; what is wrong is said in words."""
    path = tmp_path / "trace.svg"
    code = 1 if EXPECTED[name] else 0
    text = cairn(
        "trace", "--replay", GOLDEN / f"{name}.bpftrace", "--svg", path, "--json", code=code
    )
    calls = [json.loads(line) for line in text.splitlines()]
    drawn = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314  our own
    space = "{http://www.w3.org/2000/svg}"
    bars = [each for each in drawn.iter(f"{space}rect") if each.get("class", "").startswith("c")]
    locks = [call for call in calls if call.get("call") == "lock" and call["result"] == "ok"]
    texts = ["".join(each.itertext()) for each in drawn.iter(f"{space}text")]
    assert len(bars) == len(locks)
    for process in {call["process"] for call in calls if "process" in call}:
        assert f"process {process}" in texts
    for number, kind in enumerate(EXPECTED[name], 1):
        assert any(said.startswith(f"{number}  {kind}: ") for said in texts)


def test_the_docs_show_what_is_shown(cairn: Cairn, tmp_path: Path) -> None:
    """The excerpt and the picture in LOCKING.md are of the recording that it names."""
    docs = TESTS.parent / "docs"
    path = tmp_path / "trace.svg"
    text = cairn("trace", "--replay", GOLDEN / "naive.bpftrace", "--svg", path, code=1)
    page = (docs / "LOCKING.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("    seconds process call")
    excerpt = [line[4:] for line in rest.partition("\n\n")[0].splitlines()[1:]]
    assert len(excerpt) > 10
    assert set(excerpt) <= set(text.splitlines())
    assert (docs / "images" / "trace.svg").read_bytes() == path.read_bytes()


def test_a_recording_that_is_none(cairn: Cairn, tmp_path: Path) -> None:
    """The error names the file and says how to make one."""
    path = tmp_path / "x"
    path.write_text("hello\n", encoding="utf-8")
    cairn("trace", "--replay", path, code=2)
    assert str(path) in cairn.error
    assert "--record" in cairn.error
    cairn("trace", "--replay", tmp_path / "none", code=3)
    assert "none" in cairn.error


def test_neither_a_command_nor_a_recording(cairn: Cairn) -> None:
    """Or both: the error shows what to write."""
    cairn("trace", code=2)
    assert "cairn trace -- make" in cairn.error
    cairn("trace", "--replay", "x", "--", "true", code=2)


def test_the_scripts_are_where_it_says(cairn: Cairn) -> None:
    """For those who run DTrace themselves."""
    path = Path(cairn("trace", "--script").strip())
    assert path.read_text(encoding="ascii").startswith("#!/usr/sbin/dtrace")
    assert Path(tracing_system.script("bt")).exists()


def test_a_program_that_is_not_there(cairn: Cairn) -> None:
    """Is told before anything is traced."""
    cairn("trace", "--", "no-such-program", code=2)
    assert "no-such-program" in cairn.error


def test_without_a_tracer(cairn: Cairn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    (tmp_path / "true").symlink_to(shutil.which("true") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    cairn("trace", "--", "true", code=2)
    wanted = "strace isn't installed" if sys.platform == "linux" else "dtrace -s"
    assert wanted in cairn.error


@cache
def why_not(tracer: str) -> str:
    """Why a tracer can't be used here; empty if it can."""
    look = tracing_system.why_not_strace if tracer == "strace" else tracing_system.why_not_bpftrace
    if reason := look():
        return reason
    small = (
        ["strace", "-o", "/dev/null", "true"]
        if tracer == "strace"
        else [*("bpftrace", "-e", "tracepoint:raw_syscalls:sys_enter { exit(); }")]
    )
    tried = subprocess.run(small, capture_output=True, check=False, timeout=60)
    return "" if tried.returncode == 0 else f"{tracer} isn't permitted here"


@pytest.fixture
def traced(cairn: Cairn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traced:
    """Runs commands in a directory that has files `a` and `b` in `jobs`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "jobs" / name).touch()

    def run(tracer: str, *command: object, code: int = 0) -> list[dict[str, Any]]:
        if reason := why_not(tracer):
            pytest.skip(reason)
        options = "--with", tracer, "--path", "jobs", "--json", "--output", "told"
        cairn("trace", *options, "--record", "kept", "--", *command, code=code)
        return [json.loads(line) for line in Path("told").read_text("utf-8").splitlines()]

    return run


def python(program: str, *arguments: object) -> tuple[object, ...]:
    """How one of the programs beside this file is run."""
    return (sys.executable, "-I", "-S", TESTS / program, *arguments)


@pytest.mark.process
@pytest.mark.parametrize(
    ("tracer", "name"),
    [
        ("strace", "naive"),
        ("strace", "careful"),
        pytest.param("bpftrace", "naive", marks=pytest.mark.slow),
        pytest.param("bpftrace", "careful", marks=pytest.mark.nightly),
    ],
)
def test_two_workers(tracer: str, name: str, traced: Traced) -> None:
    """The naive worker's mistake is found, and none in the careful one's run."""
    command = python("traced_pair.py", TESTS / PROGRAMS[name], "jobs", "log")
    *calls, summary = traced(tracer, *command, code=1 if EXPECTED[name] else 0)
    found = [each["kind"] for call in calls for each in call["anomalies"]]
    done = Path("log").read_text(encoding="utf-8").split()
    assert found == EXPECTED[name]
    assert done == (["a", "b", "a"] if found else ["a", "b"])
    assert (summary["lost"], summary["not_understood"], summary["code"]) == (0, 0, 0)


@pytest.mark.process
@pytest.mark.skipif(find_spec("cairndb.locking") is None, reason="there is no cairndb.locking")
@pytest.mark.parametrize("tracer", ["strace", pytest.param("bpftrace", marks=pytest.mark.nightly)])
def test_two_workers_with_claims(tracer: str, traced: Traced) -> None:
    """Where the naive worker goes wrong the library's claims do not, and nothing is marked."""
    program = TESTS / "traced_claims.py"
    *calls, _ = traced(tracer, sys.executable, TESTS / "traced_pair.py", program, "jobs", "log")
    assert [call for call in calls if call["anomalies"]] == []
    assert {call["call"] for call in calls} >= {"open", "lock", "unlink", "close"}
    assert Path("log").read_text(encoding="utf-8").split() == ["a", "b"]


@pytest.mark.process
def test_a_run_can_be_kept_and_judged_again(traced: Traced, cairn: Cairn) -> None:
    """A lock file that is removed and made anew is held twice; its recording says the same."""
    *calls, _ = traced("strace", *python("traced_lock.py", "jobs/lock"), code=1)
    *again, _ = map(json.loads, cairn("trace", "--replay", "kept", "--json", code=1).splitlines())
    assert [each["kind"] for call in calls for each in call["anomalies"]] == [NAMELESS, TWO_HOLDERS]
    assert again == calls


@pytest.mark.process
def test_the_command_is_as_it_would_be(tmp_path: Path) -> None:
    """Its input, output, exit code and descriptors, none of which are the tracer's."""
    if reason := why_not("strace"):
        pytest.skip(reason)
    shell = ["sh", "-c", "cat; ls /proc/self/fd | wc -l; exit 7"]
    trace = [sys.executable, "-m", "cairndb", "trace", "--with", "strace", "-o", "told", "--"]
    plain, traced = (
        subprocess.run(
            command, cwd=tmp_path, input="said", capture_output=True, text=True, check=False
        )
        for command in (shell, trace + shell)
    )
    assert traced.stdout.startswith("said")
    assert (traced.returncode, traced.stdout, traced.stderr) == (7, plain.stdout, "")


@pytest.mark.process
def test_a_command_that_is_killed() -> None:
    """The code is that of a shell."""
    if reason := why_not("strace"):
        pytest.skip(reason)
    assert cli.run(["trace", "--with", "strace", "--", "sh", "-c", "kill -9 $$"]) == 137


@pytest.mark.process
def test_what_a_command_leaves_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It isn't waited for, and goes on undisturbed after the trace."""
    if reason := why_not("strace"):
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    shell = "(read line <pipe; echo $line >done; echo end >pipe) >/dev/null 2>&1 & :"
    assert cli.run(["trace", "--with", "strace", "--", "sh", "-c", shell]) == 0
    assert "aren't traced any more" in capsys.readouterr().err
    Path("pipe").write_text("on\n", encoding="ascii")
    assert Path("pipe").read_text(encoding="ascii") == "end\n"
    assert Path("done").read_text(encoding="ascii") == "on\n"


@pytest.mark.process
def test_an_interrupt_ends_the_command_and_shows_what_was_seen(tmp_path: Path) -> None:
    """Ctrl-C, sent to us alone, is passed on."""
    if reason := why_not("strace"):
        pytest.skip(reason)
    (tmp_path / "jobs").mkdir()
    shell = "exec 5>jobs/a; echo ready; exec sleep 1000"
    with subprocess.Popen(
        [sys.executable, "-m", "cairndb", "trace", "--with", "strace", "--", "sh", "-c", shell],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as cairn:
        assert cairn.stdout is not None
        assert cairn.stdout.readline() == "ready\n"
        cairn.send_signal(signal.SIGINT)
        assert "jobs/a" in cairn.stdout.read()
    assert cairn.returncode == 130
