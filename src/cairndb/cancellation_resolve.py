"""Names looked up in a way that can be abandoned.

The system's look-up can't be ended, so it is left to a thread of its own, a daemon that the process
doesn't wait for, and only waiting for it is ended. All who ask for the same name meanwhile wait for
the same look-up: however often one is abandoned and asked for again, while a name server doesn't
answer, there is one thread for each name. A numeric address needs none.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cairndb.cancellation_limits import Limits
from cairndb.cancellation_poll import READABLE
from cairndb.cancellation_token import CancelToken

if TYPE_CHECKING:
    from collections.abc import Sequence

    Question = tuple[str, int | str, int]


class Address(NamedTuple):
    """One address: its family, and what a socket of that family connects to."""

    family: int
    sockaddr: tuple[Any, ...]


class _LookUp:
    """One look-up under way, in a thread."""

    def __init__(self, question: Question) -> None:
        # Set once:
        self._question = question
        self.over = CancelToken()
        # Written before it is over:
        self._found: Sequence[Address] = ()
        self._error: Exception | None = None

    def run(self) -> None:
        """Look it up, and tell who waits."""
        try:
            self._found = _look_up(self._question)
        except Exception as error:  # noqa: BLE001  raised again in those who wait
            self._error = error
        finally:
            self.end()

    def end(self) -> None:
        """Whoever asks from now on is the first; who waits needn't any more."""
        if _under_way.get(self._question) is self:
            del _under_way[self._question]
        self.over.cancel()

    def result(self) -> list[Address]:
        """What was found, when it is over."""
        if self._error is not None:
            # A copy for each: a traceback is added to what is raised.
            raise type(self._error)(*self._error.args)
        return list(self._found)


_under_way: Final[dict[Question, _LookUp]] = {}

# After a fork, in the child: the threads are the parent's.
os.register_at_fork(after_in_child=_under_way.clear)


def resolve(
    host: str,
    port: int | str,
    *,
    family: int = socket.AF_UNSPEC,
    cancel: CancelToken | None = None,
    timeout: float | None = None,
) -> list[Address]:
    """Look up the addresses of a host, for streams.

    Args:
        host: its name, or an address.
        port: its number, or the name of a service.
        family: of addresses; AF_UNSPEC for all.
        cancel: ends the wait.
        timeout: seconds that it may take.

    Returns:
        The addresses, in the system's order of preference (RFC 6724).

    Raises:
        Cancelled: it was ended. The look-up itself may go on, for nobody.
        socket.gaierror: there is no such host, or who knows can't be asked.
    """
    return resolve_within(host, port, family, Limits(f"looking up {host}", cancel, timeout))


def resolve_within(host: str, port: int | str, family: int, limits: Limits) -> list[Address]:
    """What `resolve` does, as a part of an operation that has limits already."""
    limits.check_tokens()
    question = (host, port, family)
    try:
        return _look_up(question, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name
    look_up = _LookUp(question)
    try:
        first = _under_way.setdefault(question, look_up)
        if first is look_up:
            threading.Thread(target=look_up.run, name=f"looks up {host}", daemon=True).start()
    except BaseException:
        look_up.end()
        raise
    (bell,) = first.over.descriptors()
    while not first.over.is_set():
        limits.wait({bell: READABLE})
    return first.result()


def _look_up(question: Question, flags: int = 0) -> list[Address]:
    host, port, family = question
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(Address(each[0], each[4]) for each in found))
