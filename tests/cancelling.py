"""Cancel a task at its n-th await, in each way in which that can come."""

from __future__ import annotations

import asyncio
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

WAYS: Final = {"asyncio": ("task", "late", "scope"), "trio": ("scope",)}
"""By the task's own method, while it waits; right after what it waits for has come, before it runs
again; by a cancel scope around it, which goes on cancelling at each later await."""


class Cancelling:
    """Cancels at an await, counted from 1.

    Args:
        number: of the await.
        way: one of `WAYS`.
    """

    def __init__(self, number: int, way: str) -> None:
        self.left = number
        self.cancelled = False
        self._way = way

    @property
    def reached(self) -> bool:
        """Whether there were so many awaits."""
        return self.left <= 0

    async def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run it in the current task, and end its cancellation here."""
        with anyio.CancelScope() as scope:
            if self._way == "scope":
                await self._driven(coroutine, lambda _: scope.cancel())
                return
            task = asyncio.current_task()
            assert task is not None
            with suppress(asyncio.CancelledError):
                await self._driven(coroutine, lambda awaited: self._cancel(task, awaited))
                return
            self.cancelled = True
            task.uncancel()
        self.cancelled |= scope.cancelled_caught

    def _cancel(self, task: asyncio.Task[Any], awaited: object) -> None:
        if self._way == "late" and isinstance(awaited, asyncio.Future):
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()

    @types.coroutine
    def _driven(
        self, coroutine: Coroutine[Any, Any, object], cancel: Callable[[object], object]
    ) -> Generator[Any, Any, None]:
        step: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731  replaced by others
        while True:
            try:
                awaited = step()
            except StopIteration:
                return
            self.left -= 1
            if self.left == 0:
                cancel(awaited)
            try:
                value = yield awaited
            except BaseException as error:  # noqa: BLE001  thrown on
                step = _throwing(coroutine, error)
            else:
                step = _sending(coroutine, value)


def _throwing(coroutine: Coroutine[Any, Any, T], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)


def _sending(coroutine: Coroutine[Any, Any, T], value: object) -> Callable[[], Any]:
    return lambda: coroutine.send(value)
