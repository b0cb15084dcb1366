"""The chain: which segments make up the log, and what entries they hold, as far as it is trusted.

Segments sort by (epoch, first LSN) as they were published. The newest is the end of the chain; from
there each header names the one before it by nonce. What is off the chain is superseded: it was the
newest once, and nothing in it was proven when the next was published.

Up to where its successor says that the trusted part ends, a segment must be good to the last byte.
The newest has no such limit, and there P decides. P is the largest LSN that some good frame or
header proves durable. The frames are read until the first bad one, which would hold LSN b. P >= b:
the database is corrupt. Else the log ends at b: what was there was never promised to anybody, or
not yet. Good frames behind the bad one count as evidence for P, and for nothing else. A seal in the
newest segment means that the one after it is missing.

In place only what is at or below P is trusted; what is good above it is the *tail*.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.frame import EMPTY_FRAME_BYTES, SEAL, FrameReader, scan_rest
from cairndb.log import (
    Piece,
    Segment,
    possible_lsns,
    publication,
    running_checksum,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from cairndb.files import Directory, File

PIECE_BYTES = 1 << 15
_WITHIN = "the checkpoint ends within a frame, so it isn't one of this log"


class Position(NamedTuple):
    """A place in the log: an LSN alone can be used again after a lost tail."""

    lsn: int
    running: int
    """The running checksum of all entries up to it."""


class End(NamedTuple):
    """Where in the newest segment something ends."""

    offset: int
    position: Position


@dataclass(frozen=True)
class Newest:
    """What was found in the newest segment."""

    trusted: End
    """After the last frame with entries that P covers."""
    good: End
    """Where the first bad frame is, or would be."""
    reason: str
    """What is there."""


class Files:
    """The files of a directory, opened when they are needed.

    Args:
        directory: which.
        keep: don't close a file after its use: the owner may remove its name meanwhile.
    """

    def __init__(self, directory: Directory, *, keep: bool) -> None:
        self.directory = directory
        self._keep = keep
        self._open: dict[str, File] = {}

    def open(self, name: str) -> File:
        """The file of that name; opened once."""
        if name not in self._open:
            self._open[name] = self.directory.open(name)
        return self._open[name]

    def done(self, name: str) -> None:
        """The file isn't needed for now."""
        if not self._keep and name in self._open:
            self._open.pop(name).close()

    def keep_only(self, names: Collection[str]) -> None:
        """Close the others."""
        for name in self._open.keys() - names:
            self._open.pop(name).close()

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()


class _Walk:
    """What the frames of the newest segment say, one after the other.

    Args:
        segment: the newest.
        proven: the largest LSN that is known to be durable.
    """

    def __init__(self, segment: Segment, proven: int) -> None:
        header = segment.header
        self.proven = proven
        self.sealed = False
        self.good = End(segment.begin, Position(header.first_lsn - 1, header.running))
        # Ends of frames with entries, of which the first is the last that P covers. An empty frame
        # proves what comes before it; itself it may be in the cache only.
        self.ends = deque([self.good])

    def through(self, reader: FrameReader) -> None:
        """Read on, as far as frames are good."""
        for frame in reader:
            self.sealed = self.sealed or frame.count == SEAL
            running = running_checksum(frame.payload, self.good.position.running)
            self.good = End(frame.end, Position(reader.next_lsn - 1, running))
            if frame.entries:
                self.ends.append(self.good)
            self.learn(frame.durable_lsn)

    def learn(self, durable_lsn: int) -> None:
        """Something says that this LSN is durable."""
        self.proven = max(self.proven, durable_lsn)
        _drop_before(self.ends, self.proven)


class Chain:
    """The segments that make up the log after a base, oldest first.

    Args:
        files: where they are.
        segments: all on the chain that are there, also those before the base.
        superseded: the other segments, by publication.
        base: the checkpoint's position, or LSN 0.
        header_lsn: the largest LSN that some header proves durable.
    """

    def __init__(
        self,
        files: Files,
        segments: Sequence[Segment],
        superseded: Sequence[Segment],
        base: Position,
        header_lsn: int,
    ) -> None:
        self.files = files
        self.segments = list(segments)
        self.superseded = list(superseded)
        self.base = base
        first = max(i for i, s in enumerate(segments) if s.header.first_lsn <= base.lsn + 1)
        self.needed = self.segments[first:]
        """From the one with the entry after the base on."""
        for segment, successor in pairwise(self.segments[max(0, first - 1) :]):
            self._check_rest(segment, successor.header.predecessor_end, successor)
        for segment in self.superseded:
            after = (s for s in self.segments if publication(s.name) > publication(segment.name))
            self._check_rest(segment, segment.begin, next(after))
        # The checkpoint of a barrier doesn't prove the entry that it is the state of.
        last = segments[-1].header
        base_lsn = base.lsn - (bool(last.barrier) and last.first_lsn == base.lsn)
        self.newest = self._read_newest(max(header_lsn, base_lsn))
        offset, (trusted_lsn, _) = self.newest.trusted
        if trusted_lsn < base_lsn:  # a frame in the tail, which nothing compares with the base
            raise self._corrupt(self.segments[-1], offset, _WITHIN)

    def _check_rest(self, segment: Segment, start: int, successor: Segment) -> None:
        """Raise CorruptError if what a successor doesn't take over was proven all the same.

        A segment of a copy of this database, which went its own way, isn't what follows here.
        """
        file = self.files.open(segment.name)
        size = file.size()
        if start > size:  # not left to the reader, which would ask for the memory first
            reason = f"the file ends here, and {successor.name} says that it goes on to {start}"
            raise self._corrupt(segment, size, reason)
        lsns = possible_lsns(segment, size)
        rest = scan_rest(file.read, segment.header.nonce, start, size, lsns)
        self.files.done(segment.name)
        if rest.durable_lsn >= successor.header.first_lsn:
            known = f"LSN {rest.durable_lsn} is known to have been synced"
            reason = f"{known}, and {successor.name} of another copy goes on before it"
            raise self._corrupt(segment, start, reason)

    def _read_newest(self, header_lsn: int) -> Newest:
        """Find the end of the log, torn or not; raises CorruptError if something was lost."""
        segment = self.segments[-1]
        header = segment.header
        file = self.files.open(segment.name)
        size = file.size()
        walk = _Walk(segment, max(header_lsn, header.first_lsn - 1))
        reader = FrameReader(file.read, header.nonce, segment.begin, size, header.first_lsn)
        walk.through(reader)
        lsns = possible_lsns(segment, size)
        rest = scan_rest(file.read, header.nonce, reader.offset, size, lsns)
        walk.learn(rest.durable_lsn)
        if walk.proven >= reader.next_lsn:
            # An owner may have written this place after it was looked at, and then what proves it.
            # The proof has been seen by now: what is missing still, is missing.
            next_lsn = reader.next_lsn
            reader = FrameReader(file.read, header.nonce, reader.offset, size, next_lsn)
            walk.through(reader)
        self.files.done(segment.name)
        proven, sealed = walk.proven, walk.sealed
        path = path_in(self.files.directory, segment.name)
        if proven >= reader.next_lsn:
            raise CorruptError(
                path,
                reader.offset,
                f"{reader.reason or 'the file ends'}, and LSN {reader.next_lsn} was there: "
                f"everything up to LSN {proven} is known to have been synced",
            )
        if sealed or rest.sealed:
            raise CorruptError(
                path, reader.offset, "the segment is sealed, and the one that follows it is missing"
            )
        if reader.claimed_end > size or size - reader.offset < EMPTY_FRAME_BYTES:
            # Its size was durable before its name was, and there is room for the seal, always.
            raise CorruptError(path, size, "the file is shorter than it was made: it was cut off")
        return Newest(walk.ends[0], walk.good, reader.reason)

    def position_at(self, lsn: int) -> Position:
        """Where the log is at an LSN: at the base, a segment's end, or P, or the end.

        Raises:
            ValueError: it is none of these.
        """
        known = [self.base, self.newest.trusted.position, self.newest.good.position]
        known += [_before(segment) for segment in self.needed]
        for position in known:
            if position.lsn == lsn:
                return position
        raise ValueError(f"LSN {lsn} isn't where a segment ends")

    def end_after(self, lsn: int) -> int:
        """The smallest LSN, from this one on, that `pieces` takes as an end.

        Raises:
            ValueError: the log ends before it, or begins after it.
        """
        ends = [_before(segment).lsn for segment in self.needed[1:]]
        ends += [self.newest.trusted.position.lsn, self.newest.good.position.lsn]
        if not self.base.lsn <= lsn <= ends[-1]:
            raise ValueError(f"LSN {lsn} isn't in the log")
        return min(end for end in (self.base.lsn, *ends) if end >= lsn)

    def pieces(self, end_lsn: int) -> Iterator[Piece]:
        """The entries after the base, many at once.

        Args:
            end_lsn: up to this one, see `position_at`.

        Raises:
            CorruptError: a frame isn't good, or the parts don't fit together.
        """
        for segment, end in self._parts(end_lsn):
            if end.position.lsn > end_lsn:
                return
            yield from self._pieces(segment, end)

    def _parts(self, end_lsn: int) -> Iterator[tuple[Segment, End]]:
        for segment, successor in pairwise(self.needed):
            yield segment, End(successor.header.predecessor_end, _before(successor))
        good = end_lsn >= self.newest.good.position.lsn
        yield self.needed[-1], self.newest.good if good else self.newest.trusted

    def tail(self) -> list[Piece]:
        """The good entries that nothing proves, frame by frame."""
        segment, (offset, (lsn, _)) = self.segments[-1], self.newest.trusted
        file = self.files.open(segment.name)
        end = self.newest.good.offset
        reader = FrameReader(file.read, segment.header.nonce, offset, end, lsn + 1)
        tail = [
            Piece(frame.first_lsn, frame.count, frame.payload) for frame in reader if frame.entries
        ]
        self.files.done(segment.name)
        if reader.offset != end:
            raise self._corrupt(segment, reader.offset, reader.reason)
        return tail

    def _pieces(self, segment: Segment, end: End) -> Iterator[Piece]:
        header, base = segment.header, self.base
        file = self.files.open(segment.name)
        reader = FrameReader(file.read, header.nonce, segment.begin, end.offset, header.first_lsn)
        running = header.running
        payloads: list[bytes] = []
        first_lsn = next_lsn = size = 0
        for frame in reader:
            if not frame.entries:
                continue
            if frame.first_lsn == base.lsn + 1:
                self._check_base(segment, frame.offset, running)
            running = running_checksum(frame.payload, running)
            if reader.next_lsn <= base.lsn + 1:
                continue
            if frame.first_lsn <= base.lsn:
                raise self._corrupt(segment, frame.offset, _WITHIN)
            first_lsn = first_lsn or frame.first_lsn
            next_lsn = reader.next_lsn
            payloads.append(frame.payload)
            size += len(frame.payload)
            if size >= PIECE_BYTES:
                yield Piece(first_lsn, next_lsn - first_lsn, b"".join(payloads))
                payloads.clear()
                first_lsn = size = 0
        self._check_end(segment, reader, running, end)
        self.files.done(segment.name)
        if payloads:
            yield Piece(first_lsn, next_lsn - first_lsn, b"".join(payloads))

    def _check_end(self, segment: Segment, reader: FrameReader, running: int, end: End) -> None:
        if reader.offset != end.offset:
            reason = reader.reason or "a frame goes over the end of the trusted part"
            raise self._corrupt(segment, reader.offset, reason)
        if (reader.next_lsn - 1, running) != end.position:
            lsn = end.position.lsn
            reason = f"the segment should end with LSN {lsn}, and doesn't, or with other entries"
            raise self._corrupt(segment, reader.offset, reason)
        if end.position.lsn == self.base.lsn:
            self._check_base(segment, reader.offset, running)

    def _check_base(self, segment: Segment, offset: int, running: int) -> None:
        if running != self.base.running:
            reason = f"the entries up to LSN {self.base.lsn} aren't those of the checkpoint"
            raise self._corrupt(segment, offset, reason)

    def _corrupt(self, segment: Segment, offset: int, reason: str) -> CorruptError:
        return CorruptError(path_in(self.files.directory, segment.name), offset, reason)


def _before(segment: Segment) -> Position:
    """The position that a segment begins at."""
    return Position(segment.header.first_lsn - 1, segment.header.running)


def log_bytes(segments: Sequence[Segment], after_lsn: int, end: End) -> int:
    """How many bytes of frames the log has in the segments with entries after an LSN.

    Args:
        segments: the chain, oldest first.
        after_lsn: entries after this one.
        end: where the log ends in the last of them.
    """
    total = 0
    for segment, successor in zip_longest(segments, segments[1:]):
        if successor is None:
            total += end.offset - segment.begin if end.position.lsn > after_lsn else 0
        elif successor.header.first_lsn > after_lsn + 1:
            total += successor.header.predecessor_end - segment.begin
    return total


def _drop_before(ends: deque[End], proven: int) -> None:
    """Keep the last end that P covers, and those after it."""
    while len(ends) > 1 and ends[1].position.lsn <= proven:
        ends.popleft()
