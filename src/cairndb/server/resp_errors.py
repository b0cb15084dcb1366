"""Exceptions as the Redis protocol says them, and as our own client raises them again.

An error's first word is for programs. Those that Redis has mean here what they mean there; clients
act on some of its others (MOVED, LOADING, READONLY), so no name of an application's exception is
ever made the first word: those follow an ERR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cairndb.errors import CairnError, UsageError
from cairndb.server import resp_values as values
from cairndb.wire import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

_CODES: Final = {
    "Unauthenticated": "NOAUTH",
    "Forbidden": "NOPERM",
    "LockTimeout": "BUSY",
    "MemoryWatermark": "OOM",
    "DiskFull": "DISKFULL",
    "DatabaseFailed": "FAILED",
    "OutcomeUnknown": "OUTCOMEUNKNOWN",
    "SessionExpired": "SESSIONEXPIRED",
    "Compacted": "COMPACTED",
    "UnknownPosition": "UNKNOWNPOSITION",
}
"""By the name of the class, of cairndb's own."""

_PLAIN: Final = {type(None), bool, float, bytes}


def error_reply(error: BaseException) -> bytes:
    """An exception as an error's one line."""
    message = str(error)
    if isinstance(error, CairnError):
        for cls in type(error).__mro__:
            code = _CODES.get(cls.__name__)
            if code is not None:
                return values.error(code, message)
        if isinstance(error, UsageError):
            return values.error("ERR", message)
    return values.error("ERR", f"{type(error).__name__}: {message}")


def outcome_unknown(failure: BaseException) -> bytes:
    """What becomes of a reply that will never be promised."""
    return values.error("OUTCOMEUNKNOWN", f"this may or may not be there afterwards: {failure}")


def failure_of(error: BaseException) -> Failure:
    """An exception as it travels to our own client."""
    cls = type(error)
    arguments = list(error.args) if all(map(_is_plain, error.args)) else None
    return Failure(cls.__module__, cls.__qualname__, arguments, _message(error))


def _message(error: BaseException) -> str:
    return str(error).encode(errors="backslashreplace").decode()


def _is_plain(value: Any) -> bool:
    """Whether MessagePack gives back the same, but for a list where a tuple was."""
    if type(value) in {list, tuple}:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return _are_plain(list(value)) and _are_plain(list(value.values()))
    if type(value) is int:
        return bool(-(2**63) <= value < 2**64)
    if type(value) is str:
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return type(value) in _PLAIN


def _are_plain(each: Sequence[Any]) -> bool:
    return all(map(_is_plain, each))
