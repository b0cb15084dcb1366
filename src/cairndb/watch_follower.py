"""Reads a log from a position on, and goes on as it grows: rotations, other owners, all of it.

It keeps one segment open, the one that holds the next entry, and holds it (see `File.hold`), so
that the owner keeps it and what follows. A look that finds nothing costs one small read: what comes
next, a frame or the seal, comes at the place where the last frame ended, and when something else is
there, or now and then, it looks whether there is another segment.

A segment that has a successor is read to where that says its trusted part ends. If more of it was
read by then, it is in the successor again, written anew by another owner after a crash; the running
checksum tells whether it is the same. What isn't in the history any more is an UnknownPosition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from cairndb import codec
from cairndb.chain import Files, Position
from cairndb.errors import CairnError, CorruptError, UnknownPosition
from cairndb.files import path_in
from cairndb.frame import HEAD_BYTES, SEAL, FrameReader
from cairndb.history import compacted
from cairndb.identity import files_of, read_identity
from cairndb.linking import link
from cairndb.log import Segment, parse_segment_name, publication
from cairndb.patch import Entry, decode_entry
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from msgspec import Raw

    from cairndb.files import Directory, File
    from cairndb.frame import Frame
    from cairndb.log import SegmentHeader
    from cairndb.watch_items import Start

_ATTEMPTS = 50
_READ_BYTES = 1 << 18
# What has come in a place where a look doesn't find it is found when so many looks found nothing.
_LOOKS_PER_LISTING = 20


class Run:
    """Entries that follow each other; each is decoded once, for all who look at it.

    Args:
        before_lsn: of the entry before the first.
        entries: their bytes.
    """

    __slots__ = ("_decoded", "before_lsn", "entries")

    def __init__(self, before_lsn: int, entries: Sequence[bytes]) -> None:
        self.before_lsn = before_lsn
        self.entries = entries
        self._decoded: list[Entry | None] = [None] * len(entries)

    @property
    def last_lsn(self) -> int:
        """The LSN of the last of them."""
        return self.before_lsn + len(self.entries)

    def entry(self, lsn: int) -> tuple[bytes, Entry]:
        """An entry's bytes, and itself."""
        index = lsn - self.before_lsn - 1
        encoded, decoded = self.entries[index], self._decoded[index]
        if decoded is None:
            decoded = self._decoded[index] = decode_entry(encoded)
        return encoded, decoded


class Jump(NamedTuple):
    """Another state to go on from, where there are no entries that lead to it."""

    position: Position
    state: Raw
    """What it has under the pattern of who asks, as `watch_scope.captured` gives it."""


class _Place(NamedTuple):
    """Where in which segment the next frame is."""

    files: Files
    """The segment's alone is open."""
    segment: Segment
    file: File
    limit: int | None
    """Where its trusted part ends; None for the newest, of which nobody has said that."""
    offset: int
    next_lsn: int


class Follower:
    """The entries after a position, as far as they are there.

    Args:
        directory: of the database; not closed.
        start: the position.
        promised: for the owner's own: up to which LSN entries may be shown. None for a reader,
            which shows what it has synced itself.

    Raises:
        Compacted: the log doesn't go back that far.
        UnknownPosition: it isn't in this history.
        CorruptError: a file is damaged or missing.
    """

    def __init__(
        self, directory: Directory, start: Start, promised: Callable[[], int] | None
    ) -> None:
        self._directory = directory
        self._promised = promised
        self._looks = 0
        # What stood where the next frame would be, in this look and the one before.
        self._found = self._seen = (0, b"")
        self._database: UUID | None = None
        self._place: _Place | None = None
        self.headers: list[SegmentHeader] = []
        """Of the chain, oldest first, as it was looked at last."""
        self._position = Position(start.lsn, 0)
        self._running = start.running
        self._locate()

    @property
    def position(self) -> Position:
        """After what was read last."""
        assert self._running is not None
        return Position(self._position.lsn, self._running)

    def read(self) -> Run | None:
        """The next entries, not too many at once; None if there are none yet.

        Raises:
            Compacted: they have been removed.
            UnknownPosition: they aren't what follows any more.
            CorruptError: a file is damaged or missing.
        """
        run = self._read_on()
        if run is None and self._is_over():
            self._locate()
            run = self._read_on()
        return run

    def close(self) -> None:
        """Let go of the files."""
        if self._place is not None:
            self._place.files.close()

    def _read_on(self) -> Run | None:
        place = self._place
        assert place is not None
        head = place.file.read(place.offset, HEAD_BYTES)
        self._found = place.offset, head
        if place.limit is None and not head.strip(b"\0"):
            return None
        payloads: list[tuple[int, list[bytes]]] = []
        offset, next_lsn, size = place.offset, place.next_lsn, 0
        reader = self._reader(place)
        for frame in reader:
            if frame.count == SEAL or not self._may_show(reader.next_lsn - 1):
                break
            offset, next_lsn = frame.end, reader.next_lsn
            if frame.entries:
                payloads.append((frame.first_lsn, _entries(frame)))
                size += len(frame.payload)
            if size >= _READ_BYTES:
                break
        if place.limit is not None and offset == place.offset < place.limit and reader.reason:
            raise CorruptError(place.file.path, reader.offset, reader.reason)
        self._place = place._replace(offset=offset, next_lsn=next_lsn)
        run = self._run(payloads)
        if run is not None and self._promised is None:
            place.file.sync()
        return run

    def _may_show(self, lsn: int) -> bool:
        return self._promised is None or lsn <= self._promised()

    def _run(self, payloads: list[tuple[int, list[bytes]]]) -> Run | None:
        """The entries of some frames, without those before the position."""
        lsn, running = self.position
        entries = [e for first, some in payloads for e in some[max(0, lsn + 1 - first) :]]
        if not entries:
            return None
        for entry in entries:
            running = crc32(entry, running)
        self._position, self._running = Position(lsn + len(entries), 0), running
        return Run(lsn, entries)

    def _reader(self, place: _Place) -> FrameReader:
        limit = place.file.size() if place.limit is None else place.limit
        nonce = place.segment.header.nonce
        read = place.file.read
        return FrameReader(
            read, nonce, place.offset, limit, place.next_lsn, chunk_bytes=_READ_BYTES
        )

    def _is_over(self) -> bool:
        """Whether what comes next may be in another segment."""
        place = self._place
        assert place is not None
        if place.limit is not None:
            return True
        self._looks = self._looks + 1 if self._found == self._seen else 1
        self._seen = self._found
        nothing = not self._found[1].strip(b"\0")
        if nothing and self._looks % _LOOKS_PER_LISTING:
            return False
        if _newest(self._directory.names()) != place.segment.name:
            return True
        if not nothing and self._promised is None and self._looks == _LOOKS_PER_LISTING:
            # Torn or damaged: recovery knows, and raises CorruptError.
            read_chain(self._directory).close()
        return False

    def _locate(self) -> None:
        """Find where the position is, in the chain as it is now."""
        failure: Exception | None = None
        for _ in range(_ATTEMPTS):
            files = Files(self._directory, keep=True)
            try:
                place = self._locate_in(files)
            except (CorruptError, FileNotFoundError) as error:
                files.close()
                # Looked at again before it is believed: the owner may be at work right now.
                if isinstance(error, CorruptError) and str(error) == str(failure):
                    raise
                failure = error
            except BaseException:
                files.close()
                raise
            else:
                self.close()
                self._place = place
                return
        raise CairnError(f"{self._directory.path}: its files vanish whenever they are read")

    def _locate_in(self, files: Files) -> _Place:
        directory = self._directory
        database = read_identity(directory).database
        if self._database not in {None, database}:
            raise UnknownPosition(f"{directory.path} is another database now: open it anew")
        self._database = database
        segments, _, _ = link(files, files_of(directory), database, 1 << 63)
        self.headers = [segment.header for segment in segments]
        lsn = self._position.lsn
        index = sum(segment.header.first_lsn <= lsn + 1 for segment in segments) - 1
        if index < 0:
            raise compacted(directory, lsn)
        segment = segments[index]
        following = segments[index + 1].header if index + 1 < len(segments) else None
        file = files.open(segment.name)
        files.keep_only({segment.name})
        if not (file.hold(exclusive=False) and segment.name in directory.names()):
            raise FileNotFoundError(path_in(directory, segment.name))
        place = self._place
        limit = following.predecessor_end if following else None
        if place is not None and place.segment.header.nonce == segment.header.nonce:
            return place._replace(files=files, file=file, limit=limit)
        begin = _Place(files, segment, file, limit, segment.begin, segment.header.first_lsn)
        return self._sought(begin)

    def _sought(self, place: _Place) -> _Place:
        """Go forward to the frame with the next entry, and compare the running checksum there."""
        wanted, running = self._position.lsn, place.segment.header.running
        offset, next_lsn, lsn = place.offset, place.next_lsn, place.next_lsn - 1
        reader = self._reader(place) if lsn < wanted else ()
        for frame in reader:
            if frame.count == SEAL:
                break
            if lsn + frame.entries > wanted:
                for entry in _entries(frame)[: wanted - lsn]:
                    running = crc32(entry, running)
                lsn = wanted
                break
            running = crc32(frame.payload, running)
            offset, lsn = frame.end, lsn + frame.entries
            next_lsn = lsn + 1
            if lsn == wanted:
                break
        if lsn < wanted:
            raise UnknownPosition(
                f"{self._directory.path} has got to LSN {lsn}, not to {wanted}: the position is of "
                "another history. Begin anew"
            )
        if self._running not in {None, running}:
            raise UnknownPosition(
                f"{self._directory.path}: LSN {wanted} isn't the update that it was: the position "
                "is of another history. Begin anew"
            )
        self._running = running
        return place._replace(offset=offset, next_lsn=next_lsn)


def _entries(frame: Frame) -> list[bytes]:
    return [bytes(e) for e in codec.open_list(codec.as_array(frame.payload, frame.entries))]


def _newest(names: Sequence[str]) -> str:
    return max(filter(parse_segment_name, names), key=publication, default="")
