"""The good frames of a segment, also behind bad places: runs, and the stops in them.

A *run* is a stretch of good frames of one segment whose LSNs follow each other. The first, from a
good header on, begins with a known running checksum; one behind a bad place doesn't. A *stop* is a
place in a run where another file can be joined on: where a checkpoint is, where a segment or a run
begins or ends. Of what is between stops nothing is kept: a survey takes little memory, however
large the files are.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cairndb.frame import MARK, SEAL, UNSAID, Frame, FrameReader
from cairndb.frame_search import search
from cairndb.log import running_checksum

if TYPE_CHECKING:
    from collections.abc import Container
    from uuid import UUID

    from cairndb.errors import CairnError
    from cairndb.files import File
    from cairndb.frame import Read
    from cairndb.log import SegmentHeader

_UNREADABLE_BLOCK = 4096


class Stop(NamedTuple):
    """A place between two frames: the next frame is read from there."""

    offset: int
    running: int | None
    """The running checksum of the log; None if it isn't known."""


class Proof(NamedTuple):
    """What says that everything up to an LSN was synced."""

    lsn: int
    file: str
    offset: int


@dataclass(slots=True)
class Run:
    """Good frames that follow each other."""

    offset: int
    end: int
    first_lsn: int
    last_lsn: int
    """first_lsn - 1 if there are no entries."""
    running: int | None
    """The running checksum at `last_lsn`, if it is known."""
    frames: int = 0
    marks: int = 0
    first_frame: int = -1
    """Where the first frame with entries begins."""
    last_frame: int = -1
    """Where the last one does."""
    stops: dict[int, Stop] = field(default_factory=dict)
    """By LSN: the last entry before the place."""

    def add(self, frame: Frame, interesting: Container[int]) -> None:
        """Take the frame that follows."""
        self.frames += 1
        self.marks += frame.count == MARK
        self.end = frame.end
        if not frame.entries:
            return
        self.last_frame = frame.offset
        if self.first_frame < 0:
            self.first_frame = frame.offset
        self.last_lsn = frame.first_lsn + frame.entries - 1
        if self.running is not None:
            self.running = running_checksum(frame.payload, self.running)
        if self.last_lsn in interesting:
            self.stops[self.last_lsn] = Stop(frame.end, self.running)


@dataclass
class Surveyed:
    """A file that is neither segment nor checkpoint, or can't be read."""

    name: str
    kind: str
    """identity, segment, checkpoint, lock, temporary or foreign: what the name says."""
    size: int = 0
    error: CairnError | None = None
    """Why it isn't what it should be."""
    database: UUID | None = None
    content: str = ""
    """The name that it should have by what is in it, if that says one."""


@dataclass
class SegmentFile(Surveyed):
    """A segment. `error` is about its header: bad, of another database, under a wrong name."""

    header: SegmentHeader | None = None
    nonce: bytes | None = None
    begin: int = 0
    first_lsn: int = 0
    """By its header, or if that is bad by its name."""
    publication: tuple[int, int] = (0, 0)
    runs: list[Run] = field(default_factory=list)
    bad_offset: int = 0
    """Where the good frames from the header on end."""
    reason: str = ""
    """What is there."""
    used_end: int = 0
    """Where only zeros follow."""
    sealed: bool = False
    proof: Proof | None = None


def patient_reader(file: File) -> Read:
    """Reads from a file, with zeros where the disk can't.

    Args:
        file: to read from.
    """

    def read(offset: int, length: int) -> bytes:
        try:
            return file.read(offset, length)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        parts = []
        end = min(offset + length, file.size())
        while offset < end:
            step = min(_UNREADABLE_BLOCK - offset % _UNREADABLE_BLOCK, end - offset)
            try:
                parts.append(file.read(offset, step))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                parts.append(bytes(step))
            offset += step
        return b"".join(parts)

    return read


def scan(segment: SegmentFile, read: Read, interesting: Container[int]) -> None:
    """Find the runs of a segment whose nonce is known.

    Args:
        segment: what is found is written there.
        read: from its file.
        interesting: LSNs to keep stops for.
    """
    assert segment.nonce is not None
    first, size = segment.first_lsn, segment.size
    segment.runs, segment.proof, segment.sealed = [], None, False
    segment.used_end = offset = segment.begin
    if segment.header is not None:
        running = segment.header.running
        run = Run(offset, offset, first, first - 1, running)
        run.stops[first - 1] = Stop(offset, running)
        segment.runs.append(run)
        reader = FrameReader(read, segment.nonce, offset, size, first)
        for frame in reader:
            _take(segment, frame, interesting)
        segment.bad_offset = segment.used_end = offset = reader.offset
        segment.reason = reader.reason
    for end, found in search(read, segment.nonce, offset, size, range(first, first + size + 1)):
        segment.used_end = max(segment.used_end, end)
        if found is not None:
            _take(segment, found, interesting)
    for run in segment.runs:
        run.stops.setdefault(run.last_lsn, Stop(run.end, run.running))


def _take(segment: SegmentFile, frame: Frame, interesting: Container[int]) -> None:
    """Add a frame to the run that it goes on with, or begin another."""
    last = segment.runs[-1] if segment.runs else None
    if last is None or (last.end, last.last_lsn + 1) != (frame.offset, frame.first_lsn):
        lsn = frame.first_lsn - 1
        last = Run(frame.offset, frame.offset, lsn + 1, lsn, None)
        last.stops[lsn] = Stop(frame.offset, None)
        segment.runs.append(last)
    last.add(frame, interesting)
    segment.sealed = segment.sealed or frame.count == SEAL
    if frame.durable_lsn > (UNSAID if segment.proof is None else segment.proof.lsn):
        segment.proof = Proof(frame.durable_lsn, segment.name, frame.offset)
