"""Who owns a database: `flock` on its directory, and the LOCK file that tells people.

The lock is on the directory's own descriptor, so removing or replacing the LOCK file can't make two
owners; it goes when the last descriptor is closed, however the process ends. LOCK says who it is,
for the error message of whoever comes second.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from cairndb.errors import DatabaseLocked
from cairndb.locking_holder import Holder, decode_as, describe, encode, this_process

if TYPE_CHECKING:
    from cairndb.files import Directory

LOCK_NAME: Final = "LOCK"
_LOCK_BYTES_MAX: Final = 1 << 20
_LOOK_SECONDS: Final = 0.02


class Owner(Holder, frozen=True):
    """What LOCK says of the owner, as one line of JSON."""

    retain: str | None = None
    """What it keeps of the past beyond what safety needs."""


def acquire(directory: Directory, timeout: float | None) -> None:
    """Take the ownership of a database.

    Args:
        directory: of the database.
        timeout: seconds to wait for another owner to go; None doesn't wait.

    Raises:
        DatabaseLocked: somebody has it; the message says who.
    """
    until = time.monotonic() + (timeout or 0.0)
    while not directory.lock():
        if time.monotonic() >= until:
            raise DatabaseLocked(_refusal(directory))
        # flock has no time limit, and the signal that could end it is the program's.
        time.sleep(_LOOK_SECONDS)


def announce(directory: Directory, retain: str | None = None) -> None:
    """Say in the LOCK file who owns the database.

    For people only: what can't be written is done without.

    Args:
        directory: of the database.
        retain: what the owner keeps of the past, as `cairndb.open` takes it.
    """
    owner = Owner(**asdict(this_process()), retain=retain)
    with contextlib.suppress(OSError):
        _write(directory, encode(owner))


def _write(directory: Directory, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        directory.remove(LOCK_NAME)
    file = directory.create(LOCK_NAME)
    try:
        file.write(0, content)
    finally:
        file.close()


def read_owner(directory: Directory) -> Owner | None:
    """Who wrote the LOCK file last; None if there is none that can be read.

    A record, not a lock: whoever wrote it may be gone.
    """
    try:
        file = directory.open(LOCK_NAME)
        try:
            return decode_as(Owner, file.read(0, _LOCK_BYTES_MAX))
        finally:
            file.close()
    except OSError:
        return None


def _refusal(directory: Directory) -> str:
    owner = read_owner(directory)
    who = "another process"
    if owner is not None:
        who = describe(owner)
        if owner.is_this_process:
            who = "this very process: close the other Database object first"
        elif owner.stale:
            # Whoever has it couldn't write; or has the descriptor from that process.
            who = f"another, who isn't in LOCK: the record is of a process that is gone ({who})"
    return (
        f"{directory.path} is open for writing in {who}. "
        "Wait for it with lock_timeout=SECONDS, or open it with read_only=True beside it"
    )
