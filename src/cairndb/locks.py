r"""The three lock modes and gates, for threads; `locks_async` has them for tasks.

The table of Birrell, Jones and Wobber (1987, section 3.2), which is all of `ThreeModeLock`:

    held \ wanted    shared    update    exclusive
    shared           yes       yes       waits
    update           yes       waits     (upgrade)
    exclusive        waits     waits     waits

Views hold *shared*. An update holds *update* while its block runs, so that views go on, and
upgrades to *exclusive* for the microseconds in which the patch is applied.

Rules that keep this free of deadlock, starvation and leaked holds:

1. The hold *is* the record of it (`shared[hold]`, `_updater`): there is no moment at which a
   lock is taken and nobody knows by whom. Whoever is interrupted while taking one puts back what is
   recorded.
2. A mutex is only ever held through `with` on a bare `threading.Lock`, whose enter and exit are
   single C calls that no interrupt can split; `Condition` and `Event` are Python and can lose
   theirs. Whoever has to wait leaves a *gate* (a lock, taken), and waits for it to be opened,
   outside the mutex. A gate is opened once, by whoever takes it from the record where it was left.
3. A holder's nested view is granted at once, also while an upgrade is pending: waiting would be for
   itself.
4. A pending upgrade holds new views back for a bounded time, lets them in, and tries again, longer
   each time. So views can't starve it, and it can't block a view for which a running view waits.
5. The update mode is taken by whoever comes first, which is fast, unless the first in the queue has
   waited for long: then it is handed over, which is fair.
6. A thread that waits stops every task that it runs. So it never waits for what one of its tasks
   holds or comes before it for: a view is let in, since nothing can be applied meanwhile but by
   this thread, and everything else is refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from cairndb.errors import LockTimeout, UsageError
from cairndb.locks_gates import Waiter, closed_gate, wait_at
from cairndb.locks_holders import thread_of, would_block
from cairndb.locks_interrupts import deferred_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.locks_gates import Gate
    from cairndb.locks_holders import Holder, ViewHold

# How long a pending upgrade first holds new views back; it doubles up to the limit. Long enough for
# ordinary views to end, short enough not to be noticed by a view that another view waits for.
BARRIER_SECONDS: Final = 0.01
BARRIER_SECONDS_MAX: Final = 1.0
OPENING_SECONDS: Final = 0.001
_HANDOVER_SECONDS: Final = 0.005

VIEW_TIMED_OUT: Final = "an update was waiting for other views, or being applied, all the while"
UPDATE_TIMED_OUT: Final = "another update was running all the while"
UPGRADE_TIMED_OUT: Final = "other views were open all the while; nothing has happened"

# Who runs. `locks_tasks` replaces it when the first task uses a database: nobody else pays.
current_holder: Callable[[], Holder] = threading.get_ident


class ThreeModeLock:
    """The lock of one database, in the modes shared, update and exclusive.

    Whatever takes a mode accepts a deadline on the monotonic clock, raises `LockTimeout` when that
    passes, and leaves nothing held if it raises anything.
    """

    __slots__ = (
        "_mutex",
        "_update_hold",
        "_update_queue",
        "_updater",
        "_upgrade_gate",
        "_view_gates",
        "barrier",
        "shared",
    )

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # An entry is written by its holder alone, without the mutex. A view writes its entry, then
        # looks at the barrier; an upgrade raises the barrier, then looks at the entries: one of the
        # two sees the other.
        self.shared: dict[ViewHold, Holder] = {}
        self.barrier = False  # written by the holder of update alone
        # Guarded by the mutex:
        self._updater: Holder | None = None
        self._update_hold: object = None
        self._update_queue: deque[Waiter] = deque()
        self._upgrade_gate: Gate | None = None
        self._view_gates: list[Gate] = []

    def holds(self) -> bool:
        """Whether the current holder has this lock in any mode, or the thread around its task."""
        holder = current_holder()
        either = (holder, thread_of(holder))
        return any(each in either for each in (self._updater, *self.shared.copy().values()))

    def concerns_thread(self) -> bool:
        """Whether this thread, or any task that it runs, has this lock or waits for it."""
        with self._mutex:
            waiting = [waiter.holder for waiter in self._update_queue]
        return self._held_in_thread() or threading.get_ident() in map(thread_of, waiting)

    def _held_in_thread(self, but: ViewHold = None) -> bool:
        """Whether this thread, or a task of it, has this lock in any mode, `but` by one view."""
        updater = self._updater
        if updater is not None and thread_of(updater) == threading.get_ident():
            return True
        return self._viewed_in_thread(but)

    def _viewed_in_thread(self, but: ViewHold = None) -> bool:
        thread = threading.get_ident()
        holders = self.shared.copy().items()
        return any(thread_of(holder) == thread for hold, holder in holders if hold != but)

    # -- shared

    def acquire_shared(self, deadline: float | None = None) -> ViewHold:
        """Take shared mode, nested if it is held already; returns the hold, for the release."""
        hold = object()
        try:
            self.shared[hold] = current_holder()
            if self.barrier:
                self.wait_for_opening(hold, deadline)
            return hold  # noqa: TRY300  inside, so that an interrupt here is seen too
        except BaseException:
            self.release_shared(hold)
            raise

    def wait_for_opening(self, hold: ViewHold, deadline: float | None) -> None:
        """Let a pending upgrade go first, and take shared mode after it, if that isn't nested.

        Args:
            hold: entered in `shared`, and there again on return; not if this raises.
            deadline: on the monotonic clock.
        """
        if self._held_in_thread(hold):
            return
        holder = self.shared[hold]
        while True:
            with self._mutex:
                gate = closed_gate()
                self._view_gates.append(gate)
            self.release_shared(hold)
            if self.barrier and not wait_at(gate, deadline):
                raise LockTimeout(VIEW_TIMED_OUT)
            self.shared[hold] = holder
            if not self.barrier:
                return

    def release_shared(self, hold: ViewHold) -> None:
        """Give back one shared hold; without effect if that is done already."""
        self.shared.pop(hold, None)
        # Also if it was done by a release that had no stack left to wake anybody.
        if self.barrier:
            self.wake_upgrade()

    def wake_upgrade(self) -> None:
        """Have a pending upgrade look whether views are left: one has just ended."""
        with self._mutex:
            gate = self._upgrade_gate
            if gate is not None:
                gate.release()
                self._upgrade_gate = None

    # -- update

    def take_free_update(self, holder: Holder, hold: object) -> bool:
        """Take update mode if nobody holds anything: what most updates find.

        Returns:
            Whether it was taken; if not, `check_update` and `acquire_update` say why, or wait.
        """
        if self.shared:
            return False
        with self._mutex:
            if self._updater is None:
                self._update_hold = hold
                self._updater = holder
                return True
        return False

    def check_update(self) -> None:
        """Raise `UsageError` if the current holder would wait for its own view or update."""
        holder = current_holder()
        if self._updater == holder or self.shared:
            self.check_update_of(holder)
            if current_holder is not threading.get_ident and self._held_in_thread():
                raise would_block()

    def check_update_of(self, holder: Holder) -> None:
        """The same of any holder, but for what only those care about who block a thread."""
        if self._updater == holder:
            raise UsageError(
                "an update of this database is already running in this thread: "
                "make the change in its block"
            )
        if self.shared and holder in self.shared.copy().values():
            raise UsageError(
                "a view of this database is open in this thread: "
                "end its block before starting an update"
            )

    def acquire_update(self, deadline: float | None = None, hold: object = None) -> None:
        """Take update mode, after `check_update`.

        Args:
            deadline: on the monotonic clock.
            hold: what takes it, if that may let go of it later than its thread takes it again.
        """
        holder = current_holder()
        waiter: Waiter | None = None
        try:
            if self._take_update(holder, hold, None):
                return
            if self.concerns_thread():
                raise would_block()  # noqa: TRY301
            # Made outside the mutex: what is collected meanwhile may let go of this lock.
            gate = closed_gate()
            waiter = Waiter(holder, hold, gate)
            while not self._take_update(holder, hold, waiter):
                if not wait_at(gate, deadline):
                    raise LockTimeout(UPDATE_TIMED_OUT)  # noqa: TRY301
                gate = closed_gate()
                waiter.again(gate)
        except BaseException:
            try:
                with deferred_interrupts:
                    self._abandon_update(holder, waiter)
            finally:  # again, in case Ctrl-C struck before it was deferred
                self._abandon_update(holder, waiter)
            raise

    def _take_update(self, holder: Holder, hold: object, waiter: Waiter | None) -> bool:
        """Take the update mode if it is free or handed over; else join the queue, if to wait."""
        with self._mutex:
            if self._updater is None:
                self._update_hold = hold
                self._updater = holder
            if self._updater == holder:
                return True
            if waiter is not None:
                add = self._update_queue.appendleft if waiter.first else self._update_queue.append
                add(waiter)
            return False

    def _abandon_update(self, holder: Holder, waiter: Waiter | None) -> None:
        with self._mutex:
            if waiter is not None and waiter in self._update_queue:
                self._update_queue.remove(waiter)
            if self._updater == holder:
                self._updater = self._update_hold = None
            # Its turn may have been given to it already; then it is the next one's.
            if self._updater is None:
                self._pass_on_update()

    def _pass_on_update(self) -> None:  # the mutex is held
        """Let the first in the queue come; the lock is its own at once if it has waited for long.

        What may want memory comes first, so that this can be tried again.
        """
        handed_over: tuple[Holder | None, object] = (None, None)
        while self._update_queue:
            waiter = self._update_queue[0]
            if time.monotonic() - waiter.since > _HANDOVER_SECONDS:
                handed_over = (waiter.holder, waiter.hold)
            somebody = waiter.wake()
            self._update_queue.popleft()
            if somebody:
                break
            handed_over = (None, None)
        self._updater, self._update_hold = handed_over

    def release_update(self, holder: Holder, hold: object = None) -> None:
        """Give back update or exclusive mode; without effect if it isn't held, or not as `hold`."""
        if self._updater != holder or (hold is not None and self._update_hold is not hold):
            return
        try:
            # The path of every update: what most find to be empty is asked of before it is called.
            self.barrier = False
            if self._view_gates:
                self._lift_barrier()
            if not self._update_queue:
                with self._mutex:
                    if not self._update_queue:
                        self._updater = self._update_hold = None
        finally:
            # However often there is no memory: the others would wait for ever.
            while self._updater == holder:
                try:
                    with self._mutex:
                        self._pass_on_update()
                except MemoryError:
                    continue

    # -- exclusive

    def upgrade(self, deadline: float | None = None) -> None:
        """Go from update to exclusive mode: wait until no view is open, and hold new ones back.

        Raises:
            UsageError: the current holder has a view open itself.
        """
        if self.upgrade_at_once():
            return
        assert self._updater == current_holder()
        self._check_own_views()
        patience = BARRIER_SECONDS
        try:
            while not self._drain(patience, deadline):
                self._lift_barrier()
                if deadline is not None and time.monotonic() >= deadline:
                    raise LockTimeout(UPGRADE_TIMED_OUT)  # noqa: TRY301
                time.sleep(OPENING_SECONDS)
                patience = min(2 * patience, BARRIER_SECONDS_MAX)
        except BaseException:
            self._lift_barrier()
            raise

    def upgrade_at_once(self) -> bool:
        """Go from update to exclusive mode if no view is open; if one is, `upgrade` has to."""
        if self.shared:
            return False
        self.barrier = True
        return not self.shared

    def _check_own_views(self) -> None:
        if self._updater in self.shared.copy().values():
            raise UsageError(
                "a view opened inside this update is still open: "
                "end its block before the update's block ends"
            )

    def downgrade(self) -> None:
        """Go from exclusive back to update mode: let views in."""
        self._lift_barrier()

    def _drain(self, patience: float, deadline: float | None) -> bool:
        """Raise the barrier and wait until no view is left; False if that took too long."""
        self.barrier = True
        if not self.shared:
            return True
        if self._viewed_in_thread():
            raise would_block()
        until = self._patient_until(patience, deadline)
        while True:
            with self._mutex:
                gate = self._upgrade_gate = closed_gate()
            if not self.shared:
                return True
            if not wait_at(gate, until):
                return not self.shared

    def _patient_until(self, patience: float, deadline: float | None) -> float:
        until = time.monotonic() + patience
        return until if deadline is None else min(until, deadline)

    def _lift_barrier(self) -> None:
        self.barrier = False
        # Also if an interrupt or a want of memory ended an earlier try here. A view that leaves its
        # gate after this look finds the barrier lifted.
        while self._view_gates:
            try:
                with self._mutex:
                    while self._view_gates:
                        # Opened before it is forgotten: an interrupt between the two loses nothing.
                        gate = self._view_gates[-1]
                        if gate.locked():
                            gate.release()
                        self._view_gates.pop()
            except MemoryError:
                continue
