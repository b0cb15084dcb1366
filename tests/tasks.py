"""Tasks for tests, of asyncio and of trio alike, on a simulated directory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.lowlevel

import cairndb
from cairndb.appender_parts import StoreOptions
from cairndb.database import Database
from cairndb.opening import own
from cairndb.schema import compile_root
from simulated import SimulatedDirectory, World
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

BACKENDS: Final = ("asyncio", "trio")
TINY: Final = StoreOptions(segment_bytes_min=2048, segment_bytes_max=2048)


class Root(cairndb.Record):
    """A number, cells, and ballast."""

    n: int = 0
    cells: dict[str, int] = {}
    filling: str = ""

    @cairndb.update
    def add(self, number: int) -> int:
        """Add to the number."""
        self.n += number
        return self.n

    @cairndb.update
    def fill(self, length: int) -> None:
        """Replace the ballast."""
        self.filling = "x" * length

    @cairndb.query
    def shown(self) -> int:
        """The number."""
        return self.n


KIND = compile_root(Root, guard=True)


def opened(world: World, **options: Any) -> Database[Root]:
    """An owner of the world."""
    engine = own(SimulatedDirectory(world), KIND, create=True, **options).engine
    return Database[Root](engine, None, "simulated.cairn", audit=False)


def run(backend: str, function: Callable[[], Awaitable[T]]) -> T:
    """Run a program of tasks; one that waits for ever fails instead."""

    async def limited() -> T:
        with anyio.fail_after(LIMIT_SECONDS):
            return await function()

    return anyio.run(limited, backend=backend)


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks go on until the condition holds."""
    while not condition():
        await anyio.lowlevel.checkpoint()


def lock_is_free(db: Database[Root]) -> bool:
    """Whether nobody holds or waits."""
    lock = db._engine.lock
    return lock._updater is None and not lock.shared and not lock._update_queue


def syncs(world: World) -> int:
    """How many there have been."""
    return sum(what == "sync" for what, _ in world.calls)


async def add(db: Database[Root], number: int) -> None:
    """One update."""
    async with db.update_async() as root:
        root.n += number


async def hold_update(db: Database[Root], entered: anyio.Event, end: anyio.Event) -> None:
    """An update whose block awaits."""
    async with db.update_async() as root:
        root.n += 1
        entered.set()
        await end.wait()


async def hold_view(db: Database[Root], entered: anyio.Event, end: anyio.Event) -> None:
    """A view whose block awaits."""
    async with db.view_async():
        entered.set()
        await end.wait()


class HeldSync:
    """A disk on which a sync takes until it is let go."""

    def __init__(self, world: World) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.error: OSError | None = None
        world.observe = self._observe

    def _observe(self, what: str) -> None:
        if what == "sync":
            self.entered.set()
            self.go_on.wait(LIMIT_SECONDS)
            if self.error is not None:
                raise self.error
