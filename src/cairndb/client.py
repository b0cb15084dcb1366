"""A database that another process owns, used as if it were open here.

    client = cairndb.connect("cairn://host:port", Bank)
    client.run(Bank.transfer, "alice", "bob", 5)

The server is `cairn serve`. A call is sent by its name and its arguments, runs there in its own
view or update, and its result, or what it raised, is had here. An update that has returned is on
the owner's disk, and was applied once, however often it had to be sent.

1. No call goes on beyond its timeout, whatever the server and the network do.
2. Whatever a call raises says whether it may have happened; see `client_exchange`.
3. A client may be used by any number of threads and tasks. In a forked child it has its own
   connections and its own session.
"""

from __future__ import annotations

import functools
import os
import ssl
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from cairndb.client_address import parse_address
from cairndb.client_calls import Calls, Limits, Target
from cairndb.client_connection import dial, hiredis_module
from cairndb.client_exceptions import Exceptions
from cairndb.client_exchange import Link
from cairndb.client_methods import RemoteMethods
from cairndb.client_pool import Pool
from cairndb.client_sessions import Sessions
from cairndb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from cairndb.client_address import Address
    from cairndb.client_connection import Connection
    from cairndb.client_waiting import Wait

R = TypeVar("R")

CONNECTIONS: Final = 64
"""How many a client has at most, and so how many of its calls are under way at the same time."""
CONNECTIONS_MAX: Final = 512  # a server remembers the answers of more requests of one session
TIMEOUT_SECONDS: Final = 30.0

_clients: Final[weakref.WeakSet[Client[Any]]] = weakref.WeakSet()


class Client(Calls[R]):
    """A database in another process; made by `cairndb.connect`.

    Args:
        target: what is called.
        limits: of each call.
    """

    def __init__(self, target: Target, limits: Limits) -> None:
        super().__init__(target, limits)
        _clients.add(self)

    def close(self) -> None:
        """Close the connections; those of calls that are under way when these end.

        Calls that begin later, or would have to try again, are refused. Twice is harmless.
        """
        self._target.link.pool.close()

    def forked(self) -> None:
        """In a child after a fork: have nothing in common with the parent."""
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
        self.close()

    def __del__(self) -> None:
        target = getattr(self, "_target", None)
        if target is not None and not target.link.pool.closed:
            warnings.warn(f"unclosed client {self!r}", ResourceWarning, source=self, stacklevel=2)
            if not sys.is_finalizing():
                self.close()

    def __repr__(self) -> str:
        link = self._target.link
        state = "closed" if link.pool.closed else f"at LSN {link.lsn}"
        return f"<cairndb.Client of {link.server}, {state}>"


@overload
def connect(
    url: str,
    *,
    token: str | Callable[[], str] | None = ...,
    timeout: float | None = ...,
    tls: ssl.SSLContext | None = ...,
    connections: int = ...,
) -> Client[dict[str, Any]]: ...


@overload
def connect(
    url: str,
    root: type[R],
    *,
    token: str | Callable[[], str] | None = ...,
    timeout: float | None = ...,
    tls: ssl.SSLContext | None = ...,
    connections: int = ...,
) -> Client[R]: ...


def connect(
    url: str,
    root: Any = dict[str, Any],
    *,
    token: str | Callable[[], str] | None = None,
    timeout: float | None = TIMEOUT_SECONDS,
    tls: ssl.SSLContext | None = None,
    connections: int = CONNECTIONS,
) -> Client[Any]:
    """A client of the server at a URL. It connects when it is first called, and whenever it must.

    Args:
        url: `cairn://host:port`, `cairns://host:port` for TLS, or `cairn+unix:///path`.
        root: the type of the database's root, the same as the server's.
        token: what the server knows the caller by, or a function that gives it, which is asked for
            each new connection. No variable of the environment is read.
        timeout: seconds that a call may take, all its tries together; None for no end.
        tls: how to check the server's certificate; by default as the system trusts.
        connections: how many at most, up to 512.

    Raises:
        UsageError: the URL isn't one, or hiredis isn't installed.
    """
    if not 1 <= connections <= CONNECTIONS_MAX:
        raise UsageError(f"connections= is from 1 to {CONNECTIONS_MAX}")
    return Client(target_of(url, root, dialling(url, token, tls), connections), Limits(timeout))


def target_of(url: str, root: Any, dial: Callable[[Wait], Connection], connections: int) -> Target:
    """What a client calls; see `connect`.

    Args:
        url: of the server.
        root: the type of the database's root.
        dial: connects.
        connections: how many at most.
    """
    link = Link(Pool(dial, connections), Sessions(), str(parse_address(url)))
    return Target(link, RemoteMethods(root), Exceptions(root))


def dialling(
    url: str, token: str | Callable[[], str] | None, tls: ssl.SSLContext | None
) -> Callable[[Wait], Connection]:
    """What connects to a server; see `connect`.

    Raises:
        UsageError: the URL isn't one, or hiredis isn't installed.
    """
    hiredis_module()
    address = parse_address(url)
    if tls is not None and not address.tls:
        raise UsageError(f"{url}: tls= is for cairns://host:port")
    if address.tls and tls is None:
        tls = ssl.create_default_context()
    return functools.partial(_dial, address, token, tls)


def _dial(
    address: Address,
    token: str | Callable[[], str] | None,
    tls: ssl.SSLContext | None,
    wait: Wait,
) -> Connection:
    return dial(address, token() if callable(token) else token, tls, wait)


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client.forked()


os.register_at_fork(after_in_child=_after_fork_in_child)
