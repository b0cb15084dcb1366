"""Looking into a running daemon over HTTP: what its threads do, and where they spend their time.

    GET /debug/stacks               what each thread does now
    GET /debug/profile?seconds=5    how often each stack was seen, as flame graphs are made of

For an admin's token, or from this machine: by a connection to this machine's own name that a proxy
hasn't passed on, since what a proxy passes on comes from this machine, too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cairndb.cancellation import CancelToken
from cairndb.errors import CairnError
from cairndb.server.supervision import frames, stacks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from starlette.requests import Request

    from cairndb.service_access import Grant

_SAMPLES_PER_SECOND: Final = 100
_SECONDS_MAX: Final = 60.0
_PASSED_ON: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


def debug_routes(
    grant_of: Callable[[Request], Grant | None], cancel: CancelToken | None = None
) -> list[Route]:
    """The routes, to be served beside others.

    Args:
        grant_of: what who asks may do; it may raise that this isn't known.
        cancel: ends profiles that are being made.
    """
    ended = cancel or CancelToken()
    one_at_a_time = asyncio.Lock()

    def refusal(request: Request) -> Response | None:
        if _is_from_here(request):
            return None
        grant = None
        with suppress(CairnError):
            grant = grant_of(request)
        if grant is not None and grant.admin:
            return None
        return _problem(403, "this is for an admin's token, or for a connection from this machine")

    async def show_stacks(request: Request) -> Response:
        return refusal(request) or JSONResponse(stacks())

    async def show_profile(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        try:
            seconds = float(request.query_params.get("seconds", "5"))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _SECONDS_MAX:
            return _problem(400, f"seconds is more than 0 and at most {_SECONDS_MAX:g}")
        if one_at_a_time.locked():
            return _problem(409, "another profile is being made: ask again when it is done")
        async with one_at_a_time:
            counts = await asyncio.to_thread(sampled, seconds, ended)
        return PlainTextResponse("".join(f"{stack} {n}\n" for stack, n in counts.most_common()))

    return [
        Route("/debug/stacks", show_stacks, name="stacks"),
        Route("/debug/profile", show_profile, name="profile"),
    ]


def sampled(seconds: float, cancel: CancelToken) -> Counter[str]:
    """How often each stack of each thread but this was seen.

    Args:
        seconds: for how long to look.
        cancel: ends it before.
    """
    counts: Counter[str] = Counter()
    own = threading.get_ident()
    until = CancelToken(timeout=seconds, parents=[cancel])
    while True:
        names = {each.ident: each.name for each in threading.enumerate()}
        for thread, frame in frames().items():
            if thread != own:
                counts[";".join([names.get(thread, "?"), *_calls(frame)])] += 1
        if until.wait(1 / _SAMPLES_PER_SECOND):
            break
    return counts


def _calls(frame: FrameType | None) -> list[str]:
    calls = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "?")
        calls.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return calls[::-1]


def _is_from_here(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _PASSED_ON):
        return False
    # The name as well: a page of anywhere can have its own name lead a browser here.
    name = request.url.hostname or ""
    return _is_loopback(request.client.host) and (name == "localhost" or _is_loopback(name))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _problem(status: int, detail: str) -> Response:
    content = {"title": "Not here", "status": status, "detail": detail}
    return JSONResponse(content, status, media_type="application/problem+json")
