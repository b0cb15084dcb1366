"""How often a job has been begun, counted before it is, so that one that kills its worker counts.

One line of JSON beside the jobs, in `.attempts/NAME`. Whatever happens to it happens while the lock
on the job is held, and before the job loses its name: afterwards the name may be another job's,
whose worker has a record of its own under it. So when work is done, the record goes first; a crash
between the two leaves a job without a record, whose work is repeated as it would be in any case.

The record says which file it is of, by inode and time of modification, since the file may have been
removed by somebody who knows of no records, and its inode given to the next of that name. (So the
count of a job that its own worker writes to begins anew each time that the worker is killed.)

It is written in place: only the holder writes it, and a kill cuts no write off but where a page of
the file ends, which the line doesn't reach. Nothing is synced. A record that can't be read, after a
power cut say, is none: a lost count costs a few attempts more, which "at least once" allows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from typing import TYPE_CHECKING, Final

import msgspec

from cairndb.locking_directory import JobDirectory, advised

if TYPE_CHECKING:
    from collections.abc import Iterable

_ATTEMPTS: Final = ".attempts"
_ERRORS: Final = ".errors"
_GRAVES: Final = "dead-letters"
_ERROR_CHARACTERS: Final = 600
_RECORD_BYTES: Final = 1 << 16
_NAME_BYTES: Final = 255
KILLED: Final = "the worker ended without a word: it was killed, or its machine went down"


class Record(msgspec.Struct, frozen=True):
    """What is kept about a job."""

    attempts: int
    """That were begun."""
    inode: int
    modified: int
    """When the file was, in nanoseconds."""
    error: str = KILLED
    """What the last attempt ended with."""

    def is_of(self, status: os.stat_result) -> bool:
        """Whether it is about this file."""
        return (self.inode, self.modified) == (status.st_ino, status.st_mtime_ns)


def record_of(status: os.stat_result, attempts: int, error: str = KILLED) -> Record:
    """A record to write.

    Args:
        status: of the job's file.
        attempts: that were begun.
        error: what the last one ended with.
    """
    return Record(attempts, status.st_ino, status.st_mtime_ns, error)


def text_of(error: BaseException) -> str:
    """What a record says of an error: its last line or lines, as Python shows them."""
    text = "".join(traceback.format_exception_only(error)).strip()
    # What isn't Unicode, as names of files needn't be, can't be in JSON.
    return text.encode("utf-8", "backslashreplace").decode()[:_ERROR_CHARACTERS]


def read(jobs: JobDirectory, name: str, status: os.stat_result) -> Record | None:
    """The record of a job; None if it has none.

    Args:
        jobs: where it is.
        name: its own.
        status: of its file, which is held.
    """
    try:
        line = _read_line(jobs, f"{_ATTEMPTS}/{name}")
    except FileNotFoundError:
        return None
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return record if record.is_of(status) else None


def write(jobs: JobDirectory, name: str, record: Record) -> None:
    """Write the record of a job, which is held."""
    _write_line(jobs, _ATTEMPTS, name, record)


def remove(jobs: JobDirectory, name: str) -> None:
    """Remove the record of a job, which is held, if it has one."""
    with contextlib.suppress(FileNotFoundError):
        jobs.remove(f"{_ATTEMPTS}/{name}")


def remove_orphans(jobs: JobDirectory, names: Iterable[str]) -> None:
    """Remove the records of jobs that are gone.

    One that has come since the jobs were listed may lose its count; see above what that costs.

    Args:
        jobs: where they were.
        names: of the jobs that there are.
    """
    there = set(names)
    with contextlib.suppress(FileNotFoundError), jobs.named(_ATTEMPTS) as number:
        records = JobDirectory(_ATTEMPTS, dir_fd=number)
        for name in records.names():
            if name not in there and not jobs.has(name):
                with contextlib.suppress(FileNotFoundError):
                    records.remove(name)


def bury(jobs: JobDirectory, name: str, record: Record, dead_letters: str | None) -> str:
    """Move a job, which is held, to where nobody does it, with the record of its last attempt.

    Args:
        jobs: where it is.
        name: its own.
        record: goes to `.errors/NAME` there.
        dead_letters: the path of a directory in the same file system; None: `dead-letters`.

    Returns:
        The path that it has now; with a number after the name if that was taken.

    Raises:
        OSError: the directory can't be made or used.
    """
    graves = _graves(jobs, dead_letters)
    with graves.renaming():
        free = _free_name(graves, name)
        _write_line(graves, _ERRORS, free, record)
        remove(jobs, name)
        with jobs.named(name) as source, graves.named(free) as target:
            try:
                os.rename(name, free, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    error.strerror = "dead letters must be in the file system of the jobs"
                raise
    return graves.at(free)


def _graves(jobs: JobDirectory, path: str | None) -> JobDirectory:
    where = _GRAVES if path is None else path
    beside = jobs.number if path is None else None
    with advised(errno.ENOENT, "there is no directory to make one for dead letters in", where):
        with contextlib.suppress(FileExistsError):
            os.mkdir(where, dir_fd=beside)
        graves = JobDirectory(where, dir_fd=beside)
    graves.path = jobs.at(where) if path is None else where
    return graves


def _free_name(graves: JobDirectory, name: str) -> str:
    free, number = name, 1
    while graves.has(free):
        number += 1
        ending = f".{number}"
        free = name + ending
        while len(os.fsencode(free)) > _NAME_BYTES:
            free = free[: -len(ending) - 1] + ending
    return free


def _read_line(jobs: JobDirectory, path: str) -> bytes:
    with jobs.named(path) as number:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=number)
        try:
            return os.pread(descriptor, _RECORD_BYTES, 0).partition(b"\n")[0]
        finally:
            os.close(descriptor)


def _write_line(jobs: JobDirectory, folder: str, name: str, record: Record) -> None:
    path = f"{folder}/{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    line = msgspec.json.encode(record) + b"\n"
    with jobs.named(path) as number:
        try:
            descriptor = os.open(path, flags, 0o666, dir_fd=number)
        except FileNotFoundError:
            jobs.make_directory(folder)
            descriptor = os.open(path, flags, 0o666, dir_fd=number)
        try:
            # A longer line may have been there; until it is cut off, only the first is read.
            if os.pwrite(descriptor, line, 0) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(descriptor, len(line))
        finally:
            os.close(descriptor)
