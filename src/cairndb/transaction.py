"""Views and updates: the two kinds of transaction, as `with` statements.

**Nobody is shown what a crash could take back.** However a view or an update ends, it releases its
lock, then waits until the LSN that its block saw is promised, and only then returns or raises.

An interrupt can strike anywhere: a transaction notes what it is about to hold before it takes it,
and lets go of what it noted, however its block is left.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from cairndb import draft as drafts
from cairndb import locks
from cairndb.engine_starting import bring_tail
from cairndb.errors import UsageError
from cairndb.locks_gates import deadline_after
from cairndb.locks_interrupts import deferred_interrupts

if TYPE_CHECKING:
    from types import TracebackType

    from cairndb.engine import Engine
    from cairndb.locks_holders import Hold
    from cairndb.patch import Call

R = TypeVar("R")


# More than the calls inside each other from the end of an update's block to the end of its flush.
_STACK_FRAMES: Final = 100


def need_stack() -> None:
    """Raise RecursionError here, where nothing has happened, instead of between log and memory.

    Asking for the frame that must not be there yet costs a tenth of making as many calls.
    """
    try:
        sys._getframe(sys.getrecursionlimit() - _STACK_FRAMES)  # noqa: SLF001  what it is there for
    except ValueError:
        return
    raise RecursionError("no stack left to end this update: nothing has happened")


def used() -> UsageError:
    """The error of a transaction that is begun twice."""
    return UsageError("a view or an update is for one `with` statement: make another")


class Ended(Generic[R]):
    """A view or an update that is over. It becomes this, so that its end costs no `__del__`."""

    __slots__ = ("_call", "_durable", "_engine", "_held", "_root", "_timeout")

    def __enter__(self) -> R:
        raise used()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        raise used()


class View(Ended[R]):
    """A consistent read: the state stays as it is while the block runs.

    Made by `Database.view`; use it once, in a `with` statement.
    """

    __slots__ = ()

    def __init__(self, engine: Engine, timeout: float | None, *, durable: bool) -> None:
        self._held: Hold | None = None
        self._engine = engine
        self._timeout = timeout
        self._durable = durable

    def __enter__(self) -> R:
        engine = self._engine
        if engine.refusal is not None:
            raise engine.refusal()
        if self._held is not None:
            raise used()
        timeout = self._timeout
        self._held = engine.lock.acquire_shared(
            None if timeout is None else deadline_after(timeout)
        )
        if engine.refusal is not None:
            self._release()
            raise engine.refusal()
        root: R = engine.tree.root
        return root

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        engine = self._engine
        # While the view was open nothing was applied: this is what its block saw.
        lsn = engine.applied_lsn
        self._release()
        if engine.flusher.promised_lsn < lsn and self._durable:
            engine.flusher.wait(lsn)

    def _release(self) -> None:
        if self._held is not None:
            self._engine.lock.release_shared(self._held)
            self._held = None
            self.__class__ = Ended  # type: ignore[assignment]  # the same layout, and no __del__

    # An interrupt can strike after `with` has called `__exit__` and before its first instruction,
    # and a full stack leaves no room for a release. What is still held then goes with this object,
    # when the exception has been dealt with, further up.
    def __del__(self) -> None:
        let_go(self)


class Update(Ended[R]):
    """A transaction: the block changes a draft; its end commits, or drops it if the block raised.

    Made by `Database.update`; use it once, in a `with` statement.
    """

    __slots__ = ()

    def __init__(
        self, engine: Engine, timeout: float | None, call: Call | None = None, *, durable: bool
    ) -> None:
        self._held: Hold | None = None
        self._root: Any = None
        self._engine = engine
        self._timeout = timeout
        self._call = call
        self._durable = durable

    def __enter__(self) -> R:
        engine = self._engine
        engine.check_usable()
        engine.check_writable()
        engine.lock.check_update()
        deadline = None if self._timeout is None else deadline_after(self._timeout)
        self._held = [locks.current_holder()]
        try:
            engine.lock.acquire_update(deadline, self._held)
            engine.check_usable()
            if engine.store.tail_missing is not None:
                bring_tail(engine, deadline)
            self._root = engine.begin()
            root: R = self._root
            return root  # noqa: TRY300  inside, so that an interrupt here is seen too
        except BaseException:
            self._release()
            raise

    def __exit__(
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
                deadline = None if self._timeout is None else deadline_after(self._timeout)
                lsn = engine.commit(self._root, self._call, deadline)
        finally:
            self._release()
            if self._durable:
                engine.wait(lsn)
            if engine.wake is not None:
                engine.wake()

    def _release(self) -> None:
        if self._held is not None:
            with deferred_interrupts:  # drafts are ended all or none
                try:
                    root, self._root = self._root, None
                    if root is not None:
                        drafts.close(root)
                finally:
                    self._engine.lock.release_update(self._held[0], self._held)
                    self._held = None
                    self.__class__ = Ended  # type: ignore[assignment]  # as in View

    # As in View.
    def __del__(self) -> None:
        let_go(self)


def let_go(transaction: Any) -> None:
    """The last chance to release what is held: not to be missed for want of memory."""
    while getattr(transaction, "_held", None) is not None:
        try:
            transaction._release()  # noqa: SLF001  a part of both
        except MemoryError:
            continue
