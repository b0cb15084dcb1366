"""What a tracer reports: the system calls of all processes that matter to files, as values.

Both ends of a call have a place in one order of the whole trace: line numbers of strace,
nanoseconds of the kernel's clock. The moment at which a call took effect lies between them and
isn't known. So a trace is judged by what is certain: what a call gives (a lock, a descriptor, a
name) is there from its *end* on, what it takes (a close, an unlock, the end of a process) is gone
from its *beginning* on. `Call.place` is that end; two holds that overlap by it did overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cairndb.errors import CairnError

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_DESCRIPTOR: Final = -1
CURRENT_DIRECTORY: Final = -100  # AT_FDCWD of Linux

# What gives something up does so at the latest when it begins.
_RELEASING: Final = frozenset({"close", "closerange", "unlock", "exit", "exec", "fork"})

EVERYTHING: Final = (0, 1 << 63)
"""The span of a lock on a whole file."""


class TraceError(CairnError):
    """Nothing can be traced, or what was recorded can't be read; the message says what to do."""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A system call, by what it means.

    `name` is one of open, close, closerange, dup, keep (close-on-exec or not), lock, unlock, sync,
    syncall, read, write, look (stat, fstat), unlink, rename, link, chdir, fork, exec, exit.
    """

    name: str
    begun: int
    ended: int
    started: float
    """Seconds, of whatever clock, when it began."""
    finished: float
    process: int
    thread: int
    descriptor: int = NO_DESCRIPTOR
    """That it is done with; of an open the new one."""
    target: int = NO_DESCRIPTOR
    """The new descriptor of a dup, the last of a closerange, the child of a fork."""
    path: str = ""
    """As it was given; absolute after `tracing_paths`, also where only a descriptor was given."""
    directory: int = CURRENT_DIRECTORY
    """The descriptor that `path` is relative to."""
    base: str = ""
    """That directory's own path, where the tracer says it."""
    other: str = ""
    """The second path, of a rename or link."""
    other_directory: int = CURRENT_DIRECTORY
    other_base: str = ""
    error: str = ""
    """The name of the error that it ended with."""
    words: frozenset[str] = frozenset()
    """
    What else was asked for: of an open create, exclusive, truncate, synchronous, unnamed, lock,
    lock shared; of it, a dup and a keep close on exec; of a lock and unlock flock, record or
    description, shared, waiting; of a fork thread, files; of an unlink directory; of a rename
    exchange; of an exit killed: then it may be reported late.
    """
    device: int = 0
    inode: int = 0
    """As the system reported them with this very call; 0 if it didn't."""
    links: int = -1
    """The link count, likewise; -1 if it isn't known."""
    named: bool | None = None
    """Whether the descriptor's file was still under the name by which it was opened."""
    span: tuple[int, int] = EVERYTHING
    """Of a lock: the first byte, and the first one after it."""

    @property
    def releasing(self) -> bool:
        """Whether it takes something away, so that its beginning counts."""
        return self.name in _RELEASING

    @property
    def place(self) -> int:
        """Where in the order of the trace it counts."""
        return self.begun if self.releasing else self.ended

    @property
    def time(self) -> float:
        """The same in seconds."""
        return self.started if self.releasing else self.finished


class Known(msgspec.Struct, frozen=True):
    """A file that was there before the trace."""

    path: str
    device: int
    inode: int
    links: int


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording: how it was made."""

    cairn_trace: int
    """The version of the format."""
    tracer: str
    system: str
    """As `sys.platform` says it: the numbers of errors and options depend on it."""
    directory: str = "/"
    """Where the command was started; paths are shown relative to it."""
    root: int = 0
    """The process of the command; 0 if the trace doesn't say."""
    patterns: list[str] = []
    command: list[str] = []
    known: list[Known] = []


class Trace(msgspec.Struct, frozen=True):
    """A recording that has been read."""

    heading: Heading
    calls: Sequence[Call]
    """In the order of their `place`."""
    not_understood: int = 0
    """Lines that aren't what the tracer writes."""
    lost: int = 0
    """Calls that the tracer says it couldn't report."""


def in_order(calls: list[Call]) -> list[Call]:
    """Calls by the place at which they count.

    Args:
        calls: in any order; those at one place stay as they are.
    """
    return sorted(calls, key=lambda call: call.place)
