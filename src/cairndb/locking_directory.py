"""A directory whose files are jobs: how a name in it is given, seen and removed.

    inbox/0007.json          a job
    inbox/.attempts/0007.json    how often it was begun, and what became of that
    inbox/.put-4711-…        what `put` is writing, or has left
    inbox/.lock              taken where a file system has no links
    inbox/dead-letters/      jobs that nobody could do, with .errors/NAME for each

What begins with a dot is never a job. A name in use is never replaced: whoever holds the file under
it would, when the work is done, remove a job that nobody has done.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from cairndb.descriptors_directory import OpenDirectory
from cairndb.errors import UsageError
from cairndb.locking_hold import take

if TYPE_CHECKING:
    from collections.abc import Iterator

# What file systems without hard links say (FAT, some of FUSE), and systems that don't let
# everybody link to the file of another.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP}) | {
    errno.ENOSYS,
    errno.EMLINK,
}
_LOCK: Final = ".lock"


class JobDirectory(OpenDirectory):
    """An open directory of jobs, closed with the last of those who use it.

    Args:
        path: of an existing directory.
        dir_fd: the descriptor of the directory that the path is relative to; None: the current.

    Raises:
        OSError: it isn't there, or can't be used; the message says what to do.
    """

    def __init__(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
        path = os.fspath(path)
        with advised(errno.ENOENT, "there is no such directory: make it first", path):
            super().__init__(path, dir_fd=dir_fd)
        with self.named() as number:
            # Or a job would be done, couldn't be removed, and would be done again and again.
            effective = os.access in os.supports_effective_ids
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=number, effective_ids=effective):
                advice = "jobs can't be put or removed here: make the directory writable"
                raise PermissionError(errno.EACCES, advice)

    def __del__(self) -> None:
        # Shared by a generator and its claims, and without a lock: it may be forgotten.
        with contextlib.suppress(OSError):
            if getattr(self, "number", -1) >= 0:
                self.close()

    def at(self, name: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, name)  # noqa: PTH118  keeps "./" and the like as given

    def jobs(self) -> list[str]:
        """The names of the regular files in it, sorted, without those that begin with a dot."""
        with self.named() as number, os.scandir(number) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            )

    def has(self, name: str) -> bool:
        """Whether there is something of that name."""
        with self.named(name) as number:
            try:
                os.stat(name, dir_fd=number, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def give_name(self, temporary: str, name: str) -> None:
        """Let a file of a temporary name have its own, by which it can be claimed.

        By a link, which never replaces anything. Where there are no links it is renamed, and
        whoever calls this is kept from doing so at the same time; a program that does it in
        another way isn't.

        Raises:
            FileExistsError: the name is taken.
        """
        with self.named(name) as number:
            try:
                os.link(temporary, name, src_dir_fd=number, dst_dir_fd=number)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with self.renaming():
                    if self.has(name):
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
                    self.rename(temporary, name)
            else:
                os.unlink(temporary, dir_fd=number)

    @contextlib.contextmanager
    def renaming(self) -> Iterator[None]:
        """Nobody else is in such a block, for this directory, meanwhile."""
        with self.named(_LOCK) as number:
            hold = take(_LOCK, dir_fd=number, create=True, wait=True, follow=False)
        assert hold is not None
        with contextlib.closing(hold):
            yield


@contextlib.contextmanager
def advised(number: int, advice: str, path: str) -> Iterator[None]:
    """An OSError of that number from the block says what to do; each says what it is about."""
    try:
        yield
    except OSError as error:
        error.filename = path
        if error.errno == number:
            error.strerror = advice
        raise


def check_name(name: str) -> None:
    """Raise UsageError if this can't be the name of a job."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise UsageError(
            f"{name!r} can't be the name of a job: it is a name in one directory, and doesn't "
            "begin with a dot"
        )
