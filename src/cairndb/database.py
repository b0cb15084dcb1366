"""An open database, as the application holds it; `cairndb.open` makes it (opener.py)."""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
)

from cairndb.backup import back_up_to
from cairndb.calls import call_of, mode_of, result_of
from cairndb.database_watching import Watching, inside_block
from cairndb.errors import CairnError
from cairndb.flusher_async import in_thread
from cairndb.forgetting import forget
from cairndb.kept import kept_by
from cairndb.transaction import Update, View
from cairndb.transaction_async import AsyncUpdate, AsyncView

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cairndb.engine import Engine
    from cairndb.forgetting import Pinned
    from cairndb.housekeeper import Housekeeper
    from cairndb.identity import Backup

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

_engines: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()


class Database(Watching, Generic[R]):
    """An open database; made by `cairndb.open`, closed by `close` or at the end of a `with` block.

    It can be used by any number of threads. What a view hands out is the live state: use it inside
    the block, or copy it with `cairndb.plain`.
    """

    __slots__ = (
        "__weakref__",
        "_audit",
        "_housekeeper",
    )

    def __init__(
        self, engine: Engine, housekeeper: Housekeeper | None, path: str, *, audit: bool
    ) -> None:
        super().__init__(engine, path)
        self._housekeeper = housekeeper
        self._audit = audit
        _engines.add(engine)

    def view(self, *, durable: bool = True, timeout: float | None = None) -> View[R]:
        """A consistent read: `with db.view() as root:`; the state stays as it is in the block.

        Args:
            durable: whether the end of the block waits until what it showed is durable.
            timeout: seconds to wait for an update that is being applied; None waits for ever.
        """
        return View(self._engine, timeout, durable)

    def update(self, *, durable: bool = True, timeout: float | None = None) -> Update[R]:
        """A transaction: `with db.update() as root:`; the block's end makes it durable.

        An exception in the block drops all that it changed, in memory and on disk.

        Args:
            durable: whether the end of the block waits until the update is durable; without, that
                comes with the next one that waits, with `sync`, or soon by itself.
            timeout: seconds to wait for another update, and for views to end; None waits for ever.
        """
        return Update(self._engine, timeout, durable)

    def run(
        self,
        method: Callable[Concatenate[R, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a method of the root in its own view or update.

        Args:
            method: marked `@cairndb.update` or `@cairndb.query`, as `Bank.transfer`.
            args: its arguments.
            kwargs: its arguments by name.

        Returns:
            What it returns, as plain values out of the tree: never a draft.

        Raises:
            UsageError: it isn't marked, or returns what would look at the tree later: a generator,
                a coroutine, an iterator, a view of a dict.
        """
        mode, name = mode_of(method)
        if mode == "update":
            call = call_of(name, args, kwargs) if self._audit else None
            with Update[R](self._engine, None, True, call) as root:
                return result_of(method(root, *args, **kwargs), name)
        with self.view() as root:
            return result_of(method(root, *args, **kwargs), name)

    def view_async(self, *, durable: bool = True, timeout: float | None = None) -> AsyncView[R]:
        """As `view`, for a task of asyncio or trio: `async with db.view_async() as root:`."""
        return AsyncView(self._engine, timeout, durable)

    def update_async(self, *, durable: bool = True, timeout: float | None = None) -> AsyncUpdate[R]:
        """As `update`, for a task of asyncio or trio: `async with db.update_async() as root:`.

        Only locks and the disk are awaited. Cancelled while it waits for a lock, nothing has
        happened; after that the update stands, and `lsn` of what this returns says so.
        """
        return AsyncUpdate(self._engine, timeout, durable)

    async def run_async(
        self,
        method: Callable[Concatenate[R, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `run`, for a task of asyncio or trio; the method itself awaits nothing."""
        mode, name = mode_of(method)
        if mode == "update":
            call = call_of(name, args, kwargs) if self._audit else None
            async with AsyncUpdate[R](self._engine, None, True, call) as root:
                return result_of(method(root, *args, **kwargs), name)
        async with self.view_async() as root:
            return result_of(method(root, *args, **kwargs), name)

    def sync(self) -> None:
        """Wait until everything applied so far is on disk, at every durability level.

        Raises:
            UsageError: inside a block of this database.
            DatabaseFailed: the sync failed.
        """
        self._check("sync")
        self._engine.sync()

    async def sync_async(self) -> None:
        """As `sync`, for a task of asyncio or trio; cancelled, it only stops waiting."""
        self._engine.check_usable()
        self._engine.check_writable()
        if self._engine.lock.holds():
            raise inside_block("sync_async")
        await self._engine.sync_async()

    def checkpoint(self) -> int:
        """Write the state as of now to a checkpoint, in the helper process, and wait for it.

        Returns:
            Its LSN.

        Raises:
            UsageError: inside a block of this database.
            CairnError: it could not be made; the log is all there, and nothing else has changed.
        """
        self._check("checkpoint")
        assert self._housekeeper is not None
        return self._housekeeper.checkpoint()

    def forget(self, *lsns: int) -> list[Pinned]:
        """Let go of checkpoints that a migration or a rewind has kept as the way back.

        Args:
            lsns: of these checkpoints; without any, nothing is let go.

        Returns:
            Those that are kept still, oldest first: `lsn`, `created`, `bytes`, `why`, and `needed`,
            which says why one has to stay.

        Raises:
            UsageError: one isn't there, or something else needs it, and nothing has happened; or
                this is inside a block of this database, or a reader.
            CairnError: a file couldn't be removed.
        """
        self._check("forget")
        assert self._housekeeper is not None
        store = self._engine.store
        try:
            return self._housekeeper.between_checkpoints(lambda: forget(store, lsns)).pinned
        except OSError as error:
            raise CairnError(f"{self.path}: a file couldn't be removed: {error}") from error

    def backup(self, destination: str | os.PathLike[str]) -> Backup:
        """Make a backup while updates go on: at least of everything applied by now.

        Args:
            destination: a directory: empty or not there yet, or an earlier backup of this database,
                to which then only what is new is copied.

        Raises:
            UsageError: there is something else at the destination, or this is a reader.
            CairnError: a file is damaged, here or there, or there is no room.
        """
        self._check("backup")
        self._engine.sync()
        return back_up_to(self.path, os.fspath(destination), lambda _: None)

    @property
    def lsn(self) -> int:
        """The number of the last update applied in memory."""
        return self._engine.applied_lsn

    @property
    def durable_lsn(self) -> int:
        """The number of the last update known to be synced to disk."""
        return self._engine.durable_lsn

    def stats(self) -> dict[str, Any]:
        """What there is on disk and in memory, in numbers; `cairn stats` prints it."""
        self._engine.check_usable()
        found: dict[str, Any] = {"lsn": self.lsn, "durable_lsn": self.durable_lsn}
        found |= self._watch_stats()
        if self._housekeeper is not None:
            found |= kept_by(self._engine.store) | self._housekeeper.stats()
        return found

    def close(self) -> None:
        """Write and sync what isn't yet, and give up the database; closing twice is harmless.

        Waits for running views and updates to end.

        Raises:
            UsageError: inside a block of this database.
            DatabaseFailed: the last write or sync failed; the database is closed all the same.
        """
        engine = self._engine
        if engine.closed:
            return
        self._check_outside("close")
        self._finish_calls()
        if self._housekeeper is not None:
            self._housekeeper.stop()
        engine.close()

    async def close_async(self) -> None:
        """As `close`, for a task of asyncio or trio: views and updates of its loop can end.

        Cancelled, it only stops waiting: the database is closed in the background all the same.
        """
        if self._engine.closed:
            return
        if self._engine.lock.holds():
            raise inside_block("close_async")
        await in_thread("cairndb close", self.close)

    def _check(self, name: str) -> None:
        self._engine.check_usable()
        self._engine.check_writable()
        self._check_outside(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close_async()

    def __del__(self) -> None:
        engine = self._engine
        if not engine.closed:
            # Nothing acknowledged is at stake; but the lock stays taken until somebody closes.
            warnings.warn(
                f"unclosed database {self.path}", ResourceWarning, source=self, stacklevel=2
            )
            # The interpreter ends its background threads wherever they are, and what they had
            # taken stays so: closing would wait for it. The system closes the files.
            if not sys.is_finalizing():
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self._engine.closed else f"at LSN {self.lsn}"
        return f"<cairndb.Database {self.path!r} {state}>"


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.forked()


os.register_at_fork(after_in_child=_after_fork_in_child)
