"""A watch of a database that another process owns: what changes there, as it becomes durable.

It has a connection of its own, on which the server sends items by itself. When that is lost, or the
server is restarted, the watch goes on after the last item that it gave, on another connection:
each update that changed something is one item, in order, without a gap, once. If the server can't
go on there, since the log isn't kept so far back or this is another history, it says so, and the
watch ends.

The values are what JSON has, as an untyped watch has them: the state itself is elsewhere, and of
what changed the server sends only the values.
"""

from __future__ import annotations

import warnings
from datetime import datetime  # noqa: TC003  msgspec resolves it at run time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from cairndb.cancellation import CancelToken
from cairndb.client_connection import Lost, Refused
from cairndb.client_waiting import OutOfTime, Wait
from cairndb.errors import Cancelled, DatabaseFailed, UsageError
from cairndb.locks_gates import Mutex
from cairndb.notation import from_json, parse_path
from cairndb.watch_items import Change, ValueChange, parse_position
from cairndb.wire import SESSION, WATCH

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from cairndb.client_connection import Connection
    from cairndb.client_exchange import Link

_GARBAGE = "what came isn't an item of a watch"


class _Value(Struct):
    path: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET


class _Item(Struct):
    kind: Literal["update", "initial", "bookmark"]
    lsn: int
    position: str
    time: datetime | None = None
    call: str | None = None
    changes: tuple[_Value, ...] = ()


_items = msgspec.json.Decoder(_Item)


class RemoteWatch:
    """An iterator of items; made by `client.watch`. One thread at a time asks for the next.

    Args:
        link: to the server.
        pattern: of paths.
        since: where to go on after; None begins now.
        initial: whether the first item is all that is there.
        timeout: seconds without an item that end the iteration.
        cancel: ends a wait for the next item.
    """

    __slots__ = (
        "_cancel",
        "_closing",
        "_connection",
        "_initial",
        "_link",
        "_mutex",
        "_pattern",
        "_since",
        "_timeout",
    )

    def __init__(
        self,
        link: Link,
        pattern: str,
        *,
        since: str | int | None,
        initial: bool,
        timeout: float | None,
        cancel: CancelToken | None,
    ) -> None:
        if since is not None:
            parse_position(since)
            if initial:
                raise UsageError("initial= begins with all there is now: leave since= out")
        # Set once:
        self._link = link
        self._pattern = pattern
        self._timeout = timeout
        self._closing = CancelToken()
        self._mutex = Mutex()
        self._cancel = CancelToken(
            parents=[self._closing] if cancel is None else [self._closing, cancel]
        )
        # Guarded by the mutex:
        self._since = since
        self._initial = initial
        self._connection: Connection | None = None

    @property
    def position(self) -> str | None:
        """Where to go on after what was given so far; None if that isn't known yet."""
        return None if self._since is None else str(self._since)

    def begin(self, wait: Wait) -> None:
        """Have the server send items from now on, or from where the watch has got to.

        Raises:
            Lost: there is no server at the moment.
            UsageError: the server doesn't take the pattern, or can't go on where this has got to.
        """
        try:
            self._connection = self._begun(wait)
        except Refused as refused:
            raise self._link.judged(refused) from refused
        self._link.answered()

    def _begun(self, wait: Wait) -> Connection:
        connection = self._link.pool.take_apart(wait)
        try:
            if self._since is None and not self._initial:
                # Now is now, also if the connection is lost before the first item.
                self._since = _lsn_of(connection.ask((SESSION,), wait))
            since = "initial" if self._since is None else str(self._since)
            connection.ask((WATCH, self._pattern, since), wait)
        except BaseException:
            self._link.pool.drop_apart(connection)
            raise
        return connection

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        """The next item; waits for it.

        Raises:
            StopIteration: the watch is closed, or there was none within its timeout.
            Cancelled: cancelled; the iteration can go on with other calls.
            UsageError: the server can't go on, and says why.
        """
        item = self._next(Wait(self._timeout, self._cancel))
        if item is None:
            raise StopIteration
        return item

    def poll(self) -> Change | None:
        """The next item if it is there already, else None.

        Raises:
            UsageError: the server can't go on, and says why.
        """
        return self._next(Wait(0.001, self._cancel))

    def _next(self, wait: Wait) -> Change | None:
        try:
            with self._mutex:
                return self._next_alone(wait)
        finally:
            # Let go of the mutex first, and look then: `close` does it the other way round.
            if self._closing.is_set():
                self._drop()

    def _next_alone(self, wait: Wait) -> Change | None:
        pauses = self._link.pauses()
        try:
            while True:
                try:
                    if self._connection is None:
                        self.begin(wait)
                    item = self._receive(wait)
                except Lost:
                    self._drop()
                    self._link.pause(pauses.next(), wait)
                else:
                    if item is not None:
                        return item
        except OutOfTime:
            return None
        except Cancelled:
            if self._closing.is_set():
                return None
            raise

    def _receive(self, wait: Wait) -> Change | None:
        """The next item; None for one without changes."""
        assert self._connection is not None
        words = self._connection.message(wait)
        try:
            if words[0] == b"cairn.watch":
                item = _items.decode(words[3])
                change = _change_of(item)
            elif words[0] == b"cairn.unwatch":
                why = words[2].decode()
            else:
                return None
        except (IndexError, TypeError, ValueError) as error:
            raise Lost(_GARBAGE) from error
        if words[0] == b"cairn.unwatch":
            if why.startswith(DatabaseFailed.__name__):
                raise Lost(why)  # and is started again
            self._drop()
            raise UsageError(f"{self._link.server}: {why}")
        self._since = item.position
        return None if item.kind == "bookmark" else change

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._link.pool.drop_apart(connection)

    def close(self) -> None:
        """End it, from any thread; who waits for the next item is told that there is none."""
        self._closing.cancel("the watch was closed")
        if self._mutex.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._mutex.release()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            warnings.warn("unclosed watch of a server", ResourceWarning, source=self, stacklevel=2)
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


def _lsn_of(session: Any) -> int:
    try:
        return msgspec.convert(session, tuple[int, int])[0]
    except msgspec.ValidationError as error:
        raise Lost(_GARBAGE) from error


def _change_of(item: _Item) -> Change:
    return Change(
        item.kind,
        item.lsn,
        item.position,
        item.time,
        item.call,
        tuple([_value_of(value) for value in item.changes]),
    )


def _value_of(value: _Value) -> ValueChange:
    before, after = value.before, value.after
    kind: Literal["added", "changed", "removed"] = "changed"
    if before is msgspec.UNSET:
        kind, before = "added", None
    elif after is msgspec.UNSET:
        kind, after = "removed", None
    return ValueChange(tuple(parse_path(value.path)), from_json(before), from_json(after), kind)
