"""The kinds of single values: immutable, without parts, judged by their exact Python type.

A subclass isn't the type: a StrEnum member in a `str` field would come back as a str, a bool in an
`int` field would be refused when it is read back. So only what comes back as what it was is taken.
What is converted, because the instant or the number is the same:

- an int in a float field, where exact;
- an aware datetime, to UTC; an aware time, to the fixed offset that it has (whole minutes);
- `fold=1` of a naive time is dropped: it is equal to, and hashes as, fold=0, and text doesn't keep
  it. Refusing would fail programs that call `datetime.now()` for one hour of the year.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from math import isfinite
from typing import Any

from cairndb.errors import ValidationError
from cairndb.kinds_base import Kind
from cairndb.kinds_exact import Exact
from cairndb.record import unwrap

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
_MINUTE = dt.timedelta(minutes=1)


class ScalarKind(Kind):
    """A type whose values are taken as they are, if they are exactly of it: bool, date, UUID, ...

    Args:
        name: the type as messages name it.
        annotation: with its bounds.
        python: the exact type.
    """

    def __init__(self, name: str, annotation: Any, python: type) -> None:
        super().__init__(name, annotation)
        self.python = python
        self.types = (python,)
        if type(self).copy is ScalarKind.copy:
            self.trivial = python

    def exact(self) -> Exact | None:
        """As `Kind.exact` says."""
        if self.trivial is None:
            return None
        return Exact(frozenset({self.trivial}), judged=self.is_judged)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) is self.python:
            return value
        raise self.wrong(value, hint(self.python, value))


class NoneKind(ScalarKind):
    """None."""

    def __init__(self) -> None:
        super().__init__("None", None, type(None))


class IntKind(ScalarKind):
    """Int, from -2**63 to 2**64 - 1: what MessagePack has room for."""

    def __init__(self, name: str, annotation: Any) -> None:
        super().__init__(name, annotation, int)

    def exact(self) -> Exact:
        """As `Kind.exact` says; the encoder refuses what is out of range."""
        return Exact(frozenset({int}), judged=self.is_judged)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) is int:
            if INT_MIN <= value <= INT_MAX:
                return value
            raise ValidationError("an int must be at least -2**63 and less than 2**64")
        raise self.wrong(value, hint(int, value))

    def key_of(self, step: Any) -> Any:
        """As `Kind.key_of` says."""
        # The usual keys need no round trip through bytes: without bounds nothing is left to judge.
        return step if type(step) is int and self.annotation is int else super().key_of(step)


class FloatKind(ScalarKind):
    """Float; as a key only finite, since NaN is never found again."""

    def __init__(self, name: str, annotation: Any, *, is_key: bool) -> None:
        super().__init__(name, annotation, float)
        self.ambiguous = True
        self.doubtful = is_key
        self.trivial = None if is_key else float

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) is not float:
            value = self._from_int(value)
        if self.doubtful and not isfinite(value):
            raise ValidationError(f"a key must be a finite number, not {value}")
        return value

    def _from_int(self, value: Any) -> float:
        if type(value) is not int:
            raise self.wrong(value)
        try:
            converted = float(value)
        except OverflowError:
            converted = 0.0
        if converted != value:
            raise ValidationError("this int has no exact float: write float(value) to round it")
        return converted


class StrKind(ScalarKind):
    """Str, without lone surrogates, which UTF-8 can't express."""

    def __init__(self, name: str, annotation: Any) -> None:
        super().__init__(name, annotation, str)

    def exact(self) -> Exact:
        """As `Kind.exact` says; the encoder refuses surrogates."""
        return Exact(frozenset({str}), judged=self.is_judged)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) is str:
            if not value.isascii():
                check_text(value)
            return value
        raise self.wrong(value, hint(str, value))

    def key_of(self, step: Any) -> Any:
        """As `Kind.key_of` says."""
        return step if type(step) is str and self.annotation is str else super().key_of(step)


class EnumKind(ScalarKind):
    """The members of one Enum class, stored as their values."""

    def __init__(self, name: str, python: type[enum.Enum]) -> None:
        super().__init__(name, python, python)
        self.members = tuple(python)


class LiteralKind(Kind):
    """A few values that are declared one by one."""

    def __init__(self, name: str, annotation: Any, values: tuple[Any, ...]) -> None:
        super().__init__(name, annotation)
        self.values = values
        self.types = tuple(dict.fromkeys(type(value) for value in values))
        self._allowed = {(type(value), value) for value in values}
        self.ambiguous = len(set(values)) < len(values)  # Literal[1, True]

    def exact(self) -> Exact:
        """As `Kind.exact` says."""
        allowed = self._allowed
        return Exact(frozenset(self.types), lambda value: (type(value), value) in allowed)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) not in self.types:
            raise self.wrong(value)
        if (type(value), value) not in self._allowed:
            raise ValidationError(f"expected {self.name}, got {value!r:.100}")
        return value


class DateTimeKind(ScalarKind):
    """A datetime, naive or aware; the aware is kept in UTC."""

    def __init__(self, name: str, annotation: Any) -> None:
        super().__init__(name, annotation, dt.datetime)

    def exact(self) -> Exact:
        """As `Kind.exact` says."""
        return Exact(frozenset({dt.datetime}), _is_stored_datetime, judged=self.is_judged)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) is not dt.datetime:
            raise self.wrong(value)
        if value.tzinfo is None:
            return value.replace(fold=0) if value.fold else value
        return to_utc(value)


class TimeKind(ScalarKind):
    """A time of day, naive or with a fixed offset; as a key only naive."""

    def __init__(self, name: str, annotation: Any, *, is_key: bool) -> None:
        super().__init__(name, annotation, dt.time)
        self.doubtful = is_key

    def exact(self) -> Exact:
        """As `Kind.exact` says."""
        return Exact(frozenset({dt.time}), _is_naive_time, judged=self.is_judged)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        del depth
        if type(value) is not dt.time:
            raise self.wrong(value)
        if value.tzinfo is None:
            return value.replace(fold=0) if value.fold else value
        if self.doubtful:
            raise ValidationError("a time as a key must be naive")
        offset = value.utcoffset()
        if offset is None:
            raise ValidationError(
                "this time's zone has no offset without a date: store a datetime, or a naive time"
            )
        if offset % _MINUTE:
            raise ValidationError("the offset of a time must be whole minutes")
        zone = dt.UTC if not offset else dt.timezone(offset)
        return value.replace(tzinfo=zone, fold=0)


def _is_stored_datetime(value: dt.datetime) -> bool:
    return (value.tzinfo is None or value.tzinfo is dt.UTC) and not value.fold


def _is_naive_time(value: dt.time) -> bool:
    return value.tzinfo is None and not value.fold


def to_utc(value: dt.datetime) -> dt.datetime:
    """The same instant in UTC. Raises ValidationError outside of the years 1 to 9999."""
    if value.tzinfo is dt.UTC and not value.fold:
        return value
    if value.utcoffset() is None:  # astimezone would take it for local time
        raise ValidationError("this datetime has a zone without an offset: make it naive, or aware")
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        raise ValidationError("this datetime in UTC is outside of the years 1 to 9999") from None


def check_text(value: str) -> None:
    """Refuse lone surrogates with a ValidationError that says where."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValidationError(
            f"a str can't contain surrogates, this one has {value[error.start]!r} at "
            f"{error.start}: keep such data as bytes"
        ) from None


def hint(python: type, value: Any) -> str:
    """What to write instead, for the mistakes that are made most."""
    value = unwrap(value)
    if isinstance(value, python):
        return f": write {python.__name__}(value), subclasses aren't kept"
    if type(value) is str and python in _FROM_TEXT:
        return f": write {_FROM_TEXT[python]}"
    if issubclass(python, enum.Enum) and type(value) in {str, int}:
        return f": write {python.__name__}(value)"
    return ""


_FROM_TEXT: dict[type, str] = {
    dt.date: "date.fromisoformat(value)",
    uuid.UUID: "UUID(value)",
    decimal.Decimal: "Decimal(value)",
    int: "int(value)",
    bytes: "value.encode()",
}
