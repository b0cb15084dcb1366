"""Where handlers run, and when their answers may leave.

All that a handler does is in memory and mostly takes microseconds, so it is called right where the
request was read, in the event loop. A method that has turned out to take long is called in a thread
instead, as is one that would have to wait for a lock: the loop goes on.

Answers that say what isn't promised yet are held back. One task waits for the disk, for all of
them: what arrives while a sync is under way shares the next one.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

import msgspec

from cairndb.errors import CairnError, LockTimeout
from cairndb.locks_holders import WouldBlock
from cairndb.service import Answer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from cairndb.engine import Engine
    from cairndb.service import Handler, Request

QUICK_SECONDS: Final = 0.005
"""What takes longer than this, as a rule, doesn't run in the event loop."""

_WEIGHT: Final = 0.25  # of the last run, in what is expected of the next


class Runner:
    """Calls a handler for each request, here or in a thread.

    Args:
        handler: what is called; it may be called in several threads at once.
        loop: the event loop, in whose thread `submit` is called.
        lock_seconds: how long a thread waits for a lock.
        threads: how many at most.
    """

    def __init__(
        self,
        handler: Handler,
        loop: asyncio.AbstractEventLoop,
        *,
        lock_seconds: float = 30.0,
        threads: int = 8,
    ) -> None:
        self._handler = handler
        self._loop = loop
        self._lock_seconds = lock_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cairndb run")
        # By the name of a method: seconds that it is expected to take. Written in the loop.
        self.expected_seconds: dict[str, float] = {}

    def submit(self, request: Request, deliver: Callable[[Answer], None]) -> None:
        """Have a request handled.

        Args:
            request: to be handled; its `timeout` is set here.
            deliver: called in the loop with the answer, perhaps before this returns.
        """
        slow = self.expected_seconds.get(request.target, 0.0) > QUICK_SECONDS
        if not slow:
            request.timeout = 0.0
            answer, seconds = self._timed(request)
            if not isinstance(answer.error, LockTimeout | WouldBlock):
                self._expect(request, answer, seconds)
                deliver(answer)
                return
        self._submit_to_thread(request, deliver)

    def _submit_to_thread(self, request: Request, deliver: Callable[[Answer], None]) -> None:
        patient = msgspec.structs.replace(request, timeout=self._lock_seconds)

        def finish(answer: Answer, seconds: float) -> None:
            self._expect(request, answer, seconds)
            deliver(answer)

        def work() -> None:
            self._loop.call_soon_threadsafe(finish, *self._timed(patient))

        self._pool.submit(copy_context().run, work)

    def _timed(self, request: Request) -> tuple[Answer, float]:
        started = time.perf_counter()
        try:
            answer = self._handler(request)
        except Exception as error:  # noqa: BLE001  the answer to who asks
            answer = Answer(error=error)
        return answer, time.perf_counter() - started

    def _expect(self, request: Request, answer: Answer, seconds: float) -> None:
        # What didn't get so far as to look at anything may be no method: any text that was sent.
        was_run = answer.error is None or answer.position is not None
        if request.operation == "run" and was_run:
            before = self.expected_seconds.get(request.target, seconds)
            self.expected_seconds[request.target] = before + _WEIGHT * (seconds - before)

    def close(self) -> None:
        """Begin nothing more in threads; what has begun there goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Promises:
    """Holds back what can't be shown yet.

    Args:
        engine: of the database.
        loop: the event loop, in whose thread all of this is called.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.failure: CairnError | None = None
        """Why nothing more will be promised; then the outcome of what waits is unknown."""

    def allow(self, lsn: int) -> bool:
        """Whether what shows this LSN may be sent."""
        return self._engine.flusher.promised_lsn >= lsn

    def when(self, lsn: int, call: Callable[[], None]) -> None:
        """Have something called in the loop as soon as `allow` says so, or `failure` is set.

        Args:
            lsn: up to which to wait.
            call: it must not raise.
        """
        self._waiting.append((lsn, call))
        if self._task is None:
            # It begins after what else has arrived by now, which then shares the sync.
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._engine.wait_async(self._waiting[0][0])
                self._let_go()
        except CairnError as error:
            self.failure = error
            while self._waiting:
                self._waiting.popleft()[1]()
        finally:
            self._task = None

    def _let_go(self) -> None:
        promised = self._engine.flusher.promised_lsn
        for _ in range(len(self._waiting)):
            lsn, call = self._waiting.popleft()
            if lsn <= promised:
                call()
            else:
                self._waiting.append((lsn, call))
