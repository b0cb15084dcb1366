"""Watches of tasks: `async for change in db.watch_async(...)`.

A watch reads and decodes, which would hold up the other tasks of its loop: so a thread does that, a
few items ahead, and wakes the task. What a cancelled task hasn't taken stays for the next one.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from cairndb.flusher import Background
from cairndb.locks_gates import Mutex, deadline_after
from cairndb.locks_tasks import event_loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cairndb.locks_tasks import TaskGate
    from cairndb.watch import Watch
    from cairndb.watch_items import Change

_ITEMS_AHEAD: Final = 64


class _Pump:
    """The thread's side: moves items from a watch to where a task takes them.

    Args:
        begin: makes the watch; may wait.
    """

    def __init__(self, begin: Callable[[], Watch]) -> None:
        self._begin = begin
        self._background = Background("cairndb watch_async", self._work)
        self._mutex = Mutex()
        # Written by the thread:
        self.watch: Watch | None = None
        self.begun: str | None = None
        self.error: BaseException | None = None
        # Guarded by the mutex:
        self._items: deque[Change] = deque()
        self._gate: TaskGate | None = None
        self._looked = False
        self.stopped = False

    def start(self) -> TaskGate | None:
        """A gate that is opened once the watch has begun, or never will; None if that is over."""
        with self._mutex:
            if self.watch is not None or self.error is not None or self.stopped:
                return None
            gate = self._gate = event_loop().gate()
        self._background.poke()
        return gate

    def take(self) -> tuple[Change | None, TaskGate | None]:
        """The next item; else a gate that is opened when there may be one, or never will be."""
        with self._mutex:
            if self._items:
                item = self._items.popleft()
                self._background.poke()
                return item, None
            if self.error is not None or self.stopped:
                return None, None
            gate = self._gate = event_loop().gate()
        self._background.poke()
        return None, gate

    @property
    def has_looked(self) -> bool:
        """Whether there was nothing more when the thread looked last."""
        return self._looked

    def look_again(self) -> None:
        """Forget what `has_looked` says."""
        self._looked = False

    def stop(self) -> None:
        """End it; without waiting for the thread, which may be reading."""
        self.stopped = True
        self._end()
        self._wake()

    def _end(self) -> None:
        if self.watch is not None:
            self.watch.forget(self._background.poke)
            self.watch.close()
        self._background.stop(0.0)

    def _work(self) -> float | None:
        """Fetch what there is; see `Background`."""
        if self.stopped:
            return None
        try:
            if self.watch is None:
                watch = self._begin()
                self.begun = watch.position
                self.watch = watch
            seconds = self.watch.listen(self._background.poke)
            behind = True
            while behind and not self.stopped:
                if len(self._items) >= _ITEMS_AHEAD:
                    return None  # until one is taken
                item, behind = self.watch.step()
                if item is not None:
                    with self._mutex:
                        self._items.append(item)
                    self._wake()
        except BaseException as error:  # noqa: BLE001  raised again in the task
            self.error = error
            seconds = None
        if self.stopped or self.error is not None:
            self._end()
        self._looked = True
        self._wake()
        return seconds

    def _wake(self) -> None:
        with self._mutex:
            gate, self._gate = self._gate, None
        if gate is not None:
            gate.release()


class AsyncWatch:
    """The changes under a pattern, for a task of asyncio or trio; made by `Database.watch_async`.

    It begins when the first item is asked for, or with its `async with` block. Left early, close
    it: by `async with`, or `await watch.aclose()`.

    Args:
        begin: makes the watch that it shows.
        timeout: seconds without an item that end the iteration; None waits for ever.
    """

    def __init__(self, begin: Callable[[], Watch], timeout: float | None) -> None:
        self._pump = _Pump(begin)
        self._timeout = timeout
        self._position: str | None = None

    @property
    def position(self) -> str | None:
        """After the last item, to go on from as `since`; None before the watch has begun."""
        return self._position or self._pump.begun

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        until = deadline_after(self._timeout)
        pump = self._pump
        pump.look_again()
        while True:
            item, gate = pump.take()
            if item is not None:
                self._position = item.position
                await _let_others_go_on()
                return item
            if gate is None:
                if pump.error is not None and not pump.stopped:
                    raise pump.error
                raise StopAsyncIteration
            late = until is not None and time.monotonic() >= until
            if late and pump.has_looked:
                pump.stop()
                continue
            await gate.wait(None if late else until)

    async def aclose(self) -> None:
        """End the watch, at once."""
        self._pump.stop()
        await _let_others_go_on()

    async def __aenter__(self) -> Self:
        pump = self._pump
        try:
            while (gate := pump.start()) is not None:
                await gate.wait(None)
        except BaseException:  # cancelled: the block isn't entered, so nobody would end it
            pump.stop()
            raise
        if pump.error is not None and pump.watch is None:
            raise pump.error
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._pump.stop()

    def __del__(self) -> None:
        if not self._pump.stopped:
            self._pump.stop()


async def _let_others_go_on() -> None:
    await event_loop().gate().wait(time.monotonic())
