"""The numbers by which a server tells a retry from a new request.

A session is named by the server (`CAIRN.SESSION`): `born`, its LSN at that moment, and `nonce`,
random bits. In it each update has a sequence number, which all of its tries share; the server keeps
the result of each in the state, and answers a second try with it. With each request goes the lowest
number that isn't answered yet, below which nothing is kept any longer. The scheme is RIFL's: Lee
et al., "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015.

A number is never used for two requests. So a forked child, which has its parent's numbers, begins a
session of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from cairndb.locks_gates import Mutex


class Session:
    """One session.

    Args:
        born: as the server named it.
        nonce: as the server named it.
    """

    __slots__ = ("_mutex", "_next", "_open", "born", "nonce")

    def __init__(self, born: int, nonce: int) -> None:
        self.born = born
        self.nonce = nonce
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._next = 1
        self._open: dict[int, None] = {}  # in their order: the first is the lowest

    def begin(self) -> Ticket:
        """A number for a new request."""
        with self._mutex:
            sequence = self._next
            self._next += 1
            self._open[sequence] = None
        return Ticket(self, sequence)

    def end(self, sequence: int) -> None:
        """Nobody asks for the result of a request any more."""
        with self._mutex:
            self._open.pop(sequence, None)

    def first_incomplete(self) -> int:
        """The lowest number whose result may still be asked for."""
        with self._mutex:
            return next(iter(self._open), self._next)


class Ticket(NamedTuple):
    """A request's place in a session."""

    session: Session
    sequence: int

    def words(self) -> tuple[int, int, int, int]:
        """How a request says it: born, nonce, sequence, first incomplete."""
        session = self.session
        return session.born, session.nonce, self.sequence, session.first_incomplete()

    def end(self) -> None:
        """The request has its answer, or nobody waits for it any more."""
        self.session.end(self.sequence)


class Sessions:
    """The session of a client, which may have to begin another one."""

    __slots__ = ("_current", "_mutex")

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        """Begin anew; in a child, where another thread may have had the mutex, too."""
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._current: Session | None = None

    @property
    def current(self) -> Session | None:
        """The session of new requests; None if the server is to be asked for one."""
        return self._current

    def begun(self, session: Session) -> Session:
        """The server has named a session.

        Returns:
            The one to use: another thread may have been faster, and this one costs nobody anything.
        """
        with self._mutex:
            if self._current is None:
                self._current = session
            return self._current

    def expired(self, session: Session) -> None:
        """The server doesn't know it: the next request begins another one."""
        with self._mutex:
            if self._current is session:
                self._current = None
