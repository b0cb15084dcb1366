"""What is to catch planted bugs: harnesses over small workloads, on the crash tests' own oracle.

A harness takes pytest's monkeypatch, runs a workload in every form of its kind (crashed, failed,
damaged, with a file missing), and raises `CaughtError` when what comes out isn't right. With the
engine as it is each of them passes.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from typing import TYPE_CHECKING
from zlib import crc32

from cairndb.errors import CairnError, CorruptError, UsageError
from cairndb.log import parse_segment_name, publication
from crashing import (
    CrashPoint,
    Ledger,
    Oracle,
    Session,
    complete,
    crash_points,
    entries_of,
    open_store,
)
from planted_seam import Seam, plant_files
from simulated import Image, World, images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    Work = Callable[[World, Ledger], None]
    Harness = Callable[[pytest.MonkeyPatch], None]

LIMIT = 60
"""Combinations of contents for each state of the directory: small workloads need no more."""
HEADER_BYTES = 4096


class CaughtError(AssertionError):
    """A harness has found something wrong; `kind` says what.

    lost: less than was acknowledged. wrong: not a prefix of what was submitted. early: more than
    was submitted. refused: an ordinary crash, and it doesn't open. damaged: it does, by means of
    an older checkpoint. later: right at first, and no longer when it was gone on with.
    """

    def __init__(self, kind: str, where: object) -> None:
        super().__init__(f"{kind}: {where}")
        self.kind = kind


# Workloads


def rotating(world: World, ledger: Ledger) -> None:
    """One owner: creation, a group commit, a frame over sectors, two rotations, an idle mark."""
    session = Session(world, ledger, "a")
    session.commit(21)
    session.commit(5, 30)
    session.commit(600)
    session.commit(9)
    session.store.mark()
    session.commit(700)


def unsynced(world: World, ledger: Ledger) -> None:
    """One owner that is killed with two frames not synced, in a segment of their own."""
    session = Session(world, ledger, "a")
    session.commit(200)
    session.append(32)
    session.write()
    session.append(40)
    session.write()


def folding(world: World, ledger: Ledger) -> None:
    """Two owners and three checkpoints; the second is made before its owner has a segment."""
    session = Session(world, ledger, "a")
    session.commit(21)
    session.commit(30)
    session.checkpoint()
    session.commit(9)
    session.store.mark()
    session.store.sync()
    session = Session(world, ledger, "b")
    session.checkpoint()
    session.commit(11)
    session.checkpoint()
    session.commit(12)


def reopening(world: World, ledger: Ledger) -> None:
    """Two owners killed between write and sync; the next is shown what the cache has."""
    for seed in "abc":
        session = Session(world, ledger, seed)
        ledger.acknowledged = len(ledger.submitted)  # shown to views
        world.observe("shown")
        session.commit(21)
        session.append(32)
        session.write()


def failing(world: World, ledger: Ledger) -> None:
    """An application that goes on after an error, as long as it is let."""
    session = Session(world, ledger, "a")
    for size in (21, 30, 600, 9, 10):
        with suppress(OSError):
            session.commit(size)


# Harnesses


def makes_another(image: Image) -> bool:
    """Whether a program goes on where there is no database, by making one."""
    try:
        open_store(World(image), "d").close()
    except CairnError:
        return False
    return True


def verdict(image: Image, point: CrashPoint, submitted: list[bytes]) -> str:
    """What is wrong with an image, see `CaughtError`; "later" if nothing is on first sight."""
    found, recovered = b"", 0
    try:
        store = open_store(World(image), "d", create=False)
        found, recovered = entries_of(store), store.applied_lsn
        wrong = "damaged" if store.warnings else ""
    except UsageError:
        wrong = "" if makes_another(image) else "refused"
    except CairnError:
        wrong = "refused"
    if not wrong and found != b"".join(submitted[:recovered]):
        wrong = "wrong"
    if not wrong and recovered < point.acknowledged:
        wrong = "lost"
    if not wrong and recovered > point.submitted:
        wrong = "early"
    return wrong or "later"


def diagnosis(point: CrashPoint, submitted: list[bytes]) -> str:
    """What is wrong at a crash point that the oracle has refused."""
    found = (verdict(image, point, submitted) for image in images(point.moment, limit=LIMIT))
    return next((wrong for wrong in found if wrong != "later"), "later")


def judge(points: Iterable[CrashPoint], submitted: list[bytes], *, clean: bool = True) -> None:
    """Have the oracle of the crash tests look at each point; raises `CaughtError`."""
    oracle = Oracle(submitted, clean=clean)
    for point in points:
        try:
            oracle.check([point], limit=LIMIT)
        except (AssertionError, CairnError, OSError) as error:
            raise CaughtError(diagnosis(point, submitted), point.call) from error


def crashed(work: Work, *, mended: bool = False, clean: bool = True) -> Harness:
    """Lose power at every operation of a workload.

    Args:
        work: the workload.
        mended: whether what it has left is opened without the bug, as by another version.
        clean: whether `verify` must find nothing.
    """

    def harness(monkeypatch: pytest.MonkeyPatch) -> None:
        points, submitted = crash_points(work), complete(work)
        if mended:
            monkeypatch.undo()
        judge(points, submitted, clean=clean)

    return harness


def failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail each call once; the application goes on if it is let, and then the power is lost.

    What is left is opened without the bug.
    """
    world = World()
    failing(world, Ledger())
    left = []
    for number in range(1, len(world.calls) + 1):
        broken, ledger = World(), Ledger()
        broken.faults = {number: errno.EIO}
        with suppress(OSError, CairnError):
            failing(broken, ledger)
        count = len(ledger.submitted)
        point = CrashPoint(
            broken.moment(), count, ledger.acknowledged, str(world.calls[number - 1])
        )
        left.append((point, ledger.submitted))
    monkeypatch.undo()
    for point, submitted in left:
        judge([point], submitted)


def whole_database(work: Work) -> tuple[list[tuple[str, bytes]], list[bytes]]:
    """The files of a database in which everything is proven durable, and its entries."""
    world, ledger = World(), Ledger()
    work(world, ledger)
    last = Session(world, ledger, "z")
    last.commit(13)
    last.store.mark()
    last.store.sync()
    return list(next(iter(images(world.moment())))), ledger.submitted


def must_be_whole(image: Image, submitted: list[bytes], where: object) -> None:
    """Open, as a program does, what damage has been done to: it is refused, or all is there."""
    try:
        store = open_store(World(image), "d")
        found = entries_of(store)
    except (CorruptError, UsageError):
        return
    if found != b"".join(submitted):
        prefix = found == b"".join(submitted[: store.applied_lsn])
        raise CaughtError("lost" if prefix else "wrong", where)


def missing(_: pytest.MonkeyPatch) -> None:
    """Take each file away in turn."""
    for work in (rotating, folding):
        files, submitted = whole_database(work)
        for name, _content in files:
            left = tuple(file for file in files if file[0] != name)
            must_be_whole(left, submitted, f"without {name}")


def damaged(_: pytest.MonkeyPatch) -> None:
    """Flip a bit of every byte after the headers, and cut every file at each multiple of 8.

    Not the newest segment: if its end is gone with all that proves it, nothing tells.
    """
    for work in (rotating, folding):
        files, submitted = whole_database(work)
        newest = max((name for name, _ in files if parse_segment_name(name)), key=publication)
        for index, (name, content) in enumerate(files):
            for offset in range(HEADER_BYTES, len(content)):
                flipped = bytes([content[offset] ^ 4])
                found = [content[:offset] + flipped + content[offset + 1 :]]
                if offset % 8 == 0 and name != newest:
                    found.append(content[:offset])
                for changed in found:
                    image = (*files[:index], (name, changed), *files[index + 1 :])
                    must_be_whole(image, submitted, (name, offset))


def quoted(_: pytest.MonkeyPatch) -> None:
    """Flip each bit of the length of a frame with an entry that has the checksum of its beginning.

    As long as one bit of the length makes it, the entry is what the frame could be of as well.
    """
    world, ledger, length = World(), Ledger(), 96
    session = Session(world, ledger, "a")
    session.commit(21)
    live = session.store._live
    assert live is not None
    begin = live.end
    fields = struct.pack("<IHBB", 2, 0, 1, 0)  # as if the length weren't covered
    fields = fields[:4] + fields[6:]
    seed = crc32(live.segment.header.nonce) ^ begin // 8
    short = b"x" * (length ^ 64)
    entry = forged(short + b"y" * 60, crc32(fields, seed), crc32(short, crc32(fields, seed)))
    assert session.store.reserve(length)
    session.store.append(entry)
    session.flush()
    files = list(next(iter(images(world.moment()))))
    submitted = [*ledger.submitted, entry]
    for index, (name, content) in enumerate(files):
        for bit in range(16 if name.startswith("log-") else 0):
            changed = bytearray(content)
            changed[begin + 8 + bit // 8] ^= 1 << bit % 8
            image = (*files[:index], (name, bytes(changed)), *files[index + 1 :])
            found = entries_of(open_store(World(image), "d"))
            # Nothing proves the last frame, so damage to it can't be told from a torn write.
            if found not in {b"".join(submitted), submitted[0]}:
                raise CaughtError("wrong", f"bit {bit} of the length")


def forged(data: bytes, start: int, wanted: int) -> bytes:
    """Data with four bytes more, which give it a checksum: a CRC is linear."""
    basis: dict[int, tuple[int, int]] = {}
    zero = crc32(data + bytes(4), start)
    for bit in range(32):
        change, value = 1 << bit, crc32(data + (1 << bit).to_bytes(4, "little"), start) ^ zero
        while value and value.bit_length() in basis:
            other = basis[value.bit_length()]
            value, change = value ^ other[0], change ^ other[1]
        basis[value.bit_length()] = value, change
    missing, suffix = zero ^ wanted, 0
    while missing:
        value, change = basis[missing.bit_length()]
        missing, suffix = missing ^ value, suffix ^ change
    return data + suffix.to_bytes(4, "little")


class Recycled(Seam):
    """A new segment takes over the blocks of the last one, with what was in them."""

    def allocate(self, length: int) -> None:
        self.inner.allocate(length)
        logs = [name for name in self.directory.names() if parse_segment_name(name)]
        if self.temporary and logs and self.name.startswith("log-"):
            last = self.directory.open(max(logs, key=publication))
            stale = last.read(HEADER_BYTES, length - HEADER_BYTES)
            last.close()
            self.inner.write(HEADER_BYTES, stale)


def recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose power at every operation, on a disk where new files are not zeros."""
    plant_files(monkeypatch, Recycled)
    for work in (unsynced, reopening):
        # Room that isn't zeros is a finding, though it does no harm.
        crashed(work, clean=False)(monkeypatch)


def overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a sync returns, and after it has taken effect, somebody else writes."""
    others: list[Session] = []

    class Overtaken(Seam):
        def sync(self) -> None:
            self.inner.sync()
            if others:
                other = others.pop()
                other.append(30)
                other.write()

    plant_files(monkeypatch, Overtaken)

    def work(world: World, ledger: Ledger) -> None:
        session = Session(world, ledger, "a")
        session.commit(21)
        others.append(session)
        session.commit(9)

    crashed(work)(monkeypatch)


def misdirected(monkeypatch: pytest.MonkeyPatch) -> None:
    """One write goes elsewhere in its file, each in turn: it is refused, or all is there.

    Not the last, a mark: on top of the last frame it takes away both that and what proves it.
    """
    writes = {"made": 0, "number": 0, "distance": 0}

    class Misdirected(Seam):
        def write(self, offset: int, data: bytes) -> None:
            writes["made"] += 1
            if writes["made"] == writes["number"]:
                offset = max(0, offset + writes["distance"])
            self.inner.write(offset, data)

    plant_files(monkeypatch, Misdirected)
    for distance in (-4096, -48, -8, 8, 512):
        number, total = 0, 3
        while number < total - 1:
            number += 1
            writes |= {"made": 0, "number": number, "distance": distance}
            world, ledger = World(), Ledger()
            session = Session(world, ledger, "a")
            for size in (20, 20, 600, 9):
                session.commit(size)
            session.store.mark()
            session.store.sync()
            total = writes["made"]
            image = next(iter(images(world.moment())))
            where, writes["number"] = f"write {number} went {distance} further", 0
            must_be_whole(image, ledger.submitted, where)


HARNESSES: dict[str, Harness] = {
    "rotating": crashed(rotating),
    "rotating, mended": crashed(rotating, mended=True),
    "folding, mended": crashed(folding, mended=True),
    "unsynced": crashed(unsynced),
    "reopening": crashed(reopening),
    "overtaken": overtaken,
    "recycled": recycled,
    "failed": failed,
    "missing": missing,
    "damaged": damaged,
    "misdirected": misdirected,
    "quoted": quoted,
}
