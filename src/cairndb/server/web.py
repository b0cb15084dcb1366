"""HTTP connections: uvicorn's, with limits that it leaves to a proxy, made for our own loop.

uvicorn's own server isn't used: it takes signals, makes sockets and waits for its connections to
end, which here concerns two protocols at once. What stands here of it is what it does for its
connections: the date, how many there are, and how they end.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cairndb.server.peers import grant_of_peer

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

PEER_GRANT: Final = "cairndb_peer_grant"
_KEEP_ALIVE_SECONDS: Final = 75.0


class WebConnection(H11Protocol):
    """A connection that has only so long for each request's head.

    Args:
        server: that it belongs to.
    """

    def __init__(self, server: WebServer) -> None:
        super().__init__(server.config, server.state, {})
        self._server = server
        self._slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.app_state = {PEER_GRANT: grant_of_peer(transport.get_extra_info("socket"))}
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take part of a request; when its head is there, it isn't waited for any more."""
        if self._slow is None and self._is_between():
            self._wait_for_head()
        super().data_received(data)
        if not self._is_between():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def cut(self) -> None:
        """End at once."""
        self.transport.abort()

    def _is_between(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._server.slow_seconds:
            self._slow = self.loop.call_later(self._server.slow_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _too_slow(self) -> None:
        self._slow = None
        if self._is_between() and not self.transport.is_closing():
            self._server.cut_slow += 1
            self.transport.abort()


class WebServer:
    """All HTTP connections of a daemon.

    Args:
        application: that serves; the state of its scopes has what may be done on a connection
            without a token, as `PEER_GRANT`.
        connections: at once; then what they ask is answered with 503.
        idle_seconds: after which a connection that asks nothing is closed.
        slow_seconds: that a request's head may take; 0: any.
    """

    def __init__(
        self,
        application: ASGIApp,
        *,
        connections: int,
        idle_seconds: float,
        slow_seconds: float,
    ) -> None:
        self.slow_seconds = slow_seconds
        self.cut_slow = 0
        """How many were too slow."""
        self.config = uvicorn.Config(
            cast("Any", application),
            http=WebConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            # Whoever connects could say that he is somebody else.
            proxy_headers=False,
            limit_concurrency=connections + 1,
            # An int by its annotation alone: the loop takes it as it is.
            timeout_keep_alive=cast("int", idle_seconds or _KEEP_ALIVE_SECONDS),
        )
        self.config.load()
        self.state = ServerState()
        self.tick()

    def protocol(self) -> WebConnection:
        """A new connection."""
        return WebConnection(self)

    def tick(self) -> None:
        """Called every second: answers have the date."""
        self.state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]

    @property
    def connections(self) -> set[WebConnection]:
        """Those that there are."""
        return cast("set[WebConnection]", self.state.connections)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return any(connection.is_busy for connection in self.connections)

    def drain(self) -> None:
        """Close what is idle; what isn't is closed when it has been answered."""
        for connection in list(self.connections):
            connection.shutdown()

    def cut(self) -> None:
        """End all of them, whatever is under way."""
        for task in list(self.state.tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.cut()
