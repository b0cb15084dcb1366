"""What the tests of damage share: two databases with everything in them, and what is right.

A damaged copy is *right* (every entry is there, equal to the original), *refused* (with an error
that names the file, the offset and the reason), or, in one case that nobody can tell from a torn
write, *shorter*: frames at the end of the newest segment are damaged, and so is everything after
them that proved them durable. `undecidable` says which these are, from the original's own frames.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from cairndb.errors import CairnError, CorruptError, UsageError
from cairndb.frame import FrameReader
from cairndb.log import parse_segment_name, publication, read_segment
from cairndb.recovery import verify
from cairndb.store import Store, StoreOptions
from crashing import FINGERPRINT, SCHEMA, Ledger, Nonces, Session, entries_of
from simulated import Image, SimulatedDirectory, SimulatedFile, World

Files = dict[str, bytes]


class EndlessError(Exception):
    """Far more was read than there is."""


class MeteredFile(SimulatedFile):
    """A file that counts what is read of its directory."""

    spend: Callable[[int], None]

    def read(self, offset: int, length: int) -> bytes:
        """As `SimulatedFile.read`."""
        data = super().read(offset, length)
        self.spend(len(data) + 64)
        return data


class MeteredDirectory(SimulatedDirectory):
    """A directory of which no more than so many times its size can be read.

    Args:
        world: the disk.
        times: how often each byte may be read, with something for every call.
    """

    def __init__(self, world: World, times: int = 12) -> None:
        super().__init__(world)
        total = sum(len(inode.cache) for inode in world.inodes.values())
        self._left = times * (total + (1 << 16))

    def spend(self, amount: int) -> None:
        """Count what was read."""
        self._left -= amount
        if self._left < 0:
            raise EndlessError

    def open(self, name: str, *, write: bool = False) -> SimulatedFile:
        """As `SimulatedDirectory.open`."""
        inode = self.world.inodes[self._inode(name)]
        file = MeteredFile(self.world, inode, f"{self.path}/{name}", write=write)
        file.spend = self.spend
        return file


def image_of(world: World) -> Files:
    """All files as they are seen now."""
    return {name: world.inodes[number].cache for name, number in world.names.items()}


def as_image(files: Files) -> Image:
    """Files as a `World` takes them."""
    return tuple(sorted(files.items()))


class FrameMap(NamedTuple):
    """A frame of the newest segment."""

    offset: int
    end: int
    """Of what its checksums cover."""
    first_lsn: int
    entries: int
    durable_lsn: int


class Sample(NamedTuple):
    """A database, and what is in it."""

    files: Files
    submitted: list[bytes]
    newest: str
    frames: list[FrameMap]
    """Of the newest segment."""
    header_lsn: int
    """What headers prove."""

    @property
    def lsns(self) -> int:
        """How many entries there are."""
        return len(self.submitted)

    @property
    def entries(self) -> bytes:
        """All of them."""
        return b"".join(self.submitted)

    def with_file(self, name: str, content: bytes) -> Files:
        """The files, with one of them replaced."""
        return {**self.files, name: content}


def sample_of(files: Files, submitted: list[bytes]) -> Sample:
    """Find the frames of the newest segment."""
    directory = SimulatedDirectory(World(as_image(files)))
    newest = max(filter(parse_segment_name, files), key=publication)
    file = directory.open(newest)
    segment = read_segment(directory, newest, file)
    nonce, first_lsn = segment.header.nonce, segment.header.first_lsn
    frames = [
        FrameMap(
            frame.offset,
            frame.content_end,
            frame.first_lsn,
            frame.entries,
            frame.durable_lsn,
        )
        for frame in FrameReader(file.read, nonce, segment.begin, file.size(), first_lsn)
    ]
    return Sample(files, list(submitted), newest, frames, first_lsn - 1)


def undecidable(sample: Sample, content: bytes) -> int:
    """The last LSN that a damaged newest segment may show without being refused.

    Args:
        sample: the original.
        content: of the newest segment, damaged; at least as long as the original.

    Returns:
        The original's last LSN if it is decidable: then all is there, or it is refused.
    """
    original = sample.files[sample.newest]
    intact = [f for f in sample.frames if content[f.offset : f.end] == original[f.offset : f.end]]
    proven = max((frame.durable_lsn for frame in intact), default=sample.header_lsn)
    for frame in sample.frames:
        if frame.entries and frame not in intact:
            shorter = frame.first_lsn - 1
            return shorter if max(proven, sample.header_lsn) <= shorter else sample.lsns
    return sample.lsns


def workload(world: World, ledger: Ledger, moments: list[Files], seeds: str) -> Session:
    """Four owners, of which the first three are killed; `moments` gets the files in between."""

    def remember() -> None:
        moments.append(image_of(world))

    first = Session(world, ledger, f"{seeds}a")
    first.commit(20)
    remember()
    first.commit(5, 1, 30)
    first.commit(600)  # larger than a segment
    first.checkpoint()
    first.commit(9)
    remember()
    first.checkpoint()
    first.commit(11)
    first.append(40)
    first.write()
    first.append(41)
    first.write()
    remember()
    second = Session(world, ledger, f"{seeds}b")  # rewrites the tail
    second.commit(90)
    second.store.mark()
    second.append(12)
    second.write()  # superseded, in a segment that isn't
    remember()
    Session(world, ledger, f"{seeds}c")  # its segment is superseded as a whole
    remember()
    last = Session(world, ledger, f"{seeds}d")
    last.commit(50)
    last.commit(190)
    remember()
    last.commit(13)
    last.commit(24, 7)
    return last


def build(*, marked: bool, seeds: str = "") -> tuple[Sample, list[Files]]:
    """A database, closed in good order or killed, and what its files were at earlier moments.

    Args:
        marked: whether the last entries are proven.
        seeds: other ones give another database, with the same LSNs.
    """
    world, ledger = World(), Ledger()
    moments: list[Files] = []
    last = workload(world, ledger, moments, seeds)
    if marked:
        last.store.mark()
        last.store.sync()
    last.store.close()
    return sample_of(image_of(world), ledger.submitted), moments


class Result(NamedTuple):
    """What came of opening."""

    lsn: int
    """-1: refused."""
    entries: bytes
    error: CairnError | None


def opened(files: Files) -> Result:
    """Open as the owner, and read everything."""
    directory = MeteredDirectory(World(as_image(files)))
    ticks = iter(range(1 << 30))
    options = StoreOptions(4096 + 360, 4096 + 720, Nonces("damage"))
    try:
        store = Store.open(
            directory,
            schema=SCHEMA,
            fingerprint=FINGERPRINT,
            create=False,
            options=options,
            clock=lambda: next(ticks),
        )
        entries = entries_of(store)
    except (CorruptError, UsageError, CairnError) as error:
        return Result(-1, b"", error)
    lsn = store.applied_lsn
    store.close()
    return Result(lsn, entries, None)


def check_refusal(error: CairnError) -> None:
    """It must name file, offset and reason."""
    if type(error) is CorruptError:
        assert error.file.startswith("simulated.cairn")
        assert error.offset >= 0
        assert len(error.reason) > 10
    else:
        assert "simulated.cairn" in str(error)


def judge(sample: Sample, files: Files, shortest: int | None = None) -> str:
    """Open damaged files, and say what came of it: right, refused or shorter; nothing else.

    Args:
        sample: the original.
        files: damaged.
        shortest: the last LSN that may be shown; None: all, unless it is refused.
    """
    result = opened(files)
    if result.error is not None:
        check_refusal(result.error)
        return "refused"
    if (result.lsn, result.entries) == (sample.lsns, sample.entries):
        return "right"
    assert shortest is not None, result.lsn
    assert result.lsn == shortest, (result.lsn, shortest)
    assert result.entries == b"".join(sample.submitted[:shortest])
    return "shorter"


def findings(files: Files) -> list[CorruptError]:
    """What `cairn verify` finds."""
    return list(verify(MeteredDirectory(World(as_image(files)), 24)))


class Wanderer:
    """An owner who does this and that, and is killed and followed by another now and then."""

    def __init__(self, world: World, ledger: Ledger, seed: str, source: random.Random) -> None:
        self.world, self.ledger, self.seed, self.source = world, ledger, seed, source
        self.session = Session(world, ledger, seed)
        self._owners = 0

    def go_on(self, steps: int) -> None:
        """So many things."""
        for _ in range(steps):
            source = self.source
            what = source.choice(
                (self._commit, self._mark, self._checkpoint, self._write, self._end)
            )
            what()

    def _commit(self) -> None:
        self.session.commit(*self.source.choice(([5], [20], [60], [150], [300], [5, 30])))

    def _mark(self) -> None:
        self.session.store.mark()

    def _checkpoint(self) -> None:
        if self.session.store.written_lsn > self.session.store.checkpoint_lsn:
            self.session.checkpoint()

    def _write(self) -> None:
        self.session.append(25)
        self.session.write()

    def _end(self) -> None:
        if self.source.random() < 0.5:
            self._write()
        self.session.store.close()
        self._owners += 1
        self.session = Session(self.world, self.ledger, f"{self.seed}{self._owners}")


def copies(seed: int) -> tuple[Files, Files]:
    """A database and a copy of it, after both went on: other entries under the same LSNs.

    Args:
        seed: of everything that is random.
    """
    source = random.Random(seed)  # noqa: S311  reproducible, not secret
    original = Wanderer(World(), Ledger(), "s", source)
    original.session.commit(20)
    original.go_on(source.randrange(1, 9))
    world = World(as_image(image_of(original.world)))
    ledger = Ledger(list(original.ledger.submitted))
    one = original  # copied while it was open, which goes on
    if source.random() < 0.5:
        one = Wanderer(original.world, original.ledger, "A", source)
    one.go_on(source.randrange(9))
    two = Wanderer(world, ledger, "B", source)
    two.go_on(source.randrange(9))
    for each in (one, two):
        if source.random() < 0.6:
            each.session.store.mark()
    return image_of(one.world), image_of(two.world)
