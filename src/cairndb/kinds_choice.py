"""The kinds that choose by the value: unions, and Any.

A union picks its member by the exact Python type of the value; msgspec, which refuses unions whose
members it couldn't tell apart, picks by the bytes. Under Any stands only what says itself what it
is, so that nothing comes back as something else.
"""

from __future__ import annotations

import datetime as dt
from math import isfinite
from typing import TYPE_CHECKING, Any

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.kinds_base import NO_STACK, Kind
from cairndb.kinds_exact import Exact, union_of
from cairndb.kinds_node import DictKind, ListKind
from cairndb.kinds_scalar import INT_MAX, INT_MIN, ScalarKind, check_text, hint, to_utc
from cairndb.kinds_value import FieldsKind
from cairndb.record import GuardedDict, GuardedList, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from msgspec import Raw


class UnionKind(Kind):
    """One of several kinds, picked by the exact type of the value."""

    def __init__(self, name: str, annotation: Any, members: tuple[Kind, ...]) -> None:
        super().__init__(name, annotation)
        self.members = members
        self.is_node = any(member.is_node for member in members)
        self.doubtful = any(member.doubtful for member in members)
        self.by_type = {python: member for member in members for python in member.types}
        numbers = {bool, int, float} & self.by_type.keys()
        self.ambiguous = len(numbers) > 1 or any(member.ambiguous for member in members)

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return self.members

    def exact(self) -> Exact | None:
        """As `Kind.exact` says."""
        parts = [member.exact() for member in self.members]
        known = [part for part in parts if part is not None]
        return union_of(known) if len(known) == len(parts) else None

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        kind = self.by_type.get(type(value))
        if kind is None:
            value = unwrap(value)
            kind = self.by_type.get(type(value))
            if kind is None and type(value) is int:
                kind = self.by_type.get(float)
            if kind is None:
                hints = (hint(m.python, value) for m in self.members if isinstance(m, ScalarKind))
                raise self.wrong(value, next(filter(None, hints), ""))
        try:
            return kind.copy(value, depth)
        except RecursionError:
            raise ValidationError(NO_STACK) from None

    def member(self, value: Any) -> Kind:
        """As `Kind.member` says."""
        return self.by_type[type(value)]

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        return self.by_type[type(value)].prepare(value)

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        return self.by_type[type(value)].finish(value)

    def finish_all(self, values: list[Any]) -> list[Any]:
        """As `Kind.finish_all` says."""
        found = set(map(type, values))
        if len(found) == 1:
            return self.by_type[found.pop()].finish_all(values)
        return super().finish_all(values)

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """As `Kind.parts` says."""
        for member in self.candidates(data):
            yield from member.parts(data)

    def candidates(self, data: bytes | Raw) -> Iterator[Kind]:
        """The members that bytes with parts may be; of maps it is one at most."""
        tags = codec.open_map(data) if codec.is_map(data) else {}
        for member in self.members:
            if isinstance(member, FieldsKind) and not member.tag.items() <= _decoded(tags, member):
                continue
            if isinstance(member, FieldsKind | DictKind) == codec.is_map(data):
                yield member


def _decoded(raw: dict[Any, Raw], member: FieldsKind) -> Any:
    return {name: codec.decode(raw[name]) for name in member.tag if name in raw}.items()


_ANY_SCALARS = frozenset({type(None), bool, float})


class AnyKind(Kind):
    """What needs no declaration, since bytes say what it is: JSON's, bytes, aware datetimes."""

    is_node = True
    ambiguous = True

    def __init__(self) -> None:
        super().__init__("Any", Any)
        key = AnyKeyKind()
        self.dict_kind = DictKind("dict[Any, Any]", dict[Any, Any], key, self, (None, None))
        self.list_kind = ListKind("list[Any]", list[Any], self, (None, None))

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return (self.dict_kind, self.list_kind)

    def finishes(self, *, guard: bool) -> bool:
        """As `Kind.finishes` says."""
        del guard
        return True  # MessagePack's extension types could come out

    def exact(self) -> Exact:
        """As `Kind.exact` says."""
        return Exact(_ANY_SCALARS | {str, int, bytes})

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        python = type(value)
        if python is str:
            if not value.isascii():
                check_text(value)
            return value
        if python is int:
            if INT_MIN <= value <= INT_MAX:
                return value
            raise ValidationError("an int must be at least -2**63 and less than 2**64")
        if python in _ANY_SCALARS:
            return value
        copy = self._copies.get(python)
        if copy is None:
            value = unwrap(value)
            copy = self._copies.get(type(value), _refuse_any)
        try:
            return copy(self, value, depth)
        except RecursionError:
            raise ValidationError(NO_STACK) from None

    def _copy_dict(self, value: Any, depth: int) -> Any:
        return self.dict_kind.copy(value, depth)

    def _copy_list(self, value: Any, depth: int) -> Any:
        return self.list_kind.copy(value, depth)

    def _copy_bytes(self, value: Any, depth: int) -> Any:
        del depth
        return value

    def _copy_datetime(self, value: Any, depth: int) -> Any:
        if value.tzinfo is None:
            return _refuse_any(self, value, depth)
        return to_utc(value)

    _copies: dict[type, Callable[[AnyKind, Any, int], Any]] = {
        dict: _copy_dict,
        GuardedDict: _copy_dict,
        list: _copy_list,
        GuardedList: _copy_list,
        bytes: _copy_bytes,
        dt.datetime: _copy_datetime,
    }

    def member(self, value: Any) -> Kind:
        """As `Kind.member` says."""
        if isinstance(value, dict):
            return self.dict_kind
        return self.list_kind if isinstance(value, list) else self

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        python = type(value)
        if python is dict:
            return self.dict_kind.finish(value)
        if python is list:
            return self.list_kind.finish(value)
        if python in _ANY_PLAIN:
            return value
        raise ValidationError(f"{python.__name__} isn't kept under Any")

    def finish_all(self, values: list[Any]) -> list[Any]:
        """As `Kind.finish_all` says."""
        found = set(map(type, values))
        if found <= _ANY_PLAIN:
            return values
        if found == {dict}:
            return self.dict_kind.finish_all(values)
        if found == {list}:
            return self.list_kind.finish_all(values)
        return super().finish_all(values)

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """As `Kind.parts` says."""
        if codec.is_map(data):
            yield from self.dict_kind.parts(data)
        elif codec.is_array(data):
            yield from self.list_kind.parts(data)


_ANY_DECODED = frozenset({str, int, bytes, dt.datetime})
_ANY_PLAIN = _ANY_SCALARS | _ANY_DECODED


def _refuse_any(kind: Kind, value: Any, depth: int) -> Any:
    del depth
    python = type(value)
    for builtin in (str, int, float, bytes, dict, list):
        if isinstance(value, builtin):
            raise kind.wrong(value, f": write {builtin.__name__}(value), subclasses aren't kept")
    if python is dt.datetime:
        raise ValidationError("a naive datetime isn't kept under Any: declare the field's type")
    raise ValidationError(
        f"{python.__name__} isn't kept under Any: declare the type of this field or element "
        f"(under Any are None, bool, int, float, str, bytes, aware datetime, list and dict)"
    )


class AnyKeyKind(Kind):
    """The keys of dicts under Any, and of a `dict` without parameters."""

    ambiguous = True
    doubtful = True
    _types = frozenset({str, int, bool, float, bytes})

    def __init__(self) -> None:
        super().__init__("Any", Any)

    def key_of(self, step: Any) -> Any:
        """As `Kind.key_of` says."""
        return step if type(step) is str else super().key_of(step)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        python = type(value)
        if python is str and value.isascii():
            return value
        if python not in self._types:
            raise ValidationError(
                f"{python.__name__} isn't a key under Any (keys are str, int, bool, finite float "
                "and bytes): declare dict[key type, value type]"
            )
        if python is float and not isfinite(value):
            raise ValidationError(f"a key must be a finite number, not {value}")
        if python is int and not INT_MIN <= value <= INT_MAX:
            raise ValidationError("an int must be at least -2**63 and less than 2**64")
        if python is str:
            check_text(value)
        return value
