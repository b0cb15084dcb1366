"""Requests that are executed at most once, however often they arrive.

What an update answered is in the state (`requests`), and comes there by the update itself. One that
had no effect writes nothing, nor does one that raised: what they answered is kept here, in memory.
That is enough. Who asks again after the process has ended never had an answer, so that to execute
the request is right; and a first try that is still on its way then has lost its connection.

Within the process both tables count: a request is looked up in them while the update lock is held,
and while no other try of the same request is under way.

An answer uses the request up, also if it is an error: whoever wants to try again what was answered
asks by a new number.
"""

from __future__ import annotations

import secrets
from copy import copy
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import msgspec

from cairndb.errors import (
    CairnError,
    LockTimeout,
    OutcomeUnknown,
    ResultLost,
    SessionExpired,
    UsageError,
)
from cairndb.locks_gates import Mutex, closed_gate, deadline_after, open_gate, wait_at
from cairndb.requests import NONCE_MAX, Fate, Requests

if TYPE_CHECKING:
    from cairndb.engine import Engine
    from cairndb.requests import RequestId

_ERROR_BYTES: Final = 4096  # what an exception is taken for
_MESSAGE_MAX: Final = 2000


def _size_of(result: bytes | Exception) -> int:
    return len(result) if isinstance(result, bytes) else _ERROR_BYTES


def _to_keep(error: Exception) -> Exception:
    """An exception without what hangs on it: the frames that it came through, with their data."""
    text = ""
    try:
        text = str(error)
        if len(text) <= _MESSAGE_MAX:
            copied = copy(error)
            if type(copied) is type(error):
                return copied
    except Exception:  # noqa: BLE001, S110  an application's class, which may do anything
        pass
    return CairnError(f"{type(error).__qualname__}: {text[:_MESSAGE_MAX]}")


class Answers:
    """What requests were answered; one for all services of a database."""

    def __init__(self) -> None:
        # Set once:
        self._mutex = Mutex()
        # Guarded by the mutex: answers of updates that wrote nothing.
        self._unwritten: Requests[bytes | Exception] = Requests(_size_of)
        # By session and sequence: what others wait at. Each change of it is one call of C.
        self._running: dict[tuple[tuple[int, int], int], Mutex] = {}

    def begin(self, request: RequestId, timeout: float | None) -> None:
        """Begin a try of a request: until `end`, no other try of it begins.

        Args:
            request: which.
            timeout: seconds to wait for another; None waits for ever.

        Raises:
            LockTimeout: another has taken longer.
        """
        key, gate, until = (request.session, request.sequence), closed_gate(), None
        while (other := self._running.setdefault(key, gate)) is not gate:
            until = until or deadline_after(timeout)
            if not wait_at(other, until):
                raise LockTimeout("an earlier try of this request is still running: ask again")
            open_gate(other)  # for whoever else waits there

    def end(self, request: RequestId) -> None:
        """End a try that was begun."""
        self._running.pop((request.session, request.sequence)).release()

    def find(self, request: RequestId, engine: Engine) -> bytes | None:
        """The answer that a request has had, encoded; None if it is to be executed.

        Args:
            request: which; the update lock is held, and a try of it has begun.
            engine: of the database.

        Raises:
            OutcomeUnknown: it may have been executed.
            SessionExpired: nothing is known of its session.
            ResultLost: it was executed, and what it returned isn't kept.
            Exception: what it was answered with, if it wasn't executed.
        """
        stored = engine.tree.requests
        with self._mutex:
            fates = stored.fate(request), self._unwritten.fate(request)
            result: bytes | Exception | None = None
            if Fate.ANSWERED in fates:
                tables: list[Requests[Any]] = [stored, self._unwritten]
                result = tables[fates.index(Fate.ANSWERED)].result(request)
        if isinstance(result, Exception):
            raise result.with_traceback(None)
        if Fate.ANSWERED in fates:
            if result is None:
                raise ResultLost(
                    "this request was executed, once, and what it returned was too long to be "
                    "kept: read what it has done"
                )
            return result
        if Fate.FORGOTTEN in fates:
            raise OutcomeUnknown(
                "this request may have been executed: that is forgotten, since its session has "
                "had too many others since, or has said that it has the answer. It isn't executed "
                "again: read what is there"
            )
        if Fate.EXPIRED in fates or request.born > engine.applied_lsn:
            raise SessionExpired(
                "nothing is known of this session, and there may have been one: begin a new one. "
                "What has been asked for in this one, and not been answered, may have been executed"
            )
        return None

    def keep(self, request: RequestId, result: bytes | Exception) -> None:
        """Keep the answer of a request that wrote nothing.

        Args:
            request: which; a try of it has begun.
            result: what it returned, encoded, or what it raised: kept as a copy, or if it can't be
                copied, or is long, as its text.
        """
        with self._mutex:
            if self._unwritten.fate(request) is Fate.NEW:
                kept = _to_keep(result) if isinstance(result, Exception) else result
                self._unwritten.add(request, kept)


_shared: WeakKeyDictionary[Engine, Answers] = WeakKeyDictionary()


def answers_of(engine: Engine) -> Answers:
    """What requests a database has answered in this process, by whatever service."""
    return _shared.setdefault(engine, Answers())


def new_session(engine: Engine) -> tuple[int, int]:
    """The born and nonce of a new session, see `requests`. Nothing is written."""
    return engine.applied_lsn, secrets.randbelow(NONCE_MAX + 1)


def encoded_result(value: Any, name: str) -> bytes:
    """What an update returns, as it is kept.

    Args:
        value: out of the tree.
        name: of the method, for the message.

    Raises:
        UsageError: it has a type that can't be encoded.
    """
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{name} returns what can't be kept, to be given again if the answer gets lost: "
            f"{error}. Return plain data, or records"
        ) from error
