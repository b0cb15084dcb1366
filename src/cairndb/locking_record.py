"""The holder's record in the file that is locked: written after locking, removed before closing.

A lock file is made for locking and for nothing else; but a program may lock what it keeps its data
in. So a record is written only into a file that is empty or has the record of another holder, and
is removed only if it is still all that there is.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from cairndb.locking_holder import BYTES_MAX, decode, encode, this_process

if TYPE_CHECKING:
    from cairndb.locking_hold import Hold
    from cairndb.locking_holder import Holder

IN_DIRECTORY = "LOCK"
"""Of the owner of a database, whose directory is what is locked."""


def write_record(hold: Hold) -> bytes | None:
    """Say in the file who has it. For people only: what can't be written is done without.

    Args:
        hold: of the file, exclusive.

    Returns:
        What was written; None if nothing was.
    """
    with contextlib.suppress(OSError), hold.named() as number:
        if hold.is_file():
            there = os.pread(number, BYTES_MAX + 1, 0)
            if not there or decode(there) is not None:
                record = encode(this_process())
                os.pwrite(number, record, 0)
                os.ftruncate(number, len(record))
                return record
    return None


def remove_record(hold: Hold, record: bytes) -> None:
    """Take the record back, if nobody has written anything else.

    Args:
        hold: of the file.
        record: what was written.
    """
    with contextlib.suppress(OSError), hold.named() as number:
        if os.pread(number, len(record) + 1, 0) == record:
            os.ftruncate(number, 0)


def read_record(path: str, dir_fd: int | None) -> Holder | None:
    """The record in a file, or of the owner in a database's directory; None if there is none.

    Args:
        path: of the file or directory.
        dir_fd: the descriptor of the directory that it is relative to; None: the current.
    """
    try:
        return decode(_content(path, dir_fd))
    except IsADirectoryError:
        with contextlib.suppress(OSError):
            return decode(_content(os.path.join(path, IN_DIRECTORY), dir_fd))  # noqa: PTH118
    except OSError:
        pass
    return None


def _content(path: str, dir_fd: int | None) -> bytes:
    # NONBLOCK: a pipe would be waited for.
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=dir_fd)
    try:
        content = os.read(number, BYTES_MAX + 1)
    finally:
        os.close(number)
    if len(content) > BYTES_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content
