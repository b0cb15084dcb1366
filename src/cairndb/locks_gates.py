"""Gates: what threads wait at, one gate for one wait."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from cairndb.locks_holders import Holder

_WAIT_SECONDS: Final = 1.0

Mutex = threading.Lock
ReentrantMutex = threading.RLock


class Gate(Protocol):
    """What somebody waits at: a lock, taken, for threads; `locks_tasks.TaskGate` for tasks."""

    def locked(self) -> bool:
        """Whether it hasn't been opened yet."""

    def release(self) -> None:
        """Open it."""


class Waiter:
    """Somebody in the queue for the update mode."""

    __slots__ = ("first", "gate", "hold", "holder", "since")

    def __init__(self, holder: Holder, hold: object, gate: Gate) -> None:
        self.holder = holder
        self.hold = hold
        self.since = time.monotonic()
        self.gate = gate
        self.first = False

    def again(self, gate: Gate) -> None:
        """Woken, and somebody was faster: the first again, at a new gate."""
        self.gate = gate
        self.first = True

    def wake(self) -> bool:
        """Open the gate, if an earlier try didn't; returns whether anybody may be there."""
        if self.gate.locked():
            self.gate.release()
        return True


def deadline_after(timeout: float | None) -> float | None:
    """The moment on the monotonic clock `timeout` seconds from now; None, for ever, stays None."""
    return None if timeout is None else time.monotonic() + timeout


def closed_gate() -> threading.Lock:
    """A lock, taken: whoever waits for it goes on when somebody releases it."""
    gate = threading.Lock()
    gate.acquire()
    return gate


def open_gate(gate: Gate) -> None:
    """Have whoever waits at a gate go on; for gates that more than one may open."""
    with contextlib.suppress(RuntimeError):  # it is open already
        gate.release()


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
