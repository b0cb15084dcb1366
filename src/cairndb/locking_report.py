"""Who has which lock in a place: what the system tells, beside what the records say.

The system tells who has a lock on which file, now, whatever the file says; a record says since
when, also on systems that tell nothing, and of other hosts. Neither is the other: a record may be
of a process that is gone, or whose lock is on a file that has lost its name.

A file is looked at itself, a directory with what is directly in it: its own lock (the owner of a
database has that), those on its files and on the directories in it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from cairndb.locking_holder import BYTES_MAX
from cairndb.locking_network import network_mount, what_flock_means
from cairndb.locking_record import IN_DIRECTORY, read_record
from cairndb.locking_system import all_locks, can_tell, is_closed, is_under

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cairndb.locking_holder import Holder
    from cairndb.locking_system import HeldLock

_OF_A_DATABASE: Final = "DATABASE"


class Network(NamedTuple):
    """A place that is on a network file system."""

    path: str
    type: str
    meaning: str
    """Of a lock there, as `what_flock_means` says it."""


class Report(NamedTuple):
    """The locks in some places."""

    locks: list[HeldLock] | None
    """By path, which is below the place as that was given, under each that leads to it; of a file
    that has lost its name the one that it had. None: this system doesn't tell."""
    records: dict[str, Holder]
    """By path: of a directory that of a database's owner."""
    networks: list[Network]
    unseen: int
    """How many locks there are on files that aren't known, of processes that may not be looked
    into: perhaps on one that was here and has lost its name."""


def look(places: Iterable[str | os.PathLike[str]]) -> Report:
    """The locks on files and directories, and on what is directly in the directories.

    Not for a process that has POSIX record locks in there: files are opened and closed.

    Args:
        places: paths. Symbolic links in a directory aren't followed.

    Raises:
        OSError: a place isn't there, or may not be looked into.
    """
    given = [os.fspath(place) for place in places]
    files: dict[str, os.stat_result] = {}
    for place in given:
        files[place] = os.stat(place)  # noqa: PTH116  as it was given
        if stat.S_ISDIR(files[place].st_mode):
            files.update(_entries(place))
    records = {}
    for path, status in files.items():
        if _may_have_a_record(path, status, files):
            holder = read_record(path, None)
            if holder is not None:
                records[path] = holder
    locks, unseen = _locks(given, files) if can_tell() else (None, 0)
    return Report(locks, records, list(_networks(given, files)), unseen)


def _entries(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            with contextlib.suppress(FileNotFoundError):  # it has gone
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    yield entry.path, status


def _may_have_a_record(path: str, status: os.stat_result, files: dict[str, os.stat_result]) -> bool:
    if stat.S_ISDIR(status.st_mode):
        return True
    # LOCK is about its directory; nobody locks it.
    folder, name = os.path.split(path)
    return 0 < status.st_size <= BYTES_MAX and not (name == IN_DIRECTORY and folder in files)


def _locks(places: list[str], files: dict[str, os.stat_result]) -> tuple[list[HeldLock], int]:
    names: dict[tuple[int, int], list[str]] = {}
    for path, status in files.items():
        names.setdefault((status.st_dev, status.st_ino), []).append(path)
    found, unseen = [], 0
    for lock in all_locks(*files):
        shown = names.get((lock.device, lock.inode), [])
        if not shown and lock.nameless:
            shown = _former_paths(lock.path, places)
        found += [lock._replace(path=path) for path in shown]
        unseen += not lock.path and is_closed(lock.pid)
    return sorted(found, key=_order), unseen


def _order(lock: HeldLock) -> tuple[object, ...]:
    return lock.path, lock.nameless, lock.waiting, lock.pid or 0, lock.kind, lock.mode


def _former_paths(path: str, places: list[str]) -> list[str]:
    """A path that is gone, as it looks from the places that it was in."""
    found = []
    for place in places:
        if is_under(path, place):
            below = os.path.relpath(path, os.path.realpath(place))
            found.append(place if below == "." else os.path.join(place, below))  # noqa: PTH118
    return list(dict.fromkeys(found))


def _networks(places: list[str], files: dict[str, os.stat_result]) -> Iterator[Network]:
    for place in places:
        mount = network_mount(place)
        if mount is not None:
            database = os.path.join(place, _OF_A_DATABASE) in files  # noqa: PTH118
            yield Network(place, mount.type, what_flock_means(mount, directory=database))
