"""Addresses to listen at, as settings have them: `host:port`, `[::1]:7379`, or `off`."""

from __future__ import annotations

from typing import Final, NamedTuple

OFF: Final = frozenset({"", "off"})


class Address(NamedTuple):
    """Where to listen; the port 0 has the system choose one."""

    host: str
    port: int


def parse_address(text: str) -> Address | None:
    """What an address says.

    Args:
        text: `host:port`; an IPv6 address is in brackets.

    Returns:
        None if it is off.

    Raises:
        ValueError: it isn't an address.
    """
    if text in OFF:
        return None
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (colon and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError("an address is host:port, as 127.0.0.1:7379, or off")
    if ":" in host and not bracketed:
        raise ValueError(f"an IPv6 address is in brackets: [{host}]:{port}")
    host = host[1:-1] if bracketed else host
    if not host:
        raise ValueError("an address has a host: 127.0.0.1 for this machine, 0.0.0.0 for all")
    return Address(host, int(port))


def parse_path(text: str) -> str | None:
    """The path of a Unix socket; None if it is off."""
    return None if text in OFF else text
