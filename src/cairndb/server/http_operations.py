"""Running methods, reading paths and setting them, over HTTP.

    POST /run/{method}      the arguments as the body: an object by names, or an array by positions
    GET /state/{path}       what stands there; `ETag` is the position, so is `If-None-Match`
    PUT /state/{path}       the body is put there
    If-Match on any of them: only if the database is at this position

Every answer has the position that it is based on as `Cairn-Position`. It isn't called `ETag` where
it is no validator of what GET of the same address would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from cairndb.server.http_forms import (
    encoded,
    entity_tag,
    expected_position,
    given_form,
    names_tag,
    wanted_form,
)
from cairndb.server.http_problems import (
    POSITION_HEADER,
    Refusal,
    problem_response,
)
from cairndb.service import Request
from cairndb.service_access import require_admin, require_read
from cairndb.service_methods import ArgumentError
from cairndb.watch_items import position_text

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest

    from cairndb.chain import Position
    from cairndb.server.http_site import Site
    from cairndb.service import Answer
    from cairndb.service_methods import Form

_VARY: Final = "Accept, Authorization"


class Operations:
    """The routes of a site that are operations of its service.

    Args:
        site: which.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self, http: HttpRequest) -> Response:
        """Run a method."""
        site = self._site
        grant = require_read(site.grant_of(http))
        name = http.path_params["method"]
        method = site.service.methods.get(name)
        if method is None:
            known = ", ".join(sorted(site.service.methods)) or "none"
            raise Refusal("not-found", f"there is no method {name!r:.100}; there are: {known}")
        media_type, form = wanted_form(http.headers.get("accept"))
        given, data = await self._body(http)
        request = self._request(http, "run", name)
        request.form, request.data, request.grant = given, data, grant
        answer = await site.perform(request)
        if answer.error is not None:
            return self._failed(http, request, answer)
        done = "It has been done." if method.mode == "update" else ""
        try:
            content = encoded(answer.value, form)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Refusal("unshowable", f"{done} {error}".strip()) from None
        site.check_size(content, done)
        return _response(content, media_type, answer.position)

    async def get(self, http: HttpRequest) -> Response:
        """Read a path."""
        site = self._site
        grant = require_read(site.grant_of(http))
        media_type, form = wanted_form(http.headers.get("accept"))
        request = self._request(http, "get", _path(http))
        request.form, request.grant = form, grant
        known = http.headers.get("if-none-match")
        position = site.service.engine.position
        if request.expected is None and names_tag(known, entity_tag(position, form)):
            # Whoever knows this position has seen it promised, and what it read there.
            return _response(b"", None, position, form, status=304)
        answer = await site.perform(request)
        if answer.error is not None:
            return self._failed(http, request, answer)
        if known is not None and known.strip() == "*":  # whatever it is, but something
            return _response(b"", None, answer.position, form, status=304)
        site.check_size(answer.value, "")
        return _response(bytes(answer.value), media_type, answer.position, form)

    async def put(self, http: HttpRequest) -> Response:
        """Set a path."""
        site = self._site
        grant = site.grant_of(http)
        require_admin(grant)
        if "if-none-match" in http.headers:
            raise Refusal("usage", "If-None-Match isn't for PUT here: use If-Match")
        given, data = await self._body(http)
        if not data:
            raise ArgumentError("there is no body: send the value")
        request = self._request(http, "set", _path(http))
        request.form, request.data, request.grant = given, data, grant
        answer = await site.perform(request)
        if answer.error is not None:
            return self._failed(http, request, answer)
        return _response(b"", None, answer.position, status=204)

    async def _body(self, http: HttpRequest) -> tuple[Form, bytes]:
        headers = http.headers
        announced = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        form: Form = "json"
        if announced:  # refused before it is read
            form = given_form(headers.get("content-type"), headers.get("content-encoding"))
        data = await self._site.body(http)
        if data and not announced:
            form = given_form(headers.get("content-type"), headers.get("content-encoding"))
        return form, data

    def _request(self, http: HttpRequest, operation: str, target: str) -> Request:
        assert operation in {"run", "get", "set"}
        now = self._site.service.engine.position
        return Request(
            operation,  # type: ignore[arg-type]
            target,
            protocol="http",
            peer=http.client.host if http.client else "",
            trace=http.headers.get("traceparent", ""),
            expected=expected_position(http.headers.get("if-match"), now),
        )

    def _failed(self, http: HttpRequest, request: Request, answer: Answer) -> Response:
        assert answer.error is not None
        return problem_response(
            self._site.judged(answer.error),
            http.scope["path"],
            self._site.service.database.path,
            in_method=request.operation == "run" and answer.position is not None,
            position=answer.position,
        )


def _path(http: HttpRequest) -> str:
    return "/" + str(http.path_params.get("path", ""))


def _response(
    content: bytes,
    media_type: str | None,
    position: Position | None,
    form: Form | None = None,
    *,
    status: int = 200,
) -> Response:
    headers = {"Vary": _VARY, "Cache-Control": "no-cache" if form else "no-store"}
    if position is not None:
        headers[POSITION_HEADER] = position_text(position)
        if form is not None:
            headers["ETag"] = entity_tag(position, form)
    return Response(content, status, headers=headers, media_type=media_type)
