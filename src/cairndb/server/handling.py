"""What happens to a request, from the outside inwards: the one place where that is put together.

    of a protocol            who asks, how much is taken, how it is answered        resp, http
    around all protocols     counted, the application's own (`--middleware`), logged, noticed,
                             revoked, supervised, spared                            below
    of a method              as the middleware that looks at `Request.target`

A middleware is a function from handler to handler (`service.Middleware`), so each of these can be
read, tested and left out by itself. Those here wrap operations, whichever protocol they come by.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cairndb.errors import DatabaseFailed
from cairndb.server.logs import log
from cairndb.service import wrapped
from cairndb.service_access import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cairndb.server.memory import Watermark
    from cairndb.server.supervision import Supervision
    from cairndb.server.tokens import Tokens
    from cairndb.service import Answer, Handler, Middleware, Request, Service


def handler_of(
    service: Service,
    supervision: Supervision,
    watermark: Watermark,
    tokens: Tokens | None,
    failed: Callable[[DatabaseFailed], None],
    *,
    access_log: bool,
    middleware: Sequence[Middleware] = (),
) -> Handler:
    """The handler of a daemon's requests.

    Args:
        service: what does them.
        supervision: notes what runs.
        watermark: refuses updates.
        tokens: that were asked for.
        failed: told when the database has failed.
        access_log: whether each request is logged.
        middleware: further ones, outermost: figures, and what the application brings.
    """
    return wrapped(
        service.handle,
        [
            *middleware,
            *([logged] if access_log else []),
            noticed(failed),
            *([revoked(tokens)] if tokens is not None else []),
            supervision.around,
            spared(service, watermark),
        ],
    )


def logged(handler: Handler) -> Handler:
    """Each request is logged, with what became of it and how long it took."""

    def handle(request: Request) -> Answer:
        started = time.perf_counter()
        outcome = "ok"
        try:
            answer = handler(request)
        except Exception as error:
            outcome = type(error).__name__
            raise
        else:
            if answer.error is not None:
                outcome = type(answer.error).__name__
            return answer
        finally:
            log().info(
                "request",
                operation=request.operation,
                target=request.target,
                outcome=outcome,
                protocol=request.protocol,
                peer=request.peer,
                token=request.grant.name if request.grant else None,
                milliseconds=round((time.perf_counter() - started) * 1e3, 3),
            )

    return handle


def noticed(failed: Callable[[DatabaseFailed], None]) -> Middleware:
    """A failed database is told to who can end the daemon."""

    def wrap(handler: Handler) -> Handler:
        def handle(request: Request) -> Answer:
            try:
                answer = handler(request)
            except DatabaseFailed as error:
                failed(error)
                raise
            if isinstance(answer.error, DatabaseFailed):
                failed(answer.error)
            return answer

        return handle

    return wrap


def revoked(tokens: Tokens) -> Middleware:
    """Who connected with a token that isn't there any more is nobody."""

    def wrap(handler: Handler) -> Handler:
        def handle(request: Request) -> Answer:
            if tokens.revoked and request.grant in tokens.revoked:
                raise Unauthenticated("this token isn't known here any more: use another")
            return handler(request)

        return handle

    return wrap


def spared(service: Service, watermark: Watermark) -> Middleware:
    """Updates are refused while memory is short; what reads, or may free some, isn't."""

    def wrap(handler: Handler) -> Handler:
        def handle(request: Request) -> Answer:
            if writes(service, request):
                watermark.check()
            return handler(request)

        return handle

    return wrap


def writes(service: Service, request: Request) -> bool:
    """Whether a request may change the state."""
    if request.operation == "run":
        method = service.methods.get(request.target)
        return method is not None and method.mode == "update"
    return request.operation == "set"
