"""Which changes of a schema need nothing, which are settled, and which are refused and how."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw, defstruct, field

from cairndb import codec
from cairndb.record import Record
from cairndb.schema import compile_root, describe, field_defaults
from cairndb.schema_compare import Comparison, compare
from cairndb.schema_text import parse_schema
from strategies import declared_types, values_of


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class More(enum.Enum):
    CRIMSON = "red"
    GREEN = "green"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True)
class Place:
    y: int
    x: int
    z: int = 0


def root_with(*fields: tuple[str, Any, Any], name: str = "Root") -> Any:
    """A root with such fields, each with its default."""
    return defstruct(name, fields, bases=(Record,), kw_only=True)


def compared(stored: Any, declared: Any, drop: tuple[str, ...] = ()) -> Comparison:
    """The comparison of two root types."""
    old, new = compile_root(stored, guard=False), compile_root(declared, guard=False)
    texts = parse_schema(describe(old)), parse_schema(describe(new))
    return compare(*texts, defaults=field_defaults(new), drop=drop)


def of_types(stored: Any, declared: Any) -> Comparison:
    """The comparison of two types as values of the root's dict."""
    return compared(dict[str, stored], dict[str, declared])


@pytest.mark.parametrize(
    ("stored", "declared"),
    [
        (int, int | None),
        (int | None, int | str | None),
        (int, Any),
        (list[dict[str, int]], Any),
        (int | str, Any),
        (Annotated[int, Meta(ge=0)], int),
        (Annotated[int, Meta(gt=0)], Annotated[int, Meta(ge=1)]),
        (Annotated[int, Meta(ge=3, lt=5)], Annotated[int, Meta(ge=0, le=4)]),
        (Annotated[str, Meta(max_length=3)], Annotated[str, Meta(max_length=4)]),
        (Literal["a", "b"], Literal["a", "b", "c"]),
        (Literal["a", 1] | None, Literal["a", 1, 2] | None),
        (Literal["a", "b"], str),
        (Literal["red", "green"], Colour),
        (Colour, More),
        (Colour, str),
        (tuple[int, int], tuple[int | str, ...]),
        (tuple[int, ...], list[int]),
        (Annotated[int, Meta(multiple_of=6)], Annotated[int, Meta(multiple_of=3)]),
        (Literal["a", 1], Any),
        (frozenset[int], set[int]),
        (set[Literal[1]], set[int]),
        (dict[Colour, int], dict[str, int | None]),
        (float, float | None),
    ],
    ids=repr,
)
def test_wider_types_need_nothing(stored: Any, declared: Any) -> None:
    """What reads every stored value as it was is no difference, and no byte is converted."""
    comparison = of_types(stored, declared)
    assert comparison.differences == []
    assert not comparison.plan.changes


@pytest.mark.parametrize(
    ("stored", "declared", "message"),
    [
        (int | None, int, "which doesn't take None"),
        (int, float, "int is stored, float is declared"),
        (int, Annotated[int, Meta(ge=0)], "allows less than int"),
        (Annotated[int, Meta(ge=0)], Annotated[int, Meta(gt=0)], "allows less"),
        (str, Annotated[str, Meta(pattern="x")], "allows less"),
        (Annotated[int, Meta(multiple_of=3)], Annotated[int, Meta(multiple_of=6)], "allows less"),
        (int, Annotated[int, Meta(multiple_of=1)], "allows less"),
        (list[int], Annotated[list[int], Meta(min_length=1)], "allows less"),
        (str, Literal["a"], "str is stored"),
        (Literal["a", "b"], Literal["a"], "lost 'b'"),
        (More, Colour, "lost 'blue'"),
        (set[int], list[int], r"set\[int\] is stored"),
        (set[int], Any, "is stored, Any"),
        (dt.date, Any, "is stored, Any"),
        (list[dt.date], Any, "date is stored, Any"),
        (Any, int, "doesn't take Any|Any is stored"),
        (dt.date, str, "date is stored"),
        (tuple[int, int], tuple[int, int, int], "is stored"),
        (dict[str, int], dict[int, int], "str is stored"),
        (dict[str, int], Point, "is stored"),
        (Point, dict[str, int], "is stored"),
    ],
    ids=repr,
)
def test_narrower_types_are_refused(stored: Any, declared: Any, message: str) -> None:
    """What might not read a stored value is told with both types and what to write."""
    refused = of_types(stored, declared).refused
    with pytest.raises(ValueError, match=message):
        raise ValueError("\n".join(map(str, refused)))
    assert all("write a migration" in str(difference) for difference in refused)


def test_fields_are_reordered_and_new_ones_filled() -> None:
    """Values come out in the declared order, with the defaults of new fields."""
    comparison = of_types(Point, Place)
    assert [d.path for d in comparison.differences] == [
        "dict[str, Place][*].z",
        "dict[str, Place][*]",
    ]
    assert comparison.refused == []
    stored = codec.encode({"a": {"x": 1, "y": 2}})
    assert codec.decode(comparison.plan.convert(Raw(stored))) == {"a": {"y": 2, "x": 1, "z": 0}}


class Open(Record):
    x: int
    y: int


@pytest.mark.parametrize(
    ("stored", "declared"),
    [(set[int], frozenset[int]), (list[int], tuple[int, ...]), (Open, Point)],
    ids=repr,
)
def test_what_becomes_one_value_is_rewritten(stored: Any, declared: Any) -> None:
    """Though its bytes are the same: the log changes its insides, which have no path any more."""
    comparison = of_types(stored, declared)
    (difference,) = comparison.differences
    assert str(difference).endswith("it could be changed in place, and is one value now")
    assert comparison.plan.changes
    assert not of_types(declared, stored).differences


def test_a_field_that_is_gone_needs_a_word() -> None:
    """Without `drop` it is refused with what to write; with it, it goes and the rest stays."""
    old = root_with(("a", int, 1), ("b", str, "x"))
    new = root_with(("a", int, 1))
    (refused,) = compared(old, new).refused
    assert str(refused) == 'Root.b: the field is gone: write a migration, or drop=["Root.b"]'
    comparison = compared(old, new, drop=("Root.b",))
    assert comparison.refused == []
    data = Raw(codec.encode({"a": 5, "b": "y"}))
    assert codec.decode(comparison.plan.convert(data)) == {"a": 5}


def test_a_new_field_without_a_default_is_refused() -> None:
    """There is nothing to fill it with."""
    old = defstruct("Item", [("a", int)], bases=(Record,))
    new = defstruct("Item", [("a", int), ("b", str)], bases=(Record,))
    (refused,) = of_types(old, new).refused
    assert "give it a default, or write a migration" in str(refused)


def test_a_class_may_be_renamed_and_a_field_in_python_too() -> None:
    """Names of classes aren't in the data, and of fields only the stored ones."""
    old = defstruct("Item", [("count", int)], bases=(Record,))
    new = defstruct("Article", [("amount", int, field(name="count"))], bases=(Record,))
    comparison = of_types(old, new)
    assert comparison.differences == []


def test_a_class_that_joins_a_union_gets_its_tag() -> None:
    """What was alone had no tag; with a second class beside it, it gets the one it declares."""
    circle = defstruct("Circle", [("r", int)], bases=(Record,))
    tagged = defstruct("Circle", [("r", int)], bases=(Record,), tag=True)
    square = defstruct("Square", [("a", int)], bases=(Record,), tag=True)
    comparison = of_types(circle, tagged | square)
    assert comparison.refused == []
    stored = Raw(codec.encode({"x": {"r": 1}}))
    assert codec.decode(comparison.plan.convert(stored)) == {"x": {"type": "Circle", "r": 1}}


def test_members_of_a_union_are_converted_each_by_its_own_plan() -> None:
    """The tag in the bytes tells which; scalars and None stay."""
    old_a = defstruct("A", [("x", int)], bases=(Record,), tag="a")
    new_a = defstruct("A", [("x", int), ("y", int, 7)], bases=(Record,), tag="a")
    b = defstruct("B", [("x", int)], bases=(Record,), tag="b")
    comparison = of_types(old_a | b | int | None, new_a | b | int | None)
    state = {"a": {"type": "a", "x": 1}, "b": {"type": "b", "x": 2}, "c": 3, "d": None}
    converted = codec.decode(comparison.plan.convert(Raw(codec.encode(state))))
    assert converted == state | {"a": {"type": "a", "x": 1, "y": 7}}


class Node(Record):
    value: int = 0
    below: list[Node] = []


class Tree(Record):
    value: int = 0
    below: list[Tree] = []
    colour: Colour = Colour.RED


def test_recursive_types_are_converted_at_every_depth() -> None:
    """A type that contains itself is compared once, and its values converted all the way down."""
    comparison = of_types(Node, Tree)
    leaf = {"value": 2, "below": []}
    state = Raw(codec.encode({"x": {"value": 1, "below": [leaf, leaf]}}))
    converted = codec.decode(comparison.plan.convert(state))
    below = [leaf | {"colour": "red"}] * 2
    assert converted == {"x": {"value": 1, "below": below, "colour": "red"}}


@given(st.data(), declared_types(), declared_types())
def test_what_isnt_refused_reads_every_value(
    data: st.DataObject, stored: Any, declared: Any
) -> None:
    """Whatever two types there are: if nothing is refused, every value is read, canonically."""
    declared = data.draw(st.sampled_from([declared, stored | None if stored is not Any else Any]))
    try:
        old = compile_root(dict[str, stored], guard=False)
        new = compile_root(dict[str, declared], guard=False)
    except Exception:  # noqa: BLE001  a union that msgspec doesn't take
        return
    comparison = of_types(stored, declared)
    if comparison.refused:
        return
    encoded = old.encode(old.copy({"a": data.draw(values_of(stored))}, 0))
    converted = bytes(comparison.plan.convert(Raw(encoded)))
    assert new.encode(new.decode(converted)) == converted
