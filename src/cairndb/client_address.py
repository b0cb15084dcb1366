"""Where a server is, as a URL says it.

    cairn://host[:port]     TCP
    cairns://host[:port]    TLS over TCP
    cairn+unix:///path      a Unix socket

A token is no part of it: URLs end up in logs and lists of processes.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from cairndb.errors import UsageError

DEFAULT_PORT: Final = 7379

_FORMS: Final = "cairn://host:port, cairns://host:port for TLS, or cairn+unix:///path"


class Address(NamedTuple):
    """Where a server is."""

    host: str
    """A name or an address; empty for a Unix socket."""
    port: int
    path: str
    """Of a Unix socket; else empty."""
    tls: bool

    def __str__(self) -> str:
        if self.path:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(url: str) -> Address:
    """Read a URL.

    Raises:
        UsageError: it isn't one of a server; the message says how such a one looks, and repeats
            none of it that may be secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not the URL of a server ({error}): write {_FORMS}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError("a URL has no secrets in it: write token=... beside it")
    if parts.query or parts.fragment:
        raise UsageError(f"what follows ? or # in a URL means nothing here: write {_FORMS}")
    match parts.scheme:
        case "cairn+unix" if parts.path and not parts.netloc:
            return Address("", 0, unquote(parts.path), tls=False)
        case "cairn" | "cairns" if parts.hostname and parts.path in {"", "/"}:
            port = DEFAULT_PORT if port is None else port
            return Address(parts.hostname, port, "", tls=parts.scheme == "cairns")
        case _:
            raise UsageError(f"{url!r:.100} isn't the URL of a server: write {_FORMS}")
