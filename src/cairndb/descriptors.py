"""Raw descriptors, and the locks on them.

1. Close-on-exec from the moment they are opened, and closed in a child after a fork: nobody
   inherits a lock by accident. The parent's locks stay: they belong to the open file description,
   which the parent still has.
2. A lock ends when the descriptor is closed, whatever becomes of the process, and there is no other
   way to give it up. An explicit unlock in a forked child would unlock the parent's file.
3. POSIX record locks (`fcntl.lockf`) are never used: closing any descriptor of the file, in any
   library of the process, gives them up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import warnings
import weakref
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind: TypeAlias = Literal["flock", "ofd"]
"""Of a lock: BSD's, of whole files; or Linux' open file description lock, which a server of files
hands on to others where it doesn't know the first."""

# Absent where the system lacks them: macOS, the BSDs.
_OFD: Final = getattr(fcntl, "F_OFD_SETLK", None)
_OFD_WAIT: Final = getattr(fcntl, "F_OFD_SETLKW", None)


class Descriptor:
    """One raw descriptor, known to `close_inherited`, which complains if it is forgotten.

    Args:
        number: what `os.open` returned.
        path: for messages.
    """

    def __init__(self, number: int, path: str) -> None:
        self.path = path
        self.number = number
        """-1 when it is closed."""
        _open[number] = self

    @contextlib.contextmanager
    def named(self, name: str = "") -> Iterator[int]:
        """The number; an OSError from the block is given the path (of that name in it)."""
        if self.number < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)
        try:
            yield self.number
        except OSError as error:
            error.filename = f"{self.path}/{name}" if name else self.path
            raise

    def take_lock(self, *, shared: bool, wait: bool = False, kind: Kind = "flock") -> bool:
        """Lock what it is open on, until it is closed.

        Args:
            shared: others may have it shared at the same time.
            wait: until those who are in the way have gone; Ctrl-C ends the wait.
            kind: which lock; "ofd" needs a descriptor that is open for writing, if not shared.

        Returns:
            False if somebody else has it; never if it waits.

        Raises:
            OSError: the file system can't, or the system doesn't have that kind.
        """
        with self.named() as number:
            try:
                if kind == "flock":
                    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                    fcntl.flock(number, operation if wait else operation | fcntl.LOCK_NB)
                else:
                    _lock_description(number, fcntl.F_RDLCK if shared else fcntl.F_WRLCK, wait)
            except BlockingIOError:
                return False
        return True

    def sync(self) -> None:
        """Make durable whatever was done by this or another descriptor of it before this call."""
        with self.named() as number:
            _sync(number)

    def close(self) -> None:
        """Give it up, and the lock. Closing twice is allowed."""
        if self.number >= 0:
            with self.named() as number:
                # Forgotten before it is closed, also if close fails: the number may be another's
                # then.
                self.number = -1
                _open.pop(number, None)
                os.close(number)

    def __del__(self) -> None:
        if getattr(self, "number", -1) >= 0:
            warnings.warn(
                f"{self.path} was never closed", ResourceWarning, stacklevel=1, source=self
            )
            with contextlib.suppress(OSError):
                self.close()


def _sync(descriptor: int) -> None:
    """A sync that reaches the medium: fdatasync; on macOS that stops at the drive's cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError as error:
            # A file system without it (a network's): fsync is the most there is.
            if error.errno not in {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY}:
                raise
            os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def _lock_description(number: int, what: int, wait: bool) -> None:  # noqa: FBT001  an operand
    operation = _OFD_WAIT if wait else _OFD
    if operation is None:
        raise OSError(errno.ENOTSUP, "this system has no open file description locks: use flock")
    # struct flock: type, whence, from the start, to the end whatever it will be, no process.
    fcntl.fcntl(number, operation, struct.pack("hhqqi4x", what, os.SEEK_SET, 0, 0, 0))


_open: weakref.WeakValueDictionary[int, Descriptor] = weakref.WeakValueDictionary()


def close_inherited() -> None:
    """Close every descriptor of this module; run in the child after a fork."""
    for inherited in list(_open.values()):
        with contextlib.suppress(OSError):
            inherited.close()


os.register_at_fork(after_in_child=close_inherited)
