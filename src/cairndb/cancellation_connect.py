"""Connecting: to all addresses of a host, in the order and at the pace of RFC 8305.

That is "happy eyeballs": the families take turns, beginning with the one that the system prefers.
The next address is tried 250 ms after the last, or as soon as that has failed; the first that
answers is taken, and the others are closed. It is all done in the thread that asks, by one `poll`.

What RFC 8305 has besides, asking for IPv6 and IPv4 addresses apart and beginning with whichever
comes first, can't be done with the system's look-up, which gives them together.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

from cairndb.cancellation_limits import Limits
from cairndb.cancellation_poll import WRITABLE
from cairndb.cancellation_resolve import Address, resolve_within
from cairndb.cancellation_socket import CancellableSocket, send_at_once
from cairndb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.cancellation_token import CancelToken

HEAD_START_SECONDS: Final = 0.25

# Between two looks at a Unix socket whose queue of connections is full: the system has no wait for
# that which could be ended.
_FIRST_SECONDS: Final = 0.001
_LONGEST_SECONDS: Final = 0.05

_UNDER_WAY: Final = frozenset({0, errno.EINPROGRESS, errno.EINTR})


def connect(
    host: str,
    port: int | str,
    *,
    cancel: CancelToken | None = None,
    timeout: float | None = None,
    bind: tuple[str, int] | None = None,
) -> CancellableSocket:
    """Connect to a host by TCP. Nothing waits in the system to be joined by more (TCP_NODELAY).

    Args:
        host: its name, or an address.
        port: its number, or the name of a service.
        cancel: ends it.
        timeout: seconds that all of it may take, looking up the name included.
        bind: the address to connect from, numeric, and the port, 0 for any; only addresses of its
            family are tried.

    Returns:
        A connected socket.

    Raises:
        Cancelled: it was ended; nothing is left open.
        OSError: no address could be connected to: what became of the first, with a note of each
            of the others. Or the name wasn't found (`socket.gaierror`).
        UsageError: `bind` isn't a numeric address.
    """
    limits = Limits(f"connecting to {host} port {port}", cancel, timeout)
    source = None if bind is None else _source_of(bind)
    family = socket.AF_UNSPEC if source is None else source.family
    addresses = interleaved(resolve_within(host, port, family, limits))
    return CancellableSocket(_first_connected(addresses, source, limits))


def connect_unix(
    path: str | bytes | os.PathLike[str],
    *,
    cancel: CancelToken | None = None,
    timeout: float | None = None,
) -> CancellableSocket:
    """Connect to a Unix socket. While its queue is full, it is looked at 20 times a second.

    Args:
        path: of the socket.
        cancel: ends it.
        timeout: seconds that it may take.

    Returns:
        A connected socket.

    Raises:
        Cancelled: it was ended; nothing is left open.
        OSError: it can't be connected to.
    """
    name = os.fspath(path)
    limits = Limits(f"connecting to {os.fsdecode(name)}", cancel, timeout)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    pause = _FIRST_SECONDS
    try:
        sock.setblocking(False)
        limits.check_tokens()
        while (result := sock.connect_ex(name)) == errno.EAGAIN:
            limits.wait({}, time.monotonic() + pause)
            pause = min(2 * pause, _LONGEST_SECONDS)
        while result == errno.EINPROGRESS:
            limits.wait({sock.fileno(): WRITABLE})
            result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        _raise_unless(result == 0, result, os.fsdecode(name))
    except BaseException:
        sock.close()
        raise
    return CancellableSocket(sock)


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The order in which addresses are tried: families in turn, each in the order given.

    Args:
        addresses: the most preferred first.
    """
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    turns = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in turns if address is not None]


def _source_of(bind: tuple[str, int]) -> Address:
    try:
        found = socket.getaddrinfo(
            *bind, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise UsageError(
            f"bind: {bind[0]!r} isn't a numeric address of this machine, such as 127.0.0.1"
        ) from None
    return Address(found[0][0], found[0][4])


def _first_connected(
    addresses: Sequence[Address], source: Address | None, limits: Limits
) -> socket.socket:
    to_try = deque(addresses)
    under_way: dict[int, tuple[socket.socket, Address]] = {}
    failures: list[OSError] = []
    next_at = 0.0
    try:
        while to_try or under_way:
            limits.check_tokens()
            if to_try and (not under_way or time.monotonic() >= next_at):
                address = to_try.popleft()
                try:
                    begun = _begin(address, source)
                except OSError as error:
                    failures.append(_told(error, address))
                    continue
                under_way[begun.fileno()] = begun, address
                next_at = time.monotonic() + HEAD_START_SECONDS
            wanted = dict.fromkeys(under_way, WRITABLE)
            for number in limits.wait(wanted, next_at if to_try else None):
                attempt, address = under_way[number]
                try:
                    _finish(attempt)
                except OSError as error:
                    failures.append(_told(error, address))
                    del under_way[number]
                    attempt.close()
                    next_at = 0.0
                else:
                    del under_way[number]
                    return attempt
    finally:
        for attempt, _ in under_way.values():
            attempt.close()
    first, *others = failures
    for other in others:
        first.add_note(f"and {other}")
    raise first


def _begin(address: Address, source: Address | None) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        send_at_once(sock)
        if source is not None:
            sock.bind(source.sockaddr)
        result = sock.connect_ex(address.sockaddr)
        _raise_unless(result in _UNDER_WAY, result)
    except BaseException:
        sock.close()
        raise
    return sock


def _finish(attempt: socket.socket) -> None:
    """Raise what became of it, unless it is connected."""
    result = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    _raise_unless(result == 0, result)
    # A connection to a port of one's own machine that nobody listens at may get that very port for
    # its own side, and meets itself (a simultaneous open, RFC 9293).
    _raise_unless(attempt.getsockname() != attempt.getpeername(), errno.ECONNREFUSED)


def _raise_unless(good: bool, number: int, file: str | None = None) -> None:  # noqa: FBT001  as assert
    if not good:
        raise OSError(number, os.strerror(number), file)


def _told(error: OSError, address: Address) -> OSError:
    host, port = address.sockaddr[:2]
    return OSError(error.errno, f"{error.strerror}: {host} port {port}")
