"""What a `run` keeps of its call, and what it hands out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, MappingView
from types import MethodType
from typing import Any, Final, TypeVar

import msgspec

from cairndb.draft import plain
from cairndb.errors import UsageError
from cairndb.patch import Call

T = TypeVar("T")


def call_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """What the log keeps of a call: for people to read, never run again."""
    return Call(
        name, [_audited(value) for value in args], {k: _audited(v) for k, v in kwargs.items()}
    )


def _audited(value: object) -> Any:
    # What isn't plain data is kept as its repr.
    try:
        msgspec.msgpack.encode(value)
        return msgspec.to_builtins(value, str_keys=False)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _shown(value)


def _shown(value: object) -> str:
    # What can't be shown is no reason to refuse the update.
    try:
        return repr(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001  a __repr__ may raise anything
        return object.__repr__(value)


def mode_of(method: object) -> tuple[str, str]:
    """Whether a method is an `"update"` or a `"query"`, and its name.

    Raises:
        UsageError: it isn't marked as either, or is bound.
    """
    if isinstance(method, MethodType):
        owner = type(method.__self__).__name__
        raise UsageError(
            f"run takes the function and the root itself: {owner}.{method.__name__}, "
            "not a bound method"
        )
    mode = getattr(method, "__cairn_mode__", None)
    name = getattr(method, "__qualname__", repr(method))
    if mode not in {"update", "query"}:
        raise UsageError(
            f"{name} isn't marked: write @cairndb.update above it if it changes the state, "
            "else @cairndb.query"
        )
    return mode, name


# What looks into the tree only when it is used, which would be after the transaction.
_LAZY: Final = (Iterator, AsyncIterator, Coroutine, MappingView)


def result_of(value: T, name: str) -> T:
    """A call's result, out of the tree; taken before the lock is released.

    Args:
        value: what the method returned.
        name: of the method, for the message.

    Raises:
        UsageError: it would look into the tree later.
    """
    if isinstance(value, _LAZY):
        if isinstance(value, Coroutine):
            value.close()  # or it warns that it was never awaited
        raise UsageError(
            f"{name} returns a {type(value).__name__}, which would look at the database after its "
            "transaction has ended: return a list instead"
        )
    result: T = plain(value)
    return result
