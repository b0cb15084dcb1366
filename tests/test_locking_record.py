"""What a locked file says of its holder, and that nothing else in it is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb.errors import FileLocked, LockTimeout
from cairndb.locking import FileLock
from forking import Child
from lock_files import is_free, path

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["path"]


def test_the_file_says_who_has_it(path: Path) -> None:
    """While it is held there is a record of the holder, and the error of the second names it."""
    lock = FileLock(path)
    assert lock.holder() is None
    with lock:
        holder = lock.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
        assert holder.stale is not True
        with pytest.raises(FileLocked, match="this very process"):
            FileLock(path, blocking=False).acquire()
    assert lock.holder() is None
    assert path.read_bytes() == b""


@pytest.mark.process
def test_another_process_is_named(path: Path) -> None:
    """The error says which process has it; when that was killed, the record is called stale."""

    def acquire() -> bytes:
        FileLock(path).acquire()
        return b""

    with (
        Child(acquire) as child,
        pytest.raises(LockTimeout, match=f"process {child.pid} on "),
    ):
        FileLock(path, timeout=0).acquire()
    left = FileLock(path).holder()
    assert left is not None
    assert (left.pid, left.stale) == (child.pid, True)
    with FileLock(path) as lock:
        now = lock.holder()
        assert now is not None
        assert now.pid == os.getpid()


def test_the_owner_of_a_database_is_named(tmp_path: Path) -> None:
    """A database's directory is locked, and its LOCK says by whom."""
    with (
        cairndb.open(tmp_path / "a.cairn"),
        pytest.raises(FileLocked, match="this very process"),
    ):
        FileLock(tmp_path / "a.cairn", blocking=False).acquire()
    assert is_free(tmp_path / "a.cairn")


@pytest.mark.parametrize("record", [False, True], ids=["without", "with"])
def test_what_the_holder_writes_stays(path: Path, *, record: bool) -> None:
    """A program may write to the file that it has locked: giving the lock up takes nothing away."""
    path.touch()
    with FileLock(path, record=record):
        path.write_text("precious")
    assert path.read_text() == "precious"
    with FileLock(path, record=record), path.open("a") as file:
        file.write(", all of it")
    assert path.read_text() == "precious, all of it"
