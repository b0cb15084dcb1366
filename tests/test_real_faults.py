"""Real system calls that fail, in turn each of a workload's: usable or dead, and nothing lost.

A library that is loaded before libc lets them fail, or do only half, or kills the process there.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from effort import examples
from failing import KINDS, Case, check
from tracing import why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TESTS = Path(__file__).parent
COMPILER = shutil.which("cc")
pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="made for the GNU C library"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler (Debian: apt install gcc)"),
]

CHANGING = ("create", "write", "sync", "allocate", "truncate", "rename", "remove", "make")
REPEATED = ("create", "write", "sync", "allocate", "truncate", "lock")
"""What Python itself calls again when a signal has interrupted it (PEP 475)."""


class Program(NamedTuple):
    """How `failing.py` is run: with the library, in a folder."""

    library: Path
    folder: Path

    def cases(self, action: str, code: int, *kinds: str, only: int = 0) -> list[Case]:
        """One for each call of these kinds; all are as they should be."""
        arguments = (str(self.library), str(self.folder), action, str(code), str(only), *kinds)
        lines = self.lines((), arguments, LD_PRELOAD=str(self.library))
        found = [msgspec.json.decode(line, type=Case) for line in lines]
        assert [case for case in found if case.wrong] == []
        return found

    def lines(
        self, before: Sequence[str], arguments: Sequence[str], **environment: str
    ) -> list[str]:
        """What it prints, with or without another program that runs it."""
        paths = os.pathsep.join(map(str, (TESTS.parent / "src", TESTS)))
        result = subprocess.run(
            [*before, sys.executable, str(TESTS / "failing.py"), *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, **environment},
            check=True,
            text=True,
        )
        return result.stdout.splitlines()


@pytest.fixture(scope="module", name="program")
def compiled() -> Iterator[Program]:
    """Compiled, with a folder in memory, if there is one: what is tested here is not the disk."""
    assert COMPILER is not None
    shared = Path("/dev/shm")  # noqa: S108  made safely by tempfile
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        folder = Path(name).resolve()
        library = folder / "failing.so"
        source = TESTS / "failing.c"
        command = [COMPILER, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library)]
        subprocess.run([*command, str(source), "-ldl"], check=True)
        yield Program(library, folder)


def errors(case: Case) -> list[str]:
    """What the owners were told."""
    return [text[2:] for text in case.said if text.startswith("!")]


@pytest.mark.parametrize(
    ("code", "kinds", "least"),
    [(errno.EIO, KINDS, 350), (errno.ENOSPC, CHANGING, 150)],
    ids=["EIO", "ENOSPC"],
)
def test_an_error_of_any_real_call_loses_nothing(
    code: int,
    kinds: tuple[str, ...],
    least: int,
    program: Program,
    evidence: Callable[[str, int], None],
) -> None:
    """Each call fails once: the error names the file, and the object is usable or dead."""
    found = program.cases("fail", code, *kinds)

    evidence("faults", len(found))
    assert len(found) > least
    told = " ".join(text for case in found for text in errors(case))
    assert "DatabaseFailed" in told
    assert ("DiskFull" in told) == (code == errno.ENOSPC)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_errors_that_do_not_end_lose_nothing(
    code: int, program: Program, evidence: Callable[[str, int], None]
) -> None:
    """From each call on all fail: also then what was acknowledged is there afterwards."""
    kinds = KINDS if examples(1) > 1 else ("create", "write", "sync", "rename")

    found = program.cases("fail ever after", code, *kinds)

    evidence("faults", len(found))
    assert len(found) > 100
    assert all(errors(case) for case in found[:-4])


def test_short_writes_and_reads_are_continued(
    program: Program, evidence: Callable[[str, int], None]
) -> None:
    """The system may do the first half only: nobody notices, and nothing is missing."""
    found = program.cases("shorten", 0, "write", "read")

    evidence("faults", len(found))
    assert len(found) > 100
    assert [case for case in found if errors(case)] == []


def test_a_write_that_fails_half_way_loses_nothing(
    program: Program, evidence: Callable[[str, int], None]
) -> None:
    """The first half is written, then there is no room: no torn frame is taken for an update."""
    found = program.cases("shorten and fail", errno.ENOSPC, "write")

    evidence("faults", len(found))
    assert len(found) > 40


def test_an_interrupted_call_is_made_again(
    program: Program, evidence: Callable[[str, int], None]
) -> None:
    """A signal at any call that may be interrupted is not to be noticed."""
    kinds = (*REPEATED, "open", "read") if examples(1) > 1 else REPEATED

    found = program.cases("fail", errno.EINTR, *kinds)

    evidence("faults", len(found))
    assert len(found) > 140
    assert [case for case in found if errors(case)] == []


def test_a_kill_at_any_call_loses_nothing(program: Program) -> None:
    """Killed just before each call in turn: everything acknowledged is there."""
    kinds = KINDS if examples(1) > 1 else CHANGING

    found = program.cases("die", 0, *kinds)

    assert len(found) > 150
    assert all(case.killed for case in found)


def test_a_file_system_that_can_not_reserve_room_gets_zeros(program: Program) -> None:
    """Without fallocate everything goes on as with it."""
    found = program.cases("fail ever after", errno.EOPNOTSUPP, "allocate")

    assert len(found) > 5
    assert [case for case in found if errors(case)] == []


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "never")
@pytest.mark.parametrize(
    ("kind", "call", "number"),
    [
        ("write", "pwrite64", 5),
        ("write", "pwrite64", 11),
        ("sync", "fdatasync", 6),
        ("sync", "fdatasync", 25),
        ("allocate", "fallocate", 2),
        ("truncate", "ftruncate", 1),
        ("rename", "renameat", 4),
        ("remove", "unlinkat", 2),
    ],
)
def test_the_kernel_and_the_library_let_fail_alike(
    kind: str, call: str, number: int, program: Program
) -> None:
    """An error that strace puts in place of the call has the same consequences."""
    path = program.folder / "failing.cairn"
    shutil.rmtree(path, ignore_errors=True)
    inject = f"--inject={call}:error=EIO:when={number}"
    strace = ("strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", inject)
    said = [json.loads(line) for line in program.lines(strace, [str(path)])]
    check(path, said)

    (same,) = program.cases("fail", errno.EIO, kind, only=number)

    assert without_process(same.said[:-1]) == without_process(said)
    assert bool(errors(same)) == (kind != "remove")


def without_process(said: list[str]) -> list[str]:
    """With temporary names that don't say whose they are."""
    return [re.sub(r"\.tmp-\d+-", ".tmp-", text) for text in said]
