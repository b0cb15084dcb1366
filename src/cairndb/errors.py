"""Every error that cairndb raises, in one small closed tree under `CairnError`.

Each class says who must act: the caller (`UsageError`, `ValidationError`, `SchemaError`,
`ConstraintError`, `ReadOnlyError`, `StaleDraft`), the operator (`DatabaseLocked`, `FileLocked`,
`DiskFull`, `MemoryWatermark`, `CorruptError`), or whoever opens the database again
(`DatabaseFailed`). An error about bytes names file, offset and reason. `OutcomeUnknown` and
`ResultLost` are for the caller, too; `SessionExpired` is for the client's own part.
"""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterable

Path = tuple[Hashable, ...]


def pointer(path: Path) -> str:
    """A path as people read and write it: `/accounts/alice/balance`.

    Args:
        path: the steps from the root: field names, dict keys, list positions.

    Returns:
        The steps joined by `/`, each with `~` and `/` escaped as RFC 6901 says. The root is `/`.
    """
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "/" + "/".join(steps)


class CairnError(Exception):
    """The base of every error of this library."""


class UsageError(CairnError):
    """A call that can't work where it was made; the message says what to write instead."""


class ReadOnlyError(CairnError):
    """An attempt to change the state outside an update, or a database opened for reading."""


class StaleDraft(CairnError):  # noqa: N818  a state of the draft, not a fault; the public name is settled
    """A draft used after its update has ended, or written to after its node was removed."""


class SchemaError(CairnError):
    """A declared type that can't be kept, or that differs from what is stored."""


class ValidationError(CairnError):
    """A value that its declared type refuses; nothing has happened.

    Args:
        reason: what is wrong and what to write instead.
        path: where, from the root (or from the value, until the draft adds its own path).
    """

    def __init__(self, reason: str, path: Path = ()) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def under(self, prefix: Path) -> ValidationError:
        """The same error seen from further up the tree."""
        return ValidationError(self.reason, (*prefix, *self.path))

    def __str__(self) -> str:
        return f"{pointer(self.path)}: {self.reason}"


class ConstraintError(CairnError):
    """An update that a unique index, a reference or a check rejects; nothing has happened.

    Args:
        reason: what it would break.
        paths: of the records involved, from the root.
    """

    def __init__(self, reason: str, paths: Iterable[Path] = ()) -> None:
        self.reason = reason
        self.paths = tuple(paths)
        super().__init__(reason, self.paths)

    def __str__(self) -> str:
        return self.reason


class CorruptError(CairnError):
    """A file that isn't what was written; nothing was changed.

    Args:
        file: the path of the file.
        offset: where in it, in bytes.
        reason: what was expected and what is there.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(file, offset, reason)
        self.file = file
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.file}: at byte {self.offset}: {self.reason}. Nothing was changed. "
            "Keep a copy of the directory. To see what is whole and what can be saved: "
            f"cairn doctor {_directory_of(self.file)}"
        )


def _directory_of(file: str) -> str:
    """The database's directory, as a shell takes it: some errors are about the directory itself."""
    above, slash, name = file.rpartition("/")
    is_file = slash and (name == "DATABASE" or name.startswith(("log-", "checkpoint-")))
    return shlex.quote(above if is_file else file)


class DatabaseLocked(CairnError):  # noqa: N818  names the state of the database
    """Another process has the database open for writing; the message says which."""


class FileLocked(CairnError):  # noqa: N818  names the state of the file
    """Somebody else has the lock on a file, and it isn't waited for; the message says who."""


class DiskFull(CairnError):  # noqa: N818  names the state of the disk
    """No room for the update; nothing has happened, and it can be tried again with more room."""


class MemoryWatermark(CairnError):  # noqa: N818  names the state of the machine
    """A daemon has too little memory left for updates; nothing has happened, and reads go on."""


class DatabaseFailed(CairnError):  # noqa: N818  names the state of the database
    """A write or a sync of the log failed: this object is dead, open the database again.

    For an update under way it means that its outcome is unknown: the next open tells.
    """


class OutcomeUnknown(CairnError):  # noqa: N818  names what is known, not a fault
    """A request may or may not have been executed, and won't be again: look at what is there."""


class ResultLost(CairnError):  # noqa: N818  what became of the result
    """A request was executed, once, and what it returned isn't kept: look at what is there."""


class SessionExpired(CairnError):  # noqa: N818  a state of the session
    """The database remembers nothing of a client's session: begin a new one.

    What was sent for the first time hasn't been executed, and can be sent again under the new one.
    Of what was sent before, and never answered, the outcome is unknown.
    """


class Compacted(UsageError):  # noqa: N818  names the state of the history
    """The past that was asked for isn't kept any more: begin at `oldest_lsn`, or anew.

    Args:
        message: with the database and what to do.
        oldest_lsn: the oldest state that the log still leads on from.
    """

    def __init__(self, message: str, oldest_lsn: int) -> None:
        super().__init__(message, oldest_lsn)
        self.oldest_lsn = oldest_lsn

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownPosition(UsageError):  # noqa: N818  names the state of the history
    """A position that isn't in this history: its LSN isn't there, or is another update.

    A tail that was lost, a restored copy or another database can be why. What was learnt up to
    there may never have been: begin anew.
    """


class Unavailable(CairnError, TimeoutError):  # noqa: N818  names the state of the server
    """No server answered within the time of the call; nothing has happened, and it can be repeated.

    What was in the way last is its cause.
    """


class ReplicaBehind(CairnError, TimeoutError):  # noqa: N818  names the state of the replica
    """The owner has got further than a replica, and the time to wait for that is over.

    An update that was run is durable at the owner; it can't be seen in this replica yet.

    Args:
        message: what was waited for, and why no longer.
        lsn: that the replica has yet to get to.
    """

    def __init__(self, message: str, lsn: int) -> None:
        super().__init__(message, lsn)
        self.lsn = lsn

    def __str__(self) -> str:
        return str(self.args[0])


class RemoteError(CairnError):
    """What was raised in the owner's process, if its class can't be had here.

    The cause of an exception whose class can be had, so that one sees where it comes from.

    Args:
        module: of its class, there.
        name: of its class, there.
        message: its text.
    """

    def __init__(self, module: str, name: str, message: str) -> None:
        super().__init__(module, name, message)
        self.module = module
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.module}.{self.name}, raised in the owner's process: {self.message}"


class LockTimeout(CairnError, TimeoutError):  # noqa: N818  as TimeoutError's own subclasses in use
    """A lock wasn't to be had within the time that the caller gave."""


class Cancelled(CairnError):  # noqa: N818  what became of the wait, not a fault
    """A wait was ended from outside; what was waited for hasn't been had.

    Args:
        message: what was being done, and why it was ended.
        reason: what was given to `CancelToken.cancel`; empty if nothing was.
        transferred: how many bytes had been sent; none has been received, ever.
        usable: whether the socket can be gone on with; if not, close it.
    """

    def __init__(
        self, message: str, *, reason: str = "", transferred: int = 0, usable: bool = True
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.transferred = transferred
        self.usable = usable


class Timeout(Cancelled, TimeoutError):  # noqa: N818  the name of what has happened
    """A wait took longer than the `timeout` that the call was given.

    As every TimeoutError it is an OSError: catch it, or Cancelled, before that.
    """
