"""Locks while they are held, and what is wrong with them.

A lock on a file that has lost its name isn't a mistake by itself: the right protocol gets one now
and then, looks (fstat of the descriptor, stat of the name) and lets go. It is one if the process
goes on: if it uses the file, removes the name, or lets go without having looked.

Two holds of one name are on different files, or by kinds of lock that don't know of each other; the
kernel sees to all else. Whoever has removed the name has given it up, whatever is still held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cairndb.tracing_events import Call
    from cairndb.tracing_files import File

END: Final = 1 << 200
"""A place after the end of every trace."""


class Hold:
    """A lock from when it was obtained until it is certainly let go of.

    Args:
        call: that obtained it.
        line: the number of that call's line.
        path: the name by which the file was opened.
        file: the file itself.
        stale: why that isn't the file of this name any more; empty if it is.
        doubtful: whether it may be so, by what ran at the same time.
    """

    def __init__(
        self, call: Call, line: int, path: str, file: File, stale: str, *, doubtful: bool = False
    ) -> None:
        self.call = call
        self.line = line
        self.path = path
        self.file = file
        self.stale = stale
        self._doubtful = doubtful and not stale
        self._used = False
        self.kind = next(k for k in ("flock", "record", "description") if k in call.words)
        self.ended = END
        self.ended_time: float | None = None
        self.given_up = END
        self.looked = False
        self.dismissed = False
        self.went_on = ""
        """What the process did with a stale lock as if it had a good one."""

    @property
    def exclusive(self) -> bool:
        """Whether nobody else may have it."""
        return "shared" not in self.call.words

    def look(self, call: Call) -> None:
        """The process has asked which file this is."""
        if call.begun >= self.call.ended:
            self.looked = True

    def use(self, what: str) -> None:
        """The process goes on as if it had the lock."""
        self._used = True
        if self.stale and not self.went_on:
            self.went_on = what

    def end(self, place: int, time: float, how: str) -> None:
        """The lock is let go of.

        Args:
            place: up to which it was certainly held.
            time: the same in seconds.
            how: in words; empty if the process was killed, which says nothing of what it knew.
        """
        self.ended, self.ended_time = place, time
        self.settle()
        if self.stale and not self.went_on:
            if self.looked or not how:
                self.dismissed = True
            else:
                self.went_on = f"{how} without having looked"

    def settle(self) -> None:
        """It won't be used any more."""
        if self._doubtful and self.looked and not self._used:
            # As with a stale one, though nobody can tell.
            self.dismissed = True

    def counts_until(self) -> int:
        """The place up to which it kept others from the name, as its process must think."""
        return min(self.ended, self.given_up)


def met(holds: Iterable[Hold]) -> Iterator[tuple[Hold, Hold]]:
    """Each two holds of one name at the same time, the earlier one first.

    Args:
        holds: in the order in which they were obtained.
    """
    running: dict[str, list[Hold]] = {}
    for hold in holds:
        if hold.dismissed:
            continue
        begun = hold.call.ended
        before = [one for one in running.get(hold.path, []) if one.counts_until() > begun]
        yield from ((one, hold) for one in before if _conflict(one, hold))
        running[hold.path] = [*before, hold]


def _conflict(one: Hold, other: Hold) -> bool:
    if not one.exclusive and not other.exclusive:
        return False
    if one.call.thread == other.call.thread or one.call.begun == other.call.begun:
        return False
    first, second = one.call.span, other.call.span
    if first[0] >= second[1] or second[0] >= first[1]:
        return False
    same_kind = one.kind == other.kind or "flock" not in {one.kind, other.kind}
    if not same_kind:
        return True
    if one.kind == other.kind == "record" and one.call.process == other.call.process:
        return False
    # Within a kind the kernel keeps two off one file. If it hasn't, they are two files, or it is
    # one open file that came to the second process in a way that isn't followed.
    return one.file is not other.file and not _same(one.file, other.file)


def _same(one: File, other: File) -> bool:
    return one.inode > 0 and (one.device, one.inode) == (other.device, other.inode)
