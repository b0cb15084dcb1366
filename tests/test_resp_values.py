"""How values look in replies: read back by hiredis, in both versions of the protocol."""

from __future__ import annotations

import enum
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import hiredis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cairndb
from cairndb.errors import LockTimeout, UsageError, ValidationError
from cairndb.server.resp_errors import error_reply, failure_of
from cairndb.server.resp_values import encoded, error, push


class Colour(enum.Enum):
    """A choice."""

    RED = "red"


class Level(enum.IntEnum):
    """A choice that is a number."""

    HIGH = 3


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int


class Circle(cairndb.Record, tag="circle"):
    """A member of a union."""

    centre: Point
    radius: float = msgspec.field(name="r", default=1.0)


def decoded(data: bytes) -> Any:
    """What a client has of a reply."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(data)
    value = reader.gets()
    assert reader.gets() is False
    assert not reader.has_data()
    return value


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back(value: Any) -> None:
    """In version 3 as they were."""
    assert decoded(encoded(value, 3)) == value


def flat(value: Any) -> Any:
    """What version 2 makes of a plain value."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dict):
        return [part for pair in value.items() for part in map(flat, pair)]
    return [flat(each) for each in value] if isinstance(value, list) else value


@given(PLAIN)
def test_version_2_has_fewer_kinds(value: Any) -> None:
    """Maps are arrays, and booleans integers."""
    assert decoded(encoded(value, 2)) == flat(value)


@given(st.floats(allow_nan=False))
def test_floats_come_back(value: float) -> None:
    """To the last bit; in version 2 as text."""
    assert decoded(encoded(value, 3)) == value
    assert float(decoded(encoded(value, 2))) == value


@pytest.mark.parametrize(
    ("value", "in_version_2", "in_version_3"),
    [
        (2**64 - 1, "18446744073709551615", "18446744073709551615"),
        (-(2**70), str(-(2**70)), str(-(2**70))),
        (math.inf, "inf", math.inf),
        (b"text", "text", "text"),
        (bytearray(b"text"), "text", "text"),
        ((1, "a"), [1, "a"], [1, "a"]),
        ({1}, [1], [1]),
        (frozenset("a"), ["a"], ["a"]),
        (Colour.RED, "red", "red"),
        (Level.HIGH, 3, 3),
        (date(2026, 1, 2), "2026-01-02", "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"),
        (timedelta(minutes=1), "PT60S", "PT60S"),
        (UUID(int=1), str(UUID(int=1)), str(UUID(int=1))),
        (Decimal("1.50"), "1.50", "1.50"),
        (
            Circle(Point(1, 2)),
            ["type", "circle", "centre", [1, 2], "r", "1.0"],
            {"type": "circle", "centre": [1, 2], "r": 1.0},
        ),
    ],
)
def test_other_values(value: Any, in_version_2: Any, in_version_3: Any) -> None:
    """As people would write them."""
    assert decoded(encoded(value, 2)) == in_version_2
    shown = decoded(encoded(value, 3))
    assert (list(shown) if isinstance(shown, set) else shown) == in_version_3


def test_not_a_number_is_told() -> None:
    """It equals nothing, so it is looked at."""
    assert math.isnan(decoded(encoded(math.nan, 3)))
    assert decoded(encoded(math.nan, 2)) == "nan"


def test_what_is_no_value_is_refused() -> None:
    """It isn't sent as what it happens to print as."""
    with pytest.raises(TypeError):
        encoded([object()], 3)


def test_messages_are_beside_replies() -> None:
    """A reader of version 3 knows them from arrays."""
    assert decoded(push(["message", "a", "b"])) == ["message", "a", "b"]
    assert push(["a"])[:1] == b">"


@given(st.text())
def test_an_error_is_always_one_line(message: str) -> None:
    """Whatever a message has, surrogates and line breaks among it."""
    data = error("ERR", message)
    assert data.endswith(b"\r\n")
    assert not {*b"\r\n"} & {*data[:-2]}


class Moved(Exception):  # noqa: N818  the name is what is tested
    """An application's exception that is called as an error of Redis."""


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (LockTimeout("x"), b"-BUSY x\r\n"),
        (UsageError("x"), b"-ERR x\r\n"),
        (ValidationError("x", ("a",)), b"-ERR ValidationError: /a: x\r\n"),
        (KeyError("x"), b"-ERR KeyError: 'x'\r\n"),
        (Moved("1 host:1"), b"-ERR Moved: 1 host:1\r\n"),
    ],
)
def test_errors_begin_with_a_word_for_programs(raised: Exception, line: bytes) -> None:
    """None that an application could choose: clients act on some of those."""
    assert error_reply(raised) == line


@pytest.mark.parametrize(
    ("raised", "arguments"),
    [
        (KeyError("x", 1), ["x", 1]),
        (ValidationError("x", ("a", 1)), ["x", ("a", 1)]),
        (ValueError({"a": [None]}), [{"a": [None]}]),
        (ValueError(Decimal(1)), None),
        (ValueError({date(2026, 1, 1): 1}), None),
        (ValueError(Level.HIGH), None),
        (ValueError(2**64), None),
        (ValueError("\ud800"), None),
    ],
)
def test_an_exception_travels_with_arguments_that_come_back(
    raised: Exception, arguments: list[Any] | None
) -> None:
    """Those of other types would be something else there, so none of them are sent."""
    failure = failure_of(raised)
    assert failure.arguments == arguments
    travelled = msgspec.msgpack.decode(msgspec.msgpack.encode(failure), type=type(failure))
    assert (travelled.name, travelled.message) == (failure.name, failure.message)
