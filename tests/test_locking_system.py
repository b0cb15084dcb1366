"""Who has a lock, as Linux tells it: texts of /proc, and the real ones."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import cairndb
from cairndb.locking import FileLock
from cairndb.locking_system import (
    HeldLock,
    LockLine,
    devices_of,
    holders_of,
    is_under,
    nameless,
    parse_locks,
)
from effort import examples
from forking import Child
from lock_files import path
from threads import wait_until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["path"]

LOCKS = """\
1: POSIX  ADVISORY  READ 22874 fe:00:2500782 128 128
2: FLOCK  ADVISORY  WRITE 1906 08:1f:2147398 0 EOF
2: -> FLOCK  ADVISORY  WRITE 1970 08:1f:2147398 0 EOF
2:   -> FLOCK  ADVISORY  READ 1971 08:1f:2147398 0 EOF
3: OFDLCK ADVISORY  READ -1 00:2f:7 100 104
4: LEASE  BREAKING  READ 12 00:2f:8 0 EOF
5: FLOCK  ADVISORY  WRITE 0 00:2f:9 0 EOF
"""
INFO = """\
pos:\t0
flags:\t02100002
ino:\t2147398
lock:\t1: FLOCK  ADVISORY  WRITE 1906 08:1f:2147398 0 EOF
lock:\t2: OFDLCK ADVISORY  READ -1 08:1f:2147398 100 104
"""
PR_SET_DUMPABLE = 4
on_linux = pytest.mark.skipif(os.uname().sysname != "Linux", reason="it is Linux that tells")


def test_the_locks_of_the_system_are_read() -> None:
    """Each line: kind, mode, who, on what; who waits, also for who waits; who isn't known."""
    disk = os.makedev(8, 0x1F)
    other = os.makedev(0, 0x2F)
    assert parse_locks(LOCKS) == [
        LockLine(False, "posix", "shared", 22874, os.makedev(254, 0), 2500782),
        LockLine(False, "flock", "exclusive", 1906, disk, 2147398),
        LockLine(True, "flock", "exclusive", 1970, disk, 2147398),
        LockLine(True, "flock", "shared", 1971, disk, 2147398),
        LockLine(False, "ofd", "shared", None, other, 7),
        LockLine(False, "lease", "shared", 12, other, 8),
        LockLine(False, "flock", "exclusive", None, other, 9),
    ]


def test_the_locks_of_a_descriptor_are_read() -> None:
    """They are the lines of fdinfo that say lock."""
    assert [(line.kind, line.pid) for line in parse_locks(INFO)] == [("flock", 1906), ("ofd", None)]


@settings(max_examples=examples(100))
@given(
    at=some.integers(0, len(LOCKS)),
    by=some.text("\n -:>0af9RÄ\0", max_size=9),
    length=some.integers(0, 9),
)
def test_other_lines_are_passed_over(at: int, by: str, length: int) -> None:
    """Whatever a later Linux writes, nothing is raised, and what is still a line is read."""
    rest = LOCKS[:at] + by + LOCKS[at + length :]
    assert len(parse_locks(rest + "\n" + LOCKS)) >= 7


def test_the_devices_of_mounts_are_read() -> None:
    """By the number of the mount, which a descriptor tells; what is no mount is passed over."""
    text = "22 1 259:2 / / rw - ext4 x rw\nx\n\n23 1 a:b / / rw\n24 1 0:52 / / rw - btrfs x rw\n"
    assert devices_of(text) == {"22": os.makedev(259, 2), "24": os.makedev(0, 52)}


def test_a_place_has_what_is_below_it(tmp_path: Path) -> None:
    """Itself and what is in it, whatever links lead to it; not a neighbour of a longer name."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert is_under(f"{tmp_path}/a/b", tmp_path)
    assert is_under(f"{tmp_path}/a", link / "a")
    assert not is_under(f"{tmp_path}/ab", tmp_path / "a")
    assert is_under("/a", "/")


def shown(found: list[HeldLock]) -> set[tuple[Any, ...]]:
    """Of locks what is the same in every run."""
    return {(lock.pid, lock.kind, lock.mode, lock.waiting) for lock in found}


@on_linux
def test_who_has_it_is_told(path: Path) -> None:
    """A file and a directory that this process has, with its command, and nobody after."""
    with FileLock(path), FileLock(path.parent, shared=True):
        (lock,) = holders_of(path)
        status = path.stat()
        assert lock[:5] == (os.getpid(), lock.command, "flock", "exclusive", str(path))
        assert lock[5:] == (status.st_dev, status.st_ino, 1, False, False)
        assert "python" in lock.command or "pytest" in lock.command
        assert shown(holders_of(path.parent)) == {(os.getpid(), "flock", "shared", False)}
    assert holders_of(path) == []
    assert holders_of(path.parent) == []


@on_linux
def test_the_owner_of_a_database_is_told(tmp_path: Path) -> None:
    """It has its directory."""
    with cairndb.open(tmp_path / "x.cairn"):
        assert shown(holders_of(tmp_path / "x.cairn")) == {
            (os.getpid(), "flock", "exclusive", False)
        }


@on_linux
def test_all_kinds_of_locks_are_told(path: Path) -> None:
    """Those of descriptions, which belong to no process, are told of who has it open."""
    number = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        part = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 5, 0)
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, part)
        fcntl.lockf(number, fcntl.LOCK_EX, 5, 10)
        assert shown(holders_of(path)) == {
            (os.getpid(), "ofd", "shared", False),
            (os.getpid(), "posix", "exclusive", False),
        }
    finally:
        os.close(number)


@on_linux
def test_who_waits_is_told(path: Path) -> None:
    """A process that waits is told from the one that has it."""

    def wait() -> bytes:
        FileLock(path).acquire()
        return b""

    with FileLock(path), Child(wait, waits=True) as child:
        waiting = (child.pid, "flock", "exclusive", True)
        wait_until(lambda: waiting in shown(holders_of(path)))
        assert shown(holders_of(path)) == {(os.getpid(), "flock", "exclusive", False), waiting}
        assert {lock.path for lock in holders_of(path)} == {str(path)}


@on_linux
def test_who_shares_a_descriptor_is_told(path: Path) -> None:
    """A lock is had by all who have the description, also when who took it is gone."""

    def take() -> bytes:
        number = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(number, fcntl.LOCK_EX)
        with Child(lambda: b"") as inner:
            inner._ended = True  # it stays when this one is killed
            return str(inner.pid).encode()

    with Child(take) as child:
        inner = int(child.said)
        try:
            both = {(pid, "flock", "exclusive", False) for pid in (child.pid, inner)}
            assert shown(holders_of(path)) == both
            child.end()
            assert shown(holders_of(path)) == {(inner, "flock", "exclusive", False)}
        finally:
            os.kill(inner, 9)
    wait_until(lambda: holders_of(path) == [])


@on_linux
@pytest.mark.parametrize("lost", ["removed", "replaced", "another link"])
def test_a_lock_on_a_file_that_lost_its_name_is_told(path: Path, lost: str) -> None:
    """Who has the lock excludes nobody who comes by the name; that is no holder of the new file."""
    with FileLock(path):
        assert nameless(path.parent) == []
        if lost == "another link":
            os.link(path, path.with_name("other"))
        if lost == "replaced":
            path.with_name("new").touch()
            path.with_name("new").replace(path)
        else:
            path.unlink()
        (lock,) = nameless(path.parent)
        assert (lock.pid, lock.path, lock.nameless) == (os.getpid(), str(path), True)
        assert lock.links == (1 if lost == "another link" else 0)
        assert nameless(path) == [lock]
        assert nameless(path.with_name("elsewhere")) == []
        if lost == "replaced":
            assert holders_of(path) == []


@on_linux
def test_a_name_that_looks_deleted_is_a_name(tmp_path: Path) -> None:
    """What Linux says behind the path of a removed file may be in a name."""
    path = tmp_path / "x (deleted)"
    with FileLock(path):
        assert [lock.path for lock in holders_of(path)] == [str(path)]
        assert nameless(tmp_path) == []


@on_linux
@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
def test_of_another_user_the_number_is_told(path: Path) -> None:
    """Who may not look into the process that has it, still sees on which file, and which it is."""
    path.parent.chmod(0o755)

    def look() -> bytes:
        os.chdir(path.parent)
        os.setuid(65534)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as after exec: it may look into itself
        assert not os.access(f"/proc/{os.getppid()}/fd", os.R_OK)
        return repr([(lock.pid, lock.mode, lock.path) for lock in holders_of(path.name)]).encode()

    with FileLock(path), Child(look) as child:
        assert child.said == repr([(os.getpid(), "exclusive", str(path))]).encode()
