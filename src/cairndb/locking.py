"""Files as a means of synchronisation between processes: locks, and jobs that are files.

    from cairndb.locking import FileLock

    with FileLock("report.lock", timeout=10):
        ...

A `FileLock` is on a name: whoever has it is the only one for whom that name is locked, whatever has
been removed, renamed or put in its place meanwhile (`locking_hold` says how). It ends when its
descriptor is closed, which the system does for whoever is killed. Nothing else of cairndb is needed
to use it; the owner of a database is who has the `FileLock` on its directory.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypedDict

from cairndb import locks, locks_holders
from cairndb.errors import Cancelled, FileLocked, LockTimeout, UsageError
from cairndb.locking_claims import Claim, claim, claims
from cairndb.locking_hold import take
from cairndb.locking_holder import Holder, describe
from cairndb.locking_network import NetworkFileSystemWarning, warn_once
from cairndb.locking_put import put
from cairndb.locking_record import read_record, remove_record, write_record
from cairndb.locks_holders import thread_of
from cairndb.locks_tasks import running_task, sleep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from cairndb.descriptors import Kind
    from cairndb.locking_hold import Hold

__all__ = ["Claim", "FileLock", "Holder", "NetworkFileSystemWarning", "claim", "claims", "put"]

# Between two looks at a lock that can't be waited for in the system.
_FIRST_SECONDS: Final = 0.001
_LONGEST_SECONDS: Final = 0.05
_NOT_TO_BE_WRITTEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class _Options(TypedDict):
    dir_fd: int | None
    shared: bool
    wait: bool
    kind: Kind


class Cancel(Protocol):
    """What ends a wait from outside, as `threading.Event` does."""

    def is_set(self) -> bool:
        """Whether the wait is to end."""

    def wait(self, timeout: float) -> bool:
        """Wait for that, for some seconds; whether it is to end."""


class _Taken(NamedTuple):
    by: locks_holders.Holder
    hold: Hold
    record: bytes | None


class FileLock:
    """A lock between processes, threads and tasks, on the name of a file or directory.

    It is taken by `with`, `async with`, or `acquire` and `release`. An object may be used by any
    number of threads and tasks, each of which then has the lock in its turn; two objects of one
    process exclude each other as two processes do. Neither a child process nor a program that is
    executed has the lock.

    Args:
        path: what is locked: a file, or a directory that is there.
        shared: others may have it shared at the same time.
        blocking: wait until it is to be had.
        timeout: seconds to wait at most; None waits for ever.
        cancel: ends the wait when it is set: a `threading.Event`, or a `CancelToken`.
        kind: "flock" locks for all who use flock or FileLock; "ofd", of Linux, for all who use
            open file description locks or POSIX record locks.
        create: make the file if it isn't there; it stays.
        record: say in the file, if it is empty, who has the lock, while one has it alone; False
            for a file that the program also keeps something in.
        dir_fd: the descriptor of a directory that `path` is relative to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        shared: bool = False,
        blocking: bool = True,
        timeout: float | None = None,
        cancel: Cancel | None = None,
        kind: Kind = "flock",
        create: bool = True,
        record: bool = True,
        dir_fd: int | None = None,
    ) -> None:
        self.path: Final = os.fspath(path)
        self._shared = shared
        self._blocking = blocking
        self._timeout = timeout
        self._cancel = cancel
        self._kind = kind
        self._create = create
        self._record = record and not shared
        self._dir_fd = dir_fd
        # Those that are had; more than one only of a shared lock. Changed by one operation of the
        # list at a time, so that threads need no mutex.
        self._holds: list[_Taken] = []

    @property
    def held(self) -> bool:
        """Whether this object has it: whichever thread or task took it."""
        return bool(self._live())

    def holder(self) -> Holder | None:
        """Who has the lock, by the record in the file; of a database's directory, its owner.

        A record, not the lock: `Holder.stale` says whether that process is gone.

        Returns:
            None if there is no record: nobody has it, it is shared, or it couldn't be written.
        """
        return read_record(self.path, self._dir_fd)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            FileLocked: somebody else has it, and it isn't to be waited for; the message says who.
            LockTimeout: it wasn't to be had in time.
            Cancelled: the wait was ended.
            UsageError: this thread, or a task that it runs, has it by this object, and would be
                waited for by itself.
            OSError: the file can't be opened or made, or can't be locked.
        """
        thread = thread_of(locks.current_holder())
        self._refuse(thread_of(taken.by) == thread for taken in self._live())
        if self._blocking and self._timeout is None and self._cancel is None:
            self._take(wait=True)
            return
        pauses = self._pauses()
        while not self.try_acquire():
            pause = next(pauses)
            if self._cancel is None:
                time.sleep(pause)
            else:
                self._cancel.wait(pause)

    async def acquire_async(self) -> None:
        """Take the lock, as a task of asyncio or trio: the others go on meanwhile.

        Raises:
            Exception: what `acquire` raises.
        """
        task = running_task()
        self._refuse(taken.by == task for taken in self._live())
        pauses = self._pauses()
        while not self.try_acquire():
            await sleep(next(pauses))

    def try_acquire(self) -> bool:
        """Take the lock if it is to be had at once.

        Returns:
            False if somebody else has it, or this object.

        Raises:
            OSError: the file can't be opened or made, or can't be locked.
        """
        return self._take(wait=False)

    def release(self) -> None:
        """Give the lock up, whichever thread or task took it.

        Raises:
            UsageError: this object doesn't have it.
        """
        try:
            taken = self._holds.pop()
        except IndexError:
            raise UsageError(f"{self.path}: it isn't held, and can't be released") from None
        with contextlib.closing(taken.hold):
            if taken.record is not None:
                remove_record(taken.hold, taken.record)

    def _live(self) -> list[_Taken]:
        # In a forked child the parent's are closed.
        return [taken for taken in list(self._holds) if taken.hold.number >= 0]

    def _refuse(self, own: Iterable[bool]) -> None:
        if not self._shared and any(own):
            raise UsageError(
                f"{self.path}: it is held here already, and would be waited for by who has it"
            )

    def _take(self, *, wait: bool) -> bool:
        hold = self._open(wait=wait)
        if hold is None:
            return False
        try:
            warn_once(hold.number, self.path)
            record = write_record(hold) if self._record else None
        except BaseException:
            hold.close()
            raise
        self._holds.append(_Taken(locks.current_holder(), hold, record))
        return True

    def _open(self, *, wait: bool) -> Hold | None:
        options: _Options = {
            "dir_fd": self._dir_fd,
            "shared": self._shared,
            "wait": wait,
            "kind": self._kind,
        }
        try:
            return take(self.path, create=self._create, **options)
        except OSError as error:
            # A directory, or what may only be read: that can be locked as well.
            if error.errno == errno.EISDIR:
                return take(self.path, write=False, **options)
            if error.errno not in _NOT_TO_BE_WRITTEN:
                raise
            try:
                return take(self.path, write=False, **options)
            except FileNotFoundError:
                raise error from None

    def _pauses(self) -> Iterator[float]:
        """How long to wait until the next look, in seconds, each time that it was in vain."""
        until = None if self._timeout is None else time.monotonic() + self._timeout
        pause = _FIRST_SECONDS
        while True:
            if not self._blocking:
                raise FileLocked(f"{self._who()}. Wait for it with blocking=True, timeout=SECONDS")
            if self._cancel is not None and self._cancel.is_set():
                raise Cancelled(f"{self.path}: waiting for the lock was cancelled")
            left = math.inf if until is None else until - time.monotonic()
            if left <= 0:
                raise LockTimeout(f"{self._who()}: it wasn't to be had in {self._timeout} s")
            yield min(pause, left)
            pause = min(2 * pause, _LONGEST_SECONDS)

    def _who(self) -> str:
        holder = self.holder()
        who = "another"
        if holder is not None and not holder.stale:
            who = "this very process" if holder.is_this_process else describe(holder)
        return f"{self.path} is locked by {who}"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    async def __aenter__(self) -> Self:
        await self.acquire_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
