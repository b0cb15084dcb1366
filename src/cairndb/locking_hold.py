"""A lock on the file of a name: open, lock, and look whether it still is the file of that name.

Between the opening of a file and the lock on it, whoever had the lock may have removed the file,
and may be done with it; then the lock is on a file that nobody else will ever open. It looks like
the lock on the name, and isn't. So after locking:

    1. fstat of the descriptor, and stat of the name: device and inode are the same;
    2. the link count isn't 0 (of a directory that has been removed, `.` still is a name);
    3. else close, and start over.

Whoever removes, renames or replaces the name holds the lock on its file while doing so, and has
passed this check. So the name is the holder's until it closes, and two can't hold one name, though
they may hold two files that had it one after the other.

Where the system locks as it opens (O_EXLOCK: macOS, the BSDs), step 0 is one call; the check is
needed all the same, since the file can lose its name between the look-up of the name and the lock.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from cairndb.descriptors import Descriptor, Kind
from cairndb.locks_interrupts import deferred_interrupts

# 0 where the system can't lock as it opens.
_SHARED: Final[int] = getattr(os, "O_SHLOCK", 0)
_EXCLUSIVE: Final[int] = getattr(os, "O_EXLOCK", 0)


class Hold(Descriptor):
    """An open file or directory; locked, once `take` has returned it, until it is closed.

    Args:
        number: the descriptor.
        name: what it was opened under.
        dir_fd: the descriptor of the directory that the name is relative to; None: the current.
        follow: whether the name may be that of a symbolic link.
    """

    def __init__(self, number: int, name: str, dir_fd: int | None, *, follow: bool) -> None:
        super().__init__(number, name)
        self._dir_fd = dir_fd
        self._follow = follow

    def is_of_its_name(self) -> bool:
        """Whether the name still leads to what is open here.

        Raises:
            FileNotFoundError: it does, but to a directory that has been removed: `.` leads there
                for ever, and starting over would find nothing else.
        """
        with self.named() as number:
            mine = os.fstat(number)
            try:
                there = os.stat(self.path, dir_fd=self._dir_fd, follow_symlinks=self._follow)
            except (FileNotFoundError, NotADirectoryError):
                return False
            if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                return False
            if mine.st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "the directory has been removed")
            return True

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        with self.named() as number:
            return stat.S_ISREG(os.fstat(number).st_mode)


def take(
    name: str,
    *,
    dir_fd: int | None = None,
    shared: bool = False,
    wait: bool = False,
    create: bool = False,
    write: bool = True,
    follow: bool = True,
    kind: Kind = "flock",
) -> Hold | None:
    """Open the file of a name and lock it.

    Args:
        name: of a file, or of a directory if `write` isn't asked for.
        dir_fd: the descriptor of the directory that the name is relative to; None: the current.
        shared: others may have it shared at the same time.
        wait: until those who are in the way have gone.
        create: make the file if there is none.
        write: open it for writing as well.
        follow: whether the name may be that of a symbolic link.
        kind: see `Descriptor.take_lock`.

    Returns:
        The hold; None if somebody else has the file.

    Raises:
        FileNotFoundError: there is no such file, or none any more.
        OSError: it can't be opened, or the file system can't lock.
    """
    flags = os.O_RDWR if write else os.O_RDONLY
    # NONBLOCK: a pipe under the name is opened, and refused by whoever wanted a file, at once.
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    flags |= (os.O_CREAT if create else 0) | (0 if follow else os.O_NOFOLLOW)
    at_once = (_SHARED if shared else _EXCLUSIVE) if kind == "flock" and not wait else 0
    while True:
        try:
            # Between the two a descriptor would be open that nobody knows of.
            with deferred_interrupts:
                number = os.open(name, flags | at_once, 0o666, dir_fd=dir_fd)
                hold = Hold(number, name, dir_fd, follow=follow)
        except BlockingIOError:
            return None
        try:
            if not at_once and not hold.take_lock(shared=shared, wait=wait, kind=kind):
                hold.close()
                return None
            if hold.is_of_its_name():
                return hold
        except BaseException:
            hold.close()
            raise
        hold.close()
