"""Hypothesis strategies: random declared types, and values of any declared type.

`values_of(annotation)` gives what a user may assign where `annotation` is declared, `keys_of` what
may be a key there; `declared_types()` gives random types, of nodes and values; `roots()` random
root types. Types with bounds, tags or recursion are declared here by hand: the interesting ones.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar, get_origin

import msgspec
from hypothesis import strategies as st
from msgspec import Meta
from msgspec import inspect as mi

from cairndb.kinds import DictKind, Kind
from cairndb.record import Record
from cairndb.schema import compile_root

T = TypeVar("T")


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0
    labels: frozenset[str] = frozenset()


class Money(msgspec.Struct, frozen=True):
    amount: decimal.Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Node(Record):
    """Contains itself, in every kind of container."""

    name: str = ""
    left: Node | None = None
    children: list[Node] = []
    index: dict[str, Node] = {}
    tags: set[str] = set()


class Circle(Record, tag="circle"):
    radius: float = 1.0


class Square(Record, tag="square", rename="camel"):
    side_length: Annotated[int, Meta(ge=0)] = 1
    corner_points: list[Point] = []


class Box(Record, Generic[T]):
    content: T
    more: list[T] = []


UserId = NewType("UserId", int)

SCALARS: list[Any] = [
    *(bool, int, float, str, bytes, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID),
    *(decimal.Decimal, Color, Level, UserId, None, Literal["a", 1]),
    Annotated[int, Meta(ge=0, le=9)],
    Annotated[str, Meta(max_length=3)],
    Annotated[dt.datetime, Meta(tz=True)],
]
KEYS: list[Any] = [
    *(str, str, int, bool, float, bytes, uuid.UUID, Color, Level, dt.date, dt.datetime, dt.time),
    *(dt.timedelta, tuple[int, str], tuple[float, ...], int | str, bool | int, int | float),
]
RECORDS: list[Any] = [Node, Circle | Square, Box[int], Box[Box[str]], Circle | None, Square]


# Types are computed here, so type checkers must not take the brackets for theirs.
_dict: Any = dict
_frozenset: Any = frozenset
_list: Any = list
_set: Any = set
_tuple: Any = tuple


def value_types(depth: int = 2) -> st.SearchStrategy[Any]:
    """Declared types that may stand inside a value type."""
    base = st.sampled_from([*SCALARS, Point, Money, int | str | None, Money | None])
    if not depth:
        return base
    inner = value_types(depth - 1)
    return st.one_of(
        base,
        inner.map(lambda item: _tuple[item, ...]),
        st.tuples(inner, inner).map(lambda items: _tuple[items]),
        st.sampled_from(KEYS).map(lambda key: _frozenset[key]),
    )


def declared_types(depth: int = 2) -> st.SearchStrategy[Any]:
    """Declared types of fields and elements."""
    base = st.one_of(value_types(), st.sampled_from([*RECORDS, Any]))
    if not depth:
        return base
    inner = declared_types(depth - 1)
    return st.one_of(
        base,
        inner.map(lambda item: _list[item]),
        _dicts_of(inner),
        st.sampled_from(KEYS).map(lambda key: _set[key]),
        inner.map(lambda item: _record("Made", [("first_field", item), ("count", int, 0)])),
    )


def roots() -> st.SearchStrategy[Any]:
    """Random root types: Records with a default for each field, and dicts."""
    dicts = _dicts_of(declared_types())
    return st.one_of(dicts, st.lists(dicts, min_size=1, max_size=3).map(_root_of))


def _dicts_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(KEYS), values).map(lambda pair: _dict[pair])


def _record(name: str, fields: list[Any]) -> Any:
    return msgspec.defstruct(name, fields, bases=(Record,), rename="camel")


def _root_of(dicts: list[Any]) -> Any:
    empty: Any = msgspec.field(default_factory=dict)
    fields = [(f"field_{place}", declared, empty) for place, declared in enumerate(dicts)]
    return _record("Root", [*fields, ("note", str, "")])


def kind_of(annotation: Any, *, guard: bool = True) -> Kind:
    """The kind of a declared type: as it is compiled in a dict of it."""
    declared: Any = dict
    root = compile_root(declared[str, annotation], guard=guard)
    assert isinstance(root, DictKind)
    return root.value


def values_of(annotation: Any, *, nan: bool = True) -> st.SearchStrategy[Any]:
    """Values that may be assigned where a type is declared.

    Args:
        annotation: any declared type that cairndb keeps.
        nan: whether floats may be NaN, which isn't equal to itself.
    """
    return _Values(nan=nan).of(mi.type_info(annotation), is_key=False)


def keys_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values that may be keys of a dict, or elements of a set, whose declared type it is."""
    return _Values(nan=False).of(mi.type_info(annotation), is_key=True)


_ZONES = [
    dt.UTC,
    dt.timezone(dt.timedelta(hours=5, minutes=30)),
    dt.timezone(dt.timedelta(hours=-3)),
]
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
_INT = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**64 - 1))
_BYTES = st.binary(max_size=4)
_AWARE = st.datetimes(
    dt.datetime(1, 1, 3),  # noqa: DTZ001  bounds are naive; the days around leave room for zones
    dt.datetime(9999, 12, 29),  # noqa: DTZ001  as above
    timezones=st.sampled_from(_ZONES),
)
_SIMPLE: dict[type, st.SearchStrategy[Any]] = {
    mi.NoneType: st.none(),
    mi.BoolType: st.booleans(),
    mi.BytesType: _BYTES,
    mi.DateType: st.dates(),
    mi.TimeDeltaType: st.timedeltas(),
    mi.UUIDType: st.uuids(),
    mi.DecimalType: st.decimals(allow_nan=False),
}


class _Values:
    def __init__(self, *, nan: bool) -> None:
        self.nan = nan
        self.made: dict[int, st.SearchStrategy[Any]] = {}

    def of(self, info: mi.Type, *, is_key: bool) -> st.SearchStrategy[Any]:
        simple = _SIMPLE.get(type(info))
        if simple is not None:
            return simple
        if isinstance(info, mi.AnyType):
            return self.keys_of_any() if is_key else self.any()
        if isinstance(info, mi.StructType | mi.DataclassType):
            if id(info) not in self.made:
                self.made[id(info)] = st.deferred(lambda: self.instances(info))
            return self.made[id(info)]
        if isinstance(info, mi.UnionType):
            return st.one_of([self.of(member, is_key=is_key) for member in info.types])
        scalars = self.scalars(info, is_key=is_key)
        return self.containers(info, is_key=is_key) if scalars is None else scalars

    def scalars(self, info: mi.Type, *, is_key: bool) -> st.SearchStrategy[Any] | None:
        if isinstance(info, mi.IntType):
            low, high = info.ge, info.le
            return _INT if low is None and high is None else st.integers(low or 0, high or 2**40)
        if isinstance(info, mi.FloatType):
            finite = st.floats(allow_nan=self.nan and not is_key, allow_infinity=not is_key)
            return st.one_of(st.sampled_from([0.0, -0.0, 1.0]), finite, st.integers(-9, 9))
        if isinstance(info, mi.StrType):
            return st.text(max_size=info.max_length) if info.max_length else _TEXT
        if isinstance(info, mi.EnumType | mi.LiteralType):
            return st.sampled_from(info.values if isinstance(info, mi.LiteralType) else [*info.cls])
        return self.times(info, is_key=is_key)

    def times(self, info: mi.Type, *, is_key: bool) -> st.SearchStrategy[Any] | None:
        if isinstance(info, mi.DateTimeType):
            return _AWARE if info.tz else st.one_of(_AWARE, st.datetimes())
        if isinstance(info, mi.TimeType):
            aware = st.times(timezones=st.sampled_from(_ZONES))
            return st.times() if is_key else st.one_of(st.times(), aware)
        return None

    def containers(self, info: mi.Type, *, is_key: bool) -> st.SearchStrategy[Any]:
        if isinstance(info, mi.DictType):
            keys = self.of(info.key_type, is_key=True)
            items = self.of(info.value_type, is_key=False)
            return st.dictionaries(keys, items, max_size=3)
        if isinstance(info, mi.TupleType):
            return st.tuples(*(self.of(item, is_key=is_key) for item in info.item_types))
        assert isinstance(info, mi.CollectionType), info
        is_set = isinstance(info, mi.SetType | mi.FrozenSetType)
        items = self.of(info.item_type, is_key=is_key or is_set)
        if is_set:
            sets = st.sets(items, max_size=3)
            return sets if isinstance(info, mi.SetType) else sets.map(frozenset)
        lists = st.lists(items, min_size=info.min_length or 0, max_size=info.max_length or 3)
        return lists if isinstance(info, mi.ListType) else lists.map(tuple)

    def instances(self, info: mi.StructType | mi.DataclassType) -> st.SearchStrategy[Any]:
        cls: Any = get_origin(info.cls) or info.cls
        fields = {field.name: self.of(field.type, is_key=False) for field in info.fields}
        return st.builds(cls, **fields)

    def any(self) -> st.SearchStrategy[Any]:
        floats = st.floats(allow_nan=self.nan)
        found = st.one_of(st.none(), st.booleans(), _INT, floats, _TEXT, _BYTES, _AWARE)
        for _ in range(3):
            dicts = st.dictionaries(self.keys_of_any(), found, max_size=3)
            found = st.one_of(found, st.lists(found, max_size=3), dicts)
        return found

    def keys_of_any(self) -> st.SearchStrategy[Any]:
        finite = st.floats(allow_nan=False, allow_infinity=False)
        return st.one_of(_TEXT, _TEXT, _INT, st.booleans(), finite, _BYTES)
