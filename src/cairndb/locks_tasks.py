"""Which task is running, and what it waits at: tasks of asyncio and of trio.

Neither library is imported here: whoever runs a task has done that. Nor is anyio needed between
them: what threads have to do with an event loop, which is to have something called in it without
waiting for that, is a call of each library, and anyio has none for both. Tasks of anyio are tasks
of one of the two.

Rules:

1. A gate may be opened by any thread; what it does to a task, it does in the task's own loop.
2. Opening never waits. Where the loop is gone nobody is waiting any more, and the gate says so.
3. Whoever stops waiting, cancelled or late, may have been let in already: it looks, and passes on
   what it got.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from cairndb import locks
from cairndb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.locks_holders import Holder


class TaskGate(Protocol):
    """What one task waits at, once; closed until somebody opens it."""

    deserted: bool
    """The loop is gone: nobody waits here."""

    def locked(self) -> bool:
        """Whether it hasn't been opened yet."""

    def release(self) -> None:
        """Open it, from any thread; without effect if that is done already."""

    async def wait(self, until: float | None = None) -> bool:
        """Wait until it is opened.

        Args:
            until: the moment to give up, on the monotonic clock; None never does.

        Returns:
            Whether it was opened.
        """


class EventLoop(Protocol):
    """The loop that runs a task."""

    key: object
    """What is the same for all tasks of the loop."""

    def call_soon(self, act: Callable[[], object]) -> bool:
        """Have something called in the loop, from any thread; False if the loop is gone."""

    def is_here(self) -> bool:
        """Whether this is called in the loop."""

    def gate(self) -> TaskGate:
        """A closed gate for a task of this loop."""


class Library(Protocol):
    """What runs tasks."""

    def task(self) -> object | None:
        """The task that is running in this thread, if one of this library is."""

    def loop(self) -> EventLoop:
        """The loop of that task."""


class _Gate:
    __slots__ = ("_loop", "_opened", "deserted")

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._opened = False
        self.deserted = False

    def locked(self) -> bool:
        return not self._opened

    def release(self) -> None:
        if self._loop.is_here():
            self._let_in()
        elif not self._loop.call_soon(self._let_in):
            self.deserted = True
        # Last: what there was no memory for is tried again.
        self._opened = True

    def _let_in(self) -> None:
        raise NotImplementedError


class _AsyncioGate(_Gate):
    __slots__ = ("_future",)

    def __init__(self, loop: _AsyncioLoop) -> None:
        super().__init__(loop)
        self._future = loop.key.create_future()

    def _let_in(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, until: float | None = None) -> bool:
        if until is None:
            await self._future
            return True
        left = max(0.0, until - time.monotonic())
        timer = self._future.get_loop().call_later(left, self._let_in)
        try:
            await self._future
        finally:
            timer.cancel()
        return self._opened


class _AsyncioLoop:
    __slots__ = ("_running", "key")

    def __init__(self, running: Callable[[], Any]) -> None:
        self._running = running
        self.key = running()

    def call_soon(self, act: Callable[[], object]) -> bool:
        try:
            self.key.call_soon_threadsafe(act)
        except RuntimeError:  # closed
            return False
        return True

    def is_here(self) -> bool:
        return self._running() is self.key

    def gate(self) -> TaskGate:
        return _AsyncioGate(self)


class _Asyncio:
    def __init__(self) -> None:
        asyncio = sys.modules["asyncio"]
        # The public way to ask raises where none runs, which for threads would be slow.
        self._running = asyncio._get_running_loop  # noqa: SLF001  what asyncio itself asks with
        self._current_task = asyncio.current_task

    def task(self) -> object | None:
        return None if self._running() is None else self._current_task()

    def loop(self) -> EventLoop:
        return _AsyncioLoop(self._running)


class _TrioGate(_Gate):
    __slots__ = ("_event", "_trio")

    def __init__(self, loop: _TrioLoop, trio: Any) -> None:
        super().__init__(loop)
        self._trio = trio
        self._event = trio.Event()

    def _let_in(self) -> None:
        self._event.set()

    async def wait(self, until: float | None = None) -> bool:
        if until is None:
            await self._event.wait()
            return True
        with self._trio.move_on_after(max(0.0, until - time.monotonic())):
            await self._event.wait()
        return self._opened


class _TrioLoop:
    __slots__ = ("_trio", "key")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self.key = trio.lowlevel.current_trio_token()

    def call_soon(self, act: Callable[[], object]) -> bool:
        try:
            self.key.run_sync_soon(act)
        except self._trio.RunFinishedError:
            return False
        return True

    def is_here(self) -> bool:
        # In a task, not only in its run: a collection may call this from anywhere in trio.
        lowlevel = self._trio.lowlevel
        return lowlevel.in_trio_task() and lowlevel.current_trio_token() is self.key

    def gate(self) -> TaskGate:
        return _TrioGate(self, self._trio)


class _Trio:
    def __init__(self) -> None:
        self._trio = sys.modules["trio"]
        self._in_task = self._trio.lowlevel.in_trio_task
        self._current_task = self._trio.lowlevel.current_task

    def task(self) -> object | None:
        return self._current_task() if self._in_task() else None

    def loop(self) -> EventLoop:
        return _TrioLoop(self._trio)


# Those that a task has used a database under; only ever added to.
LIBRARIES: Final[list[Library]] = []
_MAKERS: Final[dict[str, Callable[[], Library]]] = {"asyncio": _Asyncio, "trio": _Trio}


def task_or_thread() -> Holder:
    """The running task, with its thread; else the thread. What `locks.current_holder` becomes."""
    thread = threading.get_ident()
    for library in LIBRARIES:
        task = library.task()
        if task is not None:
            # Weakly: a task whose loop has ended must be collected, to let go of what it holds.
            return thread, weakref.ref(task)
    return thread


def running_task() -> Holder:
    """The running task, with its thread. From now on every holder is looked up as a task first.

    Raises:
        UsageError: no task of asyncio or trio is running.
    """
    holder = locks.current_holder()
    if isinstance(holder, int):
        _watch()
        holder = locks.current_holder()
    if isinstance(holder, int):
        raise UsageError(
            "this is for tasks of asyncio or trio, and none is running here: "
            "write `with db.update()`, `with db.view()` or `db.run` in a thread"
        )
    return holder


def _watch() -> None:
    known = {type(library) for library in LIBRARIES}
    for name, maker in _MAKERS.items():
        if name in sys.modules and maker not in known:
            library = maker()
            if library.task() is not None:
                LIBRARIES.append(library)
    if LIBRARIES:
        locks.current_holder = task_or_thread


def event_loop() -> EventLoop:
    """The loop of the running task."""
    running_task()
    return next(library.loop() for library in LIBRARIES if library.task() is not None)


async def sleep(seconds: float) -> None:
    """Let the other tasks go on for some time."""
    await event_loop().gate().wait(time.monotonic() + seconds)
