"""The short way of a bulk load: what `pack` takes is what `copy` takes, in the same bytes."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from cairndb.errors import ValidationError
from cairndb.kinds import DEPTH_MAX, DictKind
from cairndb.record import Record, guarded_list
from cairndb.schema import compile_root
from effort import examples
from strategies import Color, Level, Money, declared_types, values_of


class Leaf(Record):
    word: str
    number: int | None = None


class Other(Record):
    word: str
    number: int | None = None


@dataclass(frozen=True)
class Place:
    number: float
    name: str = ""


class Everything(Record):
    """A field of each kind of value that can be stored just as it is."""

    text: str = "a"
    number: float = 1.0
    data: bytes = b"a"
    flag: bool = True
    color: Color = Color.RED
    level: Level | None = None
    literal: Literal["a", 1] = 1
    moment: dt.datetime = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    clock: dt.time = dt.time(1)
    day: dt.date = dt.date(2024, 1, 1)
    span: dt.timedelta = dt.timedelta(1)
    identity: uuid.UUID = uuid.UUID(int=1)
    amount: decimal.Decimal = decimal.Decimal("1.0")
    place: Place = Place(1.0)
    money: Money | None = None
    pair: tuple[str, int] = ("a", 1)
    row: tuple[int, ...] = (1, 2)
    anything: Any = None
    several: list[dt.date | int] = []
    table: dict[int, list[bytes]] = {}
    leaf: Leaf | None = None
    leaves: list[Leaf] = []


class Loop(Record):
    """A type that contains itself."""

    inner: list[Loop] = []


class Bounded(Record):
    count: Annotated[int, Meta(ge=0)] = 0
    names: Annotated[list[str], Meta(max_length=1)] = []


@dataclass(frozen=True)
class Judged:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("negative")


class Holder(Record):
    judged: Judged


def dict_of(annotation: Any) -> DictKind:
    """The kind of a dict with values of a declared type."""
    declared: Any = dict
    kind = compile_root(declared[str, annotation], guard=True)
    assert isinstance(kind, DictKind)
    return kind


def check(kind: DictKind, value: Any) -> bool:
    """Whether a value is packed; if so, it is to the bytes that copying gives."""
    packed = kind.pack(value)
    if packed is None:
        return False
    assert bytes(packed) == kind.value.encode(kind.value.copy(value, 1))
    return True


def filled() -> Everything:
    """Something in every field."""
    return Everything(
        level=Level.LOW,
        money=Money(decimal.Decimal(1)),
        several=[1, dt.date(2024, 1, 1)],
        table={1: [b"a"], 2: []},
        leaf=Leaf("a"),
        leaves=[Leaf("b", 1), Leaf("c")],
    )


@pytest.mark.parametrize("value", [Everything(), filled(), Everything(anything="x", literal="a")])
def test_usual_records_are_packed(value: Everything) -> None:
    """A fresh record of the declared types takes the short way, and comes back equal."""
    kind = dict_of(Everything)
    packed = kind.pack(value)
    assert packed is not None
    assert kind.value.decode(packed) == value
    assert check(kind, value)


@settings(suppress_health_check=list(HealthCheck), max_examples=examples(20))
@given(st.data())
def test_what_is_packed_is_what_would_be_copied(data: st.DataObject) -> None:
    """Whatever type is declared, and whatever is assigned: other bytes never come of it."""
    declared: Any = data.draw(declared_types())
    given_type = data.draw(st.sampled_from([declared, None]))
    value = data.draw(values_of(declared if given_type else data.draw(declared_types())))
    check(dict_of(list[declared]), [value])
    check(dict_of(declared), value)


@pytest.mark.parametrize(
    "change",
    [
        {"text": Color.RED},
        {"text": "\ud800"},
        {"number": 1},
        {"flag": 1},
        {"level": 2**64},
        {"literal": 2},
        {"literal": True},
        {"moment": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))},
        {"moment": dt.datetime(2024, 1, 1, fold=1)},  # noqa: DTZ001  naive is what is tested
        {"clock": dt.time(1, fold=1)},
        {"place": Place(1)},
        {"pair": ("a", 1, 2)},
        {"pair": ["a", 1]},
        {"anything": [1]},
        {"anything": dt.date(2024, 1, 1)},
        {"several": [True]},
        {"several": (1,)},
        {"table": {True: [b"a"]}},
        {"table": {1: (b"a",)}},
        {"leaf": Other("a")},
        {"leaf": {"word": "a", "number": 1}},
        {"leaves": [Leaf("a", -(2**63) - 1)]},
    ],
)
def test_the_rest_is_left_to_copy(change: dict[str, Any]) -> None:
    """Whatever copying would refuse or convert isn't packed, wherever it is."""
    assert dict_of(Everything).pack(Everything(**change)) is None


def test_a_class_of_another_name_is_no_record_of_the_type() -> None:
    """Neither a look-alike nor a subclass is taken for the declared class."""

    class Heir(Leaf):
        pass

    assert dict_of(Leaf).pack(Other("a")) is None
    assert dict_of(Leaf).pack(Heir("a")) is None
    assert dict_of(Leaf).pack("a") is None


def test_types_without_a_limit_of_depth_are_copied() -> None:
    """A type that contains itself has no height, so its depth is counted value by value."""
    kind = dict_of(Loop)
    assert kind.pack(Loop()) is None
    assert kind.pack_depth < 0
    assert dict_of(Everything).pack_depth == DEPTH_MAX - 1 - 3


def test_what_a_bound_refuses_is_copied() -> None:
    """Until the end of the update it is shown as it was given, which its bytes can't be."""
    kind = dict_of(Bounded)
    assert kind.pack(Bounded(1, ["a"])) is not None
    assert kind.pack(Bounded(-1)) is None
    assert kind.pack(Bounded(1, ["a", "b"])) is None
    assert dict_of(Holder).pack(Holder(Judged(1))) is not None


def test_containers_of_the_state_are_packed_as_builtins() -> None:
    """What a view has shown can be assigned elsewhere the short way."""
    kind = dict_of(list[str])
    assert check(kind, guarded_list(["a"]))

    with pytest.raises(ValidationError):
        kind.value.copy(type("Mine", (list,), {})(["a"]), 1)
    assert kind.pack(type("Mine", (list,), {})(["a"])) is None
