"""What stands around the routes: what a browser may be made to ask, how much at once, slow readers.

It is about connections and headers, so it is ASGI middleware; what is about operations is a
`service.Middleware`. It sees every request first, and turns what its routes raise into problems.

**A page of anywhere can have a browser ask a server on the same machine.** Without tokens that
server would obey. What changes anything is refused if it comes from a page of another origin,
unless that is allowed by name; and bodies need a media type that such pages can't send unasked. A
page whose own name was made to lead here is of the same origin to a browser: `Access.hosts` keeps
it away.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response

from cairndb.server.http_problems import Refusal, logger, problem_response

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cairndb.server.http_site import Site

_READING: Final = {"GET", "HEAD", "OPTIONS"}
_ROUTES: Final = ("run", "state", "watch", "log")


class Guard:
    """ASGI middleware around everything of a site.

    Args:
        app: what it guards.
        site: whose.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Guard`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        site = self._site
        exchange = _Exchange(self, scope, send, site.limits.write_seconds)
        site.requests += 1
        try:
            self._check(HTTPConnection(scope), scope["method"])
            await self._app(scope, receive, exchange.send)
        except _TooSlow:
            logger.warning("%s: cut off: it takes nothing", exchange.shown)
            raise
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            if exchange.status is not None:
                raise
            directory = site.service.database.path
            response = problem_response(site.judged(error), scope["path"], directory)
            await response(scope, receive, exchange.send)
        finally:
            site.requests -= 1

    def _check(self, connection: HTTPConnection, method: str) -> None:
        site, headers = self._site, connection.headers
        if site.requests > site.limits.requests:
            raise Refusal("too-many", f"{site.limits.requests} requests are under way already")
        hosts = site.access.hosts
        host = headers.get("host", "")
        if hosts and _name(host) not in hosts:
            raise Refusal("misdirected", f"this server goes by {', '.join(hosts)}, not {host!r}")
        origin = headers.get("origin")
        if origin is None or method in _READING or _is_same(origin, host):
            return
        if not {origin, "*"} & set(site.access.origins):
            raise Refusal("foreign-origin", f"pages of {origin!r:.100} may only read here")

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a response.

        Args:
            scope: of the request.
            status: of the response.
            seconds: until its first byte.
        """
        route = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        route = route.strip("/").partition("/")[0]
        if route not in _ROUTES:
            route = "other"
        self._site.metrics.note_response(route, status, seconds)


class _TooSlow(Exception):  # noqa: N818  what the client is
    """A client takes nothing."""


class _Exchange:
    """One request and its response."""

    def __init__(self, guard: Guard, scope: Scope, send: Send, seconds: float) -> None:
        self._guard = guard
        self._scope = scope
        self._send = send
        self._write_seconds = seconds
        self._started = time.perf_counter()
        self.status: int | None = None

    @property
    def shown(self) -> str:
        """For the log: who asked what."""
        client = self._scope.get("client")
        return f"{client[0] if client else '-'} {self._scope['method']} {self._scope['path']}"

    async def send(self, message: Message) -> None:
        """Send on, unless the client doesn't take it."""
        if message["type"] == "http.response.start":
            self.status = status = message["status"]
            self._guard.note(self._scope, status, time.perf_counter() - self._started)
        try:
            async with asyncio.timeout(self._write_seconds):
                await self._send(message)
        except TimeoutError:
            raise _TooSlow from None


def _name(host: str) -> str:
    """A host without its port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).lower()


def _is_same(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host != ""
    except ValueError:
        return False


async def refused(http: HTTPConnection, error: HTTPException) -> Response:
    """The response for what routing raises, an exception handler of Starlette."""
    headers: dict[str, Any] = dict(error.headers or {})
    if error.status_code == 405:
        allowed = headers["Allow"] = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        if http.scope["method"] == "OPTIONS":
            return Response(status_code=204, headers=headers)
        refusal = Refusal("method-not-allowed", f"this address is for {allowed}", headers)
    else:
        refusal = Refusal("not-found", "there is nothing here; /docs says what there is")
    return problem_response(refusal, http.scope["path"], http.app.state.site.service.database.path)
