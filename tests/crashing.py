"""What the crash tests share: an owner at work, the moments to crash at, and the oracle.

The oracle: what recovery finds is everything that was acknowledged, or that and the first of what
was submitted besides, in order; finding it again gives the same; and what was lost doesn't rise
again when an entry of the same length takes its place.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from cairndb.checkpoint import (
    CheckpointHeader,
    Writer,
    parse_checkpoint_name,
    temporary_checkpoint_name,
)
from cairndb.errors import CorruptError, DiskFull, UsageError
from cairndb.log import parse_segment_name
from cairndb.recovery import read_chain
from cairndb.store import Store, StoreOptions
from simulated import Image, Moment, SimulatedDirectory, World, images

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
    """What was submitted, and how much of it was acknowledged."""

    submitted: list[bytes] = field(default_factory=list)
    acknowledged: int = 0


class CrashPoint(NamedTuple):
    """A moment to crash at, and what was promised by then."""

    moment: Moment
    submitted: int
    acknowledged: int
    call: str


class Session:
    """One owner, working on a world, with a ledger of what it was promised."""

    def __init__(self, world: World, ledger: Ledger, seed: str) -> None:
        self.world, self.ledger, self.seed = world, ledger, seed
        try:
            self.store = open_store(world, seed)
        except DiskFull:
            self.store = open_store(world, seed)
        self.recovered = b"" if self.store.created else entries_of(self.store)
        if self.store.tail_missing:
            self._start_again()

    def _start_again(self) -> None:
        """There was no room for the tail; now there is."""
        with pytest.raises(DiskFull):
            self.store.rotate(1)
        self.store.start()
        assert not self.store.tail_missing
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
                    self.store.rotate(size)
                self.ledger.acknowledged = self.store.durable_lsn
            assert self.store.reserve(size)
            self.ledger.submitted.append(entry)
            assert self.store.append(entry) == number

    def write(self) -> None:
        """Hand what was appended to the system."""
        self.store.write(self.store.take())

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
            self.store.reserve(1)  # raises if the store is dead


def crash_points(
    work: Callable[[World, Ledger], None], world: World | None = None, ledger: Ledger | None = None
) -> list[CrashPoint]:
    """Run a workload, and take down the moment before each of its operations, and its end."""
    world, ledger = world or World(), ledger or Ledger()
    points: list[CrashPoint] = []

    def observe(call: str) -> None:
        points.append(CrashPoint(world.moment(), len(ledger.submitted), ledger.acknowledged, call))

    world.observe = observe
    try:
        work(world, ledger)
    finally:
        observe("end")
    return points


def recover_and_go_on(image: Image, submitted: list[bytes]) -> int:
    """Open what a crash left, twice, commit one more, lose power, and open again.

    Returns:
        How many entries there were; -1 if there was no database.
    """
    world = World(image)
    try:
        store = open_store(world, "r", create=False)
    except UsageError:
        open_store(World(image), "r").close()
        return -1
    assert store.warnings == [], store.warnings
    found = entries_of(store)
    recovered = store.applied_lsn
    assert found == b"".join(submitted[:recovered])
    store.close()
    session = Session(world, Ledger(submitted[:recovered]), "s")
    assert session.store.created == (recovered == 0)
    assert session.store.created or session.recovered == found
    # As long as the lost one, which must not rise again.
    session.commit(len(submitted[recovered]) if recovered < len(submitted) else 20)
    session.store.close()
    durable = World(next(iter(images(world.moment()))))
    last = open_store(durable, "t")
    assert entries_of(last) == b"".join(session.ledger.submitted)
    last.close()
    return recovered


def recover_without(image: Image, missing: str, submitted: list[bytes]) -> int:
    """Open what a crash left, but for one file; a large number if that is refused."""
    try:
        store = open_store(World(tuple(f for f in image if f[0] != missing)), "r", create=False)
        found = entries_of(store)
    except (CorruptError, UsageError):
        return 1 << 60
    assert found == b"".join(submitted[: store.applied_lsn])
    return store.applied_lsn


def digest_of(image: Image) -> bytes:
    """What tells one image from others."""
    digest = hashlib.blake2b(repr([(name, len(content)) for name, content in image]).encode())
    for _, content in image:
        digest.update(content)
    return digest.digest()


class Oracle:
    """Judges crash points; equal images are opened once.

    Args:
        submitted: all entries of the workload.
        lose_files: also take away each file in turn: that must be noticed.
    """

    def __init__(self, submitted: list[bytes], *, lose_files: bool = False) -> None:
        self._submitted = submitted
        self._lose_files = lose_files
        self._outcomes: dict[bytes, tuple[int, int]] = {}

    @property
    def images(self) -> int:
        """How many different ones there were."""
        return len(self._outcomes)

    def check(self, points: Iterable[CrashPoint], *, limit: int = 400) -> None:
        """Every image must give what was acknowledged, or more of what was submitted, in order."""
        for point in points:
            for image in images(point.moment, limit=limit):
                key = digest_of(image)
                if key not in self._outcomes:
                    self._outcomes[key] = self._judge(image)
                recovered, least = self._outcomes[key]
                assert point.acknowledged <= recovered <= point.submitted, point.call
                assert point.acknowledged <= least, point.call

    def _judge(self, image: Image) -> tuple[int, int]:
        recovered = max(recover_and_go_on(image, self._submitted), 0)
        least = recovered
        if self._lose_files:
            for name, _ in image:
                least = min(least, recover_without(image, name, self._submitted))
        return recovered, least


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
