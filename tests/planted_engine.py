"""Bugs in the engine: each takes the place of one small function of it, for one test."""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cairndb import chain, chain_newest, frame, store
from cairndb.appender import Appender
from cairndb.checkpoint import Checkpoint
from cairndb.errors import CorruptError
from cairndb.frame import SEAL, Frame, FrameReader
from cairndb.frame_search import Rest
from cairndb.log import LiveSegment
from cairndb.store import Store
from planted_seam import Grown, plant_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest

    from cairndb.appender_parts import Batch
    from cairndb.files import Directory
    from planted_seam import Plant


# In the engine: acknowledging


def acknowledge_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written counts as durable; a sync comes with the next write only."""
    write, sync = Appender.write, Appender.sync

    def synced_before(self: Appender, batch: Batch) -> int:
        sync(self)
        return write(self, batch)

    def not_synced(self: Appender) -> int:
        self.durable = self.written
        return self.written.lsn

    monkeypatch.setattr(Appender, "write", synced_before)
    monkeypatch.setattr(Appender, "sync", not_synced)


def acknowledge_what_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is looked up when the sync has returned."""

    def sync(self: Appender) -> int:
        if self._live is not None:
            self._live.file.sync()
        self.durable = self.written
        return self.written.lsn

    monkeypatch.setattr(Appender, "sync", sync)


def live_with_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that failed is told to the caller, and the next entries go behind the hole."""
    write = Appender.write

    def go_on(self: Appender, batch: Batch) -> int:
        try:
            return write(self, batch)
        except OSError:
            self._failure, self.written = None, batch.position
            raise

    monkeypatch.setattr(Appender, "write", go_on)


def live_after_failed_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that failed is told to the caller, and the next one is believed."""
    sync = Appender.sync

    def go_on(self: Appender) -> int:
        try:
            return sync(self)
        except OSError:
            self._failure = None
            raise

    monkeypatch.setattr(Appender, "sync", go_on)


def rotate_unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next segment is published while what the last one holds isn't synced."""
    rotate = Appender.rotate

    def rotated(self: Appender, entry_bytes: int) -> None:
        with monkeypatch.context() as context:
            context.setattr(Appender, "sync", lambda _: 0)
            rotate(self, entry_bytes)

    monkeypatch.setattr(Appender, "rotate", rotated)


# In the engine: what is on disk

SMALL_FIELDS = 8
LARGE_FIELDS = 20


def patch_checksum(changed: Callable[[bytes, int], int]) -> Plant:
    """Frames and headers have another checksum, in writing and in reading."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frame, "crc32", lambda data, start=0: changed(data, start))

    return plant


def without_length(data: bytes, start: int) -> int:
    """The head's checksum leaves its length out."""
    if len(data) == SMALL_FIELDS:
        return zlib.crc32(data[:4] + data[6:], start)
    return zlib.crc32(data[:8] + data[12:] if len(data) == LARGE_FIELDS else data, start)


def without_place(data: bytes, start: int) -> int:
    """A frame's checksum isn't tied to the file and the offset, from which its fields' begins."""
    return zlib.crc32(data, 0 if len(data) in {SMALL_FIELDS, LARGE_FIELDS} else start)


def trust_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that ends before the file does is taken to be whole."""
    read = FrameReader._frame

    def trusting(self: FrameReader) -> Frame | str:
        found = read(self)
        if found != "the checksum of a frame is wrong":
            return found
        head = self._head()
        assert head is not None
        begin = self._available(head.size + head.length) + head.size
        payload = self._chunk[begin : begin + head.length]
        content_end = self.offset + head.size + head.length
        first_lsn = frame.nearest_lsn(head.first, self.next_lsn)
        durable_lsn = first_lsn - 1 - head.unproven if head.unproven >= 0 else -1
        end = self.claimed_end
        return Frame(self.offset, end, first_lsn, head.count, durable_lsn, payload, content_end)

    monkeypatch.setattr(FrameReader, "_frame", trusting)


def trust_end_of_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is whole if its frames are good up to the end of the file."""

    def frames(self: Checkpoint) -> Iterator[tuple[int, bytes]]:
        size = self._file.size()
        for found in FrameReader(self._file.read, self.header.nonce, self.begin, size, 1):
            if found.count != SEAL:
                yield found.count, found.payload

    monkeypatch.setattr(Checkpoint, "frames", frames)


def call_torn_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file is long enough for must be there: a torn tail is refused."""
    plant_files(monkeypatch, Grown)
    read = chain.Chain._read_newest

    def refusing(self: chain.Chain, header_lsn: int) -> chain.Newest:
        newest = read(self, header_lsn)
        name = self.segments[-1].name
        if newest.good.offset != self.files.open(name).size():
            raise CorruptError(name, newest.good.offset, newest.reason)
        return newest

    monkeypatch.setattr(chain.Chain, "_read_newest", refusing)


def call_damaged_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log ends at the first bad frame, whatever comes after it."""

    def nothing(*arguments: Any) -> Rest:
        return Rest(arguments[2], -1, sealed=False, frames=0)

    monkeypatch.setattr(chain_newest, "scan_rest", nothing)


# In the engine: recovery


def write_over_the_torn_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next owner goes on in the last one's segment, at the first bad frame."""
    opened = Store.open.__func__  # type: ignore[attr-defined]

    def open_(cls: type[Store], /, directory: Directory, **options: Any) -> Store:
        found: Store = opened(cls, directory, **options)
        if found._recovered is not None:
            last = found._recovered.chain
            segment, good = last.segments[-1], last.newest.good
            file = directory.open(segment.name, write=True)
            file.sync()
            found._live = LiveSegment(segment, file, file.size(), good.offset)
            found.segments, found.superseded = list(last.segments), list(last.superseded)
            found.applied = found.written = found.durable = good.position
            found._started = True
        return found

    monkeypatch.setattr(Store, "open", classmethod(open_))


def show_what_the_cache_has(monkeypatch: pytest.MonkeyPatch, *, sync: bool = False) -> None:
    """What is good and unproven in the newest segment is shown, and not written again.

    With `sync` it is synced where it is: after a sync that failed that proves nothing.
    """

    def start(self: Store) -> None:
        if self._started:
            return
        assert self._recovered is not None
        last = self._recovered.chain
        segment, good = last.segments[-1], last.newest.good
        if sync:
            file = self.directory.open(segment.name)
            file.sync()
            file.close()
        self.segments, self._started = list(last.segments), True
        self.superseded = list(last.superseded)
        self.applied = self.written = self.durable = good.position
        self._place = self._place._replace(
            predecessor_nonce=segment.header.nonce,
            predecessor_end=good.offset,
            position=good.position,
        )

    monkeypatch.setattr(Store, "start", start)


def start_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DATABASE there is no database, whatever else is there."""

    def clear(directory: Directory, names: Sequence[str]) -> None:
        for name in names:
            directory.remove(name)

    monkeypatch.setattr(store, "clear_interrupted_creation", clear)


def overlook_the_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last segment that is there is the end of the log."""
    monkeypatch.setattr(chain_newest, "SEAL", -1)


def remove_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log that a checkpoint replaces is removed, and then the checkpoint gets its name."""
    adopt = Store.adopt

    def removed(self: Store, temporary: str) -> None:
        assert self._checked is not None
        for segment, successor in pairwise(list(self.segments)):
            if successor.header.first_lsn <= self._checked[1].lsn + 1:
                self.directory.remove(segment.name)
                self.segments.remove(segment)
        adopt(self, temporary)

    monkeypatch.setattr(Store, "adopt", removed)
