"""Files as jobs: each is done once, by whichever process has the lock on it.

    for job in claims("inbox"):
        with job:
            work(job.read())

1. A job is claimed by the lock on its file, and by looking, with the lock, whether the file still
   has its name (`locking_hold`). Without that look a process that opened the file before another
   had done its work and removed it would do it again.
2. The name is the holder's until it closes. Done is: removed, while held. Failed is: closed.
3. A worker that is killed, at any moment, leaves a job that nobody holds. If it was killed between
   the end of the work and the removal, the work is done again: at least once, and never by two at
   the same time. The removal isn't synced: a power cut can bring a job back in the same way.
4. How often a job was begun is counted before the work (`locking_attempts`).

Success is the end of a `with` block, not the next step of the loop: an exception in a loop's body
doesn't reach the generator, and a `break` looks to it as an exception does.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat
from typing import TYPE_CHECKING, Final

from cairndb import locking_attempts
from cairndb.errors import UsageError
from cairndb.locking_attempts import record_of
from cairndb.locking_directory import JobDirectory, check_name
from cairndb.locking_hold import take
from cairndb.locking_network import warn_once
from cairndb.locking_put import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from cairndb.locking_attempts import Record
    from cairndb.locking_hold import Hold

ATTEMPTS: Final = 5
_READ_BYTES: Final = 1 << 20

Identity = tuple[str, int, int]
"""Name, inode, and when it was modified, in nanoseconds."""


class Queue:
    """A directory of jobs, what becomes of those that fail, and those that have failed here.

    Args:
        directory: open.
        attempts: how often a job is begun; None: for ever, and not counted.
        dead_letters: where it goes then; None: `dead-letters` in the directory.
    """

    def __init__(
        self,
        directory: JobDirectory,
        attempts: int | None,
        dead_letters: str | os.PathLike[str] | None,
    ) -> None:
        if attempts is not None and attempts < 1:
            raise UsageError("attempts: at least 1, or None, which doesn't count them")
        self.directory: Final = directory
        self.attempts: Final = attempts
        self.dead_letters: Final = None if dead_letters is None else os.fspath(dead_letters)
        self.failed: Final[set[Identity]] = set()
        """Not claimed again; added to while they are held, by whichever thread has them."""
        self.buried: Final[list[str]] = []
        """The paths of dead letters that were found to be some, since their workers were killed."""

    def claim(self, name: str) -> Claim | None:
        """Claim a job; None if it isn't to be had.

        Args:
            name: of the file.
        """
        hold = self._take(name)
        if hold is None:
            return None
        try:
            claim = self._claim(name, hold)
        except BaseException:
            hold.close()
            raise
        if claim is None:
            hold.close()
        return claim

    def _claim(self, name: str, hold: Hold) -> Claim | None:
        status = os.fstat(hold.number)
        if not stat.S_ISREG(status.st_mode) or identity_of(name, status) in self.failed:
            return None
        warn_once(hold.number, self.directory.at(name))
        if self.attempts is None:
            return Claim(self, name, hold, 0)
        record = locking_attempts.read(self.directory, name, status)
        begun = 0 if record is None else record.attempts
        if record is not None and begun >= self.attempts:
            self.buried.append(self.bury(name, record))
            return None
        return Claim(self, name, hold, begun)

    def bury(self, name: str, record: Record) -> str:
        """Move a job, which is held, to the dead letters.

        Returns:
            Where it is now.
        """
        return locking_attempts.bury(self.directory, name, record, self.dead_letters)

    def _take(self, name: str) -> Hold | None:
        with self.directory.named(name) as number:
            try:
                # Not for writing: a program that is open for writing can't be run.
                return take(name, dir_fd=number, write=False, follow=False)
            except FileNotFoundError:
                return None
            except PermissionError as error:
                error.strerror = "the job can't be opened: make it readable to this user"
                raise
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:
                    return None  # a symbolic link, or a socket
                if error.errno != errno.EBADF:
                    raise
            # NFS locks alone what is open for writing.
            return take(name, dir_fd=number, follow=False)


class Claim:
    """A job that nobody else has, until the end of `with`, which may be another thread's.

    If the block ends normally, the job is done, and its file is removed. If an exception comes out,
    it has failed: it stays where it is, to be tried again, or goes to the dead letters if that was
    the last attempt; the exception goes on. One that isn't an `Exception` (Ctrl-C, `sys.exit`, a
    cancelled task) is about the worker and not about the job, and doesn't count as an attempt.
    The work may also remove the file itself, or move it elsewhere.
    """

    __slots__ = ("_begun", "_entered", "_hold", "_queue", "dead_letter", "name", "path")

    def __init__(self, queue: Queue, name: str, hold: Hold, begun: int) -> None:
        self._queue = queue
        self._hold = hold
        self._begun = begun
        self._entered = False
        self.name = name
        self.path = queue.directory.at(name)
        self.dead_letter: str | None = None
        """Where it was moved to, when it has failed for the last time."""

    @property
    def attempt(self) -> int:
        """Which this is: 1, 2, …; always 1 if they aren't counted."""
        return self._begun + 1

    def fileno(self) -> int:
        """The descriptor of the file, which has the lock. Whoever inherits it holds the job too."""
        return self._hold.number

    def read(self) -> bytes:
        """The whole content."""
        parts: list[bytes] = []
        offset = 0
        with self._hold.named() as number:
            while data := os.pread(number, _READ_BYTES, offset):
                parts.append(data)
                offset += len(data)
        return b"".join(parts)

    def release(self) -> None:
        """Give back a job that wasn't begun; nothing if it was."""
        if not self._entered and self._hold.number >= 0:
            with contextlib.closing(self._hold):
                status = os.fstat(self._hold.number)
                self._queue.failed.add(identity_of(self.name, status))

    def __enter__(self) -> Self:
        if self._entered or self._hold.number < 0:
            raise UsageError(
                f"{self.path}: this claim has ended, or its loop has gone on: claim it again"
            )
        if self._queue.attempts is not None:
            try:
                record = record_of(os.fstat(self._hold.number), self.attempt)
                locking_attempts.write(self._queue.directory, self.name, record)
            except BaseException:
                self._hold.close()
                raise
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.closing(self._hold):
            # Who removes a file without asking for the lock may have put another in its place.
            mine = self._hold.is_of_its_name()
            if error is None:
                if mine:
                    self._remove()
            elif mine:
                status = os.fstat(self._hold.number)
                self._queue.failed.add(identity_of(self.name, status))
                try:
                    self._fail(error, status)
                except OSError as trouble:
                    error.add_note(f"besides, nothing could be noted of this attempt: {trouble}")

    def _remove(self) -> None:
        if self._queue.attempts is not None:
            locking_attempts.remove(self._queue.directory, self.name)
        with contextlib.suppress(FileNotFoundError):
            self._queue.directory.remove(self.name)

    def _fail(self, error: BaseException, status: os.stat_result) -> None:
        directory, attempts = self._queue.directory, self._queue.attempts
        if attempts is None:
            return
        if isinstance(error, Exception):
            record = record_of(status, self.attempt, locking_attempts.text_of(error))
            if self.attempt >= attempts:
                self.dead_letter = self._queue.bury(self.name, record)
            else:
                locking_attempts.write(directory, self.name, record)
        elif self._begun:
            locking_attempts.write(directory, self.name, record_of(status, self._begun))
        else:
            locking_attempts.remove(directory, self.name)


def identity_of(name: str, status: os.stat_result) -> Identity:
    """What tells a file from a later one of the same name.

    Args:
        name: its own.
        status: of it.
    """
    return name, status.st_ino, status.st_mtime_ns


def claim(
    path: str | os.PathLike[str],
    *,
    attempts: int | None = ATTEMPTS,
    dead_letters: str | os.PathLike[str] | None = None,
) -> Claim | None:
    """Claim one file, if nobody else has it.

    Args:
        path: of a file.
        attempts: how often it is begun before it is given up; None: for ever, and not counted.
        dead_letters: the directory that it is moved to then, in the same file system; None:
            `dead-letters`, beside it. It is made when it is needed.

    Returns:
        The claim, whose `with` is the work; None if somebody else has it, or it is gone, was begun
        too often (it is moved now, if its last worker was killed), or isn't a regular file.

    Raises:
        UsageError: it isn't the name of a job.
        OSError: the directory isn't there, or not to be written to; the file can't be opened.
    """
    folder, name = os.path.split(os.fspath(path))
    check_name(name)
    queue = Queue(JobDirectory(folder or os.curdir), attempts, dead_letters)
    with queue.directory.named(name) as number:
        try:
            mode = os.stat(name, dir_fd=number, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
    # Opening a pipe would wake whoever waits for a reader.
    return queue.claim(name) if stat.S_ISREG(mode) else None


def claims(
    directory: str | os.PathLike[str],
    pattern: str = "*",
    *,
    attempts: int | None = ATTEMPTS,
    dead_letters: str | os.PathLike[str] | None = None,
) -> Iterator[Claim]:
    """Claim the files of a directory one by one, until there is none to be had.

    Any number of processes and threads may do so, each with an iterator of its own. Files are taken
    in the order of their names, as far as others leave them. What comes while the loop runs is
    taken too. A job that fails isn't tried again by the same loop. One that its `with` wasn't
    entered for is given back, uncounted, when the loop goes on.

    Args:
        directory: whose regular files are jobs: neither links nor what begins with a dot, nor what
            is in its subdirectories.
        pattern: of their names, with `*`, `?` and `[…]`.
        attempts: see `claim`.
        dead_letters: see `claim`.

    Yields:
        A claim, whose `with` is the work.

    Raises:
        OSError: the directory isn't there, or not to be written to; a file can't be opened.
    """
    return claims_of(Queue(JobDirectory(directory), attempts, dead_letters), pattern)


def claims_of(queue: Queue, pattern: str) -> Iterator[Claim]:
    """What `claims` gives.

    Args:
        queue: to take them from.
        pattern: of their names.
    """
    directory = queue.directory
    sweep(directory)
    if queue.attempts is not None:
        locking_attempts.remove_orphans(directory, directory.jobs())
    found = True
    while found:
        found = False
        for name in directory.jobs():
            if not fnmatch.fnmatchcase(name, pattern) or not (job := queue.claim(name)):
                continue
            found = True
            try:
                yield job
            finally:
                job.release()
