"""A directory that remembers what is on disk apart from what a crash could still take back.

A `World` is a disk with one directory and its page cache. `SimulatedDirectory` is the real
interface over it. What a crash may leave (the numbers are those of `cairndb.files`):

- A file's writes and sizes since its last sync survive in any of these ways: none of them, all,
  every prefix, all but one; and one of them torn: its first sectors, all its sectors but one, its
  first bytes, or zeros in its place (the size came through, the data didn't). (1, 2, 5)
- Names are apart from contents: until the directory is synced each creation, renaming and removal
  may be missing. Those of the same name or the same file keep their order, others overtake each
  other. (3)
- What a failed sync should have covered stays uncertain for ever: no later sync covers it. (4)

A kill is another thing: a new `SimulatedDirectory` on the same world sees the cache, and what
wasn't synced is still uncertain.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations, pairwise, product
from typing import NamedTuple

SECTOR = 512
Image = tuple[tuple[str, bytes], ...]


class Change(NamedTuple):
    """A write (data), or a new size (data is None), of a file."""

    offset: int
    data: bytes | None

    def apply(self, content: bytes) -> bytes:
        """The content after it."""
        if self.data is None:
            return content[: self.offset].ljust(self.offset, b"\0")
        before = content[: self.offset].ljust(self.offset, b"\0")
        return before + self.data + content[self.offset + len(self.data) :]


class Naming(NamedTuple):
    """A creation (old is None), a removal (new is None), or a renaming of a file."""

    inode: int
    old: str | None
    new: str | None

    def apply(self, names: dict[str, int]) -> None:
        """Change a directory."""
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None:
            names[self.new] = self.inode

    def touches(self, other: "Naming") -> bool:
        """Whether the two keep their order."""
        names = {self.old, self.new} - {None}
        return self.inode == other.inode or bool(names & {other.old, other.new})


class Moment(NamedTuple):
    """All that a crash at this moment depends on."""

    contents: dict[int, bytes]
    changes: dict[int, tuple[Change, ...]]
    names: dict[str, int]
    namings: tuple[Naming, ...]


@dataclass
class Inode:
    """A file: what is on disk, what may be, and what the cache shows."""

    durable: bytes = b""
    lost: list[Change] = field(default_factory=list)
    pending: list[Change] = field(default_factory=list)
    cache: bytes = b""
    holds: list["SimulatedFile"] = field(default_factory=list)


class World:
    """A disk, its cache, and the faults to come.

    Args:
        image: what is on it.

    `observe` is called before each call that changes something, with its name. `faults` maps the
    number of such a call to an errno that it fails with. Of the syncs that have something to do,
    those whose numbers are in `skipped` do nothing and say that all is well.
    """

    def __init__(self, image: Image = ()) -> None:
        self.inodes = {number: Inode(data, cache=data) for number, (_, data) in enumerate(image)}
        self.durable_names = {name: number for number, (name, _) in enumerate(image)}
        self.names = dict(self.durable_names)
        self.lost: list[Naming] = []
        self.pending: list[Naming] = []
        self.locks: list[SimulatedDirectory] = []
        self.calls: list[tuple[str, str]] = []
        self.observe: Callable[[str], None] = lambda _: None
        self.faults: dict[int, int] = {}
        self.syncs: list[tuple[str, str]] = []
        self.skipped: set[int] = set()

    def call(self, what: str, path: str) -> None:
        """One call to the system is about to change something."""
        self.observe(what)
        self.calls.append((what, path))
        code = self.faults.get(len(self.calls))
        if code is not None:
            raise OSError(code, os.strerror(code), path)

    def skip(self) -> bool:
        """Whether this sync is one that lies."""
        self.syncs.append(self.calls[-1])
        return len(self.syncs) in self.skipped

    def change(self, inode: Inode, change: Change) -> None:
        """Write to the cache."""
        inode.cache = change.apply(inode.cache)
        inode.pending.append(change)

    def name(self, naming: Naming) -> None:
        """Change the directory in the cache."""
        naming.apply(self.names)
        self.pending.append(naming)

    def moment(self) -> Moment:
        """What a crash now would depend on."""
        return Moment(
            {number: inode.durable for number, inode in self.inodes.items()},
            {number: (*inode.lost, *inode.pending) for number, inode in self.inodes.items()},
            dict(self.durable_names),
            (*self.lost, *self.pending),
        )


class SimulatedFile:
    """See `cairndb.files.File`."""

    def __init__(self, world: World, inode: Inode, path: str, *, write: bool) -> None:
        self.path = path
        self._world = world
        self._inode = inode
        self._write = write
        self._open = True
        self.exclusive = False

    def _changing(self, what: str) -> None:
        assert self._open
        assert self._write
        self._world.call(what, self.path)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the cache."""
        assert self._open
        return self._inode.cache[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Write to the cache; a write that fails has got half way."""
        try:
            self._changing("write")
        except OSError:
            self._world.change(self._inode, Change(offset, data[: len(data) // 2]))
            raise
        self._world.change(self._inode, Change(offset, bytes(data)))

    def sync(self) -> None:
        """Make durable what is pending, or lose track of it."""
        assert self._open
        inode = self._inode
        try:
            self._world.call("sync", self.path)
        except OSError:
            inode.lost += inode.pending
            inode.pending.clear()
            raise
        if inode.pending and not self._world.skip():
            inode.durable = _apply(inode.durable, tuple(inode.pending))
            # The size is settled with this; lost bytes aren't.
            inode.lost = [change for change in inode.lost if change.data is not None]
            inode.pending.clear()

    def allocate(self, length: int) -> None:
        """Grow the file."""
        self._changing("allocate")
        if length > len(self._inode.cache):
            self._world.change(self._inode, Change(length, None))

    def truncate(self, length: int) -> None:
        """Cut the file."""
        self._changing("truncate")
        self._world.change(self._inode, Change(length, None))

    def size(self) -> int:
        """The length in the cache."""
        return len(self._inode.cache)

    def hold(self, *, exclusive: bool) -> bool:
        """As flock does, per open file."""
        others = [hold for hold in self._inode.holds if hold is not self]
        if any(exclusive or hold.exclusive for hold in others):
            return False
        self.exclusive = exclusive
        self._inode.holds = [*others, self]
        return True

    def close(self) -> None:
        """Let go."""
        self._open = False
        self._inode.holds = [hold for hold in self._inode.holds if hold is not self]


class SimulatedDirectory:
    """See `cairndb.files.Directory`."""

    def __init__(self, world: World) -> None:
        self.path = "simulated.cairn"
        self.world = world

    def names(self) -> list[str]:
        """Names of the cache."""
        return sorted(self.world.names)

    def _inode(self, name: str) -> int:
        if name not in self.world.names:
            path = f"{self.path}/{name}"
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.world.names[name]

    def open(self, name: str, *, write: bool = False) -> SimulatedFile:
        """An existing file."""
        inode = self.world.inodes[self._inode(name)]
        return SimulatedFile(self.world, inode, f"{self.path}/{name}", write=write)

    def create(self, name: str) -> SimulatedFile:
        """A new file."""
        path = f"{self.path}/{name}"
        self.world.call("create", path)
        if name in self.world.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        number = len(self.world.inodes)
        self.world.inodes[number] = Inode()
        self.world.name(Naming(number, None, name))
        return SimulatedFile(self.world, self.world.inodes[number], path, write=True)

    def rename(self, old: str, new: str) -> None:
        """Another name."""
        self.world.call("rename", f"{self.path}/{old}")
        self.world.name(Naming(self._inode(old), old, new))

    def remove(self, name: str) -> None:
        """No name."""
        self.world.call("remove", f"{self.path}/{name}")
        self.world.name(Naming(self._inode(name), name, None))

    def sync(self) -> None:
        """Make the names durable, or lose track of them."""
        world = self.world
        try:
            world.call("sync directory", self.path)
        except OSError:
            world.lost += world.pending
            world.pending.clear()
            raise
        if world.pending and not world.skip():
            for naming in world.pending:
                for lost in [lost for lost in world.lost if lost.touches(naming)]:
                    lost.apply(world.durable_names)
                    world.lost.remove(lost)
                naming.apply(world.durable_names)
            world.pending.clear()

    def lock(self, *, exclusive: bool) -> bool:
        """Exclusive only, which is all that is used."""
        assert exclusive
        if self.world.locks not in ([], [self]):
            return False
        self.world.locks = [self]
        return True

    def free_bytes(self) -> int:
        return 1 << 40

    def close(self) -> None:
        """Let go."""
        if self.world.locks == [self]:
            self.world.locks = []


def images(moment: Moment, *, limit: int = 400) -> Iterator[Image]:
    """What may be on disk after a crash at this moment; complete while there are few combinations.

    Args:
        moment: of the crash.
        limit: of combinations of contents per state of the directory; beyond it one file at a time
            varies, with the others as they were synced, and with the others complete.
    """
    for names in _directories(moment):
        visible = {name: inode for name, inode in names.items() if ".tmp-" not in name}
        variants = [
            list(_contents(moment.contents[inode], moment.changes[inode]))
            for inode in visible.values()
        ]
        temporary = tuple(
            (name, moment.contents[inode]) for name, inode in names.items() if name not in visible
        )
        for contents in _combined(variants, limit):
            yield tuple(sorted((*zip(visible, contents, strict=True), *temporary)))


def _combined(variants: list[list[bytes]], limit: int) -> Iterator[tuple[bytes, ...]]:
    total = 1
    for choices in variants:
        total *= len(choices)
    if total <= limit:
        yield from product(*variants)
        return
    for others in (0, 1):  # nothing, everything
        fixed = [choices[min(others, len(choices) - 1)] for choices in variants]
        for index, choices in enumerate(variants):
            for choice in choices:
                yield (*fixed[:index], choice, *fixed[index + 1 :])


def _directories(moment: Moment) -> Iterator[dict[str, int]]:
    """Every state of the directory: subsets that keep the order of what touches each other."""
    namings = moment.namings
    seen = set()
    for chosen in _subsets(len(namings)):
        if all(
            earlier in chosen
            for later in chosen
            for earlier in range(later)
            if namings[earlier].touches(namings[later])
        ):
            names = dict(moment.names)
            for index in chosen:
                namings[index].apply(names)
            key = tuple(sorted(names.items()))
            if key not in seen:
                seen.add(key)
                yield names


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    """All subsets of few; of many the prefixes, those that lack one or two, and the small ones."""
    everything = range(count)
    if count <= 8:
        for size in range(count + 1):
            yield from combinations(everything, size)
        return
    for size in range(count + 1):
        yield tuple(everything[:size])
    for missing in combinations(everything, 2):
        yield tuple(index for index in everything if index not in missing)
        yield missing
    for missing_one in everything:
        yield tuple(index for index in everything if index != missing_one)
        yield (missing_one,)


def _contents(durable: bytes, changes: tuple[Change, ...]) -> dict[bytes, None]:
    """Every content that the file may have; first nothing of the changes, then all of them."""
    found = {durable: None, _apply(durable, changes): None}
    for index, change in enumerate(changes):
        before, after = changes[:index], changes[index + 1 :]
        found[_apply(durable, before)] = None
        found[_apply(durable, before + after)] = None
        for torn in _torn(change):
            found[_apply(durable, (*before, *torn))] = None
            found[_apply(durable, (*before, *torn, *after))] = None
    return found


def _torn(change: Change) -> Iterator[tuple[Change, ...]]:
    """What of a write may get to the disk, if not all."""
    offset, data = change
    if not data:
        return
    yield (Change(offset, bytes(len(data))),)
    yield (Change(offset, data[: len(data) // 2]),)
    yield (Change(offset, data[:-1]),)
    yield (Change(offset, data[:24]),)
    end = offset + len(data)
    cuts = [offset, *range(offset + SECTOR - offset % SECTOR, end, SECTOR), end]
    sectors = [
        Change(start, data[start - offset : stop - offset]) for start, stop in pairwise(cuts)
    ]
    if len(sectors) > 1:
        for index in range(min(len(sectors), 12)):
            yield tuple(sectors[:index])
            yield tuple(sectors[:index] + sectors[index + 1 :])


def _apply(content: bytes, changes: tuple[Change, ...]) -> bytes:
    return reduce(lambda before, change: change.apply(before), changes, content)
