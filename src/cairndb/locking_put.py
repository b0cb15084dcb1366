"""How a job appears: whole and durable, or not at all; and what is left of those who were killed.

    1. Make a file under a hidden name, and lock it.
    2. Write, and sync the file.
    3. Link it to its own name, which fails if that is taken; remove the hidden one.
    4. Sync the directory, close.

Killed before 3 it leaves a hidden file, after it the job. The lock is on the file, so nobody begins
a job before `put` is done with it, and nobody takes for a remnant what is being written: whoever
finds a hidden file removes it only with its lock. `take` sees to that file having its name still,
and to `put` starting over if it was robbed of the name before it had the lock.

A rename would be a step less. It replaces whatever has the name, also what a worker holds.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, Final

from cairndb.locking_directory import JobDirectory, check_name
from cairndb.locking_hold import take

if TYPE_CHECKING:
    from cairndb.locking_hold import Hold

_TEMPORARY: Final = re.compile(r"\.put-\d+-[0-9a-f]{16}")


def put(directory: str | os.PathLike[str], name: str | None, data: bytes) -> str:
    """Add a job to a directory; it is there, whole and durable, when this returns.

    Args:
        directory: of the jobs, which exists.
        name: of the file, not beginning with a dot; None makes one that nobody has, by the time,
            so that jobs are taken in about the order in which they were put.
        data: its content.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: the name is taken. Unlike a rename, this never replaces a job: a worker may
            hold it, and would remove the new one in its place when it is done with the old.
        OSError: the directory isn't there, can't be written to, or has no room. If it is the sync
            of the directory that fails, the job may be there or not; else it isn't.
    """
    if name is None:
        name = f"{time.time_ns():020}-{os.getpid()}-{os.urandom(4).hex()}"
    check_name(name)
    with contextlib.closing(JobDirectory(directory)) as jobs:
        temporary = f".put-{os.getpid()}-{os.urandom(8).hex()}"
        with jobs.named(temporary) as number:
            hold = take(temporary, dir_fd=number, create=True, wait=True, follow=False)
            assert hold is not None
        with contextlib.closing(hold):
            try:
                with jobs.named(name):
                    _fill(hold, data)
                    jobs.give_name(temporary, name)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    jobs.remove(temporary)
                if isinstance(error, FileExistsError):
                    error.strerror = "there is a job of that name: give it another, or none"
                raise
            jobs.sync()
        return jobs.at(name)


def _fill(hold: Hold, data: bytes) -> None:
    rest = memoryview(data)
    with hold.named() as number:
        while rest:
            rest = rest[os.write(number, rest) :]
    hold.sync()


def sweep(jobs: JobDirectory) -> None:
    """Remove what calls of `put` that were killed have left.

    Args:
        jobs: where. What can't be removed, somebody else's for example, stays.
    """
    for name in jobs.names():
        if not _TEMPORARY.fullmatch(name):
            continue
        with contextlib.suppress(OSError), jobs.named(name) as number:
            hold = take(name, dir_fd=number, write=False, follow=False)
            if hold is not None:
                with contextlib.closing(hold):
                    jobs.remove(name)
