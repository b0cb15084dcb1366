"""Calls by way of a replica, whose effects are seen there when they return; waiting for an LSN."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import UNSET, UnsetType

from cairndb.calls import mode_of, result_of
from cairndb.cancellation import CancelToken
from cairndb.client_calls import Calls
from cairndb.client_waiting import OutOfTime
from cairndb.errors import CairnError, ReplicaBehind
from cairndb.locks_gates import closed_gate, deadline_after, open_gate, wait_at
from cairndb.locks_tasks import event_loop
from cairndb.transaction import View
from cairndb.transaction_async import AsyncView

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.client_calls import Limits, Target
    from cairndb.client_waiting import Wait
    from cairndb.replicas_engine import Copy
    from cairndb.replicas_following import Following

R = TypeVar("R")


class ReplicaCalls(Calls[R], Generic[R]):
    """Calls within the same limits: queries are run here, updates at the owner.

    Args:
        target: the owner.
        limits: of each call, the wait for the replica included.
        copy: the replica's.
        following: what keeps it up.
    """

    def __init__(self, target: Target, limits: Limits, copy: Copy, following: Following) -> None:
        super().__init__(target, limits)
        self._copy = copy
        self._following = following

    def within(
        self,
        *,
        timeout: float | UnsetType | None = UNSET,
        cancel: CancelToken | UnsetType | None = UNSET,
    ) -> ReplicaCalls[R]:
        """The same calls with other limits.

        Args:
            timeout: seconds that a call may take, the wait for its effect here included.
            cancel: ends calls as soon as it is cancelled.
        """
        limits = self._limits.changed(timeout, cancel)
        return ReplicaCalls(self._target, limits, self._copy, self._following)

    def _run(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        mode, name = mode_of(method)
        if mode == "update":
            return super()._run(method, args, kwargs)
        with View[Any](self._copy, self._patience(method, kwargs), durable=True) as root:
            return result_of(method(root, *args, **kwargs), name)

    async def _run_async(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        mode, name = mode_of(method)
        if mode == "update":
            return await super()._run_async(method, args, kwargs)
        async with AsyncView[Any](self._copy, self._patience(method, kwargs), True) as root:
            return result_of(method(root, *args, **kwargs), name)

    def _patience(self, method: Callable[..., Any], kwargs: dict[str, Any]) -> float | None:
        """How long a query may wait for updates that are being applied."""
        limits = self._limits
        if kwargs:
            limits = self._limits_of(self._target.methods.of(method), kwargs)
        if limits.cancel is not None:
            limits.cancel.check()
        return limits.timeout

    def _answered(self, lsn: int, wait: Wait) -> None:
        """Wait until the replica shows what the answer is based on, a failure too."""
        if self._copy.applied_lsn >= lsn:
            return
        try:
            until = deadline_after(wait.left())
        except OutOfTime:
            until = time.monotonic()
        try:
            wait_for(self._copy, self._following, lsn, until, wait.cancel)
        except ReplicaBehind:
            raise
        except CairnError as error:
            raise _behind(self._copy, lsn, str(error)) from error


class _Gate:
    """What a thread waits at; see `locks_gates.Gate`."""

    def __init__(self) -> None:
        self._lock = closed_gate()

    def locked(self) -> bool:
        return self._lock.locked()

    def release(self) -> None:
        open_gate(self._lock)

    def wait(self, until: float | None) -> None:
        wait_at(self._lock, until)


class _Turn(_Gate):
    """The same for a wait that can be cancelled."""

    def __init__(self, cancel: CancelToken) -> None:
        self._token = CancelToken(parents=[cancel])

    def locked(self) -> bool:
        return not self._token.is_set()

    def release(self) -> None:
        self._token.cancel()

    def wait(self, until: float | None) -> None:
        self._token.wait(None if until is None else max(0.0, until - time.monotonic()))


def wait_for(
    copy: Copy,
    following: Following,
    lsn: int,
    until: float | None,
    cancel: CancelToken | None = None,
) -> None:
    """Wait until a copy shows an LSN.

    Args:
        copy: the replica's.
        following: what keeps it up.
        lsn: wanted.
        until: the moment to give up, on the monotonic clock; None never does.
        cancel: ends the wait.

    Raises:
        ReplicaBehind: it doesn't in time.
        CairnError: it won't, unless somebody does something about it.
    """
    while not _arrived(copy, following, lsn):
        gate = _Gate() if cancel is None else _Turn(cancel)
        copy.arrivals.add(lsn, gate)
        try:
            if _arrived(copy, following, lsn):
                return
            gate.wait(until)
        finally:
            copy.arrivals.forget(gate)
        _check_in_time(copy, lsn, until, cancel)


async def wait_for_async(copy: Copy, following: Following, lsn: int, until: float | None) -> None:
    """As `wait_for`, for a task."""
    while not _arrived(copy, following, lsn):
        gate = event_loop().gate()
        copy.arrivals.add(lsn, gate)
        try:
            if _arrived(copy, following, lsn):
                return
            await gate.wait(until)
        finally:
            copy.arrivals.forget(gate)
        _check_in_time(copy, lsn, until, None)


def _arrived(copy: Copy, following: Following, lsn: int) -> bool:
    copy.check_usable()
    if copy.applied_lsn >= lsn:
        return True
    problem = following.problem
    if problem is not None and following.is_final:
        raise problem
    return False


def _check_in_time(copy: Copy, lsn: int, until: float | None, cancel: CancelToken | None) -> None:
    if copy.applied_lsn >= lsn:
        return
    if cancel is not None and cancel.is_set():
        raise _behind(copy, lsn, "the wait was cancelled")
    if until is not None and time.monotonic() >= until:
        raise _behind(copy, lsn, "the time is over")


def _behind(copy: Copy, lsn: int, why: str) -> ReplicaBehind:
    return ReplicaBehind(
        f"{copy.path}: LSN {lsn} is durable at the owner, and this replica is at "
        f"{copy.applied_lsn}: {why}",
        lsn,
    )
