"""The three lock modes for tasks: the same lock as for threads, in the same queues.

A task leaves a gate where a thread leaves one (see `locks_tasks`), and awaits it. So whoever opens
gates need not know who waits, and tasks and threads get their turns in one order. What is said in
`locks` holds here, with *cancelled* for *interrupted*: a cancelled wait leaves nothing held. Where
a coroutine is closed instead of resumed (its loop ended, and it was collected) nothing may be
awaited any more: so nothing is, to let go of a lock.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from cairndb import locks
from cairndb.errors import LockTimeout
from cairndb.locks import ThreeModeLock
from cairndb.locks_gates import Waiter
from cairndb.locks_holders import thread_of
from cairndb.locks_interrupts import deferred_interrupts
from cairndb.locks_tasks import event_loop, running_task, sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.locks_holders import Hold, Holder, ViewHold
    from cairndb.locks_tasks import TaskGate


class TaskWaiter(Waiter):
    """A task in the queue for the update mode."""

    __slots__ = ()
    gate: TaskGate

    def wake(self) -> bool:
        """Open the gate; returns whether the task's loop is still there."""
        super().wake()
        return not self.gate.deserted


class TaskLock(ThreeModeLock):
    """A `ThreeModeLock` that tasks can wait for, too."""

    __slots__ = ()

    async def acquire_shared_async(self, deadline: float | None = None) -> ViewHold:
        """Take shared mode for the running task, nested if it is held already."""
        holder = running_task()
        hold = object()
        try:
            self.shared[hold] = holder
            if self.barrier and self._updater != holder and not self._nested(hold, holder):
                await self._wait_for_opening_async(hold, deadline)
            return hold  # noqa: TRY300  as in acquire_shared
        except BaseException:
            self.release_shared(hold)
            raise

    def _nested(self, hold: ViewHold, holder: Holder) -> bool:
        """Whether a holder has another view open."""
        return any(each == holder and other != hold for other, each in self.shared.copy().items())

    async def _wait_for_opening_async(self, hold: ViewHold, deadline: float | None) -> None:
        holder = self.shared[hold]
        while True:
            gate = event_loop().gate()
            with self._mutex:
                self._view_gates.append(gate)
            self.release_shared(hold)
            if self.barrier and not await gate.wait(deadline):
                raise LockTimeout(locks.VIEW_TIMED_OUT)
            self.shared[hold] = holder
            if not self.barrier:
                return

    def check_update_async(self) -> Holder:
        """The running task; raises `UsageError` if it would wait for itself.

        For what the thread around its loop holds it would wait as well: that block can't end before
        the loop does.
        """
        holder = running_task()
        self.check_update_of(holder)
        self.check_update_of(thread_of(holder))
        return holder

    async def acquire_update_async(
        self, holder: Holder, hold: Hold, deadline: float | None
    ) -> None:
        """Take update mode for a task, after `check_update_async`."""
        waiter: TaskWaiter | None = None
        try:
            if self._take_update(holder, hold, None):
                return
            gate = event_loop().gate()
            waiter = TaskWaiter(holder, hold, gate)
            while not self._take_update(holder, hold, waiter):
                if not await gate.wait(deadline):
                    raise LockTimeout(locks.UPDATE_TIMED_OUT)  # noqa: TRY301
                gate = event_loop().gate()
                waiter.again(gate)
        except BaseException:
            try:
                with deferred_interrupts:
                    self._abandon_update(holder, waiter)
            finally:  # again, in case Ctrl-C struck before it was deferred
                self._abandon_update(holder, waiter)
            raise

    def entrust(self, hold: Hold, keeper: object) -> Callable[[], None]:
        """Let something else than its task hold update mode; returns what releases it.

        Args:
            hold: of the task, which holds nothing any more.
            keeper: belongs to no thread, so that nobody is refused to wait for it.
        """
        holder = (0, keeper)
        if self._updater == hold[0] and self._update_hold is hold:
            self._updater = holder
        return partial(self.release_update, holder, hold)

    async def upgrade_async(self, deadline: float | None = None) -> None:
        """Go from update to exclusive mode: as `upgrade`, awaiting."""
        self._check_own_views()
        patience = locks.BARRIER_SECONDS
        try:
            while not await self._drain_async(patience, deadline):
                self._lift_barrier()
                if deadline is not None and time.monotonic() >= deadline:
                    raise LockTimeout(locks.UPGRADE_TIMED_OUT)  # noqa: TRY301
                await sleep(locks.OPENING_SECONDS)
                patience = min(2 * patience, locks.BARRIER_SECONDS_MAX)
        except BaseException:
            self._lift_barrier()
            raise

    async def _drain_async(self, patience: float, deadline: float | None) -> bool:
        self.barrier = True
        if not self.shared:
            return True
        until = self._patient_until(patience, deadline)
        while True:
            gate = event_loop().gate()
            with self._mutex:
                self._upgrade_gate = gate
            if not self.shared:
                return True
            if not await gate.wait(until):
                return not self.shared
