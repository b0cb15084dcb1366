"""What is known of the requests that were answered: so that none of them is executed twice.

A client numbers its requests. When the answer to one doesn't come it asks again, by the same
number, and gets the answer that there was. The idea is that of RIFL (Lee and others, "Implementing
Linearizability at Large Scale and Low Latency", SOSP 2015): the answer is kept with the state, and
changes together with what it answers.

A *session* is a client's series of requests. Who opens it is told what names it: the LSN of that
moment, `born`, and random bits, `nonce`. Nothing is kept of it until its first request.

Rules. The table is bounded, and what has been dropped is never taken for new:

- a session knows no sequence below its `floor`, be it that the client has said it has all answers
  up to there, or that there were too many answers; such a request is FORGOTTEN;
- of sessions the one that was used longest ago goes first, and `floor_born` is then at least its
  `born`; a session that isn't in the table is EXPIRED if it was born by then.

What is dropped depends on nothing but the requests, in their order, and the bounds below, which are
a part of the format: every fold of the same log drops the same.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from msgspec import Struct

from cairndb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

NUMBER_MAX: Final = 1 << 62
"""Of LSNs and of sequences."""
NONCE_MAX: Final = (1 << 63) - 1

SESSIONS_MAX: Final = 4096
RESULTS_MAX: Final = 1024
"""How many answers of one session are kept, from the lowest that the client is waiting for on."""
RESULT_BYTES_MAX: Final = 64 << 10
"""A longer answer isn't kept; that there was one is."""
SESSION_BYTES_MAX: Final = 256 << 10
"""Beyond that of the lowest answers only that there was one is kept."""
TABLE_BYTES_MAX: Final = 64 << 20

# What an answer and a session count for, beside the bytes of what is kept: about their memory.
_RESULT_BYTES: Final = 64
_SESSION_BYTES: Final = 256


class RequestId(Struct, frozen=True, array_like=True):
    """Which request it is, of all that there ever are.

    Args:
        born: of the session: the LSN at which it was opened.
        nonce: of the session: 63 random bits.
        sequence: of the request in its session; a repeated request has that of the first try.
        first_incomplete: the client has the answers of all sequences below it, and won't ask again.
    """

    born: int
    nonce: int
    sequence: int
    first_incomplete: int

    @property
    def session(self) -> tuple[int, int]:
        """What names the session."""
        return self.born, self.nonce

    def check(self) -> None:
        """Raise UsageError for numbers that no request has."""
        in_range = 0 <= self.born <= NUMBER_MAX and 0 <= self.nonce <= NONCE_MAX
        if not in_range or not 0 <= self.first_incomplete <= self.sequence <= NUMBER_MAX:
            raise UsageError(
                f"no request is {tuple(self.__struct_fields__)} = {list(_fields(self))}: "
                "take born and nonce from the server, and count sequences from 0 up, with "
                "first_incomplete the lowest one whose answer hasn't come"
            )


def _fields(request: RequestId) -> Iterable[int]:
    return (getattr(request, name) for name in request.__struct_fields__)


class Fate(enum.Enum):
    """What is known of a request."""

    NEW = enum.auto()
    """It wasn't answered."""
    ANSWERED = enum.auto()
    FORGOTTEN = enum.auto()
    """It may have been answered."""
    EXPIRED = enum.auto()
    """Its session may have been known once."""


class Session(Generic[T]):
    """The answers of one client.

    Args:
        size_of: how many bytes an answer has.
        floor: the first sequence that isn't forgotten.
    """

    __slots__ = ("floor", "results", "size", "size_of")

    def __init__(self, size_of: Callable[[T], int], floor: int = 0) -> None:
        self.size_of = size_of
        self.floor = floor
        # By sequence; None where the answer is too long to be kept.
        self.results: dict[int, T | None] = {}
        self.size = _SESSION_BYTES

    def add(self, sequence: int, result: T | None, first_incomplete: int) -> None:
        """Keep an answer, and drop what isn't needed or is too much."""
        if first_incomplete > self.floor:
            self.floor = first_incomplete
            for each in [each for each in self.results if each < first_incomplete]:
                self._drop(each)
        self.put(sequence, result)
        while len(self.results) > RESULTS_MAX:
            lowest = min(self.results)
            self._drop(lowest)
            self.floor = lowest + 1
        while self.size > SESSION_BYTES_MAX:
            self._drop_bytes()

    def put(self, sequence: int, result: T | None) -> None:
        """Keep an answer."""
        size = 0 if result is None else self.size_of(result)
        if size > RESULT_BYTES_MAX:
            result, size = None, 0
        self.results[sequence] = result
        self.size += _RESULT_BYTES + size

    def _drop_bytes(self) -> None:
        """Keep of the lowest answer that there was one: so nothing under way is pushed out by it.

        But of the floor's the last: as a rule that is the one which the client is waiting for, and
        those above it have come.
        """
        kept = [each for each, result in self.results.items() if result is not None]
        lowest = min(kept, key=lambda each: (each == self.floor, each))
        result = self.results[lowest]
        assert result is not None
        self.results[lowest] = None
        self.size -= self.size_of(result)

    def _drop(self, sequence: int) -> None:
        result = self.results.pop(sequence)
        self.size -= _RESULT_BYTES + (0 if result is None else self.size_of(result))


class Requests(Generic[T]):
    """The table of all sessions.

    Args:
        size_of: how many bytes an answer has.

    Attributes:
        sessions: by what names them; the one that was used longest ago first.
        floor_born: sessions born up to then, and not in the table, are expired.
    """

    def __init__(self, size_of: Callable[[T], int]) -> None:
        self.sessions: OrderedDict[tuple[int, int], Session[T]] = OrderedDict()
        self.floor_born = 0
        self.size = 0
        self._size_of = size_of

    def fate(self, request: RequestId) -> Fate:
        """What is known of a request."""
        session = self.sessions.get(request.session)
        if session is None:
            return Fate.EXPIRED if request.born <= self.floor_born else Fate.NEW
        if request.sequence in session.results:
            return Fate.ANSWERED
        return Fate.FORGOTTEN if request.sequence < session.floor else Fate.NEW

    def result(self, request: RequestId) -> T | None:
        """The answer of a request that is ANSWERED; None if it was too long to be kept."""
        return self.sessions[request.session].results[request.sequence]

    def add(self, request: RequestId, result: T | None) -> None:
        """Keep the answer of a request that was NEW; whatever is too much goes.

        Args:
            request: which.
            result: the answer.
        """
        session = self.sessions.get(request.session)
        if session is None:
            session = self.sessions[request.session] = Session(self._size_of)
        else:
            self.size -= session.size
            self.sessions.move_to_end(request.session)
        session.add(request.sequence, result, request.first_incomplete)
        self.size += session.size
        while len(self.sessions) > SESSIONS_MAX or self.size > TABLE_BYTES_MAX:
            (born, _), gone = self.sessions.popitem(last=False)
            self.size -= gone.size
            self.floor_born = max(self.floor_born, born)


class Once(Struct):
    """What makes an update answer a request, and be executed at most once for it.

    Args:
        request: which it answers.
        result: the answer, encoded; to be set before the end of the update's block.
        written: whether the update has come to write that down: it had an effect.
    """

    request: RequestId
    result: bytes = b"\xc0"
    written: bool = False
