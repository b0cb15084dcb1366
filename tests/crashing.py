"""What the crash tests share: an owner at work, the moments to crash at, and the oracle.

The oracle: what recovery finds is everything that was acknowledged, or that and the first of what
was submitted besides, in order; every checksum is right; finding it again gives the same; and what
was lost doesn't rise again when an entry of the same length takes its place. Opening never refuses
what a crash has left.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

import pytest

from cairndb.checkpoint import (
    CheckpointHeader,
    Writer,
    parse_checkpoint_name,
    temporary_checkpoint_name,
)
from cairndb.errors import CorruptError, DiskFull, UsageError
from cairndb.log import parse_segment_name
from cairndb.publishing import create_within
from cairndb.recovery import read_chain, verify
from cairndb.store import Store, StoreOptions
from simulated import DIRECTORY, Image, Moment, SimulatedDirectory, SimulatedParent, World, images

SCHEMA, FINGERPRINT = "text of the schema", "00ff"


class Nonces:
    """Nonces that are the same in every run."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self) -> bytes:
        self._count += 1
        return hashlib.blake2b(f"{self._seed}{self._count}".encode(), digest_size=16).digest()


def open_store(world: World, seed: str, *, create: bool = True) -> Store:
    """A store as its owner opens it, with segments that hold a few entries."""
    options = StoreOptions(4096 + 360, 4096 + 720, Nonces(seed))
    ticks = iter(range(1 << 30))
    if create and world.has_parent:
        create_within(SimulatedParent(world), DIRECTORY)
    return Store.open(
        SimulatedDirectory(world),
        schema=SCHEMA,
        fingerprint=FINGERPRINT,
        create=create,
        options=options,
        clock=lambda: next(ticks),
    )


def entries_of(store: Store) -> bytes:
    """All that a store recovers; a checkpoint's operations are the entries folded into it."""
    parts = [payload for _, payload in store.checkpoint_frames()]
    parts += [payload for _, _, payload in store.log_frames()]
    return b"".join(parts)


@dataclass
class Ledger:
    """What was submitted, and how much of it was acknowledged, or handed to the system."""

    submitted: list[bytes] = field(default_factory=list)
    acknowledged: int = 0
    written: int = 0

    def shown(self, count: int) -> None:
        """An owner found so much: that is what there is, and nobody may take it back."""
        if count < len(self.submitted):
            # Another list: crash points before this one are judged by the old.
            self.submitted = self.submitted[:count]
        self.acknowledged = self.written = count


class CrashPoint(NamedTuple):
    """A moment to crash at, and what was promised by then."""

    moment: Moment
    submitted: int
    acknowledged: int
    call: str
    history: Sequence[bytes] = ()
    """What was submitted, and would be if there were no crash."""
    syncs: int = 0
    """How many had been made that had something to do."""


class Session:
    """One owner, working on a world, with a ledger of what it was promised.

    Where there is no room, room is made, and it goes on.
    """

    def __init__(self, world: World, ledger: Ledger, seed: str) -> None:
        self.world, self.ledger, self.seed = world, ledger, seed
        try:
            self.store = open_store(world, seed)
        except DiskFull:
            world.full = False
            self.store = open_store(world, seed)
        self.recovered = b"" if self.store.created else entries_of(self.store)
        if self.store.tail_missing:
            self._start_again()

    def _start_again(self) -> None:
        """There was no room for the tail; now there is."""
        with pytest.raises(DiskFull):
            self.store.rotate(1)
        self.world.full = False
        self.store.start()
        if self.store.tail_missing:
            raise self.store.tail_missing
        self.recovered += b"".join(payload for _, _, payload in self.store.tail_frames())

    def append(self, *sizes: int) -> None:
        """Submit entries of those sizes."""
        for size in sizes:
            number = len(self.ledger.submitted) + 1
            entry = (b"%d:" % number + self.seed.encode() * size)[:size]
            if not self.store.reserve(size):
                self.write()
                try:
                    self.store.rotate(size)
                except DiskFull:
                    self.world.full = False
                    self.store.rotate(size)
                self.ledger.acknowledged = self.store.durable_lsn
            assert self.store.reserve(size)
            self.ledger.submitted.append(entry)
            assert self.store.append(entry) == number

    def write(self) -> None:
        """Hand what was appended to the system."""
        self.ledger.written = self.store.write(self.store.take())

    def flush(self) -> None:
        """Have everything acknowledged."""
        self.write()
        self.ledger.acknowledged = self.store.sync()

    def commit(self, *sizes: int) -> None:
        """Submit entries in one frame, and have them acknowledged."""
        self.append(*sizes)
        self.flush()

    def checkpoint(self) -> None:
        """Seal, fold, check and adopt."""
        self.store.seal()
        directory = SimulatedDirectory(self.world)
        reading = read_chain(directory, end_lsn=self.store.sealed_lsn)
        header = CheckpointHeader(
            database=reading.database,
            nonce=Nonces(f"{self.seed} checkpoint {reading.lsn}")(),
            lsn=reading.lsn,
            running=reading.running,
            fingerprint=reading.fingerprint,
            schema=reading.schema,
            created=0,
        )
        temporary = temporary_checkpoint_name(header)
        writer = Writer(directory, temporary, header)
        for count, payload in reading.checkpoint_frames():
            writer.write(count, payload)
        for _, count, payload in reading.log_frames():
            writer.write(count, payload)
        writer.finish()
        reading.close()
        self.store.check_checkpoint(temporary, header.lsn)
        self.store.adopt(temporary)

    def try_checkpoint(self) -> None:
        """Make a checkpoint, or do without, as an owner does."""
        try:
            self.checkpoint()
        except (OSError, DiskFull):
            self.world.full = False
            self.store.reserve(1)  # raises if the store is dead


def taken_over(world: World, ledger: Ledger, seed: str) -> Session:
    """The next owner, after a kill or a crash: it finds what it must, and shows it to views."""
    session = Session(world, ledger, seed)
    found = session.store.applied_lsn
    assert max(ledger.acknowledged, ledger.written) <= found <= len(ledger.submitted)
    assert session.recovered == b"".join(ledger.submitted[:found])
    ledger.shown(found)
    return session


def crash_points(
    work: Callable[[World, Ledger], None], world: World | None = None, ledger: Ledger | None = None
) -> list[CrashPoint]:
    """Run a workload, and take down the moment before each of its operations, and its end."""
    world, ledger = world or World(), ledger or Ledger()
    points: list[CrashPoint] = []

    def observe(call: str) -> None:
        history = ledger.submitted
        numbers = len(history), ledger.acknowledged
        points.append(CrashPoint(world.moment(), *numbers, call, history, len(world.syncs)))

    world.observe = observe
    try:
        work(world, ledger)
    finally:
        observe("end")
    return points


class Outcome(NamedTuple):
    """What came out of an image."""

    recovered: int
    """How many entries there were."""
    checksum: int
    """Of these entries."""
    least: int
    """How many there were at the least when a file was taken away, or damaged, too."""


def recover_and_go_on(image: Image, submitted: Sequence[bytes], *, clean: bool = True) -> int:
    """Open what a crash left, twice, commit one more, lose power, and open again.

    Args:
        image: what it left.
        submitted: what it may have left of.
        clean: whether `verify` must find nothing.

    Returns:
        How many entries there were; -1 if there was no database.
    """
    world = World(image)
    try:
        store = open_store(world, "r", create=False)
    except UsageError:
        # No DATABASE, or nothing at all: not even the directory's own name.
        for there in {True, bool(image)}:
            open_store(World(image, directory=there), "r").close()
        return -1
    assert not clean or list(verify(SimulatedDirectory(World(image)))) == []
    assert store.warnings == [], store.warnings
    found = entries_of(store)
    recovered = store.applied_lsn
    assert found == b"".join(submitted[:recovered])
    store.close()
    session = Session(world, Ledger(list(submitted[:recovered])), "s")
    assert session.store.created == (recovered == 0)
    assert session.store.created or session.recovered == found
    # As long as the lost one, which must not rise again.
    session.commit(len(submitted[recovered]) if recovered < len(submitted) else 20)
    session.store.close()
    last = open_store(World(next(iter(images(world.moment(), limit=1)))), "t", create=False)
    assert entries_of(last) == b"".join(session.ledger.submitted)
    last.close()
    return recovered


def recover_without(image: Image, missing: str) -> tuple[int, bytes] | None:
    """Open what a crash left, but for one file; how many entries there were, and they.

    None if that is refused.
    """
    try:
        store = open_store(World(tuple(f for f in image if f[0] != missing)), "r", create=False)
        found = entries_of(store)
    except (CorruptError, UsageError):
        return None
    return store.applied_lsn, found


def recover_damaged(image: Image) -> bytes | None:
    """Open what a crash left with its newest checkpoint damaged: the entries; None without one."""
    newest = max((name for name, _ in image if parse_checkpoint_name(name)), default=None)
    if newest is None:
        return None
    store = open_store(
        World(tuple((n, c[:-1] if n == newest else c) for n, c in image)), "r", create=False
    )
    assert store.warnings
    return entries_of(store)


def digest_of(image: Image) -> bytes:
    """What tells one image from others."""
    digest = hashlib.blake2b(repr([(name, len(content)) for name, content in image]).encode())
    for _, content in image:
        digest.update(content)
    return digest.digest()


class Oracle:
    """Judges crash points; equal images are opened once.

    Args:
        submitted: all entries of the workload, for points that don't have their own.
        lose_files: also take away each file in turn: that must be noticed; and damage the newest
            checkpoint: that must lose nothing.
        clean: whether `verify` must find nothing.
    """

    def __init__(
        self, submitted: Sequence[bytes] = (), *, lose_files: bool = False, clean: bool = True
    ) -> None:
        self._submitted = submitted
        self._clean = clean
        self._lose_files = lose_files
        self._outcomes: dict[bytes, Outcome] = {}

    @property
    def images(self) -> int:
        """How many different ones there were."""
        return len(self._outcomes)

    def check(self, points: Iterable[CrashPoint], *, limit: int = 400) -> None:
        """Every image must give what was acknowledged, or more of what was submitted, in order."""
        for point in points:
            self.check_images(point, images(point.moment, limit=limit))

    def check_images(self, point: CrashPoint, found: Iterable[Image]) -> None:
        """As `check`, of some of the images that a crash at that point may leave."""
        history = point.history or self._submitted
        checksums = [0]
        for entry in history:
            checksums.append(crc32(entry, checksums[-1]))
        for image in found:
            key = digest_of(image)
            outcome = self._outcomes.get(key)
            if outcome is None:
                outcome = self._outcomes[key] = self._judge(image, history)
            # Another workload may have led to the same image.
            assert point.acknowledged <= outcome.recovered <= point.submitted, point.call
            assert outcome.checksum == checksums[outcome.recovered], point.call
            assert point.acknowledged <= outcome.least, point.call

    def _judge(self, image: Image, history: Sequence[bytes]) -> Outcome:
        recovered = least = max(recover_and_go_on(image, history, clean=self._clean), 0)
        if self._lose_files:
            assert recover_damaged(image) in {None, b"".join(history[:recovered])}
            for name, _ in image:
                rest = recover_without(image, name)
                if rest is not None:
                    assert rest[1] == b"".join(history[: rest[0]])
                    least = min(least, rest[0])
        return Outcome(recovered, crc32(b"".join(history[:recovered])), least)


def complete(work: Callable[[World, Ledger], None]) -> list[bytes]:
    """What a workload submits when nothing goes wrong."""
    ledger = Ledger()
    work(World(), ledger)
    return ledger.submitted


def with_entries(*sizes: int, mark: bool = True) -> tuple[World, Session]:
    """A database with entries of those sizes, each committed."""
    world = World()
    session = Session(world, Ledger(), "a")
    for size in sizes:
        session.commit(size)
    if mark:
        session.store.mark()
    return world, session


def reopened(world: World) -> tuple[Store, bytes]:
    """The store as the next owner finds it, and its entries."""
    store = open_store(world, "b", create=False)
    return store, entries_of(store)


def segments_of(world: World) -> list[str]:
    """The names of the segments, in the order of publication."""
    found = [name for name in world.names if parse_segment_name(name)]
    return sorted(found, key=lambda name: parse_segment_name(name) or (0, 0))


def checkpoints_of(world: World) -> list[int]:
    """The LSNs of the checkpoints."""
    return sorted(filter(None, map(parse_checkpoint_name, world.names)))


def damage(world: World, name: str, offset: int, data: bytes = b"\xff") -> None:
    """Write over a file, behind everybody's back."""
    inode = world.inodes[world.names[name]]
    cut = inode.cache[:offset].ljust(offset, b"\0")
    inode.cache = cut + data + inode.cache[offset + len(data) :]
    inode.durable = inode.cache
