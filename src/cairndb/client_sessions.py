"""The numbers by which a server tells a retry from a new request.

A session is named by the server (`CAIRN.SESSION`): `born`, its LSN at that moment, and `nonce`,
random bits. In it each update has a sequence number, which all of its tries share; the server keeps
the result of each in the state, and answers a second try with it. With each request goes the lowest
number that isn't answered yet, below which nothing is kept any longer. The scheme is RIFL's: Lee
et al., "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015.

The server keeps so many answers of a session and no more. One request that isn't answered for long,
while others go on, would be pushed out by theirs: so these begin another session before that.

A number is never used for two requests. So a forked child, which has its parent's numbers, begins a
session of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cairndb.locks_gates import Mutex

WINDOW: Final = 256
"""How far numbers of a session go beyond the lowest that isn't answered: a quarter of the answers
that the server keeps, since what is under way at that time comes on top."""


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

    def begin(self) -> Ticket | None:
        """A number for a new request; None if another session is to be begun for it."""
        with self._mutex:
            sequence = self._next
            if sequence - next(iter(self._open), sequence) >= WINDOW:
                return None
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

    def begin(self) -> Ticket | None:
        """A number for a new request; None if the server is to be asked for a session first."""
        session = self._current
        return None if session is None else session.begin()

    def begun(self, session: Session, instead: Session | None) -> None:
        """The server has named a session.

        Args:
            session: the one; it costs nobody anything if it isn't used.
            instead: what was current when it was asked for: another thread may have been faster.
        """
        with self._mutex:
            if self._current is instead:
                self._current = session

    def expired(self, session: Session) -> None:
        """The server doesn't know it: the next request begins another one."""
        with self._mutex:
            if self._current is session:
                self._current = None
