"""What a trace shows: its lines, its holds, and four kinds of anomalies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from cairndb.tracing_holds import Hold

NAMELESS: Final = "lock without a name"
TWO_HOLDERS: Final = "two holders"
LATE_UNLINK: Final = "late unlink"
EARLY_RENAME: Final = "rename before sync"

ADVICE: Final = {
    NAMELESS: (
        "the file was opened before another process removed it, and locked after: what the lock "
        "was to guard is done twice. After locking, compare fstat with stat of the name; if they "
        "differ, close and start over"
    ),
    TWO_HOLDERS: (
        "two locks under one name, on different files or of kinds that don't know of each other: "
        "neither keeps the other out. Don't remove or replace a file that others lock; or compare "
        "fstat with stat after locking, all with the same kind of lock"
    ),
    LATE_UNLINK: (
        "another process removed the name after this one had opened it: both took it to be theirs. "
        "Remove a name only with a lock that was compared with the name"
    ),
    EARLY_RENAME: (
        "after a crash the new name may lead to an empty or partial file: fsync the file before "
        "the rename (and the directory after it)"
    ),
}
"""What each kind of anomaly means, and what to do."""


class Anomaly(msgspec.Struct, frozen=True):
    """A mistake that the trace shows."""

    kind: str
    path: str
    processes: list[int]
    text: str


class Line(msgspec.Struct):
    """A call as it is shown."""

    time: float
    """Seconds since the trace began."""
    process: int
    thread: int
    call: str
    path: str
    other: str
    descriptor: int
    result: str
    """`ok`, or the name of the error."""
    words: list[str]
    device: int
    inode: int
    """0 if it isn't known."""
    links: int
    """-1 if it isn't known."""
    inferred: bool
    """Whether these follow from other calls, and weren't reported with this one."""
    anomalies: list[Anomaly]


class Judged(msgspec.Struct, frozen=True):
    """What a trace shows."""

    lines: list[Line]
    """Those that were asked for, with whatever is an anomaly, in order."""
    holds: list[Hold]
    """Of what was asked for, in the order in which they were obtained."""
    begun: float
    """When the trace began, by the clock of the calls."""
    ended: float
    """When it ended, in seconds since then."""
    calls: int
    """How many calls were looked at."""
