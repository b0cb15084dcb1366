"""From a declared type to its kinds: one walk of what `msgspec.inspect.type_info` says of it.

The walk collects every problem with its path, class and remedy, and goes on with a stand-in, so
that one run shows them all. It knows in which *place* a type stands: a node may stand in a record,
a dict or a list (`NODE`); inside a value type only value types (`VALUE`); keys and elements of sets
are the types whose equal values can be told to be equal (`KEY`).

msgspec describes a class once per walk, by an object whose identity stands for the class with its
parameters: so `Box[int]` and `Box[str]` are two kinds of one class, and recursion ends here.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta
from msgspec import inspect as mi

from cairndb import kinds
from cairndb.record import Record
from cairndb.schema_check import dataclass_problems, enum_problems, struct_problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.kinds import Kind

NODE, VALUE, KEY = "node", "value", "key"

_REMEDIES: dict[type, str] = {
    mi.ByteArrayType: "bytearray can be changed: declare bytes",
    mi.MemoryViewType: "memoryview isn't a value: declare bytes",
    mi.RawType: "Raw has no type: declare bytes, or the type that is encoded in it",
    mi.ExtType: "Ext has no type: declare bytes, or a frozen dataclass",
    mi.TypedDictType: "a TypedDict is a dict without a class: make it a cairndb.Record",
    mi.NamedTupleType: "a NamedTuple is stored without its names: make it a frozen dataclass, "
    "or declare tuple[...]",
}
_CUSTOM_REMEDIES = {
    "object": "declare Any, or the type",
    "deque": "declare list[...]; `del items[:-n]` bounds it",
    "defaultdict": "declare dict[...]; use setdefault",
    "OrderedDict": "declare dict[...], which keeps its order",
    "Counter": "declare dict[..., int]",
    "complex": "declare tuple[float, float]",
    "Fraction": "declare tuple[int, int], or Decimal",
}
_SCALARS: dict[type, type] = {
    mi.BoolType: bool,
    mi.BytesType: bytes,
    mi.DateType: dt.date,
    mi.TimeDeltaType: dt.timedelta,
    mi.UUIDType: uuid.UUID,
    mi.DecimalType: decimal.Decimal,
}
_RESERVED = [
    "None",
    "Any",
    "bool",
    "int",
    "float",
    "str",
    "bytes",
    "datetime",
    "date",
    "time",
    "timedelta",
    "UUID",
    "Decimal",
]
_EMPTY = (list, dict, set, tuple, frozenset, str, bytes, int, float, bool)
_KEYS = (
    *(mi.StrType, mi.IntType, mi.BoolType, mi.FloatType, mi.BytesType, mi.UUIDType, mi.EnumType),
    *(mi.DateType, mi.DateTimeType, mi.TimeType, mi.TimeDeltaType, mi.TupleType, mi.VarTupleType),
    *(mi.LiteralType, mi.UnionType, mi.AnyType),
)
_NODES = (mi.DictType, mi.ListType, mi.SetType)


class Default(NamedTuple):
    """What a field has when it isn't given, to be judged when the kinds can."""

    kind: Kind
    value: Any
    path: str


class Compiler:
    """One compilation of a root type."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.defaults: list[Default] = []
        self.any = kinds.AnyKind()
        self.made: dict[int, Kind] = {}
        self.names = dict.fromkeys(_RESERVED, 1)

    def visit(self, info: mi.Type, path: str, place: str) -> Kind:
        """The kind of one type; a stand-in if it can't be kept."""
        while isinstance(info, mi.Metadata):
            info = info.type
        if place == KEY and not isinstance(info, _KEYS):
            return self.refuse(
                path,
                f"{_title(info)} can't be a key or an element of a set: use str, int, bool, float, "
                "bytes, UUID, Enum, date, datetime, naive time, timedelta, or a tuple of these",
            )
        if place == VALUE and (isinstance(info, _NODES) or _is_record(info)):
            return self.refuse(
                path,
                f"{_title(info)} can be changed, so it can't stand inside a tuple or a frozen "
                "class: make the outer type a Record, or declare a tuple or frozenset here",
            )
        python = _SCALARS.get(type(info))
        if python is not None:
            return kinds.ScalarKind(
                _bounded(python.__name__, info), _annotated(python, info), python
            )
        handler = self._handlers.get(type(info))
        if handler is not None:
            return handler(self, info, path, place)
        return self.refuse(path, _remedy(info))

    def refuse(self, path: str, problem: str) -> Kind:
        """Remember a problem and go on."""
        self.problems.append(f"{path}: {problem}")
        return self.any

    def _any(self, _: mi.AnyType, path: str, place: str) -> Kind:
        if place == KEY:
            return kinds.AnyKeyKind()
        if place == VALUE:
            return self.refuse(
                path,
                "Any may be a list or a dict, which can't stand inside a tuple, a frozenset or a "
                "frozen class: declare the type, e.g. None | bool | int | float | str",
            )
        return self.any

    def _none(self, _: mi.NoneType, __: str, ___: str) -> Kind:
        return kinds.NoneKind()

    def _int(self, info: mi.IntType, _: str, __: str) -> Kind:
        return kinds.IntKind(_bounded("int", info), _annotated(int, info))

    def _float(self, info: mi.FloatType, _: str, place: str) -> Kind:
        annotation = _annotated(float, info)
        return kinds.FloatKind(_bounded("float", info), annotation, is_key=place == KEY)

    def _str(self, info: mi.StrType, _: str, __: str) -> Kind:
        return kinds.StrKind(_bounded("str", info), _annotated(str, info))

    def _datetime(self, info: mi.DateTimeType, _: str, __: str) -> Kind:
        return kinds.DateTimeKind(_bounded("datetime", info), _annotated(dt.datetime, info))

    def _time(self, info: mi.TimeType, _: str, place: str) -> Kind:
        annotation = _annotated(dt.time, info)
        return kinds.TimeKind(_bounded("time", info), annotation, is_key=place == KEY)

    def _enum(self, info: mi.EnumType, path: str, _: str) -> Kind:
        kind = self.made.get(id(info.cls))
        if kind is None:
            for problem in enum_problems(info.cls):
                self.refuse(path, f"{info.cls.__name__}: {problem}")
            kind = kinds.EnumKind(self._unique(info.cls.__name__), info.cls)
            self.made[id(info.cls)] = kind
        return kind

    def _literal(self, info: mi.LiteralType, path: str, place: str) -> Kind:
        if place == KEY and None in info.values:
            return self.refuse(path, "None can't be a key or an element of a set")
        return _literal_kind(info.values)

    def _dict(self, info: mi.DictType, path: str, _: str) -> Kind:
        key = self.visit(info.key_type, f"{path}[key]", KEY)
        value = self.visit(info.value_type, f"{path}[*]", NODE)
        plain = dict[key.annotation, value.annotation]  # type: ignore[name-defined]  # at run time
        name = _bounded(f"dict[{key.name}, {value.name}]", info)
        return kinds.DictKind(name, _annotated(plain, info), key, value, _bounds(info))

    def _list(self, info: mi.ListType, path: str, _: str) -> Kind:
        item = self.visit(info.item_type, f"{path}[*]", NODE)
        plain = list[item.annotation]  # type: ignore[name-defined]  # at run time
        name = _bounded(f"list[{item.name}]", info)
        return kinds.ListKind(name, _annotated(plain, info), item, _bounds(info))

    def _set(self, info: mi.SetType, path: str, _: str) -> Kind:
        item = self.visit(info.item_type, f"{path}[*]", KEY)
        plain = set[item.annotation]  # type: ignore[name-defined]  # at run time
        name = _bounded(f"set[{item.name}]", info)
        return kinds.SetKind(name, _annotated(plain, info), item, _bounds(info))

    def _frozenset(self, info: mi.FrozenSetType, path: str, _: str) -> Kind:
        item = self.visit(info.item_type, f"{path}[*]", KEY)
        plain = frozenset[item.annotation]  # type: ignore[name-defined]  # at run time
        name = _bounded(f"frozenset[{item.name}]", info)
        return kinds.FrozenSetKind(name, _annotated(plain, info), item, _bounds(info))

    def _vartuple(self, info: mi.VarTupleType, path: str, place: str) -> Kind:
        item = self.visit(info.item_type, f"{path}[*]", KEY if place == KEY else VALUE)
        plain = tuple[item.annotation, ...]  # type: ignore[name-defined]  # at run time
        name = _bounded(f"tuple[{item.name}, ...]", info)
        return kinds.VarTupleKind(name, _annotated(plain, info), item, _bounds(info))

    def _tuple(self, info: mi.TupleType, path: str, place: str) -> Kind:
        inner = KEY if place == KEY else VALUE
        items = tuple(
            self.visit(item, f"{path}[{position}]", inner)
            for position, item in enumerate(info.item_types)
        )
        plain: Any = tuple[tuple(item.annotation for item in items)]  # type: ignore[misc]  # at run time
        return kinds.TupleKind(f"tuple[{', '.join(i.name for i in items) or '()'}]", plain, items)

    def _union(self, info: mi.UnionType, path: str, place: str) -> Kind:
        if place == KEY and info.includes_none:
            return self.refuse(path, "None can't be a key or an element of a set")
        members = [self.visit(member, path, place) for member in info.types]
        for member in members:
            if isinstance(member, kinds.AnyKind | kinds.AnyKeyKind):
                return member  # a union with Any is Any
        values = [v for m in members if isinstance(m, kinds.LiteralKind) for v in m.values]
        others = [m for m in members if not isinstance(m, kinds.LiteralKind)]
        covered = {python for member in others for python in member.types}
        values = [value for value in values if type(value) not in covered]
        if values:
            others.append(_literal_kind(tuple(values)))
        if len(others) == 1:
            return others[0]
        annotation: Any = Union[tuple(other.annotation for other in others)]  # noqa: UP007  computed
        name = " | ".join(other.name for other in others)
        return kinds.UnionKind(name, annotation, tuple(others))

    def _struct(self, info: mi.StructType, path: str, _: str) -> Kind:
        if id(info) in self.made:
            return self.made[id(info)]
        cls: type[msgspec.Struct] = get_origin(info.cls) or info.cls
        is_record = issubclass(cls, Record)
        if cls is Record:
            return self.refuse(path, "Record itself has no fields: declare a class of your own")
        if not is_record and not cls.__struct_config__.frozen:
            return self.refuse(
                path,
                f"{cls.__name__} is a mutable Struct: make it a cairndb.Record, or frozen=True",
            )
        for problem in struct_problems(cls, is_record=is_record):
            self.refuse(path, f"{cls.__name__}: {problem}")
        tag = {} if info.tag_field is None else {info.tag_field: info.tag}
        made = kinds.RecordKind if is_record else kinds.ValueKind
        kind = made(self._unique(_class_name(info.cls)), info.cls, cls, tag)
        self.made[id(info)] = kind
        return self._with_fields(kind, info.fields, path)

    def _dataclass(self, info: mi.DataclassType, path: str, _: str) -> Kind:
        if id(info) in self.made:
            return self.made[id(info)]
        cls: type = get_origin(info.cls) or info.cls
        name = cls.__name__
        if hasattr(cls, "__attrs_attrs__"):
            return self.refuse(path, f"{name} is an attrs class: make it a cairndb.Record")
        for problem in dataclass_problems(cls):
            self.refuse(path, f"{name}: {problem}")
        kind = kinds.ValueKind(self._unique(_class_name(info.cls)), info.cls, cls, {})
        self.made[id(info)] = kind
        return self._with_fields(kind, info.fields, path)

    def _with_fields(
        self, kind: kinds.FieldsKind, fields: tuple[mi.Field, ...], path: str
    ) -> kinds.FieldsKind:
        place = NODE if isinstance(kind, kinds.RecordKind) else VALUE
        for field in fields:
            inner = f"{path}.{field.name}"
            field_kind = self.visit(field.type, inner, place)
            kind.add_field(kinds.Field(field.name, field.encode_name, field_kind))
            self._default(field, field_kind, inner)
            if field.default is not NODEFAULT:
                kind.defaults[field.encode_name] = lambda value=field.default: value  # type: ignore[misc]
            elif field.default_factory is not NODEFAULT:
                kind.defaults[field.encode_name] = field.default_factory
        return kind

    def _default(self, field: mi.Field, kind: Kind, path: str) -> None:
        factory = field.default_factory
        if field.required:
            return
        if field.default is not NODEFAULT:
            self.defaults.append(Default(kind, field.default, path))
        elif factory is NODEFAULT:
            self.refuse(path, "UNSET isn't kept: declare `... | None = None`")
        elif factory in _EMPTY:
            self.defaults.append(Default(kind, factory(), path))
        elif not _makes_constants(kind, factory):
            self.refuse(
                path,
                "a default_factory would run whenever old bytes are decoded: use an immutable "
                "constant, an empty list, dict or set, or a Record class with defaults for all",
            )

    def _unique(self, name: str) -> str:
        count = self.names[name] = self.names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    _handlers: dict[type, Callable[[Compiler, Any, str, str], Kind]] = {
        mi.AnyType: _any,
        mi.NoneType: _none,
        mi.IntType: _int,
        mi.FloatType: _float,
        mi.StrType: _str,
        mi.DateTimeType: _datetime,
        mi.TimeType: _time,
        mi.EnumType: _enum,
        mi.LiteralType: _literal,
        mi.DictType: _dict,
        mi.ListType: _list,
        mi.SetType: _set,
        mi.FrozenSetType: _frozenset,
        mi.VarTupleType: _vartuple,
        mi.TupleType: _tuple,
        mi.UnionType: _union,
        mi.StructType: _struct,
        mi.DataclassType: _dataclass,
    }


def _makes_constants(kind: Kind, factory: Any) -> bool:
    """Whether a factory is a Record class of the field, made of constants: no user code runs."""
    members = kind.members if isinstance(kind, kinds.UnionKind) else (kind,)
    own = any(isinstance(member, kinds.RecordKind) and factory is member.cls for member in members)
    return own and len(factory.__struct_defaults__) == len(factory.__struct_fields__)


def _is_record(info: mi.Type) -> bool:
    if not isinstance(info, mi.StructType):
        return False
    return issubclass(get_origin(info.cls) or info.cls, Record)


def _class_name(cls: Any) -> str:
    """A class or its alias as people write it: `Box[int]`, without modules."""
    origin = get_origin(cls)
    if not isinstance(origin, type):
        return getattr(cls, "__name__", None) or re.sub(r"\b[A-Za-z_]\w*\.", "", str(cls))
    return f"{origin.__name__}[{', '.join(map(_class_name, get_args(cls)))}]"


def _title(info: mi.Type) -> str:
    if isinstance(info, mi.StructType | mi.DataclassType):
        return _class_name(info.cls)
    return type(info).__name__.removesuffix("Type").lower()


def _remedy(info: mi.Type) -> str:
    """Why a type can't be kept, and what to write instead."""
    known = _REMEDIES.get(type(info))
    if known is not None:
        return known
    cls = getattr(info, "cls", type(info))
    name = _class_name(cls)
    instead = _CUSTOM_REMEDIES.get(getattr(get_origin(cls) or cls, "__name__", ""))
    instead = instead or "make it a cairndb.Record, or a frozen dataclass; or keep it as a str"
    return f"{name} can't be kept: {instead}"


_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz")


def _limits(info: mi.Type) -> dict[str, Any]:
    found = {name: getattr(info, name, None) for name in _LIMITS}
    return {name: value for name, value in found.items() if value is not None}


def _bounds(info: Any) -> tuple[int | None, int | None]:
    return info.min_length, info.max_length


def _bounded(name: str, info: mi.Type) -> str:
    """A type's name with its bounds, as `int(ge=0)`."""
    limits = _limits(info)
    if not limits:
        return name
    shown = ", ".join(f"{key}={json.dumps(value)}" for key, value in limits.items())
    return f"{name}({shown})"


def _annotated(python: Any, info: mi.Type) -> Any:
    limits = _limits(info)
    return Annotated[python, Meta(**limits)] if limits else python


def _literal_kind(values: tuple[Any, ...]) -> Kind:
    distinct = {(type(value).__name__, str(value)): value for value in values}  # True isn't 1
    ordered = [distinct[key] for key in sorted(distinct)]
    name = f"Literal[{', '.join('None' if v is None else json.dumps(v) for v in ordered)}]"
    return kinds.LiteralKind(name, Literal[tuple(ordered)], tuple(ordered))
