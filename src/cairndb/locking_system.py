"""Who has locks, and who waits for them, as Linux tells it.

    /proc/PID/fdinfo/N   the locks on an open file, for every process that has it open: also for a
                         child that has got the descriptor, and when who took the lock is gone
    /proc/PID/fd/N       leads to the file itself, whatever its name is: device and inode as stat
                         tells them, and its link count
    /proc/locks          all of them, those that are waited for too; but not the path, and of the
                         file the device that the kernel has, which is another on btrfs and overlays

So the first two are asked, and the third completes them: with who waits, and with processes that
may not be looked into, which are other users' unless one is root. Where a lock is of an unknown
process (an open file description belongs to none), the number is None. Of a process that may not be
looked into, a lock on btrfs may be taken for one on the file of that number in another subvolume.

All of this changes while it is read. A process or descriptor that has gone is passed over; what is
told was so at some moment, for each lock a different one.

Source: proc(5); fs/locks.c and fs/proc/fd.c of Linux for what the text says.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from cairndb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Kind: TypeAlias = Literal["flock", "ofd", "posix", "lease"]
Mode: TypeAlias = Literal["shared", "exclusive"]

_PROC: Final = Path("/proc")
_KINDS: Final[Mapping[str, Kind]] = {
    "FLOCK": "flock",
    "OFDLCK": "ofd",
    "POSIX": "posix",
    "LEASE": "lease",
    "DELEG": "lease",
}
_LINE: Final = re.compile(
    r"\d+: *(?P<waiting>->)? *(?P<kind>[A-Z]+) +[A-Z]+ +(?P<mode>READ|WRITE) +(?P<pid>-?\d{1,10}) "
    r"(?P<major>[0-9a-f]{1,8}):(?P<minor>[0-9a-f]{1,8}):(?P<inode>\d{1,20}) "
)
_DELETED: Final = " (deleted)"


class HeldLock(NamedTuple):
    """A process that has a lock, or waits for one."""

    pid: int | None
    """None: the system doesn't say."""
    command: str
    kind: Kind
    mode: Mode
    path: str
    """As the process has it: in a container another than here. Empty: not known."""
    device: int
    inode: int
    links: int | None
    """None: not known."""
    nameless: bool
    """The name under which it was opened is gone, or another file's."""
    waiting: bool


class LockLine(NamedTuple):
    """A line of /proc/locks, or of the locks in a file of /proc/PID/fdinfo."""

    waiting: bool
    kind: Kind
    mode: Mode
    pid: int | None
    device: int
    """The kernel's, of the file system."""
    inode: int


class _File(NamedTuple):
    path: str
    device: int
    inode: int
    links: int | None
    nameless: bool


def parse_locks(text: str) -> list[LockLine]:
    """The locks in a text of /proc; what isn't one is passed over.

    Args:
        text: of /proc/locks or /proc/PID/fdinfo/N.
    """
    found = []
    for line in text.splitlines():
        match = _LINE.match(line.removeprefix("lock:").lstrip())
        kind = _KINDS.get(match["kind"]) if match else None
        if match is None or kind is None:
            continue
        pid = int(match["pid"])
        mode: Mode = "shared" if match["mode"] == "READ" else "exclusive"
        device = os.makedev(int(match["major"], 16), int(match["minor"], 16))
        found.append(
            LockLine(
                match["waiting"] is not None,
                kind,
                mode,
                # -1: of an open file description. 0: of a process that is gone, or isn't seen here.
                pid if pid > 0 else None,
                device,
                int(match["inode"]),
            )
        )
    return found


def can_tell() -> bool:
    """Whether this system tells who has locks."""
    return sys.platform == "linux" and (_PROC / "locks").exists()


def holders_of(path: str | os.PathLike[str]) -> list[HeldLock]:
    """Who has locks on a file or directory, and who waits for one.

    Args:
        path: of it; the file is meant, by whatever name they have opened it.

    Raises:
        UsageError: this system doesn't tell.
        OSError: there is no such file.
    """
    wanted = os.stat(path)  # noqa: PTH116  the path may be text
    return [
        lock
        for lock in all_locks(path)
        if (lock.device, lock.inode) == (wanted.st_dev, wanted.st_ino)
    ]


def nameless(under: str | os.PathLike[str]) -> list[HeldLock]:
    """The locks on files that have lost their name: nobody else will ever open these files.

    Args:
        under: the directory that they were in, at any depth, or the file that had the name.

    Raises:
        UsageError: this system doesn't tell.
    """
    return [lock for lock in all_locks() if lock.nameless and is_under(lock.path, under)]


def is_under(path: str, place: str | os.PathLike[str]) -> bool:
    """Whether a path of a lock is a place, or below it."""
    there = os.path.realpath(place)
    return path == there or path.startswith(there.rstrip("/") + "/")


def all_locks(*paths: str | os.PathLike[str]) -> list[HeldLock]:
    """All locks that can be seen from here.

    Args:
        paths: files whose locks are recognised even if none of those who have them may be looked
            into.

    Raises:
        UsageError: this system doesn't tell.
    """
    if not can_tell():
        raise UsageError("only Linux tells who has a lock, in /proc/locks: look at the records")
    files = _known(paths)
    found: dict[HeldLock, None] = {}
    seen = set()
    for pid, line, file in _open_files():
        files[line.device, line.inode] = file
        seen.add(line)
        found[_held(line, pid, file)] = None
    for line in parse_locks((_PROC / "locks").read_text()):
        if line not in seen:
            unknown = _File("", line.device, line.inode, None, nameless=False)
            file = files.get((line.device, line.inode), unknown)
            found[_held(line, line.pid, file)] = None
    return list(found)


def _held(line: LockLine, pid: int | None, file: _File) -> HeldLock:
    return HeldLock(pid, _command(pid), line.kind, line.mode, *file, line.waiting)


def _open_files() -> Iterator[tuple[int, LockLine, _File]]:
    """The locks that are had, with each process that has the file open."""
    for process in _PROC.iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has gone, or is somebody else's
            for info in (process / "fdinfo").iterdir():
                with contextlib.suppress(OSError):
                    yield from _locks_of(process, info)


def _locks_of(process: Path, info: Path) -> Iterator[tuple[int, LockLine, _File]]:
    lines = parse_locks(info.read_text())
    if not lines:
        return
    file = _file_at(process, process / "fd" / info.name)
    # Else the number may have been given to another file in between.
    if parse_locks(info.read_text()) == lines:
        for line in lines:
            yield int(process.name), line, file


def _file_at(process: Path, link: Path) -> _File:
    """The file that a descriptor is open on."""
    path, status = str(link.readlink()), link.stat()
    lost = status.st_nlink == 0
    if path.endswith(_DELETED) and not lost:
        # It has another name; or it is called that.
        try:
            named = Path(f"{process}/root{path}").stat()
            lost = (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino)
        except OSError:
            lost = True
    return _File(
        path.removesuffix(_DELETED) if lost else path,
        *_identity(status),
        nameless=lost,
    )


def _known(paths: Iterable[str | os.PathLike[str]]) -> dict[tuple[int, int], _File]:
    """Files by what the kernel calls them in /proc/locks."""
    found: dict[tuple[int, int], _File] = {}
    if not paths:
        return found
    devices = {}
    with contextlib.suppress(OSError):
        devices = devices_of((_PROC / "self/mountinfo").read_text(errors="surrogateescape"))
    for path in paths:
        with contextlib.suppress(OSError):  # it has gone
            number = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                status = os.fstat(number)
                file = _File(os.path.realpath(path), *_identity(status), nameless=False)
                found[_name_in_kernel(number, status, devices)] = file
            finally:
                os.close(number)
    return found


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_nlink


def _name_in_kernel(
    number: int, status: os.stat_result, devices: Mapping[str, int]
) -> tuple[int, int]:
    """The device and inode of what is open, as /proc/locks has them."""
    fields = {}
    with contextlib.suppress(OSError):
        for line in (_PROC / f"self/fdinfo/{number}").read_text().splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    device = devices.get(fields.get("mnt_id", ""), status.st_dev)
    return device, int(fields.get("ino", status.st_ino))  # the inode since Linux 5.14


def devices_of(mounts: str) -> dict[str, int]:
    """The device that the kernel has for each mount, by its number.

    Args:
        mounts: of /proc/PID/mountinfo.
    """
    found = {}
    for line in mounts.splitlines():
        with contextlib.suppress(ValueError, OverflowError):
            identity, _, device, _ = line.split(" ", 3)
            major, minor = map(int, device.split(":"))
            found[identity] = os.makedev(major, minor)
    return found


def is_closed(pid: int | None) -> bool:
    """Whether a process may not be looked into: it is another user's."""
    return (
        pid is not None
        and (place := _PROC / str(pid) / "fd").exists()
        and not os.access(place, os.R_OK)
    )


def _command(pid: int | None) -> str:
    """What a process was started with; empty if that isn't to be had."""
    if pid is None:
        return ""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return words.rstrip(b"\0").replace(b"\0", b" ").decode(errors="backslashreplace")
