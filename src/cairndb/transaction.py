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
from cairndb.locks import current_holder, deadline_after

if TYPE_CHECKING:
    from types import TracebackType

    from cairndb.engine import Engine
    from cairndb.patch import Call

R = TypeVar("R")


# More than the calls inside each other from the end of an update's block to the end of its flush.
_STACK_FRAMES: Final = 100


def _need_stack() -> None:
    """Raise RecursionError here, where nothing has happened, instead of between log and memory.

    Asking for the frame that must not be there yet costs a tenth of making as many calls.
    """
    try:
        sys._getframe(sys.getrecursionlimit() - _STACK_FRAMES)  # noqa: SLF001  what it is there for
    except ValueError:
        return
    raise RecursionError("no stack left to end this update: nothing has happened")


class View(Generic[R]):
    """A consistent read: the state stays as it is while the block runs.

    Made by `Database.view`; use it once, in a `with` statement.
    """

    __slots__ = ("_durable", "_engine", "_holder", "_timeout")

    def __init__(self, engine: Engine, timeout: float | None, *, durable: bool) -> None:
        self._engine = engine
        self._timeout = timeout
        self._durable = durable
        self._holder: int | None = None

    def __enter__(self) -> R:
        engine = self._engine
        if engine.refusal is not None:
            raise engine.refusal()
        timeout = self._timeout
        self._holder = engine.lock.acquire_shared(
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
        holder = self._holder
        if holder is not None:
            self._engine.lock.release_shared(holder)
            self._holder = None

    # An interrupt can strike after `with` has called `__exit__` and before its first instruction,
    # and a full stack leaves no room for a release. What is still held then goes with this object,
    # when the exception has been dealt with, further up.
    __del__ = _release


class Update(Generic[R]):
    """A transaction: the block changes a draft; its end commits, or drops it if the block raised.

    Made by `Database.update`; use it once, in a `with` statement.
    """

    __slots__ = ("_call", "_durable", "_engine", "_held", "_root", "_timeout")

    def __init__(
        self, engine: Engine, timeout: float | None, call: Call | None = None, *, durable: bool
    ) -> None:
        self._engine = engine
        self._timeout = timeout
        self._call = call
        self._durable = durable
        self._held: int | None = None
        self._root: Any = None

    def __enter__(self) -> R:
        engine = self._engine
        engine.check_usable()
        engine.check_writable()
        engine.lock.check_update()
        self._held = current_holder()
        try:
            engine.lock.acquire_update(deadline_after(self._timeout))
            engine.check_usable()
            engine.bring_tail(deadline_after(self._timeout))
            self._root = drafts.open_draft(engine.tree.kind, engine.tree.root)
        except BaseException:
            self._release()
            raise
        root: R = self._root
        return root

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
                _need_stack()
                lsn = engine.commit(self._root, self._call, deadline_after(self._timeout))
        finally:
            self._release()
            if self._durable:
                engine.wait(lsn)
            if engine.wake is not None:
                engine.wake()

    def _release(self) -> None:
        held = self._held
        if held is not None:
            try:
                if self._root is not None:
                    drafts.close(self._root)
                    self._root = None
            finally:
                self._engine.lock.release_update(held)
                self._held = None

    # As in View.
    __del__ = _release
