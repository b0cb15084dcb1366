"""Whether a value can be stored just as it is, asked in as few steps as can be.

`Kind.copy` judges and converts anything. What a bulk load assigns is nearly always right already:
fresh Records of exactly the declared types. An `Exact` tells that by the types alone. Then encoding
the given value, in one call of C, is the check of what is left (the range of an int, surrogates in
a str), and the copy, since bytes don't change any more; and they are bytes of the patch. Nor does
the collector of cycles look at bytes, as it would at a million copies of records.

Rule. If an `Exact` says yes, and the encoder takes the value, then `copy` takes it as well, and
what that gives has the same bytes. If it says no, that means nothing: `copy` decides.
"""

from __future__ import annotations

from operator import contains
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw

from cairndb import codec
from cairndb.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# How many combinations of types are remembered for a class: unions in many fields have many.
_COMBINATIONS_MAX = 256
# What comes of values that aren't what they seem: the encoder's errors, and those of getters.
_DOUBTS = (TypeError, ValueError, OverflowError, AttributeError, RecursionError, ValidationError)


class Exact(NamedTuple):
    """How to tell a value that can be stored just as it is."""

    types: frozenset[type]
    """It is exactly of one of these."""
    inner: Callable[[Any], bool] | None = None
    """What else has to hold of a value of these types; None for nothing."""
    height: int = 0
    """How many levels there may be below it."""
    judged: bool = False
    """Whether decoding may refuse it, by a bound that is declared for it or for a part of it."""


def union_of(members: Sequence[Exact]) -> Exact:
    """One of several: no two have a type in common."""
    inner = {python: e.inner for e in members if e.inner is not None for python in e.types}

    def passes(value: Any) -> bool:
        test = inner.get(type(value))
        return test is None or test(value)

    return Exact(
        frozenset[type]().union(*(member.types for member in members)),
        passes if inner else None,
        max(member.height for member in members),
        judged=any(member.judged for member in members),
    )


def all_of(item: Exact) -> Callable[[Any], bool]:
    """Whether every element of a collection passes."""
    allowed, inner = item.types.issuperset, item.inner
    if inner is None:
        return lambda values: allowed(map(type, values))
    return lambda values: allowed(map(type, values)) and all(map(inner, values))


def each_of(get: Callable[[Any], Sequence[Any]], parts: Sequence[Exact]) -> Callable[[Any], bool]:
    """Whether each part of a value passes a test of its own.

    Args:
        get: gives the parts; as many as there are tests.
        parts: the tests.
    """
    allowed = [part.types for part in parts]
    inner = [(place, part.inner) for place, part in enumerate(parts) if part.inner is not None]
    # One lookup for the types of all parts, once their combination has been met.
    known: set[tuple[type, ...]] = set()

    def passes(value: Any) -> bool:
        found = get(value)
        types = tuple(map(type, found))
        if types not in known:
            if len(types) != len(allowed) or not all(map(contains, allowed, types)):
                return False
            if len(known) < _COMBINATIONS_MAX:
                known.add(types)
        for place, test in inner:  # noqa: SIM110  a generator costs more than the tests
            if not test(found[place]):
                return False
        return True

    return passes


def packer(exact: Exact, decode: Callable[[bytes], Any]) -> Callable[[Any], Raw | None]:
    """What makes the canonical bytes of a value, in place of `copy` and `encode`.

    Args:
        exact: of a kind.
        decode: its own.

    Returns:
        A function: bytes that can be decoded, or None for a value that `copy` has to look at.
    """
    types, inner, _, judged = exact
    test: Callable[[Any], bool] = inner or (lambda _: True)
    encode = codec.encode

    def pack(value: Any) -> Raw | None:
        if type(value) not in types:
            return None
        try:
            if not test(value):
                return None
            data = encode(value)
            if judged:
                # A bound is judged at the end of the update. Until then what it refuses has to be
                # shown as it was given, and not by decoding.
                decode(data)
        except _DOUBTS:
            return None
        return Raw(data)

    return pack
