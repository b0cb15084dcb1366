"""What the tests of `cairn doctor` share: a database with a known history, and the oracle.

The database has had four owners, of which three were killed, checkpoints, a superseded segment, and
a tail that nothing proves. What is right for a damaged image is worked out from the undamaged one:
a frame is whole if none of its bytes has changed, a checkpoint if none of the file has; a state can
be had if whole frames lead to it without a gap.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cairndb.appender_parts import StoreOptions
from cairndb.chain import Files
from cairndb.checkpoint import parse_checkpoint_name
from cairndb.checkpointer import make_checkpoint
from cairndb.diagnosis import Examined, examine
from cairndb.errors import CairnError
from cairndb.frame import FrameReader
from cairndb.log import Segment, parse_segment_name, read_segment
from cairndb.opening import own
from cairndb.salvage import fold_route
from cairndb.schema import compile_root
from cairndb.transaction import Update
from crashing import Nonces
from simulated import Image, SimulatedDirectory, World

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from cairndb.engine import Engine

KIND = compile_root(dict[str, str], guard=True)


def world_of(image: Image) -> World:
    """A disk with that on it, where unfinished files can be looked at too."""
    world = World(image)
    for inode in world.inodes.values():
        inode.readable = True
    return world


def options(seed: str) -> StoreOptions:
    """Segments that hold a few updates, with the same nonces in every run."""
    return StoreOptions(4096 + 500, 4096 + 900, Nonces(seed))


def open_engine(world: World, seed: str) -> Engine:
    """An engine that owns the world's directory."""
    return own(SimulatedDirectory(world), KIND, create=True, options=options(seed)).engine


def image_of(world: World) -> Image:
    """What is in the cache of a world."""
    return tuple((name, world.inodes[number].cache) for name, number in world.names.items())


@dataclass
class History:
    """A database, and its state after each update."""

    world: World = field(default_factory=World)
    seed: str = "history"
    states: list[bytes] = field(default_factory=lambda: [b""])
    """By LSN, encoded; nothing at 0."""
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The next owner; the last one was killed, if it wasn't closed."""
        for directory in self.world.locks[:]:
            directory.close()
        self.engine = open_engine(self.world, f"{self.seed} {len(self.states)}")
        self.note()

    def note(self) -> None:
        """Take down the state, if there has been an update."""
        if self.engine.applied_lsn == len(self.states):
            self.states.append(KIND.encode(self.engine.tree.root))

    def put(self, size: int, *, durable: bool = True) -> None:
        """One update."""
        with Update[dict[str, str]](self.engine, None, durable=durable) as root:
            root[f"key {len(self.states) % 4}"] = f"{len(self.states)} " * size
        self.note()

    def write(self) -> None:
        """Hand to the system what nobody waits for."""
        store = self.engine.store
        assert store is not None
        store.write(store.take())

    def checkpoint(self) -> None:
        """Make a checkpoint of everything."""
        store = self.engine.store
        assert store is not None
        store.seal()
        directory = SimulatedDirectory(self.world)
        report = make_checkpoint(directory, store.sealed_lsn, lambda: None)
        store.check_checkpoint(report.file, report.lsn)
        store.adopt(report.file)

    def image(self) -> Image:
        """What is in the cache."""
        return image_of(self.world)


def lived(world: World | None = None, seed: str = "history") -> History:
    """A database with everything in it: see the module.

    Args:
        world: an empty one; None for a new one.
        seed: another gives another database.
    """
    history = History(world or World(), seed)
    for size in (5, 30, 10):
        history.put(size)
    history.checkpoint()
    for size in (20, 60, 3, 40):
        history.put(size)
    history.restart()
    for size in (10, 20):
        history.put(size)
    history.checkpoint()
    for size in (10, 70, 1):
        history.put(size)
    for _ in range(2):
        history.put(4, durable=False)
        history.write()
    history.restart()
    for size in (5, 40, 6, 7):
        history.put(size)
    history.put(400, durable=False)  # alone in a segment, which is then superseded
    history.write()
    history.restart()
    history.put(20)
    for _ in range(2):
        history.put(3, durable=False)
        history.write()
    return history


class _Whole(NamedTuple):
    file: str
    offset: int
    content: bytes
    first_lsn: int
    last_lsn: int


class Oracle:
    """Says which states a damaged image of a database still holds.

    Args:
        image: undamaged.
    """

    def __init__(self, image: Image) -> None:
        self._contents = dict(image)
        self.frames: list[_Whole] = []
        self._segments: dict[str, Segment] = {}
        directory = SimulatedDirectory(world_of(image))
        for name, content in image:
            if parse_segment_name(name):
                file = directory.open(name)
                self._segments[name] = segment = read_segment(directory, name, file)
                header = segment.header
                reader = FrameReader(
                    file.read, header.nonce, segment.begin, len(content), header.first_lsn
                )
                self.frames += [
                    _Whole(name, f.offset, content[f.offset : f.end], f.first_lsn, last)
                    for f in reader
                    if (last := f.first_lsn + f.entries - 1) >= f.first_lsn
                ]

    def reach(self, image: Image) -> int:
        """The highest LSN whose state can be had."""
        now = dict(image)
        bases = [
            parse_checkpoint_name(name) or 0
            for name, content in self._contents.items()
            if parse_checkpoint_name(name) and content in now.values()
        ]
        whole = [frame for frame in self.frames if self._is_whole(frame, now)]
        return max(self._reach(base, whole) for base in (0, *bases))

    @staticmethod
    def _reach(base: int, whole: list[_Whole]) -> int:
        nexts = {frame.first_lsn: frame.last_lsn for frame in whole}
        while base + 1 in nexts:
            base = nexts[base + 1]
        return base

    def _is_whole(self, frame: _Whole, now: dict[str, bytes]) -> bool:
        for name, content in now.items():
            if content[frame.offset : frame.offset + len(frame.content)] == frame.content:
                begin = self._segments[frame.file].begin
                if content[:begin] == self._contents[frame.file][:begin]:
                    return True
                # A copy of what a later segment should have needs more than its LSN to connect.
                later = any(
                    other > frame.file
                    and (parse_segment_name(other) or (0, 0))[1] <= frame.last_lsn
                    for other in filter(parse_segment_name, now)
                )
                named = name == frame.file and self._names_nonce(frame.file, content, now)
                if named and not later:
                    return True
        return False

    def _names_nonce(self, file: str, content: bytes, now: dict[str, bytes]) -> bool:
        """Whether the nonce is still to be found: in the file itself, or in the one after it."""
        header = self._segments[file].header
        head, database = content[:4096], str(header.database).encode()
        if header.nonce in head and (database[:18] in head or database[18:] in head):
            return True
        return any(
            other.header.predecessor_nonce == header.nonce
            and now.get(name, b"")[: other.begin] == self._contents[name][: other.begin]
            for name, other in self._segments.items()
        )


def opened(image: Image) -> tuple[int, bytes] | str:
    """What opening really does: the LSN and the state, or the error."""
    world = world_of(image)
    try:
        engine = open_engine(world, "opened")
    except CairnError as error:
        return f"{type(error).__name__} {error}"
    return engine.applied_lsn, KIND.encode(engine.tree.root)


def judge(image: Image, states: list[bytes], *, least: int = 0) -> Examined:
    """Examine a directory, and compare with what opening does and with what there was.

    Args:
        image: of the directory.
        states: by LSN.
        least: the LSN that can be had at the least.
    """
    world = world_of(image)
    examined = examine(SimulatedDirectory(world))
    assert world.calls == []
    assert image_of(world) == image
    prediction, real = examined.prediction, opened(image)
    if isinstance(real, str):
        assert f"{type(prediction.error).__name__} {prediction.error}" == real
        assert examined.diagnosis.opening.outcome == "refuses"
        assert not examined.diagnosis.healthy
    else:
        assert prediction.error is None, prediction.error
        assert (prediction.lsn or 1) == real[0]
        assert prediction.creates or states[prediction.lsn] == real[1]
        least = max(least, prediction.lsn)
    with closing(Files(SimulatedDirectory(world), keep=False)) as files:
        reached = 0
        for route in examined.routes:
            folded = fold_route(files, route, None, lambda: None)
            assert folded.problem == ""
            assert folded.position == route.position
            assert folded.fold.encode() == states[folded.position.lsn]
            reached = max(reached, folded.position.lsn)
    assert reached >= least, (reached, least, examined.diagnosis.verdict)
    return examined


def flips(image: Image, step: int, start: int = 0) -> Iterator[tuple[str, int, Image]]:
    """Images with a bit flipped in every so many bytes: file, offset, image."""
    number = start
    for index, (name, content) in enumerate(image):
        while number < len(content):
            flipped = bytes([content[number] ^ (1 << number % 8)])
            changed = content[:number] + flipped + content[number + 1 :]
            yield name, number, (*image[:index], (name, changed), *image[index + 1 :])
            number += step
        number -= len(content)


def without(image: Image, *names: str) -> Image:
    """An image without some files."""
    return tuple((name, content) for name, content in image if name not in names)


def changed(image: Image, name: str, content: bytes) -> Image:
    """An image with another content of a file."""
    return tuple((n, content if n == name else c) for n, c in image)


class Wrecker:
    """Damages images in several ways at once.

    Args:
        seed: of what it does.
        versions: earlier contents of each file, as a disk that loses writes may show them.
    """

    def __init__(self, seed: random.Random, versions: dict[str, list[bytes]]) -> None:
        self._seed = seed
        self._versions = versions

    def wreck(self, image: Image) -> Image:
        """An image with one to four kinds of damage."""
        ways = (self._flip, self._cut, self._overwrite, self._remove, self._age, self._swap)
        for way in self._seed.choices(ways, k=self._seed.randrange(1, 5)):
            image = way(image, *self._seed.choice(image)) if image else image
        return image

    def _flip(self, image: Image, name: str, content: bytes) -> Image:
        place = self._seed.randrange(len(content) + 1)
        byte = bytes([content[place] ^ (1 << self._seed.randrange(8))]) if content[place:] else b""
        return changed(image, name, content[:place] + byte + content[place + 1 :])

    def _cut(self, image: Image, name: str, content: bytes) -> Image:
        return changed(image, name, content[: self._seed.randrange(len(content) + 1)])

    def _overwrite(self, image: Image, name: str, content: bytes) -> Image:
        place, size = self._seed.randrange(len(content) + 1), self._seed.choice([8, 64, 512])
        junk = self._seed.choice([bytes(size), self._seed.randbytes(size)])
        return changed(image, name, content[:place] + junk + content[place + size :])

    def _remove(self, image: Image, name: str, _: bytes) -> Image:
        return without(image, name)

    def _age(self, image: Image, _: str, __: bytes) -> Image:
        """An earlier version of a file, also of one that had been removed."""
        name = self._seed.choice(sorted(self._versions))
        return (*without(image, name), (name, self._seed.choice(self._versions[name])))

    def _swap(self, image: Image, name: str, content: bytes) -> Image:
        other, others = self._seed.choice(image)
        return changed(changed(image, name, others), other, content)


def earlier_versions(seen: Iterable[Image]) -> dict[str, list[bytes]]:
    """The contents that each file has had under its own name."""
    versions: dict[str, set[bytes]] = {}
    for image in seen:
        for name, content in image:
            if ".tmp-" not in name:
                versions.setdefault(name, set()).add(content)
    return {name: sorted(contents) for name, contents in versions.items()}
