"""A database that another process owns, copied into this one and kept up: `cairndb.replica`.

    replica = cairndb.replica("cairn://host:port", Bank)
    with replica.view() as bank: ...
    replica.run(Bank.transfer, "alice", "bob", 5)

Reading is reading objects of this process, as quick as at the owner. An update is run by the owner,
and has been seen here when `run` returns. What a view shows is the state of one LSN that the owner
has promised, never anything between two of them; how old it is, `lag` says.

1. A replica that is cut off shows its last state, and says so (`lag`, `problem`).
2. Whoever waits, for an LSN or for the first state, is told why in vain.
3. After a fork the child has no replica.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar, overload

from cairndb.client import dialling, target_of
from cairndb.client_address import parse_address
from cairndb.client_calls import Limits
from cairndb.database_watching import Watching, inside_block
from cairndb.errors import ReplicaBehind, Unavailable
from cairndb.flusher_async import in_thread
from cairndb.locks_gates import deadline_after
from cairndb.replicas_calls import ReplicaCalls, wait_for, wait_for_async
from cairndb.replicas_engine import Copy
from cairndb.replicas_following import Following
from cairndb.replicas_watch import CopyHub
from cairndb.schema import compile_root
from cairndb.transaction import View
from cairndb.transaction_async import AsyncView
from cairndb.watch_items import position_text
from cairndb.watch_start import watch_own

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from cairndb.client_calls import Target
    from cairndb.opening import Progress
    from cairndb.watch import Watch
    from cairndb.watch_start import Wish

R = TypeVar("R")

TIMEOUT_SECONDS: Final = 30.0
START_SECONDS: Final = 60.0
CONNECTIONS: Final = 16

_replicas: Final[weakref.WeakSet[Replica[Any]]] = weakref.WeakSet()


class Lag(NamedTuple):
    """How far a replica is behind its owner.

    `lsns` is what the owner has said that it has promised, less what has been applied here;
    `seconds` is how long ago the owner was heard: within a second or so, while all is well.
    """

    lsns: int
    seconds: float


class Replica(Watching, ReplicaCalls[R]):  # type: ignore[misc]  # what is watched is the copy
    """A copy of a database in another process; made by `cairndb.replica`.

    It can be used by any number of threads and tasks. `run` and `run_async` call a method of the
    root: a query here, an update at the owner; when that returns, it is seen here.

    Args:
        copy: the state.
        following: what keeps it up.
        target: the owner.
        limits: of each call.
    """

    def __init__(self, copy: Copy, following: Following, target: Target, limits: Limits) -> None:
        Watching.__init__(self, copy, copy.path, CopyHub(copy))
        ReplicaCalls.__init__(self, target, limits, copy, following)
        _replicas.add(self)

    def start(self, timeout: float | None) -> None:
        """Begin to follow, and wait for what the owner has by then; closed if that can't be had.

        Args:
            timeout: seconds to wait at most.

        Raises:
            CairnError: as `replica` says.
        """
        copy, following = self._copy, self._following
        try:
            following.start()
            until = deadline_after(timeout)
            wait_for(copy, following, 1, until)
            # A first state that comes as a log is there with its first updates.
            wait_for(copy, following, copy.greeted_lsn, until)
        except BaseException as error:
            problem = following.problem
            self.close()
            if isinstance(error, ReplicaBehind):
                raise Unavailable(f"{self.path}: no state has come in {timeout:g} s") from problem
            raise

    # Reading.

    def view(self, *, timeout: float | None = None) -> View[R]:
        """A consistent read: `with replica.view() as root:`; the state stays as it is in the block.

        Args:
            timeout: seconds to wait for updates that are being applied; None waits for ever.
        """
        return View(self._engine, timeout, True)

    def view_async(self, *, timeout: float | None = None) -> AsyncView[R]:
        """As `view`, for a task of asyncio or trio: `async with replica.view_async() as root:`."""
        return AsyncView(self._engine, timeout, True)

    # Where it is.

    @property
    def lsn(self) -> int:
        """The number of the last update that is shown here."""
        return self._copy.applied_lsn

    @property
    def position(self) -> str:
        """Of that update, as items of watches have it."""
        return position_text(self._copy.position)

    @property
    def lag(self) -> Lag:
        """How far this is behind the owner, as far as is known here."""
        copy = self._copy
        behind = max(0, copy.owner_lsn - copy.applied_lsn)
        return Lag(behind, time.monotonic() - copy.heard_at)

    @property
    def problem(self) -> Exception | None:
        """Why nothing comes from the owner at the moment; None while something does."""
        return self._copy.refusal() if self._copy.refusal else self._following.problem

    def wait(self, lsn: int, timeout: float | None = None) -> None:
        """Return when this replica shows an LSN, or a later one.

        Args:
            lsn: that `run` of another process has got to, say.
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            ReplicaBehind: it doesn't in time.
            SchemaError: it can't any more: the owner has other types now.
        """
        wait_for(self._copy, self._following, lsn, deadline_after(timeout))

    async def wait_async(self, lsn: int, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As `wait`, for a task of asyncio or trio."""
        await wait_for_async(self._copy, self._following, lsn, deadline_after(timeout))

    def stats(self) -> dict[str, Any]:
        """How it does, in numbers: what is shown, what has been heard, how often it began anew."""
        self._engine.check_usable()
        copy, following, lag = self._copy, self._following, self.lag
        problem = self.problem
        return {
            "lsn": self.lsn,
            "owner_lsn": copy.owner_lsn,
            "lag_lsns": lag.lsns,
            "lag_seconds": lag.seconds,
            "connections": following.connections,
            "resyncs": copy.resyncs,
            "problem": None if problem is None else str(problem),
        } | self._watch_stats()

    # Watching.

    def _watch(self, wish: Wish) -> Watch:
        return watch_own(self._hub, wish)

    # Ending.

    def close(self) -> None:
        """Follow no more, and give up the copy; closing twice is harmless.

        Raises:
            UsageError: inside a block of this replica.
        """
        if self._engine.closed:
            return
        self._check_outside("close")
        self._following.stop()
        self._finish_calls()
        self._engine.close()
        self._target.link.pool.close()

    async def close_async(self) -> None:
        """As `close`, for a task of asyncio or trio."""
        if self._engine.closed:
            return
        if self._engine.lock.holds():
            raise inside_block("close_async")
        await in_thread("cairndb close", self.close)

    def forked(self) -> None:
        """In a child after a fork: refuse everything, and have no connection of the parent's."""
        self._copy.forked()
        self._following.forked()
        self._target.link.sessions.forked()
        self._target.link.pool.forked()

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
        engine = getattr(self, "_engine", None)
        if engine is not None and not engine.closed:
            warnings.warn(
                f"unclosed replica {self.path}", ResourceWarning, source=self, stacklevel=2
            )
            if not sys.is_finalizing():
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self._engine.closed else f"at LSN {self.lsn}"
        return f"<cairndb.Replica of {self.path}, {state}>"


@overload
def replica(
    url: str,
    *,
    token: str | Callable[[], str] | None = ...,
    timeout: float | None = ...,
    start_timeout: float | None = ...,
    tls: ssl.SSLContext | None = ...,
    progress: Progress | None = ...,
    guard: bool = ...,
) -> Replica[dict[str, Any]]: ...


@overload
def replica(
    url: str,
    root: type[R],
    *,
    token: str | Callable[[], str] | None = ...,
    timeout: float | None = ...,
    start_timeout: float | None = ...,
    tls: ssl.SSLContext | None = ...,
    progress: Progress | None = ...,
    guard: bool = ...,
) -> Replica[R]: ...


def replica(
    url: str,
    root: Any = dict[str, Any],
    *,
    token: str | Callable[[], str] | None = None,
    timeout: float | None = TIMEOUT_SECONDS,
    start_timeout: float | None = START_SECONDS,
    tls: ssl.SSLContext | None = None,
    progress: Progress | None = None,
    guard: bool = True,
) -> Replica[Any]:
    """A copy of the database that is served at a URL, as of now or later, when this returns.

    Args:
        url: as for `connect`.
        root: the type of the database's root, the same as the owner's.
        token: as for `connect`; it must allow reading.
        timeout: seconds that a call of the owner may take, the wait for its effect here included.
        start_timeout: seconds to wait for the first state; None waits for ever.
        tls: as for `connect`.
        progress: called in another thread, with the bytes of the first state that have come and
            about how many will; again, if a later one has to come whole.
        guard: as for `open`.

    Raises:
        SchemaError: the owner's data is of other types.
        Unauthenticated, Forbidden: the owner wants a token, or a better one.
        Unavailable: there is no state in time.
        UsageError: the URL isn't one, or what is there serves no replicas.
    """
    dial = dialling(url, token, tls)
    copy = Copy(compile_root(root, guard=guard), str(parse_address(url)))
    following = Following(copy, dial, progress)
    target = target_of(url, root, dial, CONNECTIONS)
    made: Replica[Any] = Replica(copy, following, target, Limits(timeout))
    made.start(start_timeout)
    return made


def _after_fork_in_child() -> None:
    for each in list(_replicas):
        each.forked()


os.register_at_fork(after_in_child=_after_fork_in_child)
