"""Checkpoints that are kept for their own sake, and letting them go.

A migration or a rewind keeps the state that it replaces as a *pinned* checkpoint, the way back.
What retires other checkpoints passes over it, until somebody says that it may go. That removes its
file, and nothing else: it has to stay while something else needs it.

- Recovery may begin at the last two checkpoints. Which of those on disk it has found whole is known
  for the newest that it took; what is newer than that isn't touched either.
- Where the log has a barrier at its own LSN (a rewind right after another), the log leads over that
  by this checkpoint alone.
- States after it may be reached from it alone: it is the oldest that the log leads on from.
- `retain` keeps it.

As with all that is retired, a crash may undo a removal, and recovery doesn't look at what was
removed.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from cairndb.checkpoint import Checkpoint, checkpoint_name, parse_checkpoint_name
from cairndb.errors import CorruptError, UsageError
from cairndb.frame import FrameReader
from cairndb.patch import decode_entries
from cairndb.retention import NOTHING
from cairndb.retirement import kept_history, remove

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Sequence

    from cairndb.files import Directory
    from cairndb.log import Segment
    from cairndb.recovery import Reading
    from cairndb.store import Store

INTERRUPTED = "interrupted"


class Pinned(NamedTuple):
    """A checkpoint that is kept for its own sake."""

    lsn: int
    created: int
    """Microseconds since 1970 in UTC."""
    bytes: int
    """The length of its file."""
    why: str
    """The call that it is the way back over, `rewind` or `change schema`; `interrupted` if that
    didn't get to replace the state; empty if the log doesn't go back so far."""
    needed: str
    """Why it has to stay; empty if it may go."""


class Forgotten(NamedTuple):
    """What a request to forget has done."""

    gone: list[int]
    """LSNs of the checkpoints that were removed."""
    pinned: list[Pinned]
    """Those that are kept still."""


def pinned(reading: Reading) -> list[Pinned]:
    """The checkpoints of a database that are kept for their own sake, oldest first.

    Args:
        reading: of the database, up to its end.
    """
    segments, directory = reading.recovered.chain.segments, reading.recovered.files.directory
    return _Kept(directory, segments, reading.lsn, reading.base_lsn).pinned()


def forget(store: Store, lsns: Collection[int] | None) -> Forgotten:
    """Let go of pinned checkpoints; in the flusher's role, while no checkpoint is being made.

    Args:
        store: of the owner.
        lsns: which; None for all that nothing else needs.

    Returns:
        What is gone and what is left, for one that a reader is at, say.

    Raises:
        UsageError: one isn't pinned, or has to stay; nothing has happened.
        OSError: a file couldn't be removed.
    """
    kept = _Kept(store.directory, store.segments, store.applied.lsn, store.checkpoint_lsn)
    if store.options.retention != NOTHING and store.segments:
        recent, now = kept.recent(), store.clock()
        _, kept.retained = kept_history(
            store.directory, recent, store.segments, store.options.retention, now
        )
    leaving = []
    for each in kept.pinned():
        # One after the other: what is gone can't be what another may be reached from.
        why = kept.need(each.lsn)
        if lsns is None or each.lsn in lsns:
            if why and lsns is not None:
                raise UsageError(f"{_place(store, each.lsn)} has to stay: {why}")
            if not why:
                leaving.append(each.lsn)
                kept.bases.remove(each.lsn)
    _check_pinned(store, lsns or (), leaving)
    gone: set[str] = set()
    for lsn in leaving:
        if not remove(store.directory, checkpoint_name(lsn), gone):
            kept.held.add(lsn)
            kept.bases.append(lsn)
    kept.bases.sort()
    return Forgotten([lsn for lsn in leaving if lsn not in kept.held], kept.pinned())


def _place(store: Store, lsn: int) -> str:
    return f"{store.directory.path}: the checkpoint of LSN {lsn}"


def _check_pinned(store: Store, asked: Collection[int], found: Container[int]) -> None:
    for lsn in asked:
        if lsn not in found:
            raise UsageError(
                f"{_place(store, lsn)} isn't one that is kept for its own sake; "
                f"'cairn forget {store.directory.path}' lists those"
            )


class _Kept:
    """What the files of a database are needed for.

    Args:
        directory: where they are.
        segments: the chain, oldest first.
        last_lsn: where it ends.
        base_lsn: of the newest checkpoint that was found whole; 0 if there is none.
    """

    def __init__(
        self, directory: Directory, segments: Sequence[Segment], last_lsn: int, base_lsn: int
    ) -> None:
        self._directory = directory
        self._segments = segments
        self._last_lsn = last_lsn
        self._base_lsn = base_lsn
        self._first_lsn = segments[0].header.first_lsn if segments else last_lsn + 1
        self._barriers = {s.header.first_lsn: s for s in segments if s.header.barrier}
        self.retained: set[int] = set()
        """What `retain` keeps."""
        self.held: set[int] = set()
        """What a reader is at."""
        self._found: list[Pinned] = []
        self.bases = [0] if self._first_lsn == 1 else []
        """The LSNs that a fold can begin at."""
        for name in sorted(filter(parse_checkpoint_name, directory.names())):
            self._look(name)

    def _look(self, name: str) -> None:
        try:
            with closing(self._directory.open(name)) as file:
                header, size = Checkpoint(self._directory, name, file).header, file.size()
        except (FileNotFoundError, CorruptError):
            return
        barrier = self._barriers.get(header.lsn)
        if header.barrier and (barrier is None or barrier.header.barrier != header.nonce):
            return  # it was interrupted, and counts for nothing
        self.bases.append(header.lsn)
        if header.pinned:
            why = self._why(header.lsn)
            self._found.append(Pinned(header.lsn, header.created, size, why, ""))

    def pinned(self) -> list[Pinned]:
        """Those that are there, oldest first."""
        there = [each for each in self._found if each.lsn in self.bases]
        return [each._replace(needed=self.need(each.lsn)) for each in there]

    def recent(self) -> list[int]:
        """The last two checkpoints that recovery would begin at, and what is newer."""
        before = [lsn for lsn in self.bases if 0 < lsn <= self._base_lsn]
        return [*before[-2:], *(lsn for lsn in self.bases if lsn > self._base_lsn)]

    def need(self, lsn: int) -> str:
        """Why a checkpoint has to stay; empty if it may go."""
        if lsn in self.held:
            return "somebody is reading it; try again later"
        if lsn in self.recent():
            return "it is one of the last two checkpoints, until there are newer ones"
        if lsn in self._barriers:
            return f"the log leads over LSN {lsn} by it, until it begins later"
        if lsn in self.retained:
            return "what retain= says is kept includes it"
        # What is reached from it is what comes before the next base and the next barrier.
        nexts = [*(b for b in (*self.bases, *self._barriers) if b > lsn), self._last_lsn + 1]
        last = min(nexts) - 1
        older = [base for base in self.bases if self._first_lsn - 1 <= base < lsn]
        reached = bool(older) and not any(older[-1] < b <= lsn for b in self._barriers)
        if self._first_lsn <= lsn + 1 <= last and not reached:
            after = f"LSN {lsn + 1}" + (f" to {last}" if last > lsn + 1 else "")
            return f"the state of {after} is reached from it alone"
        return ""

    def _why(self, lsn: int) -> str:
        """What replaced the state that a checkpoint has."""
        segment = self._barriers.get(lsn + 1)
        if segment is None:
            return "" if lsn + 1 < self._first_lsn else INTERRUPTED
        with suppress(FileNotFoundError, ValueError):  # beside an owner it may be gone by now
            return _call_of(self._directory, segment)
        return ""


def _call_of(directory: Directory, segment: Segment) -> str:
    """The name of the call that a segment's first entry was made by."""
    header = segment.header
    with closing(directory.open(segment.name)) as file:
        reader = FrameReader(file.read, header.nonce, segment.begin, file.size(), header.first_lsn)
        for frame in reader:
            if frame.entries:
                (entry, *_) = decode_entries(frame.payload, frame.entries)
                return entry.call.name if entry.call else ""
    return ""
