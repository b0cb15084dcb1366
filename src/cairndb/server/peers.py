"""Who is at the other end of a Unix socket, as the system says (SO_PEERCRED of Linux).

Who has the daemon's own user, or is root, could read and write its files anyway: no token is asked
of them. Others need one, as over TCP. Where the system doesn't say, so does everybody.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cairndb.service_access import EVERYTHING

if TYPE_CHECKING:
    from cairndb.service_access import Grant

_CREDENTIALS: Final = struct.Struct("3i")


class Peer(NamedTuple):
    """A process, as it was when it connected."""

    pid: int
    uid: int
    gid: int


def peer_of(connected: Any) -> Peer | None:
    """Who is at the other end.

    Args:
        connected: a socket, or what asyncio shows of one.

    Returns:
        None if the system doesn't say, or it isn't a Unix socket.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if connected is None or option is None or connected.family != socket.AF_UNIX:
        return None
    return Peer(
        *_CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    )


def grant_of_peer(connected: Any) -> Grant | None:
    """What who connects by a Unix socket may do without a token; None: nothing."""
    peer = peer_of(connected)
    if peer is None or peer.uid not in {0, os.geteuid()}:
        return None
    return EVERYTHING
