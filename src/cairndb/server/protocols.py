"""The protocols of a daemon, made of its parts: who asks, how much is taken, when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cairndb.server.addresses import parse_address
from cairndb.server.debugging import debug_routes
from cairndb.server.http import Access, HttpLimits, Site, application
from cairndb.server.peers import grant_of_peer
from cairndb.server.resp import RespServer
from cairndb.server.resp_limits import RespLimits
from cairndb.server.web import PEER_GRANT, WebServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import HTTPConnection

    from cairndb.server.daemon import Parts, Served
    from cairndb.server.listeners import Name
    from cairndb.service_access import Grant

_EVER_SECONDS: Final = 1e9
_OWN_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


def protocols(parts: Parts) -> Mapping[Name, Served]:
    """What serves connections, by the names of their protocols."""
    return {"resp": Resp(parts), "http": Web(parts)}


class Resp:
    """The Redis protocol.

    Args:
        parts: of the daemon.
    """

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._server = RespServer(
            parts.service,
            parts.runner,
            parts.promises,
            asyncio.get_running_loop(),
            limits=RespLimits(
                connections=settings.connections,
                request_bytes=settings.request_bytes,
                reply_bytes=settings.reply_bytes,
                pipelined=settings.pipelined,
                idle_seconds=settings.idle,
                greeting_seconds=settings.slow,
                stuck_seconds=settings.slow,
                watches=settings.watches,
            ),
            authenticate=parts.tokens.authenticate if parts.tokens is not None else None,
            recognise=lambda transport: grant_of_peer(transport.get_extra_info("socket")),
        )
        self.protocol = self._server.connection
        self.drain = self._server.stop
        self.revoke = self._server.revoke
        self.cut = self._server.abort

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._server.connections)

    @property
    def is_busy(self) -> bool:
        """Whether a reply is still to leave."""
        return bool(self._server.connections)

    def tick(self) -> None:
        """It has a clock of its own."""


class Web:
    """HTTP.

    Args:
        parts: of the daemon.
    """

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        limits = HttpLimits(
            body_bytes=settings.request_bytes,
            body_seconds=settings.slow or _EVER_SECONDS,
            answer_bytes=settings.reply_bytes,
            write_seconds=settings.slow or _EVER_SECONDS,
            requests=settings.connections,
            watches=settings.watches,
        )
        access = Access(
            authenticate=parts.tokens.authenticate if parts.tokens is not None else None,
            origins=_texts(settings.http_origins),
            hosts=_hosts(parts),
        )
        self._site = _Site(
            parts.service,
            parts.metrics,
            limits,
            access,
            runner=parts.runner,
            promises=parts.promises,
        )
        self._server = WebServer(
            application(self._site, routes=debug_routes(self._site.grant_of, parts.state.cut)),
            connections=settings.connections,
            idle_seconds=settings.idle,
            slow_seconds=settings.slow,
        )
        self.protocol = self._server.protocol
        self.tick = self._server.tick
        self.revoke = self._site.revoke
        self.cut = self._server.cut

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._server.connections)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return self._server.is_busy

    def drain(self) -> None:
        """Be ready no more, end watches, and close what is idle."""
        self._site.drain()
        self._server.drain()


class _Site(Site):
    """A site that knows who is at the other end of a Unix socket."""

    def grant_of(self, connection: HTTPConnection) -> Grant | None:
        """What a token allows that was given; else what who connected may do without."""
        if "authorization" not in connection.headers:
            grant: Grant | None = connection.scope.get("state", {}).get(PEER_GRANT)
            if grant is not None:
                return grant
        return super().grant_of(connection)


def _hosts(parts: Parts) -> tuple[str, ...]:
    given = _texts(parts.settings.http_hosts)
    if given or parts.tokens is not None or parts.is_exposed:
        return given
    address = parse_address(parts.settings.http)
    own = [] if address is None else [f"[{address.host}]" if ":" in address.host else address.host]
    return (*_OWN_NAMES, *own)


def _texts(listed: str) -> tuple[str, ...]:
    return tuple(text for text in listed.replace(" ", "").split(",") if text)
