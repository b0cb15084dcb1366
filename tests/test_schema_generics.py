"""Records in records: generics with and without end, and Records as defaults of unions."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
import pytest

from cairndb.errors import SchemaError
from cairndb.kinds import RecordKind
from cairndb.record import Record
from cairndb.schema import compile_root

T = TypeVar("T")
U = TypeVar("U")


class Growing(Record, Generic[T]):
    value: T | None = None
    next: Growing[list[T]] | None = None


class Doubling(Record, Generic[T]):
    values: list[T] = []
    next: dict[str, Doubling[tuple[T, T]]] = {}


class Left(Record, Generic[T]):
    right: dict[str, Right[T]] = {}


class Right(Record, Generic[T]):
    left: dict[str, Left[list[T]]] = {}
    other: dict[str, Left[dict[str, T]]] = {}


class Holder(Record):
    inside: list[Growing[int]] = []


class Swapping(Record, Generic[T, U]):
    first: T | None = None
    swapped: Swapping[U, T] | None = None


class Box(Record, Generic[T]):
    item: T | None = None


class Nested(Record):
    box: Box[Box[Box[Box[dict[str, list[Box[int]]]]]]] = msgspec.field(default_factory=Box)
    swapping: dict[str, Swapping[int, Swapping[str, list[float]]]] = {}


@pytest.mark.parametrize("root", [Holder, Growing[int], Doubling[int], Left[int]])
def test_ever_growing_generics_are_refused(root: Any) -> None:
    """A generic that contains itself with ever new parameters is refused, and soon."""
    with pytest.raises(SchemaError, match="ever new parameters"):
        compile_root(root, guard=True)


def test_generics_that_come_back_are_kept() -> None:
    """Generics may be nested, and contain themselves with parameters that come back."""
    kind = compile_root(Nested, guard=True)

    assert isinstance(kind, RecordKind)
    assert (
        kind.fields["swapping"].kind.name == "dict[str, Swapping[int, Swapping[str, list[float]]]]"
    )


class Circle(Record, tag=True):
    radius: float = 1.0


class Square(Record, tag=True):
    side: float = 1.0


class Drawing(Record):
    shape: Circle | Square = msgspec.field(default_factory=Circle)
    frame: Square | None = msgspec.field(default_factory=Square)


def test_a_member_of_a_union_may_be_its_default() -> None:
    """A Record class with defaults for all is a default of a union that it is a member of."""
    kind = compile_root(Drawing, guard=True)

    assert kind.decode(kind.encode(Drawing())) == Drawing(Circle(), Square())
