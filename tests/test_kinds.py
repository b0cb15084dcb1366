from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import uuid
import weakref
import zoneinfo
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.kinds import DictKind, ListKind, RecordKind, UnionKind
from cairndb.record import GuardedDict, GuardedList, GuardedSet, Record, guarded_dict, guarded_list
from cairndb.schema import compile_root
from effort import examples
from strategies import (
    Box,
    Circle,
    Color,
    Level,
    Money,
    Node,
    Point,
    Square,
    declared_types,
    kind_of,
    roots,
    values_of,
)

T = TypeVar("T")
NAN = float("nan")


def stored(annotation: Any, value: Any) -> Any:
    """What comes back of a value that is assigned."""
    kind = kind_of(annotation)
    return kind.decode(kind.encode(kind.copy(value, 0)))


class Word(enum.StrEnum):
    A = "a"


IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAIVE = dt.datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001  naive is what is tested

EQUAL: list[tuple[Any, Any]] = [
    (int, -(2**63)),
    (int, 2**64 - 1),
    (float, math.inf),
    (str, "ünïcode \U0001f600"),
    (bytes, b"\x00\xff"),
    (decimal.Decimal, decimal.Decimal("1.00")),
    (decimal.Decimal, decimal.Decimal("-Infinity")),
    (dt.timedelta, dt.timedelta.min),
    (dt.timedelta, dt.timedelta.max),
    (dt.timedelta, dt.timedelta(days=-1, microseconds=1)),
    (dt.datetime, dt.datetime.min),  # noqa: DTZ901  naive is what is tested
    (dt.datetime, dt.datetime.max),  # noqa: DTZ901  as above
    (dt.datetime, NAIVE.replace(tzinfo=IST)),
    (dt.time, dt.time(1, 2, 3, 4, tzinfo=IST)),
    (dt.date, dt.date.min),
    (uuid.UUID, uuid.UUID(int=5)),
    (Color, Color.GREEN),
    (Level, Level.HIGH),
    (Word, Word.A),
    (Literal[True, "x"], True),
    (Literal["a", 1, None], None),  # noqa: PYI061  a Literal may contain None
    (int | float, 1),
    (int | str | None, "x"),
    (Any, {"a": [1, 2.5, None, True, b"x", {1: {}}], 2.5: []}),
    (Point, Point(1.0, 2.0, frozenset({"a", "b"}))),
    (Money, Money(decimal.Decimal("1.50"))),
    (tuple[int, tuple[str, ...]], (1, ("a", "b"))),
    (tuple[()], ()),
    (frozenset[tuple[int, str]], frozenset({(1, "a"), (2, "b")})),
    (Circle | Square, Square(3, [Point(1.0)])),
    (Box[Box[str]], Box(Box("x", ["y"]), [])),
    (Node, Node("a", Node("b"), [Node("c", tags={"x", "y"})], {"k": Node()})),
    (dict[tuple[int, str], set[int]], {(1, "a"): {3, 1, 2}}),
    (dict[Color, int], {Color.RED: 1}),
    (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}),
    (dict[dt.timedelta, dict[bool, int]], {dt.timedelta(1): {True: 1}}),
]


@pytest.mark.parametrize(("annotation", "value"), EQUAL)
def test_what_is_stored_comes_back_equal(annotation: Any, value: Any) -> None:
    """Extreme and composite values survive, and the type of each is what it was."""
    back = stored(annotation, value)

    assert back == value
    assert type(back) in (type(value), GuardedDict, GuardedList, GuardedSet)


@settings(suppress_health_check=list(HealthCheck), max_examples=examples(25))
@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    """decode(encode(copy(v))) == copy(v) == v, in the same bytes every time, guarded or not."""
    root = data.draw(roots())
    value = data.draw(values_of(root, nan=False))
    for guard in (True, False):
        kind = compile_root(root, guard=guard)
        copied = kind.copy(value, 0)
        encoded = kind.encode(copied)
        decoded = kind.decode(encoded)
        again = kind.copy(decoded, 0)
        assert value == copied == decoded == again == kind.plain(decoded)
        assert encoded == kind.encode(decoded) == kind.encode(again)
        assert again is not decoded


def classes(value: Any) -> Any:
    """What a value is made of: the classes of its nodes and of what is in them."""
    if isinstance(value, Record):
        return type(value), [classes(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, dict):
        return type(value), [classes(item) for item in value.values()]
    return type(value), [classes(item) for item in value] if isinstance(value, list) else ()


@settings(suppress_health_check=list(HealthCheck), max_examples=examples(25))
@given(st.data())
def test_many_values_are_decoded_as_one_by_one(data: st.DataObject) -> None:
    """What a load finishes field by field is what `finish` gives for each value alone."""
    declared = data.draw(declared_types())
    values = data.draw(st.lists(values_of(declared, nan=False), max_size=4))
    for guard in (True, False):
        kind = kind_of(declared, guard=guard)
        encoded = [kind.encode(kind.copy(value, 0)) for value in values]
        single = [kind.decode(each) for each in encoded]
        whole = codec.as_array(b"".join(encoded), len(encoded))
        together = kind_of(list[declared], guard=guard).decode(whole)  # type: ignore[valid-type]
        assert together == single
        assert list(map(classes, together)) == list(map(classes, single))


def test_nan_is_a_value() -> None:
    """NaN is kept as a value, and has one form."""
    assert math.isnan(stored(float, NAN))
    kind = kind_of(Any)
    assert kind.encode([NAN]) == kind.encode(kind.decode(kind.encode([NAN])))


CONVERTED: list[tuple[Any, Any, str]] = [
    (float, 3, "3.0"),
    (float | None, 3, "3.0"),
    (dict[float, int], {1: 2}, "{1.0: 2}"),
    (tuple[float, ...], (1, 2.0), "(1.0, 2.0)"),
    (Point, Point(1), "Point(x=1.0, y=0.0, labels=frozenset())"),
    (Money, Money(decimal.Decimal(1)), "Money(amount=Decimal('1'), currency='EUR')"),
    (
        dt.datetime,
        NAIVE.replace(tzinfo=IST),
        "datetime.datetime(2024, 1, 1, 21, 34, 5, tzinfo=UTC)",
    ),
    (Any, NAIVE.replace(tzinfo=IST), "datetime.datetime(2024, 1, 1, 21, 34, 5, tzinfo=UTC)"),
    (dt.datetime, NAIVE.replace(fold=1), repr(NAIVE)),
    (dt.time, dt.time(1, fold=1), "datetime.time(1, 0)"),
    (
        dt.datetime,
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
        "datetime.datetime(2024, 10, 27, 1, 30, tzinfo=UTC)",
    ),
    (list[int], guarded_list([1]), "[1]"),
    (Any, guarded_dict({"a": guarded_list([1])}), "{'a': [1]}"),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), CONVERTED)
def test_conversions(annotation: Any, value: Any, expected: str) -> None:
    """Numbers, instants and guarded containers are converted; the given object isn't changed."""
    before = repr(value)

    shown = repr(kind_of(annotation).copy(value, 0)).replace("datetime.timezone.utc", "UTC")

    assert shown == expected
    assert repr(value) == before


def test_copies_alias_nothing_mutable() -> None:
    """A copy of a Record or container is all new; immutable values are shared."""
    point = Point(1.0)
    square = Square(1, [point])
    kind = kind_of(dict[str, list[Square]])

    made = kind.copy({"a": [square]}, 0)

    assert made == {"a": [square]}
    assert made["a"][0] is not square
    assert made["a"][0].corner_points is not square.corner_points
    assert made["a"][0].corner_points[0] is point


@pytest.mark.parametrize("items", [["a", "b"], [0.5, 1.5]])
def test_a_guarded_copy_is_made_when_the_container_before_is_freed(items: list[Any]) -> None:
    """So it takes that one's place in memory, and leaves no hole to what is decoded later."""
    kind = kind_of(set[type(items[0])], guard=True)  # type: ignore[misc]  # at run time
    holders = [[{item}] for item in items]
    finished = iter(kind.finish_each(holder[0] for holder in holders))
    late = type(items[0])()
    for holder in holders:
        decoded = weakref.ref(holder[0])
        holder[0].add(late)
        holder[0] = next(finished)
        assert type(holder[0]) is GuardedSet
        assert late in holder[0], "it was made before"
        assert decoded() is None


def test_guard_covers_every_depth() -> None:
    """Decoded containers refuse to change at every depth, with guard=False none does."""
    value = {"a": [Node("n", index={"k": Node(tags={"t"})})]}
    for guard in (True, False):
        kind = kind_of(dict[str, list[Node]], guard=guard)
        made = kind.decode(kind.encode(value))
        node = made["a"][0]
        found = {type(part).__name__ for part in (made, made["a"], node.index, node.children)}
        found.add(type(node.index["k"].tags).__name__)
        assert all(name.startswith("Guarded") for name in found) == guard
        assert made == value


def test_sets_are_written_in_one_order() -> None:
    """Equal sets have equal bytes, however they were made, at every depth."""
    kind = kind_of(dict[str, Node])
    numbers = [str(number) for number in range(50)]
    forward = Node(tags=set(numbers))
    numbers.reverse()
    backward = Node(tags=set(numbers))

    assert kind.encode({"a": Node(left=forward)}) == kind.encode({"a": Node(left=backward)})
    assert kind.encode({"a": forward}) == codec.encode(
        {
            "a": {
                "name": "",
                "left": None,
                "children": [],
                "index": {},
                "tags": sorted(numbers, key=codec.encode),
            }
        }
    )


def test_sets_and_no_sets_are_encoded_alike() -> None:
    """The rewriting of kinds with sets writes Records as msgspec does: tag first, all fields."""

    class Tagged(Record, tag_field="kind", tag=7, rename="kebab"):
        first_field: int = 1
        numbers: frozenset[int] = frozenset()

    kind = kind_of(Tagged | None)
    value = Tagged(2, frozenset({5}))

    assert kind.encode(value) == codec.encode(value)
    assert codec.decode(kind.encode(value)) == {"kind": 7, "first-field": 2, "numbers": [5]}


def test_members_of_unions_and_any() -> None:
    """A live value picks its member by its type, guarded or not."""
    union = kind_of(Circle | list[int] | int | None)
    assert isinstance(union, UnionKind)
    record, numbers = union.member(Circle()), union.member(guarded_list([1]))

    assert isinstance(record, RecordKind)
    assert record.cls is Circle
    assert isinstance(numbers, ListKind)
    assert union.is_node
    assert not union.member(5).is_node
    assert isinstance(kind_of(Any).member({}), DictKind)
    assert isinstance(kind_of(Any).member(guarded_list([])), ListKind)
    assert kind_of(int).member(5) is not None


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (dict[str, int], False),
        (dict[int, int], False),
        (dict[bool, int], False),
        (dict[float, int], True),
        (dict[int | float, int], True),
        (dict[int | bool, int], True),
        (dict[int | str, int], False),
        (dict[tuple[int, float], int], True),
        (dict[uuid.UUID, int], False),
        (dict[Any, int], True),
        (dict[Literal[1, True], int], True),
    ],
)
def test_ambiguous_keys_are_known(annotation: Any, *, expected: bool) -> None:
    """A kind knows whether equal keys may have different bytes."""
    kind = kind_of(annotation)
    assert isinstance(kind, DictKind)

    assert kind.key.ambiguous == expected


def test_lengths_are_judged_by_their_bounds() -> None:
    """A container's length can be judged before it is made."""
    kind = kind_of(Annotated[list[int], Meta(min_length=1, max_length=2)])

    kind.check_length(1, ("a",))
    with pytest.raises(ValidationError, match="at least 1") as caught:
        kind.check_length(0, ("a",))
    with pytest.raises(ValidationError, match="at most 2"):
        kind.check_length(3, ("a",))
    assert caught.value.path == ("a",)


def test_drafts_are_copied_as_what_they_show() -> None:
    """What has `__cairn_plain__` stands for its plain value, wherever it is assigned."""

    class Draft:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __cairn_plain__(self) -> Any:
            return self.value

    assert kind_of(list[int]).copy(Draft([1]), 0) == [1]
    assert kind_of(Circle | Square).copy(Draft(Square()), 0) == Square()
    assert kind_of(Circle).copy(Draft(Circle()), 0) == Circle()
    assert kind_of(Any).copy({"a": Draft([1])}, 0) == {"a": [1]}
    assert kind_of(set[int]).copy(Draft({1}), 0) == {1}
    with pytest.raises(ValidationError):
        kind_of(list[int]).copy(Draft((1,)), 0)


def test_generic_records_keep_their_parameters() -> None:
    """The parameters of a generic are judged, though its instances don't have them."""

    class Pair(Record, Generic[T]):
        first: T
        second: list[T] = []

    kind = kind_of(Pair[int])

    assert kind.copy(Pair(1, [2]), 0) == Pair(1, [2])
    with pytest.raises(ValidationError, match="second/0"):
        kind.copy(Pair(1, ["x"]), 0)
