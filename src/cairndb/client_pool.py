"""The connections of a client: one for each call that is under way, and those that wait for one.

1. A connection is given back only when everything that was sent has been answered; else it is
   closed. So what can be read from an idle one is no answer: the server has gone, or is none.
2. There are no more than a bound. Who comes then waits, and who gives a place up hands it to the
   first of those who wait: nobody is overtaken.
3. In a child after a fork all are closed: parent and child would read each other's answers.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cairndb.cancellation import CancelToken
from cairndb.errors import UsageError
from cairndb.locks_gates import Mutex

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.client_connection import Connection
    from cairndb.client_waiting import Wait


class Pool:
    """Connections to one server.

    Args:
        dial: makes one, within a wait.
        limit: how many at the same time.
    """

    __slots__ = ("_closed", "_dial", "_idle", "_limit", "_mutex", "_open", "_places", "_waiting")

    def __init__(self, dial: Callable[[Wait], Connection], limit: int) -> None:
        # Set once:
        self._dial = dial
        self._limit = limit
        # Guarded by the mutex:
        self._closed = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._places = self._limit
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[CancelToken] = deque()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def take(self, wait: Wait) -> Connection:
        """A connection that is the caller's alone until `give_back` or `drop`.

        Raises:
            Lost: there is no server at the moment; the caller may try again.
            OutOfTime: the time is over.
            Cancelled: cancelled.
            UsageError: the client is closed.
        """
        self._take_place(wait)
        try:
            while (idle := self._take_idle()) is not None:
                if idle.is_alive():
                    return idle
                self._close(idle)
            connection = self._dial(wait)
        except BaseException:
            self._leave_place()
            raise
        with self._mutex:
            self._open.add(connection)
        return connection

    def take_apart(self, wait: Wait) -> Connection:
        """A new connection beside the others, for `drop_apart`; raises as `take` does."""
        wait.check()
        with self._mutex:
            self._check_open()
        connection = self._dial(wait)
        with self._mutex:
            self._open.add(connection)
        return connection

    def drop_apart(self, connection: Connection) -> None:
        """Close a connection that was beside the others; twice is harmless."""
        self._close(connection)

    def _take_place(self, wait: Wait) -> None:
        wait.check()
        with self._mutex:
            self._check_open()
            if self._places:
                self._places -= 1
                return
            turn = CancelToken(parents=[] if wait.cancel is None else [wait.cancel])
            self._waiting.append(turn)
        try:
            turn.wait(wait.left())
        except BaseException:
            if not self._give_up(turn):
                self._leave_place()
            raise
        # A place that was handed over is taken, whatever else has happened.
        if self._give_up(turn):
            with self._mutex:
                self._check_open()
            wait.check()
            raise AssertionError("a turn ended for no reason")

    def _give_up(self, turn: CancelToken) -> bool:
        """Wait no longer; false if a place was handed over."""
        with self._mutex:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return True
            return False

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this client is closed: connect again")

    def _take_idle(self) -> Connection | None:
        with self._mutex:
            self._check_open()
            # The one that was used last: the others may age, and be found dead.
            return self._idle.pop() if self._idle else None

    def _leave_place(self) -> None:
        with self._mutex:
            turn = self._waiting.popleft() if self._waiting else None
            if turn is None:
                self._places += 1
        if turn is not None:
            turn.cancel()

    def give_back(self, connection: Connection) -> None:
        """All that was asked on a connection has been answered."""
        with self._mutex:
            keep = not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            self._close(connection)
        self._leave_place()

    def drop(self, connection: Connection) -> None:
        """Something may still come on a connection, or nothing any more."""
        self._close(connection)
        self._leave_place()

    def _close(self, connection: Connection) -> None:
        with self._mutex:
            self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close what waits; what is used is closed when its call ends. Twice is harmless."""
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
            waiting = list(self._waiting)
        for connection in idle:
            self._close(connection)
        for turn in waiting:
            turn.cancel()

    def forked(self) -> None:
        """In a child: have no connections of the parent's."""
        # Without the mutex, which a thread of the parent may have had, and which is replaced.
        inherited = self._open
        self._begin_anew()
        for connection in inherited:
            connection.close()
