from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
import zoneinfo
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.kinds import DictKind
from strategies import (
    Circle,
    Color,
    Level,
    Node,
    Point,
    Square,
    kind_of,
)

NAN = float("nan")


class Zone(dt.tzinfo):
    """A zone that doesn't know its offset."""

    def utcoffset(self, _: dt.datetime | None) -> None:
        return None

    def tzname(self, _: dt.datetime | None) -> str:
        return "?"

    dst = utcoffset


class Text(str):
    __slots__ = ()


class Word(enum.StrEnum):
    A = "a"


class SubCircle(Circle, tag="sub"):
    pass


@dataclasses.dataclass(frozen=True)
class Positive:
    x: int

    def __post_init__(self) -> None:
        if self.x <= 0:
            raise ValueError("x must be positive")


IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAIVE = dt.datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001  naive is what is tested

REFUSED: list[tuple[Any, Any, str, str]] = [
    (int, True, "/", "expected int, got bool"),
    (int, 1.0, "/", "expected int, got float"),
    (int, 2**64, "/", "2**64"),
    (int, -(2**63) - 1, "/", "2**63"),
    (int, Level.LOW, "/", "int(value)"),
    (bool, 1, "/", "expected bool"),
    (float, 2**53 + 1, "/", "no exact float"),
    (float, 10**400, "/", "no exact float"),
    (float, True, "/", "expected float"),
    (str, Text("x"), "/", "str(value)"),
    (str, Word.A, "/", "str(value)"),
    (str, "a\ud800", "/", "surrogates"),
    (str, b"x", "/", "expected str"),
    (bytes, bytearray(b"x"), "/", "expected bytes"),
    (bytes, "x", "/", "value.encode()"),
    (uuid.UUID, str(uuid.UUID(int=1)), "/", "UUID(value)"),
    (dt.date, "2024-01-01", "/", "date.fromisoformat(value)"),
    (dt.date, NAIVE, "/", "expected date, got datetime"),
    (dt.datetime, dt.date(2024, 1, 1), "/", "expected datetime"),
    (dt.datetime, NAIVE.replace(tzinfo=Zone()), "/", "without an offset"),
    (dt.datetime, dt.datetime.min.replace(tzinfo=IST), "/", "years 1 to 9999"),
    (dt.time, dt.time(1, tzinfo=BERLIN), "/", "no offset without a date"),
    (dt.time, dt.time(1, tzinfo=dt.timezone(dt.timedelta(seconds=1))), "/", "whole minutes"),
    (decimal.Decimal, 1, "/", "expected Decimal"),
    (decimal.Decimal, "1", "/", "Decimal(value)"),
    (Color, "r", "/", "expected Color, got str"),
    (Level, 1, "/", "expected Level"),
    (Literal["a"], "b", "/", "got 'b'"),
    (Literal[1], True, "/", "got bool"),
    (int | None, "x", "/", "expected int | None, got str"),
    (Circle, SubCircle(), "/", "expected Circle, got SubCircle"),
    (Circle, {"radius": 1.0}, "/", "got dict"),
    (Circle | Square, Node(), "/", "got Node"),
    (Point, (1.0, 2.0), "/", "expected Point"),
    (list[int], (1, 2), "/", "got tuple"),
    (tuple[int, ...], [1], "/", "got list"),
    (tuple[int, int], (1,), "/", "expected 2 items, got 1"),
    (tuple[int, str], (1, 2), "/1", "expected str"),
    (set[int], frozenset({1}), "/", "got frozenset"),
    (frozenset[int], {1}, "/", "got set"),
    (set[str], {1}, "/", "element 1: expected str"),
    (dict[str, int], collections.defaultdict(int), "/", "write dict(value)"),
    (dict[str, int], collections.OrderedDict(), "/", "write dict(value)"),
    (Any, collections.OrderedDict(), "/", "write dict(value)"),
    (dict[str, int], [("a", 1)], "/", "got list"),
    (dict[str, int], {1: 1}, "/", "key 1: expected str"),
    (dict[float, int], {NAN: 1}, "/", "finite"),
    (dict[float, int], {math.inf: 1}, "/", "finite"),
    (set[float], {NAN}, "/", "finite"),
    (dict[dt.time, int], {dt.time(1, tzinfo=dt.UTC): 1}, "/", "naive"),
    (dict[int, dict[str, list[Point]]], {1: {"a/b": [Point(1.0), 3]}}, "/1/a~1b/1", "Point"),
    (Node, Node(children=[Node(), Node(left=Circle())]), "/children/1/left", "None"),  # type: ignore[arg-type]  # refused
    (Square, Square(corner_points=[Point(1.0, "x")]), "/cornerPoints/0/y", "float"),  # type: ignore[arg-type]  # refused
    (Any, dt.date(2024, 1, 1), "/", "declare the type"),
    (Any, NAIVE, "/", "naive datetime"),
    (Any, {"a": [uuid.UUID(int=1)]}, "/a/0", "declare the type"),
    (Any, {"a": {(1, 2): 3}}, "/a", "key (1, 2)"),
    (Any, {None: 3}, "/", "key None"),
    (Any, {NAN: 3}, "/", "finite"),
    (Any, [{1}], "/0", "set"),
    (Any, [(1,)], "/0", "tuple"),
    (Any, [Circle()], "/0", "Circle"),
    (Any, [Color.RED], "/0", "Color"),
    (Any, [Level.LOW], "/0", "int(value)"),
    (Any, [Text()], "/0", "str(value)"),
    (Any, [bytearray()], "/0", "bytearray"),
    (Any, [Raw(b"\x01")], "/0", "Raw"),
    (Any, [msgspec.UNSET], "/0", "UnsetType"),
    (Any, ["\udc80"], "/0", "surrogates"),
    (Any, {"\udc80": 1}, "/", "surrogates"),
    (Any, [2**64], "/0", "2**64"),
    (Any, {2**64: 1}, "/", "2**64"),
    (int, msgspec.UNSET, "/", "UnsetType"),
]


@pytest.mark.parametrize(("annotation", "value", "path", "reason"), REFUSED)
def test_what_copy_refuses(annotation: Any, value: Any, path: str, reason: str) -> None:
    """Values of another Python type are refused, with the path and what to write instead."""
    with pytest.raises(ValidationError) as caught:
        kind_of(annotation).copy(value, 0)

    assert str(caught.value).startswith(path + ": ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(("annotation", "value", "path", "reason"), REFUSED)
def test_no_short_way_leads_around_copy(
    annotation: Any, value: Any, path: str, reason: str
) -> None:
    """What copying refuses isn't packed by a bulk load either."""
    del path, reason
    kind = kind_of(dict[str, list[annotation]])
    assert isinstance(kind, DictKind)
    assert kind.pack([value]) is None


@pytest.mark.parametrize("annotation", [dict[dt.datetime, int], set[dt.datetime]])
def test_keys_that_become_equal_are_refused(annotation: Any) -> None:
    """Keys that differ only until they are stored aren't merged silently."""
    # PEP 495: in a repeated hour, a time of a zone is equal to no time of another zone.
    first = dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1)
    second = first.astimezone(dt.UTC)
    value: Any = {first: 1, second: 2}

    with pytest.raises(ValidationError, match="equal once they are stored"):
        kind_of(annotation).copy(value if annotation == dict[dt.datetime, int] else set(value), 0)


REFUSED_BYTES: list[tuple[Any, Any, str, str]] = [
    (Annotated[int, Meta(ge=0)], -1, "/", ">= 0"),
    (list[Annotated[str, Meta(max_length=2)]], ["a", "abc"], "/1", "length"),
    (Annotated[list[int], Meta(max_length=1)], [1, 2], "/", "length"),
    (dict[str, dict[str, int]], {"a": {"b": 1, "c": None}}, "/a/c", "Expected `int`"),
    (
        dict[str, list[Circle | Square]],
        {"a": [{"type": "circle", "radius": "x"}]},
        "/a/0/radius",
        "",
    ),
    (dict[str, Positive], {"p": {"x": 0}}, "/p", "positive"),
    (dict[float, int], {NAN: 1}, "/", "finite"),
    (list[set[float]], [[1.0], [NAN]], "/1", "finite"),
    (list[frozenset[float]], [[1.0], [NAN]], "/1", "finite"),
    (list[tuple[frozenset[float], int]], [[[1.0], 1], [[NAN], 1]], "/1/0", "finite"),
    (list[Any], [{}, {"a": {None: 1}}], "/1/a", "key"),
    (list[dict[int, Any]], [{1: [msgspec.msgpack.Ext(5, b"")]}], "/0/1/0", "Ext"),
    (Color, "x", "/", "Invalid enum value"),
    (set[Any], [{}], "/", "hashable"),  # msgspec 0.23 says "Expected a hashable value"
    (list[dict[tuple[Any, ...], int]], [{((),): 1}], "/0", "tuple isn't a key"),
    (dict[Annotated[str, Meta(max_length=2)], int], {"long": 1}, "/", "for a key"),
]


@pytest.mark.parametrize(("annotation", "builtins", "path", "reason"), REFUSED_BYTES)
def test_what_decode_refuses(annotation: Any, builtins: Any, path: str, reason: str) -> None:
    """Bounds, and bytes of another type, are refused with the exact path."""
    with pytest.raises(ValidationError) as caught:
        kind_of(annotation).decode(codec.encode(builtins))

    assert str(caught.value).startswith(path + ": ")
    assert reason in str(caught.value)


@given(st.binary(max_size=30))
def test_random_bytes_never_crash(data: bytes) -> None:
    """Whatever the bytes, decoding gives a value or a ValidationError."""
    for annotation in (Any, Node, dict[tuple[int, str], set[float]], Circle | Square):
        try:
            kind_of(annotation).decode(data)
        except ValidationError:
            continue
