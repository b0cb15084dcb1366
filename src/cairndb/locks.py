r"""The three lock modes, gates, deferred interrupts; with `flusher` all that knows threads.

The table of Birrell, Jones and Wobber (1987, section 3.2), which is all of `ThreeModeLock`:

    held \ wanted    shared    update    exclusive
    shared           yes       yes       waits
    update           yes       waits     (upgrade)
    exclusive        waits     waits     waits

Views hold *shared*. An update holds *update* while its block runs, so that views go on, and
upgrades to *exclusive* for the microseconds in which the patch is applied.

Rules that keep this free of deadlock, starvation and leaked holds:

1. The hold *is* the record of it (`_shared[holder]`, `_updater`): there is no moment at which a
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
"""

from __future__ import annotations

import threading
import time

# `signal` itself, without its conversions to enums, which take ten times as long as the rest.
from _signal import (  # type: ignore[import-not-found]
    getsignal,
    signal,
)
from collections import deque
from signal import SIGINT
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from cairndb.errors import LockTimeout, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# How long a pending upgrade first holds new views back; it doubles up to the limit. Long enough for
# ordinary views to end, short enough not to be noticed by a view that another view waits for.
_BARRIER_SECONDS: Final = 0.01
_BARRIER_SECONDS_MAX: Final = 1.0
_OPENING_SECONDS: Final = 0.001
_HANDOVER_SECONDS: Final = 0.005
_WAIT_SECONDS: Final = 1.0

current_holder = threading.get_ident
Mutex = threading.Lock
# [its holder, the hold of the same holder that it was taken in]; None for the outermost. One object
# for one hold, and not a count: a view that is let go of twice, the second time by a collection
# while another view of its thread is open, must not let go of that one's.
Hold: TypeAlias = list[Any]


def deadline_after(timeout: float | None) -> float | None:
    """The moment on the monotonic clock `timeout` seconds from now; None, for ever, stays None."""
    return None if timeout is None else time.monotonic() + timeout


def closed_gate() -> threading.Lock:
    """A lock, taken: whoever waits for it goes on when somebody releases it."""
    gate = threading.Lock()
    gate.acquire()
    return gate


def wait_at(gate: threading.Lock, until: float | None = None) -> bool:
    """Wait until a gate is opened.

    A signal that comes right before the system call that waits is noticed after it, by Python: so
    no wait is for longer than a second at a time.

    Args:
        gate: closed.
        until: the moment to give up, on the monotonic clock; None never does.

    Returns:
        Whether it was opened.
    """
    while until is None:
        if gate.acquire(timeout=_WAIT_SECONDS):
            return True
    while (left := until - time.monotonic()) > _WAIT_SECONDS:
        if gate.acquire(timeout=_WAIT_SECONDS):
            return True
    return gate.acquire(timeout=max(0.0, left))


class deferred_interrupts:  # noqa: N801  used as a statement, like contextlib's
    """Hold back Ctrl-C while a block runs; it is raised right after.

    Only the main thread gets interrupts, and only a handler written in Python can be held back:
    with the system's default SIGINT ends the process, which is a crash like any other.
    """

    __slots__ = ("_frame", "_noted", "_previous")

    def __init__(self) -> None:
        self._previous: Callable[[int, FrameType | None], object] | None = None
        self._noted = False
        self._frame: FrameType | None = None

    def __enter__(self) -> Self:
        if threading.get_ident() == threading.main_thread().ident:
            handler = getsignal(SIGINT)
            if callable(handler):
                self._previous = handler
                signal(SIGINT, self._note)
        return self

    def _note(self, _number: int, frame: FrameType | None) -> None:
        self._noted = True
        self._frame = frame

    def __exit__(self, *_exception: object) -> None:
        if self._previous is not None:
            signal(SIGINT, self._previous)
            if self._noted:
                self._noted = False
                self._previous(SIGINT, self._frame)


class _Waiter:
    __slots__ = ("gate", "hold", "holder", "since")

    def __init__(self, holder: int, hold: object) -> None:
        self.holder = holder
        self.hold = hold
        self.since = time.monotonic()
        self.gate = closed_gate()


class ThreeModeLock:
    """The lock of one database, in the modes shared, update and exclusive.

    Whatever takes a mode accepts a deadline on the monotonic clock, raises `LockTimeout` when that
    passes, and leaves nothing held if it raises anything.
    """

    __slots__ = (
        "_barrier",
        "_mutex",
        "_shared",
        "_update_hold",
        "_update_queue",
        "_updater",
        "_upgrade_gate",
        "_view_gates",
    )

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # An entry is written by its holder alone, without the mutex. A view writes its entry, then
        # looks at the barrier; an upgrade raises the barrier, then looks at the entries: one of the
        # two sees the other.
        self._shared: dict[int, Hold] = {}  # the innermost
        self._barrier = False  # written by the holder of update alone
        # Guarded by the mutex:
        self._updater: int | None = None
        self._update_hold: object = None
        self._update_queue: deque[_Waiter] = deque()
        self._upgrade_gate: threading.Lock | None = None
        self._view_gates: list[threading.Lock] = []

    def holds(self) -> bool:
        """Whether the current holder has this lock in any mode."""
        holder = current_holder()
        return self._updater == holder or holder in self._shared

    # -- shared

    def acquire_shared(self, deadline: float | None = None) -> Hold:
        """Take shared mode, nested if it is held already; returns the hold, for the release."""
        holder = current_holder()
        shared = self._shared
        outer = shared.get(holder)
        hold: Hold = [holder, outer]
        try:
            shared[holder] = hold
            if self._barrier and outer is None and self._updater != holder:
                self._wait_for_opening(hold, deadline)
            return hold  # noqa: TRY300  inside, so that an interrupt here is seen too
        except BaseException:
            if outer is not None:
                shared[holder] = outer
            else:
                shared.pop(holder, None)
                self._wake_upgrade()
            raise

    def _wait_for_opening(self, hold: Hold, deadline: float | None) -> None:
        holder = hold[0]
        while True:
            with self._mutex:
                gate = closed_gate()
                self._view_gates.append(gate)
            self._shared.pop(holder, None)
            self._wake_upgrade()
            if self._barrier and not wait_at(gate, deadline):
                raise LockTimeout(
                    "an update was waiting for other views, or being applied, all the while"
                )
            self._shared[holder] = hold
            if not self._barrier:
                return

    def release_shared(self, hold: Hold) -> None:
        """Give back one shared hold; without effect if that is done already."""
        holder, outer = hold
        shared = self._shared
        inner = shared.get(holder)
        if inner is hold:
            if outer is not None:
                shared[holder] = outer
                return
            shared.pop(holder, None)
        elif inner is not None:  # views that end in another order than that of nesting
            while inner is not None and inner[1] is not hold:
                inner = inner[1]
            if inner is not None:
                inner[1] = outer
            return
        # Also if it was done by a release that had no stack left to wake anybody.
        if self._barrier:
            self._wake_upgrade()

    def _wake_upgrade(self) -> None:
        with self._mutex:
            gate, self._upgrade_gate = self._upgrade_gate, None
            if gate is not None:
                gate.release()

    # -- update

    def check_update(self) -> None:
        """Raise `UsageError` if the current holder would wait for its own view or update."""
        holder = current_holder()
        if self._updater == holder:
            raise UsageError(
                "an update of this database is already running in this thread: "
                "make the change in its block"
            )
        if holder in self._shared:
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
        waiter: _Waiter | None = None
        try:
            while True:
                with self._mutex:
                    if self._updater is None:
                        self._update_hold = hold
                        self._updater = holder
                    if self._updater == holder:
                        return
                    if waiter is None:
                        waiter = _Waiter(holder, hold)
                        self._update_queue.append(waiter)
                    else:  # woken, and somebody was faster: the first again
                        waiter.gate = closed_gate()
                        self._update_queue.appendleft(waiter)
                if not wait_at(waiter.gate, deadline):
                    raise LockTimeout("another update was running all the while")  # noqa: TRY301
        except BaseException:
            try:
                with deferred_interrupts():
                    self._abandon_update(holder, waiter)
            finally:  # again, in case Ctrl-C struck before it was deferred
                self._abandon_update(holder, waiter)
            raise

    def _abandon_update(self, holder: int, waiter: _Waiter | None) -> None:
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
        handed_over: tuple[int | None, object] = (None, None)
        waiter = self._update_queue[0] if self._update_queue else None
        if waiter is not None and time.monotonic() - waiter.since > _HANDOVER_SECONDS:
            handed_over = (waiter.holder, waiter.hold)
        if waiter is not None:
            self._update_queue.popleft()
            waiter.gate.release()
        self._updater, self._update_hold = handed_over

    def release_update(self, holder: int, hold: object = None) -> None:
        """Give back update or exclusive mode; without effect if it isn't held, or not as `hold`."""
        if self._updater != holder or (hold is not None and self._update_hold is not hold):
            return
        try:
            self._lift_barrier()
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
        assert self._updater == current_holder()
        if self._updater in self._shared:
            raise UsageError(
                "a view opened inside this update is still open: "
                "end its block before the update's block ends"
            )
        patience = _BARRIER_SECONDS
        try:
            while not self._drain(patience, deadline):
                self._lift_barrier()
                if deadline is not None and time.monotonic() >= deadline:
                    raise LockTimeout("other views were open all the while; nothing has happened")  # noqa: TRY301
                time.sleep(_OPENING_SECONDS)
                patience = min(2 * patience, _BARRIER_SECONDS_MAX)
        except BaseException:
            self._lift_barrier()
            raise

    def downgrade(self) -> None:
        """Go from exclusive back to update mode: let views in."""
        self._lift_barrier()

    def _drain(self, patience: float, deadline: float | None) -> bool:
        """Raise the barrier and wait until no view is left; False if that took too long."""
        self._barrier = True
        if not self._shared:
            return True
        until = time.monotonic() + patience
        if deadline is not None:
            until = min(until, deadline)
        while True:
            with self._mutex:
                gate = self._upgrade_gate = closed_gate()
            if not self._shared:
                return True
            if not wait_at(gate, until):
                return not self._shared

    def _lift_barrier(self) -> None:
        self._barrier = False
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
