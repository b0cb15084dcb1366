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

from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

from cairndb.chain_newest import PIECE_BYTES, End, Newest, Position, read_newest
from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.frame import FrameReader
from cairndb.frame_search import scan_rest
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

__all__ = ["Chain", "End", "Files", "Newest", "Position", "log_bytes"]

_WITHIN = "the checkpoint ends within a frame, so it isn't one of this log"


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
        file = self.files.open(segment.name)
        newest = read_newest(self.files.directory, segment, file, header_lsn)
        self.files.done(segment.name)
        return newest

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
            begin = End(segment.begin, _before(segment))
            if segment is self.segments[-1] and self.base.lsn <= begin.position.lsn:
                if self.base.lsn == begin.position.lsn:
                    self._check_base(segment, begin.offset, begin.position.running)
                for piece, piece_end in self.newest.kept.taken(end):
                    begin = piece_end
                    yield piece
            yield from self._pieces(segment, begin, end)

    def _parts(self, end_lsn: int) -> Iterator[tuple[Segment, End]]:
        for segment, successor in pairwise(self.needed):
            yield segment, End(successor.header.predecessor_end, _before(successor))
        good = end_lsn >= self.newest.good.position.lsn
        yield self.needed[-1], self.newest.good if good else self.newest.trusted

    def tail(self) -> list[Piece]:
        """The good entries that nothing proves, as they are to be written again: many in a frame.

        Nothing refers to a place between them, since no frame or header proves any of them. Only a
        barrier, whose checkpoint has its LSN, stays alone.
        """
        segment, (offset, (lsn, _)) = self.segments[-1], self.newest.trusted
        file = self.files.open(segment.name)
        end = self.newest.good.offset
        reader = FrameReader(file.read, segment.header.nonce, offset, end, lsn + 1)
        barrier = segment.header.first_lsn if segment.header.barrier else 0
        tail = [
            Piece(frame.first_lsn, frame.count, frame.payload)
            for frame in reader.merged(PIECE_BYTES, max(self.base.lsn, barrier))
            if frame.entries
        ]
        self.files.done(segment.name)
        if reader.offset != end:
            raise self._corrupt(segment, reader.offset, reader.reason)
        return tail

    def _pieces(self, segment: Segment, begin: End, end: End) -> Iterator[Piece]:
        base, (lsn, running) = self.base, begin.position
        file = self.files.open(segment.name)
        nonce = segment.header.nonce
        reader = FrameReader(file.read, nonce, begin.offset, end.offset, lsn + 1)
        for frame in reader.merged(PIECE_BYTES, base.lsn):
            if not frame.entries:
                continue
            if frame.first_lsn == base.lsn + 1:
                self._check_base(segment, frame.offset, running)
            running = running_checksum(frame.payload, running)
            if reader.next_lsn <= base.lsn + 1:
                continue
            if frame.first_lsn <= base.lsn:
                raise self._corrupt(segment, frame.offset, _WITHIN)
            yield Piece(frame.first_lsn, frame.count, frame.payload)
        self._check_end(segment, reader, running, end)
        self.files.done(segment.name)

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
