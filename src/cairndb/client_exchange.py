"""One call, from its first try to its answer.

Whatever goes wrong between here and the server, the call is tried again within its time, on another
connection. A query may be asked any number of times. An update keeps its number in the session
through all tries, so the server runs it once at most, and answers a later try with the first one's
result.

What is raised in the end says what is known:

    Cancelled, Unavailable    nothing has happened: it was a query, or no try has left whole
    OutcomeUnknown            an update has left, and its answer hasn't come
    ResultLost                an update has been applied, and what it returned can't be had
    anything else             what the method raised, or why the server refuses; an update hasn't
                              been applied then
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from cairndb.cancellation import CancelToken
from cairndb.client_connection import Lost, Refused
from cairndb.client_sessions import Session
from cairndb.client_waiting import OutOfTime, Pauses
from cairndb.errors import (
    CairnError,
    Cancelled,
    DatabaseFailed,
    OutcomeUnknown,
    ResultLost,
    SessionExpired,
    Unavailable,
    UsageError,
)
from cairndb.service_access import Forbidden, Unauthenticated
from cairndb.wire import SESSION, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.client_connection import Connection
    from cairndb.client_pool import Pool
    from cairndb.client_sessions import Sessions, Ticket
    from cairndb.client_waiting import Wait
    from cairndb.wire import Failure

T = TypeVar("T")
Words = tuple[str | bytes | int, ...]

_replies: Final = msgspec.msgpack.Decoder(Reply)
_GARBAGE: Final = "what came isn't a reply to what was asked"

# First words of errors that say that it will be different soon, and of those the ones after which
# an update may be there: an owner that can't write any more says so, and is started again.
_UNKNOWN: Final = frozenset({"FAILED", "OUTCOMEUNKNOWN"})
_NOT_NOW: Final = _UNKNOWN | {"BUSY", "LOADING", "TRYAGAIN"}
# Failures that come, or may come, before a server has looked whether a request was answered before,
# and what the protocol has for them.
_BEFORE_LOOKING: Final = {
    "ArgumentError": "ERR",
    "Forbidden": "NOPERM",
    "LockTimeout": "BUSY",
    "MemoryWatermark": "TRYAGAIN",
    "Unauthenticated": "NOAUTH",
    "UsageError": "ERR",
}
_TOO_MANY: Final = "max number of clients"  # as Redis says it, after ERR
_FINAL: Final[dict[str, type[CairnError]]] = {
    "NOAUTH": Unauthenticated,
    "NOPERM": Forbidden,
    "TOOLONG": ResultLost,
    "WRONGPASS": Unauthenticated,
}


class Link:
    """What all calls of a client share.

    Args:
        pool: connections to the server.
        sessions: in which updates have their numbers.
        server: where it is, for messages.
    """

    __slots__ = ("_waking", "lsn", "pauses", "pool", "server", "sessions")

    def __init__(self, pool: Pool, sessions: Sessions, server: str) -> None:
        # Set once:
        self.pauses: Callable[[], Pauses] = Pauses
        self.pool = pool
        self.sessions = sessions
        self.server = server
        # Written by whoever has an answer; of two at the same time one may be lost.
        self.lsn = 0
        """The position of the newest answer."""
        # Of those that pause; replaced when it is used. A sleeper who misses it sleeps on.
        self._waking: CancelToken | None = None

    def pause(self, seconds: float, wait: Wait) -> None:
        """Let time pass, or less if another call is answered meanwhile."""
        if self._waking is None:
            self._waking = CancelToken()
        wait.sleep(seconds, self._waking)

    def judged(self, refused: Refused) -> Exception:
        """What to raise for an error of the protocol: `Lost` if it may be different soon."""
        message = f"{self.server}: {refused.message}"
        if refused.code in _NOT_NOW or refused.message.startswith(_TOO_MANY):
            return Lost(message)
        return _FINAL.get(refused.code, UsageError)(message)

    def answered(self) -> None:
        """The server is there: nobody needs to pause any longer."""
        waking = self._waking
        if waking is not None:
            self._waking = None
            waking.cancel()


class Exchange:
    """One call.

    Args:
        link: to the server.
        words: the command.
        what: it is, for messages.
        wait: within which an answer is wanted.
        updates: whether it may change the state.
    """

    __slots__ = (
        "_link",
        "_pauses",
        "_problem",
        "_sent",
        "_ticket",
        "_updates",
        "_wait",
        "_what",
        "_words",
    )

    def __init__(
        self, link: Link, words: Words, what: str, wait: Wait, *, updates: bool = False
    ) -> None:
        # Set once:
        self._link = link
        self._words = words
        self._what = what
        self._wait = wait
        self._updates = updates
        # Written by the tries:
        self._pauses = link.pauses()
        self._problem: Exception | None = None
        self._ticket: Ticket | None = None
        self._sent = False
        """Whether a try of an update has left whole, and what became of it isn't known."""

    def run(self) -> Reply:
        """Call a method, until there is an answer; what the method raised is in it.

        Raises:
            Unavailable: there was none in time, and nothing has happened.
            Cancelled: cancelled, and nothing has happened.
            OutcomeUnknown: of an update, neither is known.
            CairnError: the server refuses.
        """
        return self.until(lambda: self._try(self._reply_to_run))

    def ask(self) -> Any:
        """Send a command that only reads, until there is a reply; raises as `run` does."""
        return self.until(
            lambda: self._try(lambda connection: connection.ask(self._words, self._wait))
        )

    def until(self, attempt: Callable[[], T]) -> T:
        """Try something until it isn't `Lost`; raises as `run` does.

        Args:
            attempt: one try.
        """
        try:
            while True:
                try:
                    return attempt()
                except Lost as lost:
                    self._problem = lost
                self._link.pause(self._pauses.next(), self._wait)
        except Cancelled as cancelled:
            if self._sent:
                raise self._unknown("it was cancelled") from cancelled
            raise
        except OutOfTime:
            raise self._out_of_time() from self._problem
        except (OutcomeUnknown, ResultLost):
            raise
        except CairnError as error:
            # This try was refused; of an earlier one that says nothing.
            if self._sent:
                raise self._unknown(f"another try was refused ({error})") from error
            raise
        finally:
            # Its traceback leads here, and a cycle would keep descriptors until it is collected.
            self._problem = None
            if self._ticket is not None:
                self._ticket.end()

    def _try(self, ask: Callable[[Connection], T]) -> T:
        connection = self._take()
        while True:
            was_used = connection.answered
            try:
                answer = ask(connection)
            except Refused as refused:
                self._link.pool.give_back(connection)
                raise self._link.judged(refused) from refused
            except Lost as lost:
                self._link.pool.drop(connection)
                if not was_used:
                    raise
                # It had waited, and the server hasn't: no reason to pause before the next.
                self._problem = lost
                connection = self._take()
            except BaseException:
                self._link.pool.drop(connection)
                raise
            else:
                self._link.pool.give_back(connection)
                self._link.answered()
                return answer

    def _take(self) -> Connection:
        try:
            return self._link.pool.take(self._wait)
        except Refused as refused:
            raise self._link.judged(refused) from refused

    def _reply_to_run(self, connection: Connection) -> Reply:
        words = self._words
        if self._updates:
            words = (*words, "ONCE", *self._place(connection).words())
        try:
            reply = _decoded(connection.ask(words, self._wait))
        except Refused as refused:
            if refused.code in _UNKNOWN:
                self._sent = self._updates
            raise
        except BaseException:
            self._sent = self._sent or (self._updates and connection.sent)
            raise
        if reply.failure is not None:
            self._judge(reply.failure)
        self._link.lsn = max(self._link.lsn, reply.lsn)
        return reply

    def _place(self, connection: Connection) -> Ticket:
        """The place in a session that all tries of this call have."""
        sessions = self._link.sessions
        while self._ticket is None:
            before = sessions.current
            self._ticket = sessions.begin()
            if self._ticket is None:
                named = connection.ask((SESSION,), self._wait)
                try:
                    born, nonce = msgspec.convert(named, tuple[int, int])
                except msgspec.ValidationError as error:
                    raise Lost(_GARBAGE) from error
                sessions.begun(Session(born, nonce), before)
        return self._ticket

    def _judge(self, failure: Failure) -> None:
        """Raise for failures that are about the call itself, and not the method's."""
        if not failure.module.startswith("cairndb."):
            return
        if self._sent and failure.name in _BEFORE_LOOKING:
            # Not the answer to the request: the server hasn't looked what became of earlier tries.
            raise Refused(_BEFORE_LOOKING[failure.name], failure.message)
        if failure.name == DatabaseFailed.__name__:
            # An owner that has failed is started again, and that one knows.
            self._sent = self._updates
            raise Lost(failure.message)
        if failure.name == OutcomeUnknown.__name__:
            raise OutcomeUnknown(f"{self._what}: {failure.message}")
        if failure.name == SessionExpired.__name__ and self._ticket is not None:
            self._link.sessions.expired(self._ticket.session)
            if self._sent:
                raise self._unknown("the server has forgotten this client")
            # It has never been there, so it isn't there now: under another number, please.
            self._ticket.end()
            self._ticket = None
            raise Lost(failure.message)

    def _unknown(self, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{self._what} was sent to {self._link.server}, and before there was an answer {why}: "
            "it may or may not have been applied; look at the state"
        )

    def _out_of_time(self) -> CairnError:
        seconds = f"{self._wait.timeout:g} s have passed"
        if self._sent:
            return self._unknown(seconds)
        why = f"; the last problem: {self._problem}" if self._problem is not None else ""
        return Unavailable(
            f"{self._what}: {seconds} without an answer from {self._link.server}{why}; "
            "nothing has happened"
        )


def _decoded(reply: Any) -> Reply:
    try:
        return _replies.decode(reply)
    except (TypeError, ValueError) as error:
        raise Lost(_GARBAGE) from error
