"""The HTTP server: a Starlette application over the operations of a database.

    POST /run/{method}        http_operations
    GET, PUT /state/{path}    http_operations
    GET /watch/{pattern}      http_history
    GET /log                  http_history
    GET /openapi.json, /docs  http_openapi, http_docs
    GET /metrics              metrics
    GET /healthz, /readyz     here

A path in an address is one of the database: its steps are escaped as RFC 6901 says, so a slash in a
key is `~1`; all else is percent-encoded as usual, and a step may be encoded as a whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware as Layer
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cairndb.errors import UsageError
from cairndb.server.http_docs import docs_page
from cairndb.server.http_guard import Guard, refused
from cairndb.server.http_history import History
from cairndb.server.http_openapi import document
from cairndb.server.http_operations import Operations
from cairndb.server.http_problems import POSITION_HEADER, Refusal
from cairndb.server.http_site import Access, HttpLimits, Site
from cairndb.server.metrics import Metrics
from cairndb.service import Service
from cairndb.service_access import require_read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request as HttpRequest
    from starlette.routing import BaseRoute

    from cairndb.database import Database
    from cairndb.service import Middleware
    from cairndb.service_access import Grant

__all__ = ["Access", "HttpLimits", "Site", "application", "asgi"]


_HEADERS: Final = ("Authorization", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID")


def asgi(
    database: Database[Any],
    *,
    authenticate: Callable[[str], Grant | None] | None = None,
    limits: HttpLimits | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = (),
    middleware: Sequence[Middleware] = (),
    documented: bool = True,
) -> Starlette:
    """An ASGI application that serves a database: run by itself, or mounted in another one.

    It closes nothing: the database stays the caller's, who may use it meanwhile, in the same loop
    with `async with db.update_async()`.

    Args:
        database: open for writing in this process.
        authenticate: what a bearer token allows; None for one that isn't known. Without it
            everybody may do everything.
        limits: how much is taken of whom.
        origins: of pages on other servers that may ask, as `https://app.example`; `*` for all.
        hosts: names that this server goes by, without ports; none for any.
        middleware: around the operations, the first outermost.
        documented: whether there are `/openapi.json` and `/docs`, which need no token.

    Raises:
        UsageError: the database was opened for reading, or a method can't be called from outside.
    """
    engine = database._engine  # noqa: SLF001  a part of what is served
    if engine.reads_only:
        raise UsageError("only a database that is open for writing can be served")
    service = Service(database, engine.tree.kind.annotation)
    site = Site(
        service,
        Metrics(service),
        limits or HttpLimits(),
        Access(authenticate=authenticate, origins=tuple(origins), hosts=tuple(hosts)),
        middleware=middleware,
    )
    return application(site, documented=documented)


def application(
    site: Site, *, documented: bool = True, routes: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application of a site; `asgi` is for applications that have a database only.

    Args:
        site: what it serves.
        documented: whether there are `/openapi.json` and `/docs`.
        routes: others that belong beside these.
    """
    operations, history, pages = Operations(site), History(site), _Pages(site)
    all_routes = [
        Route("/run/{method}", operations.run, methods=["POST"]),
        *_state_routes(operations),
        Route("/watch", history.watch),
        Route("/watch/{pattern:path}", history.watch),
        Route("/log", history.log),
        Route("/healthz", pages.healthy),
        Route("/readyz", pages.ready),
        Route("/metrics", pages.metrics),
        *routes,
    ]
    if documented:
        all_routes += [Route("/openapi.json", pages.document), Route("/docs", pages.docs)]
    layers = [Layer(Guard, site=site)]
    if site.access.origins:  # outermost, so that such pages can read what is refused, too
        layers.insert(0, Layer(CORSMiddleware, **_cross_origin(site.access.origins)))
    handlers: Any = {HTTPException: refused}
    app = Starlette(routes=all_routes, middleware=layers, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.site = site
    return app


def _state_routes(operations: Operations) -> list[Route]:
    # In one route each, so that a method that isn't there is told with both that are.
    async def either(http: HttpRequest) -> Response:
        return await (operations.put(http) if http.method == "PUT" else operations.get(http))

    methods = ["GET", "PUT"]
    return [
        Route("/state", either, methods=methods),
        Route("/state/{path:path}", either, methods=methods),
    ]


def _cross_origin(origins: Sequence[str]) -> dict[str, Any]:
    return {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "POST", "PUT"],
        "allow_headers": list(_HEADERS),
        "expose_headers": ["ETag", "Link", POSITION_HEADER],
    }


class _Pages:
    """The routes of a site that are about the server.

    Args:
        site: which.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._document: dict[str, Any] | None = None

    async def healthy(self, _: HttpRequest) -> Response:
        """The process is alive."""
        return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})

    async def ready(self, _: HttpRequest) -> Response:
        """Requests can be answered."""
        site = self._site
        if site.is_draining:
            raise Refusal("closed", "this server is about to end")
        site.service.engine.check_usable()
        return JSONResponse({"status": "ready"}, headers={"Cache-Control": "no-store"})

    async def metrics(self, http: HttpRequest) -> Response:
        """The figures, for Prometheus."""
        require_read(self._site.grant_of(http))
        metrics, accept = self._site.metrics, http.headers.get("accept", "")
        text, media_type = await asyncio.to_thread(metrics.exposition, accept)
        headers = {"Content-Type": media_type, "Cache-Control": "no-store"}
        return Response(text, headers=headers)

    async def document(self, http: HttpRequest) -> Response:
        """The OpenAPI document."""
        return JSONResponse(self._described(http), headers={"Cache-Control": "no-cache"})

    async def docs(self, http: HttpRequest) -> Response:
        """The same for people."""
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        }
        page = docs_page(self._described(http))
        return Response(page, headers=headers, media_type="text/html")

    def _described(self, http: HttpRequest) -> dict[str, Any]:
        if self._document is None:
            site = self._site
            self._document = document(site.service, needs_token=bool(site.access.authenticate))
        return self._document | {"servers": [{"url": http.scope.get("root_path") or "/"}]}
