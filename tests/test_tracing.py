"""That nothing a program does to a directory is overlooked in a trace of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tracing import Operation, Tracer, calls, trace, why_not

if TYPE_CHECKING:
    from pathlib import Path

TRACED = pytest.mark.skipif(bool(why_not()), reason=why_not() or "never")


def operations(program: str, folder: Path) -> list[Operation]:
    """What a Python program does to the directory `d`, where the file `f` has some bytes."""
    path = folder.resolve() / "d"
    path.mkdir()
    (path / "f").write_bytes(b"before")
    setting = f"import os, sys, mmap\ndirectory, path = {str(path)!r}, {str(path / 'f')!r}\n"
    command = [sys.executable, "-I", "-S", "-c", setting + program]
    return Tracer(path).operations(trace(command, folder / "trace", dict(os.environ)))


@TRACED
@pytest.mark.process
def test_operations_are_taken_down_with_their_data(tmp_path: Path) -> None:
    """What is created, written, synced, renamed, cut, removed and said is there, in order."""
    program = (
        "top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)\n"
        "new = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW\n"
        "file = os.open('x', new, dir_fd=top)\n"
        "os.posix_fallocate(file, 0, 99)\n"
        "os.pwrite(file, b'\"<{[\\0, 5) = 3', 7)\n"
        "os.fdatasync(file)\n"
        "os.write(2, b'@said 1')\n"
        "os.rename('x', 'y', src_dir_fd=top, dst_dir_fd=top)\n"
        "os.fdatasync(top)\n"
        "os.ftruncate(file, 3)\n"
        "os.unlink('y', dir_fd=top)\n"
    )
    assert operations(program, tmp_path) == [
        Operation("create", "x"),
        Operation("allocate", "x", 99),
        Operation("write", "x", 7, b'"<{[\0, 5) = 3'),
        Operation("sync", "x"),
        Operation("note", "", other="said 1"),
        Operation("rename", "x", other="y"),
        Operation("sync directory", ""),
        Operation("truncate", "y", 3),
        Operation("remove", "y"),
    ]


@TRACED
@pytest.mark.process
@pytest.mark.parametrize(
    "program",
    [
        "open(path, 'ab', buffering=0).write(b'x')",
        "open(path, 'wb')",
        "mmap.mmap(os.open(path, os.O_RDWR), 6)",
        "os.pwritev(os.open(path, os.O_RDWR), [b'x'], 0)",
        "os.sendfile(os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY), 0, 3)",
        "os.copy_file_range(os.open(path, os.O_RDWR), os.open(path, os.O_RDWR), 1, 0, 4)",
        "os.truncate(path, 3)",
        "os.link(path, path + '2')",
        "os.chdir(directory)",
        "os.sync()",
        "try: os.pwrite(os.open(path, 0), b'x', 0)\nexcept OSError: pass",
        "top = os.open(directory, os.O_RDONLY); os.open('z', os.O_CREAT | os.O_RDWR, dir_fd=top)",
        "os.rename(path, path + '2')",
        "file = os.open(path, os.O_RDWR); os.unlink(path); os.pwrite(file, b'x', 0)",
    ],
)
def test_what_the_simulation_has_no_words_for_is_refused(program: str, tmp_path: Path) -> None:
    """Other ways to change a file, and failures, are errors, not silence."""
    with pytest.raises(AssertionError):
        operations(program + "\n", tmp_path)


HERE = "<\\x2f\\x64>"
FILE = "<\\x2f\\x64\\x2f\\x66>"


def test_calls_that_others_interrupt_in_the_trace_are_put_together(tmp_path: Path) -> None:
    """A call ends where it is resumed, with its arguments from both places."""
    lines = [
        f'7  pwrite64(3{FILE}, "\\x61", 1, <unfinished ...>',
        f"8  fdatasync(4{HERE} <unfinished ...>",
        "7  <... pwrite64 resumed>5)       = 1",
        "9  --- SIGCHLD {si_signo=SIGCHLD} ---",
        "8  <... fdatasync resumed>)        = 0",
    ]
    first, second = calls(lines)
    assert (first.begun, first.ended, first.arguments()[3]) == (0, 2, "5")
    assert (second.begun, second.ended, second.result) == (1, 4, "0")
    assert Tracer(tmp_path.parents[-1] / "d").operations(lines) == [
        Operation("write", "f", 5, b"a"),
        Operation("sync directory", ""),
    ]


def test_a_sync_beside_a_write_to_the_same_file_is_refused(tmp_path: Path) -> None:
    """Whether such a sync covers such a write nobody knows: no workload may depend on it."""
    lines = [
        f'7  pwrite64(3{FILE}, "\\x61", 1, 0 <unfinished ...>',
        f"8  fdatasync(3{FILE}) = 0",
        "7  <... pwrite64 resumed>)       = 1",
    ]
    with pytest.raises(AssertionError):
        Tracer(tmp_path.parents[-1] / "d").operations(lines)
