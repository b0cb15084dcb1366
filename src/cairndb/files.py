"""The one door to the operating system for files: a directory, and the files in it.

What the rest of the library may assume, and a simulated directory must keep to:

1. `File.write` returns when the system has the bytes; a crash may lose them, or keep any part of
   them.
2. `File.sync` covers every write, allocation and truncation that returned before it was entered,
   the size of the file included. It says nothing of the file's name.
3. `create`, `rename` and `remove` are atomic; a crash may undo each of them until `Directory.sync`.
   The name of the directory itself is its parent's, and durable when that has been synced.
4. A failed sync covers nothing, and no later one makes up for it: whoever sees it stops.
5. Sectors (512 bytes) survive a crash independently, and a write next to old bytes doesn't harm
   them.

Nothing is written through a map or a buffer: what a call reported is what happened. Short writes
are continued; EINTR is Python's to repeat (PEP 475). Every OSError carries the name of its file.
What becomes of descriptors and locks, `descriptors` says.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol

from cairndb.descriptors import Descriptor
from cairndb.descriptors_directory import OpenDirectory
from cairndb.locking import FileLock
from cairndb.locking_network import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

# EFBIG: a limit on the size of files (ulimit -f, or the file system's); smaller ones may still go.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
ZEROS = bytes(1 << 20)


class File(Protocol):
    """One open file. Offsets and lengths are bytes."""

    path: str

    def read(self, offset: int, length: int) -> bytes:
        """What is there, up to `length` bytes: fewer only at the end of the file."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write all of it there, or raise OSError."""
        ...

    def sync(self) -> None:
        """Make durable whatever was written before this call, and the size."""
        ...

    def allocate(self, length: int) -> None:
        """Make the file at least that long, with room on disk for every byte of it."""
        ...

    def truncate(self, length: int) -> None:
        """Cut the file off there."""
        ...

    def size(self) -> int:
        """The length of the file."""
        ...

    def hold(self, *, exclusive: bool) -> bool:
        """Lock the file against removal (shared) or against readers (exclusive) until `close`.

        Returns:
            False if somebody else's hold is in the way; never waits.
        """
        ...

    def close(self) -> None:
        """Give up the descriptor and its holds. Closing twice is allowed."""
        ...


class Directory(Protocol):
    """One open directory of files, without subdirectories."""

    path: str

    def names(self) -> list[str]:
        """The names in it, sorted."""
        ...

    def open(self, name: str, *, write: bool = False) -> File:
        """Open an existing file."""
        ...

    def create(self, name: str) -> File:
        """Make a new empty file, for reading and writing; FileExistsError if the name is taken."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file a new name, replacing what had it."""
        ...

    def remove(self, name: str) -> None:
        """Remove a name."""
        ...

    def sync(self) -> None:
        """Make durable every creation, renaming and removal that returned before this call."""
        ...

    def lock(self) -> bool:
        """Lock the directory itself, alone, until `close`; never waits.

        Returns:
            False if somebody else has it.
        """
        ...

    def free_bytes(self) -> int:
        """How much room the file system has for this user."""
        ...

    def close(self) -> None:
        """Give up the descriptor and the lock. Closing twice is allowed."""
        ...


class Parent(Protocol):
    """The directory that a database's own is in."""

    def make_directory(self, name: str) -> bool:
        """Make a directory in it; False if there is one, FileExistsError if it is a file."""
        ...

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        ...

    def sync(self) -> None:
        """See `Directory.sync`; it says nothing of what is in the directories in it."""
        ...


class RealFile(Descriptor):
    """A file of the operating system."""

    def read(self, offset: int, length: int) -> bytes:
        """See `File.read`."""
        with self.named() as descriptor:
            data = os.pread(descriptor, length, offset)
            if len(data) == length or not data:
                return data
            parts = [data]
            read = len(data)
            while read < length and (data := os.pread(descriptor, length - read, offset + read)):
                parts.append(data)
                read += len(data)
            return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """See `File.write`."""
        # Not through _named: this is the path of every commit.
        try:
            written = os.pwrite(self.number, data, offset)
            while written < len(data):
                rest = memoryview(data)[written:]
                written += os.pwrite(self.number, rest, offset + written)
        except OSError as error:
            error.filename = self.path
            raise

    def allocate(self, length: int) -> None:
        """See `File.allocate`."""
        with self.named() as descriptor:
            try:
                _preallocate(descriptor, length)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                    raise
            else:
                return
            # No such call here: written zeros take up room as well.
            end = os.fstat(descriptor).st_size
            while end < length:
                end += os.pwrite(descriptor, ZEROS[: length - end], end)

    def truncate(self, length: int) -> None:
        """See `File.truncate`."""
        with self.named() as descriptor:
            os.ftruncate(descriptor, length)

    def size(self) -> int:
        """See `File.size`."""
        with self.named() as descriptor:
            return os.fstat(descriptor).st_size

    def hold(self, *, exclusive: bool) -> bool:
        """See `File.hold`."""
        return self.take_lock(shared=not exclusive)


class RealDirectory(OpenDirectory):
    """A directory of the operating system.

    Args:
        path: of an existing directory.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._lock: FileLock | None = None

    def open(self, name: str, *, write: bool = False) -> RealFile:
        """See `Directory.open`."""
        return self._file(name, os.O_RDWR if write else os.O_RDONLY)

    def create(self, name: str) -> RealFile:
        """See `Directory.create`."""
        return self._file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _file(self, name: str, flags: int) -> RealFile:
        # NONBLOCK changes nothing for a file; opening a pipe under its name would wait for ever.
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with self.named(name) as descriptor:
            opened = os.open(name, flags, 0o666, dir_fd=descriptor)
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                os.close(opened)
                raise OSError(errno.EINVAL, "it isn't a regular file")
            return RealFile(opened, path_in(self, name))

    def lock(self) -> bool:
        """See `Directory.lock`."""
        with self.named() as descriptor:
            if self._lock is None:
                self._lock = FileLock(".", dir_fd=descriptor, create=False)
                warn_once(descriptor, self.path)
            return self._lock.held or self._lock.try_acquire()

    def close(self) -> None:
        """See `Directory.close`."""
        try:
            if self._lock is not None and self._lock.held:
                with self.named():
                    self._lock.release()
        finally:
            super().close()

    def free_bytes(self) -> int:
        """See `Directory.free_bytes`."""
        with self.named() as descriptor:
            system = os.fstatvfs(descriptor)
            return system.f_bavail * system.f_frsize


def _preallocate(descriptor: int, length: int) -> None:
    allocate: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if allocate is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    allocate(descriptor, 0, length)


def path_in(directory: Directory, name: str) -> str:
    """The path of a file, for people to read.

    Args:
        directory: that it is in.
        name: the file's own.
    """
    return f"{directory.path}/{name}"


def temporary_name(name: str, nonce: bytes) -> str:
    """A name to write a file under until it is complete; `is_temporary` recognises it.

    Args:
        name: that the file is going to have.
        nonce: random bytes: two writers of the same file don't meet.
    """
    return f"{name}.tmp-{os.getpid()}-{nonce.hex()[:16]}"


def is_temporary(name: str) -> bool:
    """Whether this is a name that `temporary_name` gives."""
    _, mark, tail = name.partition(".tmp-")
    return bool(mark) and tail.replace("-", "").isalnum()


def random_nonce() -> bytes:
    """16 random bytes."""
    return os.urandom(16)
