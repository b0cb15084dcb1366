"""A directory that remembers what is on disk apart from what a crash could still take back.

A `World` is a disk with one directory and its page cache. `SimulatedDirectory` is the real
interface over it. What a crash may leave is said in `survivors`; the numbers are those of
`cairndb.files`:

- Of a file's writes and sizes since its last sync any part may survive. (1, 2, 5)
- Names are apart from contents: until the directory is synced each creation, renaming and removal
  may be missing. Those of the same name or the same file keep their order, others overtake each
  other. The directory itself has a name in a parent, which is another thing again. (3)
- What a failed sync should have covered stays uncertain: no later sync covers it, but of what has
  been written again since. (4)

A kill is another thing: a new `SimulatedDirectory` on the same world sees the cache, and what
wasn't synced is still uncertain.
"""

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from disk import Change, Image, Moment, Naming, applied
from survivors import images, is_hidden

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DIRECTORY", "Image", "Moment", "SimulatedDirectory", "SimulatedFile"]
__all__ += ["SimulatedParent", "World", "images"]

DIRECTORY = "simulated.cairn"


@dataclass
class Inode:
    """A file: what is on disk, what may be, and what the cache shows."""

    durable: bytes = b""
    lost: list[Change] = field(default_factory=list)
    pending: list[Change] = field(default_factory=list)
    cache: bytes = b""
    readable: bool = True
    """Not what a crash left under a temporary name: an image has only a part of that."""
    holds: list["SimulatedFile"] = field(default_factory=list)


class World:
    """A disk, its cache, and the faults to come.

    Args:
        image: what is on it.
        directory: whether the directory is there, and its name is durable; see `SimulatedParent`.

    `observe` is called before each call that changes something, with its name. `faults` maps the
    number of such a call to an errno that it fails with; from `faulty_from` on all of them fail
    with `fault`. `read_faults` does so for calls that read. While the disk is `full` nothing gets
    more room. `meanwhile` happens once, while the next sync of a file runs. Of the syncs that have
    something to do (`syncs` has the numbers of their calls), the `skipped` (the first is 1) do
    nothing and say that all is well.
    """

    def __init__(self, image: Image = (), *, directory: bool = True) -> None:
        self.inodes = {
            number: Inode(data, cache=data, readable=not is_hidden(name))
            for number, (name, data) in enumerate(image)
        }
        self.durable_names = {name: number for number, (name, _) in enumerate(image)}
        self.names = dict(self.durable_names)
        self.has_parent = not directory
        self.there = self.rooted = directory
        self.root_pending = False
        self.lost: list[Naming] = []
        self.pending: list[Naming] = []
        self.locks: list[SimulatedDirectory] = []
        self.calls: list[tuple[str, str]] = []
        self.reads: list[tuple[str, str]] = []
        self.observe: Callable[[str], None] = lambda _: None
        self.faults: dict[int, int] = {}
        self.read_faults: dict[int, int] = {}
        self.faulty_from = 1 << 60
        self.fault = errno.EIO
        self.full = False
        self.meanwhile: Callable[[], None] | None = None
        self.syncs: list[int] = []
        self.skipped: set[int] = set()

    def call(self, what: str, path: str, *, grows: bool = False) -> None:
        """One call to the system is about to change something."""
        self.observe(what)
        self.calls.append((what, path))
        code = self.faults.get(len(self.calls))
        if len(self.calls) >= self.faulty_from:
            code = self.fault
        if code is None and grows and self.full:
            code = errno.ENOSPC
        if code is not None:
            raise OSError(code, os.strerror(code), path)

    def read(self, what: str, path: str) -> None:
        """One call to the system is about to read."""
        self.reads.append((what, path))
        code = self.read_faults.get(len(self.reads))
        if code is not None:
            raise OSError(code, os.strerror(code), path)

    def skip(self) -> bool:
        """Whether this sync is one that lies."""
        self.syncs.append(len(self.calls))
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
            self.rooted,
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

    def _changing(self, what: str, end: int = 0) -> None:
        assert self._open
        assert self._write
        self._world.call(what, self.path, grows=end > len(self._inode.cache))

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the cache."""
        assert self._open
        assert self._inode.readable, f"{self.path} may hold anything: nobody may look"
        self._world.read("read", self.path)
        return self._inode.cache[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Write to the cache; a write that fails has got half way."""
        try:
            self._changing("write", offset + len(data))
        except OSError:
            self._world.change(self._inode, Change(offset, data[: len(data) // 2]))
            raise
        self._world.change(self._inode, Change(offset, bytes(data)))

    def sync(self) -> None:
        """Make durable what is pending when it is entered, or lose track of it."""
        assert self._open
        inode = self._inode
        entered = len(inode.pending)
        try:
            self._world.call("sync", self.path)
        except OSError:
            inode.lost += inode.pending
            inode.pending.clear()
            raise
        meanwhile, self._world.meanwhile = self._world.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if entered and not self._world.skip():
            inode.durable = applied(inode.durable, tuple(inode.pending[:entered]))
            # Settled with this are the size, and what was written again; other lost bytes aren't.
            inode.lost = [change for change in inode.lost if change.data is not None]
            for written in inode.pending[:entered]:
                inode.lost = [part for lost in inode.lost for part in lost.without(written)]
            del inode.pending[:entered]

    def allocate(self, length: int) -> None:
        """Grow the file."""
        self._changing("allocate", length)
        if length > len(self._inode.cache):
            self._world.change(self._inode, Change(length, None))

    def truncate(self, length: int) -> None:
        """Cut the file."""
        self._changing("truncate")
        self._world.change(self._inode, Change(length, None))

    def size(self) -> int:
        """The length in the cache."""
        assert self._inode.readable
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
        self.path = DIRECTORY
        self.world = world

    def names(self) -> list[str]:
        """Names of the cache."""
        self.world.read("names", self.path)
        return sorted(self.world.names)

    def _inode(self, name: str) -> int:
        if name not in self.world.names:
            path = f"{self.path}/{name}"
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.world.names[name]

    def open(self, name: str, *, write: bool = False) -> SimulatedFile:
        """An existing file."""
        self.world.read("open", f"{self.path}/{name}")
        inode = self.world.inodes[self._inode(name)]
        return SimulatedFile(self.world, inode, f"{self.path}/{name}", write=write)

    def create(self, name: str) -> SimulatedFile:
        """A new file."""
        path = f"{self.path}/{name}"
        self.world.call("create", path, grows=True)
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

    def lock(self) -> bool:
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


class SimulatedParent:
    """See `cairndb.files.Parent`: what the directory's own name is in."""

    def __init__(self, world: World) -> None:
        self.world = world

    def make_directory(self, name: str) -> bool:
        """Make the directory in the cache."""
        self.world.call("make directory", name, grows=not self.world.there)
        if self.world.there:
            return False
        self.world.there = self.world.root_pending = True
        return True

    def remove_directory(self, name: str) -> None:
        """Forget it; whether it is on disk doesn't matter, as nothing is in it."""
        self.world.call("remove directory", name)
        assert not self.world.names
        self.world.there = self.world.root_pending = False

    def sync(self) -> None:
        """Make the directory's name durable, or lose track of it."""
        world = self.world
        try:
            world.call("sync parent", "parent")
        except OSError:
            world.root_pending = False
            raise
        if world.root_pending and not world.skip():
            world.rooted, world.root_pending = True, False
