"""Processes that claim files, one step at a time, and what a tracer would say of each call.

Each call has three moments: it begins, takes effect, ends; whoever is stepped next may come in
between. So the trace is one that could have been, its truth is known, and so is what of it a tracer
can't see. A tracer is `exact`, as bpftrace, or not, as strace.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cairndb.tracing_events import Call, Heading, Trace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

HERE = "/jobs"
NAMES = ("/jobs/a", "/jobs/b")


class World:
    """A directory, its files, and the locks on them.

    Args:
        exact: whether the tracer says inodes and links with each call.
    """

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self.moment = 0
        self.names = {name: number for number, name in enumerate(NAMES, 1)}
        self.inodes = len(NAMES)
        self.locks: dict[int, int] = {}
        self.calls: list[Call] = []
        self.stale: set[int] = set()
        """The places at which a process got to know of its lock on what had lost its name."""

    def named(self, inode: int) -> bool:
        """Whether a file has a name."""
        return inode in self.names.values()

    def trace(self) -> Trace:
        """All that has ended, as a tracer reports it."""
        heading = Heading(
            cairn_trace=1, tracer="test", system="linux", directory="/", patterns=[HERE]
        )
        return Trace(heading, self.calls)


class Worker:
    """One process.

    Args:
        world: that it lives in.
        process: its number, which is also the only descriptor that it uses.
        careful: whether it looks after it has locked.
        create: whether it makes the file if it isn't there.
    """

    def __init__(self, world: World, process: int, *, careful: bool, create: bool) -> None:
        self._world = world
        self._process = process
        self._careful = careful
        self._create = create
        self._inode = 0
        self._error = ""
        self._steps = self._live()

    def step(self) -> None:
        """One moment more of its life."""
        self._world.moment += 1
        next(self._steps)

    def _call(self, name: str, path: str = "", *words: str, effect: Any = None) -> Iterator[None]:
        """One call, from its beginning to its end."""
        world = self._world
        begun, self._error = world.moment, ""
        # strace sees at the beginning whether the descriptor's file has its name.
        named = world.named(self._inode) if not path else None
        yield
        seen = self._inode if name == "close" else 0
        links = int(world.named(seen))
        effect()
        yield
        seen = seen or self._inode
        known: dict[str, Any] = {"named": named} if named is not None else {}
        by_descriptor = name != "unlink" and not (name == "look" and path) and not self._error
        if by_descriptor and world.exact:
            links = links if name == "close" else int(world.named(self._inode))
            known = {"device": 1, "inode": seen, "links": links, "named": bool(links)}
        elif by_descriptor and name == "look":
            known |= {"device": 1, "inode": self._inode, "links": int(world.named(self._inode))}
        call = Call(
            name=name,
            begun=begun,
            ended=world.moment,
            started=begun / 1000,
            finished=world.moment / 1000,
            process=self._process,
            thread=self._process,
            descriptor=self._process if not path or name == "open" else -1,
            path=path,
            error=self._error,
            words=frozenset(words),
            **known,
        )
        world.calls.append(call)
        if name == "lock" and not self._error and not world.named(self._inode):
            world.stale.add(world.moment)
        yield

    def _live(self) -> Iterator[None]:
        number = 0
        while True:
            path = NAMES[number % len(NAMES)]
            number += 1
            words = ("create",) if self._create else ()
            yield from self._call("open", path, *words, effect=partial(self._open, path))
            if self._error:
                continue
            yield from self._call("lock", "", "flock", effect=self._lock)
            if not self._error and (not self._careful or (yield from self._matches(path))):
                yield from self._call("write", effect=lambda: None)
                yield from self._call("unlink", path, effect=partial(self._unlink, path))
            yield from self._call("close", effect=self._close)

    def _matches(self, path: str) -> Generator[None, None, bool]:
        yield from self._call("look", effect=lambda: None)
        found = 0

        def look() -> None:
            nonlocal found
            found = self._world.names.get(path, 0)
            self._error = "" if found else "ENOENT"

        yield from self._call("look", path, effect=look)
        return found == self._inode

    def _open(self, path: str) -> None:
        world = self._world
        if path not in world.names:
            if not self._create:
                self._error = "ENOENT"
                return
            world.inodes += 1
            world.names[path] = world.inodes
        self._inode = world.names[path]

    def _lock(self) -> None:
        holder = self._world.locks.setdefault(self._inode, self._process)
        self._error = "" if holder == self._process else "EAGAIN"

    def _unlink(self, path: str) -> None:
        self._error = "" if self._world.names.pop(path, 0) else "ENOENT"

    def _close(self) -> None:
        if self._world.locks.get(self._inode) == self._process:
            del self._world.locks[self._inode]


def lived(
    schedule: Sequence[int], *, exact: bool, careful: bool, create: bool, whole: bool = False
) -> World:
    """The world after some moments.

    Args:
        schedule: which process is next, moment by moment.
        exact: see `World`.
        careful: see `Worker`.
        create: see `Worker`.
        whole: let each call end before another begins.
    """
    world = World(exact=exact)
    workers = [Worker(world, n, careful=careful, create=create) for n in range(1, 4)]
    for number in schedule:
        for _ in range(3 if whole else 1):
            workers[number % len(workers)].step()
    return world
