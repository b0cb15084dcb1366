"""Errors as problem details (RFC 9457): one table from exceptions to what a client is told.

An application's own exceptions are told from its mistakes by their class. What Python raises by
itself for a mistake in the code (`TypeError`, `AttributeError`, ...) is 500, and its text goes to
the log only. Every other class, `KeyError` and `ValueError` with it, is how a method says no: 422,
with the name of the class and what it says. In either case nothing of the update has happened.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from cairndb.errors import (
    CairnError,
    Compacted,
    ConstraintError,
    DatabaseFailed,
    DiskFull,
    LockTimeout,
    MemoryWatermark,
    UnknownPosition,
    UsageError,
    ValidationError,
)
from cairndb.notation import path_text
from cairndb.service import Conflict
from cairndb.service_access import Forbidden, Unauthenticated
from cairndb.service_methods import ArgumentError
from cairndb.service_paths import NoSuchPath
from cairndb.watch_items import position_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cairndb.chain import Position

logger = logging.getLogger("cairndb")

MEDIA_TYPE: Final = "application/problem+json"
POSITION_HEADER: Final = "Cairn-Position"

NAMESPACE: Final = "urn:cairndb:problem:"

_IN_PATHS: Final = "/:@!$&'()*+,;=~"  # as RFC 3986 lets them stand


class Problem(NamedTuple):
    """A kind of problem."""

    status: int
    name: str
    """The end of its `type`."""
    title: str


class Refusal(CairnError):  # noqa: N818  what becomes of the request
    """A request that is refused as HTTP, before or after the database is asked.

    Args:
        name: of the problem.
        detail: what to do.
        headers: of the response.
    """

    def __init__(self, name: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.name = name
        self.headers = dict(headers or {})


_TABLE: Final[tuple[tuple[type[Exception] | None, int, str, str], ...]] = (
    # The first class that an error is of counts; None: raised as a `Refusal` of this name.
    (ArgumentError, 400, "arguments", "These aren't the arguments that the method declares"),
    (Unauthenticated, 401, "unauthenticated", "A token is needed"),
    (Forbidden, 403, "forbidden", "This token may not do that"),
    (None, 403, "foreign-origin", "This page may not ask that of this server"),
    (NoSuchPath, 404, "nothing-there", "There is nothing at this path"),
    (None, 404, "not-found", "There is nothing at this address"),
    (None, 405, "method-not-allowed", "This method of HTTP isn't for this address"),
    (None, 406, "not-acceptable", "The answer can't be had in this form"),
    (None, 408, "body-too-slow", "The body didn't come in time"),
    (ConstraintError, 409, "constraint", "The update would break a rule of the database"),
    (Compacted, 410, "compacted", "The past isn't kept so far back"),
    (UnknownPosition, 410, "unknown-position", "This position isn't in the history"),
    (Conflict, 412, "moved-on", "The database isn't at this position"),
    (None, 413, "body-too-large", "The body is larger than is taken here"),
    (None, 415, "media-type", "The body is of a type that isn't understood"),
    (None, 421, "misdirected", "This server isn't known by this name"),
    (ValidationError, 422, "invalid", "A value isn't what its declared type allows"),
    (None, 422, "refused", "The method refused"),
    (None, 422, "answer-too-large", "The answer is larger than is sent from here"),
    (None, 429, "too-many", "Too much is under way"),
    (None, 500, "method-failed", "The method has a mistake"),
    (None, 500, "unshowable", "The method's result can't be sent"),
    (None, 503, "closed", "The database is closed"),
    (DatabaseFailed, 503, "database-failed", "The database has failed; the outcome is unknown"),
    (LockTimeout, 503, "busy", "The database is busy; nothing has happened"),
    (DiskFull, 507, "disk-full", "There is no room on the disk; nothing has happened"),
    (MemoryWatermark, 507, "memory-short", "There is too little memory; nothing has happened"),
    (UsageError, 400, "usage", "This can't be asked"),
    (None, 500, "failed", "The server can't do that"),
)

PROBLEMS: Final = {name: Problem(status, name, title) for _, status, name, title in _TABLE}
"""By name."""

_BY_CLASS: Final = [(cls, PROBLEMS[name]) for cls, _, name, _ in _TABLE if cls is not None]

# What Python raises by itself where code is wrong, or the process can't go on.
_MISTAKES: Final = (
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    MemoryError,
    NameError,
    NotImplementedError,
    OSError,
    RecursionError,
    ReferenceError,
    StopAsyncIteration,
    StopIteration,
    SystemError,
    TypeError,
)

_RETRY: Final = {"Retry-After": "1"}
_HEADERS: Final[dict[str, dict[str, str]]] = {
    "unauthenticated": {"WWW-Authenticate": 'Bearer realm="cairndb"'},
    "too-many": _RETRY,
    "busy": _RETRY,
    "database-failed": {"Retry-After": "5"},
    "body-too-slow": {"Connection": "close"},
    "body-too-large": {"Connection": "close"},
}


def kind_of(error: Exception, *, in_method: bool = False) -> Problem:
    """Which kind of problem an error is.

    Args:
        error: what was raised.
        in_method: whether application code was running.
    """
    if isinstance(error, Refusal):
        return PROBLEMS[error.name]
    own_fault = in_method and type(error) is UsageError
    for cls, problem in () if own_fault else _BY_CLASS:
        if isinstance(error, cls):
            return problem
    if not in_method:
        return PROBLEMS["failed"]
    is_mistake = isinstance(error, (CairnError, *_MISTAKES))
    return PROBLEMS["method-failed" if is_mistake else "refused"]


def described(error: Exception, problem: Problem, instance: str, directory: str) -> dict[str, Any]:
    """A problem as its JSON says it.

    Args:
        error: what was raised.
        problem: its kind.
        instance: the path that was asked, without escapes.
        directory: of the database, with which some errors begin, and which isn't told.
    """
    told = _told(error, problem)
    if isinstance(error, CairnError) and told.startswith(directory):
        told = "the database" + told.removeprefix(directory)
    return {
        "type": NAMESPACE + problem.name,
        "title": problem.title,
        "status": problem.status,
        "detail": told,
        "instance": quote(instance, _IN_PATHS, errors="replace"),
    } | _members(error, problem)


def _told(error: Exception, problem: Problem) -> str:
    if problem.name in {"method-failed", "failed"}:
        # What it says may be about anything in the process; the log has it.
        return f"{type(error).__name__}: the server's log says more"
    if isinstance(error, KeyError) and error.args:
        return f"there is no {error.args[0]!r:.200}"
    return str(error)


def _members(error: Exception, problem: Problem) -> dict[str, Any]:
    if isinstance(error, ValidationError):
        return {"path": path_text(error.path)}
    if isinstance(error, ConstraintError):
        return {"paths": [path_text(path) for path in error.paths]}
    if isinstance(error, Compacted):
        return {"oldest_lsn": error.oldest_lsn}
    if problem.name in {"refused", "method-failed"}:
        return {"exception": type(error).__name__}
    return {}


def problem_response(
    error: Exception,
    instance: str,
    directory: str,
    *,
    in_method: bool = False,
    position: Position | None = None,
) -> Response:
    """The response for an error.

    Args:
        error: what was raised.
        instance: as for `described`.
        directory: as for `described`.
        in_method: whether application code was running.
        position: where the database is, as far as the answer depends on it; promised.
    """
    problem = kind_of(error, in_method=in_method)
    if problem.status == 500:
        logger.error("%s: %s", instance, problem.title, exc_info=error)
    body = described(error, problem, instance, directory)
    headers = {"Cache-Control": "no-store", **_HEADERS.get(problem.name, {})}
    if isinstance(error, Refusal):
        headers |= error.headers
    if position is not None:
        headers[POSITION_HEADER] = text = position_text(position)
        if isinstance(error, Conflict):
            body["position"] = text
    return Response(
        msgspec.json.encode(body), problem.status, headers=headers, media_type=MEDIA_TYPE
    )
