"""Views and updates of tasks, as `async with` statements; `transaction` has those of threads.

The block runs in the task, in its event loop: it is all in memory. What is waited for (a lock, the
disk) is awaited, and the other tasks go on.

A cancellation can arrive at each of these awaits, and leaves nothing or a whole committed update:

- while waiting for a lock, at the begin or at the end of the block: nothing has happened;
- while waiting, after the block, until the update is durable: the update stands, and is made
  durable. It only isn't waited for, as with Ctrl-C. `AsyncUpdate.lsn` tells the two apart.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from cairndb import draft as drafts
from cairndb.engine_starting import bring_tail_async
from cairndb.flusher_async import Job
from cairndb.locks_gates import deadline_after
from cairndb.locks_interrupts import deferred_interrupts
from cairndb.transaction import let_go, need_stack, used

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cairndb.engine import Change, Engine
    from cairndb.locks_holders import Hold, ViewHold
    from cairndb.patch import Call
    from cairndb.requests import Once

R = TypeVar("R")


class EndedView(Struct, Generic[R], eq=False):
    """A view that is over: see `transaction.Ended`."""

    _engine: Engine
    _timeout: float | None
    durable: bool
    _held: ViewHold | None = None

    def __repr__(self) -> str:  # not the Struct's, which would show the whole state
        return f"<cairndb.{type(self).__name__}>"

    async def __aenter__(self) -> R:
        raise used()

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        raise used()


class AsyncView(EndedView[R], eq=False):
    """A consistent read of a task: the state stays as it is while the block runs.

    Made by `Database.view_async`; use it once, in an `async with` statement.
    """

    async def __aenter__(self) -> R:
        engine = self._engine
        engine.check_usable()
        if self._held is not None:
            raise used()
        self._held = await engine.lock.acquire_shared_async(deadline_after(self._timeout))
        if engine.refusal is not None:
            self._release()
            raise engine.refusal()
        root: R = engine.tree.root
        return root

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        engine = self._engine
        lsn = engine.applied_lsn
        self._release()
        # A coroutine that is closed may await nothing.
        if self.durable and kind is not GeneratorExit:
            await engine.wait_async(lsn)

    def _release(self) -> None:
        if self._held is not None:
            self._engine.lock.release_shared(self._held)
            self._held = None
            self.__class__ = EndedView  # type: ignore[assignment]  # the same layout, no __del__

    # As in transaction.View; and a task whose loop has ended leaves its blocks to the collection.
    def __del__(self) -> None:
        let_go(self)


class EndedUpdate(Struct, Generic[R], eq=False):
    """An update that is over, and what became of it. See `EndedView`."""

    _engine: Engine
    _timeout: float | None
    durable: bool
    _call: Call | None = None
    _once: Once | None = None
    _held: Hold | None = None
    _root: Any = None
    _change: Change | None = None
    # Of what the block saw, if it ended and changed nothing.
    _seen_lsn: int | None = None
    _job: Job[None] | None = None

    def __repr__(self) -> str:  # not the Struct's, which would show the whole state
        return f"<cairndb.{type(self).__name__}>"

    @property
    def lsn(self) -> int | None:
        """The number of the update; of the state that its block saw, if that changed nothing.

        None if nothing is committed: the block isn't over, has raised, or was cancelled in time.
        """
        return (self._change.lsn or None) if self._change is not None else self._seen_lsn

    @property
    def committed(self) -> bool:
        """Whether all that the block changed is in the state, and stays there.

        It is durable too when the `async with` statement has ended without an exception, or as soon
        as `Database.durable_lsn` has reached `lsn`.
        """
        return self.lsn is not None

    async def __aenter__(self) -> R:
        raise used()

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        raise used()


class AsyncUpdate(EndedUpdate[R], eq=False):
    """A transaction of a task: its end commits, or drops what the block changed if that raised.

    Made by `Database.update_async`; use it once, in an `async with` statement. Kept, it tells what
    became of a block that was cancelled:

        update = db.update_async()
        try:
            async with asyncio.timeout(1), update as bank:
                ...
        except TimeoutError:
            print(update.committed)
    """

    async def __aenter__(self) -> R:
        engine = self._engine
        engine.check_usable()
        engine.check_writable()
        if self._held is not None:
            raise used()
        holder = engine.lock.check_update_async()
        deadline = deadline_after(self._timeout)
        if engine.tail_missing:
            await bring_tail_async(engine, deadline)
        held = [holder]
        self._held = held
        try:
            if not engine.lock.take_free_update(holder, held):
                await engine.lock.acquire_update_async(holder, held, deadline)
            engine.check_usable()
            self._root = engine.begin()
            root: R = self._root
            return root  # noqa: TRY300  inside, so that an interrupt here is seen too
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        engine = self._engine
        lsn = engine.applied_lsn
        try:
            if kind is None:
                need_stack()
                await self._commit()
                lsn = self.lsn or lsn
        except GeneratorExit:
            kind = GeneratorExit
            raise
        finally:
            if self._held is not None:
                self._release()
            try:
                # A coroutine that is closed may await nothing.
                if self.durable and kind is not GeneratorExit:
                    await engine.wait_async(lsn)
            finally:
                if engine.wake is not None:
                    engine.wake()

    async def _commit(self) -> None:
        """Steps 3 to 6."""
        engine = self._engine
        change = engine.prepare(self._root, self._call, self._once)
        if change is None:
            self._seen_lsn = engine.applied_lsn
            return
        self._change = change
        if not engine.store.has_room(len(change.entry)):
            work = engine.work_for_room(len(change.entry))
            if work is not None:
                await self._have_done(work)
        if not engine.lock.upgrade_at_once():
            await engine.lock.upgrade_async(deadline_after(self._timeout))
        with deferred_interrupts:
            engine.append(change)
            self._release()

    async def _have_done(self, work: Callable[[], None]) -> None:
        engine = self._engine
        self._job = Job(partial(engine.flusher.run, work))
        await engine.task_flusher.run(self._job)
        self._job = None

    def _release(self) -> None:
        held = self._held
        if held is None:
            return
        with deferred_interrupts:  # drafts are ended all or none
            try:
                root, self._root = self._root, None
                if root is not None:
                    drafts.close(root)
            finally:
                lock, job = self._engine.lock, self._job
                if job is None:
                    lock.release_update(held[0], held)
                else:  # what makes room must not run beside the next update
                    release = lock.entrust(held, job)
                    if job.withdraw(release):
                        release()
                self._held = None
                self.__class__ = EndedUpdate  # type: ignore[assignment]  # as in AsyncView

    # As in AsyncView.
    def __del__(self) -> None:
        let_go(self)
