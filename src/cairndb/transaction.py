"""Views and updates: the two kinds of transaction, as `with` statements.

**Nobody is shown what a crash could take back.** However a view or an update ends, it releases its
lock, then waits until the LSN that its block saw is promised, and only then returns or raises.

An interrupt can strike anywhere: a transaction notes what it is about to hold before it takes it,
and lets go of what it noted, however its block is left.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec import Struct

from cairndb import draft as drafts
from cairndb import locks
from cairndb.engine_starting import bring_tail
from cairndb.errors import UsageError
from cairndb.locks_gates import deadline_after
from cairndb.locks_interrupts import deferred_interrupts

if TYPE_CHECKING:
    from types import TracebackType

    from cairndb.engine import Change, Engine
    from cairndb.locks_holders import Hold
    from cairndb.patch import Call
    from cairndb.requests import Once

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


class Ended(Struct, Generic[R], eq=False):
    """A view that is over, and what updates have too. It becomes this: its end costs no `__del__`.

    A Struct, because that is made by one call of C. A view writes to no field of it: to write to
    one takes as long as to make it.
    """

    _engine: Engine
    _timeout: float | None
    durable: bool

    def __enter__(self) -> R:
        raise used()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        raise used()

    def __repr__(self) -> str:  # not the Struct's, which would show the whole state
        return f"<cairndb.{type(self).__name__}>"


class View(Ended[R], eq=False):
    """A consistent read: the state stays as it is while the block runs.

    Made by `Database.view`; use it once, in a `with` statement.
    """

    def __enter__(self) -> R:
        engine = self._engine
        lock = engine.lock
        shared = lock.shared
        # Nobody else's while this object lives, and it lets go before it dies.
        hold = id(self)
        if hold in shared:
            raise used()
        try:
            # ThreeModeLock.acquire_shared without its call: all that there is in nearly every view.
            shared[hold] = locks.current_holder()
            if lock.barrier:
                lock.wait_for_opening(hold, deadline_after(self._timeout))
            if engine.refusal is not None:
                engine.check_usable()
            # Inside, so that an interrupt here is seen too.
            return engine.tree.root  # type: ignore[no-any-return]  # noqa: TRY300
        except BaseException:
            self._release()
            raise

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        engine = self._engine
        # While the view was open nothing was applied: this is what its block saw.
        lsn = engine.applied_lsn
        lock = engine.lock
        # As above: release_shared.
        del lock.shared[id(self)]
        if lock.barrier:
            lock.wake_upgrade()
        self.__class__ = Ended  # type: ignore[assignment]  # the same layout, and no __del__
        if engine.flusher.promised_lsn < lsn and self.durable:
            engine.flusher.wait(lsn)

    def _release(self) -> None:
        self._engine.lock.release_shared(id(self))
        self.__class__ = Ended  # type: ignore[assignment]

    # An interrupt can strike after `with` has called `__exit__` and before its first instruction,
    # and a full stack leaves no room for a release. What is still held then goes with this object,
    # when the exception has been dealt with, further up.
    def __del__(self) -> None:
        while True:
            try:
                self._release()
            except MemoryError:
                continue
            return


class EndedUpdate(Ended[R], eq=False):
    """An update that is over: see `Ended`."""

    _call: Call | None = None
    _once: Once | None = None
    _held: Hold | None = None
    _root: Any = None
    _change: Change | None = None
    """Kept for whoever asks where in the log it went: its `lsn` is 0 if it didn't get there."""


class Update(EndedUpdate[R], eq=False):
    """A transaction: the block changes a draft; its end commits, or drops it if the block raised.

    Made by `Database.update`; use it once, in a `with` statement.
    """

    def __enter__(self) -> R:
        engine = self._engine
        if engine.refusal is not None:
            raise engine.refusal()
        if engine.reads_only:
            engine.check_writable()
        if self._held is not None:
            engine.lock.check_update()
            raise used()
        holder = locks.current_holder()
        held = [holder]
        try:
            self._held = held
            if not engine.lock.take_free_update(holder, held):
                engine.lock.check_update()
                engine.lock.acquire_update(deadline_after(self._timeout), held)
            if engine.refusal is not None:
                engine.check_usable()
            if engine.tail_missing:
                bring_tail(engine, deadline_after(self._timeout))
            self._root = root = engine.begin()
            return root  # type: ignore[no-any-return]  # noqa: TRY300  as in View
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
                change = engine.prepare(self._root, self._call, self._once)
                if change is not None:
                    self._change = change
                    engine.make_way(change, deadline_after(self._timeout))
                    # Whether what follows waits for the disk or not, it goes on to its end.
                    with deferred_interrupts:
                        engine.append(change)
                        lsn = change.lsn
                        self._let_go()
                        if self.durable:
                            engine.flusher.flush_if_free(lsn)
        finally:
            if self._held is not None:
                self._release()
            if self.durable and engine.flusher.promised_lsn < lsn:
                engine.wait(lsn)
            if engine.wake is not None:
                engine.wake()

    def _release(self) -> None:
        with deferred_interrupts:  # drafts are ended all or none
            self._let_go()

    def _let_go(self) -> None:
        held = self._held
        if held is not None:
            try:
                root, self._root = self._root, None
                if root is not None:
                    drafts.close(root)
            finally:
                self._engine.lock.release_update(held[0], held)
                self._held = None
                self.__class__ = EndedUpdate  # type: ignore[assignment]  # as in View

    # As in View.
    def __del__(self) -> None:
        let_go(self)


def let_go(transaction: Any) -> None:
    """The last chance to release what is held: not to be missed for want of memory."""
    while getattr(transaction, "_held", None) is not None:
        try:
            transaction._release()  # noqa: SLF001  a part of all that call this
        except MemoryError:
            continue
