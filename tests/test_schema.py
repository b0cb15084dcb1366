from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import json
import uuid
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from msgspec import Meta, UnsetType

from cairndb.errors import SchemaError
from cairndb.kinds import AnyKind, DictKind, RecordKind
from cairndb.record import Record
from cairndb.schema import compile_root, describe, fingerprint

T = TypeVar("T")


class Plain:
    pass


@dataclasses.dataclass
class Mutable:
    x: int = 0


@dataclasses.dataclass(frozen=True)
class Underscore:
    _x: int = 0


@dataclasses.dataclass(frozen=True)
class Computed:
    x: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(frozen=True)
class WithInitVar:
    x: dataclasses.InitVar[int]


@dataclasses.dataclass(frozen=True)
class Holder:
    items: list[int]


@dataclasses.dataclass(frozen=True)
class Loose:
    anything: Any = None


class Sub(Holder):
    pass


class Coordinates(NamedTuple):
    x: int


class Options(TypedDict):
    x: int


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


class Guessing(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, _: object) -> Guessing:
        return cls.A


class Mixed(enum.Enum):
    A = 1
    B = "b"


class Hashed(enum.Enum):
    A = 1

    def __hash__(self) -> int:
        return 1


class MutableStruct(msgspec.Struct):
    x: int = 0


class Frozen(Record, frozen=True):  # type: ignore[misc]  # refused at open, too
    x: int = 0


class Omitting(Record, omit_defaults=True):
    x: int = 0


class Arrayed(Record, array_like=True):
    x: int = 0


class PostInit(Record):
    x: int = 0

    def __post_init__(self) -> None:
        pass


class Cached(Record, dict=True):
    x: int = 0

    @functools.cached_property
    def double(self) -> int:
        return self.x * 2


class A(Record):
    x: int = 0


class B(Record):
    x: int = 0


class Factory(Record):
    x: uuid.UUID = msgspec.field(default_factory=uuid.uuid4)


class Unset(Record):
    x: int | UnsetType = msgspec.UNSET


class WrongDefault(Record):
    x: int = "text"  # type: ignore[assignment]  # that is the test


class OutOfBounds(Record):
    x: Annotated[int, Meta(ge=1)] = 0


class OwnHook(Record):
    x: int = 0

    def __setattr__(self, name: str, value: object) -> None:
        pass


REFUSED: list[tuple[Any, str, str]] = [
    (Plain, "Root.field[*]", "make it a cairndb.Record"),
    (Record, "Root.field[*]", "a class of your own"),
    (Annotated[int | None, Meta(ge=1)], "Root.field[*]", "numeric"),
    (object, "Root.field[*]", "declare Any"),
    (collections.deque[int], "Root.field[*]", "declare list"),
    (collections.defaultdict[str, int], "Root.field[*]", "declare dict"),
    (collections.Counter, "Root.field[*]", "declare dict"),
    (complex, "Root.field[*]", "tuple[float, float]"),
    (bytearray, "Root.field[*]", "declare bytes"),
    (memoryview, "Root.field[*]", "declare bytes"),
    (msgspec.Raw, "Root.field[*]", "declare bytes"),
    (msgspec.msgpack.Ext, "Root.field[*]", "declare bytes"),
    (Mutable, "Root.field[*]", "@dataclass(frozen=True)"),
    (Sub, "Root.field[*]", "@dataclass(frozen=True)"),
    (Underscore, "Root.field[*]", "underscore"),
    (Computed, "Root.field[*]", "init=False"),
    (WithInitVar, "Root.field[*]", "InitVar"),
    (Coordinates, "Root.field[*]", "frozen dataclass"),
    (Options, "Root.field[*]", "make it a cairndb.Record"),
    (Permission, "Root.field[*]", "set of Enum members"),
    (Guessing, "Root.field[*]", "_missing_"),
    (Mixed, "Root.field[*]", "all str"),
    (Hashed, "Root.field[*]", "__hash__"),
    (MutableStruct, "Root.field[*]", "make it a cairndb.Record"),
    (Frozen, "Root.field[*]", "frozen"),
    (Omitting, "Root.field[*]", "omit_defaults"),
    (Arrayed, "Root.field[*]", "array_like"),
    (PostInit, "Root.field[*]", "__post_init__"),
    (OwnHook, "Root.field[*]", "__setattr__"),
    (Cached, "Root.field[*]", "cached_property double"),
    (Factory, "Root.field[*].x", "default_factory"),
    (Unset, "Root.field[*].x", "None"),
    (WrongDefault, "Root.field[*].x", "expected int, got str"),
    (OutOfBounds, "Root.field[*].x", ">= 1"),
    (tuple[list[int], ...], "Root.field[*][*]", "make the outer type a Record"),
    (tuple[int, A], "Root.field[*][1]", "A can be changed"),
    (Holder, "Root.field[*].items", "make the outer type a Record"),
    (Loose, "Root.field[*].anything", "declare the type"),
    (tuple[Any, ...], "Root.field[*][*]", "declare the type"),
    (frozenset[frozenset[int]], "Root.field[*][*]", "key"),
    (set[A], "Root.field[*][*]", "key"),
    (set[int | None], "Root.field[*][*]", "None"),
    (dict[frozenset[int], int], "Root.field[*][key]", "key"),
    (A | B, "Root.field[*]", "tagged"),
    (list[int] | set[int], "Root.field[*]", "array-like"),
    (dict[str, list[int | A | dict[str, int]]], "Root.field[*][*][*]", "dict-like"),
]


def root_with(annotation: Any) -> Any:
    """A root whose only field is a dict of a type."""
    declared: Any = dict[str, annotation]
    empty: Any = msgspec.field(default_factory=dict)
    return msgspec.defstruct("Root", [("field", declared, empty)], bases=(Record,))


@pytest.mark.parametrize(("annotation", "path", "remedy"), REFUSED)
def test_refused_types(annotation: Any, path: str, remedy: str) -> None:
    """A type that can't be kept is refused with its path and what to write instead."""
    with pytest.raises(SchemaError) as caught:
        compile_root(root_with(annotation), guard=True)

    lines = str(caught.value).splitlines()[1:]
    assert lines
    assert [line for line in lines if line.strip().startswith(path + ":") and remedy in line]


def test_every_problem_is_listed() -> None:
    """One run shows all problems, not the first."""

    class Root(Record):
        a: Plain = None  # type: ignore[assignment]  # not reached
        b: dict[str, Mutable] = {}
        c: tuple[list[int], ...] = ()

    with pytest.raises(SchemaError) as caught:
        compile_root(Root, guard=True)

    for path in ("Root.a:", "Root.b[*]:", "Root.c[*]:"):
        assert f"  {path}" in str(caught.value)


@pytest.mark.parametrize("root", [int, list[int], Plain, MutableStruct, "Bank", None])
def test_refused_roots(root: Any) -> None:
    """The root is a Record or a dict."""
    with pytest.raises(SchemaError, match=r"root is a cairndb\.Record"):
        compile_root(root, guard=True)


def test_root_needs_defaults() -> None:
    """A root is made before there is data, so each field needs a default."""

    class Root(Record):
        name: str
        size: int = 0

    with pytest.raises(SchemaError, match=r"Root\.name: .*default"):
        compile_root(Root, guard=True)


def test_unknown_names_are_schema_errors() -> None:
    """An annotation that names nothing is told as such."""

    class Root(Record):
        x: dict[str, Nowhere] = {}  # type: ignore[name-defined]  # noqa: F821  that is the test

    with pytest.raises(SchemaError, match="Nowhere"):
        compile_root(Root, guard=True)


def test_a_record_class_can_be_its_fields_default() -> None:
    """A nested record needs no None: its own class makes it, of constants."""

    class Root(Record):
        settings: A = msgspec.field(default_factory=A)

    kind = compile_root(Root, guard=True)

    assert kind.decode(kind.encode(Root())) == Root(A(0))


def test_types_without_end_are_refused() -> None:
    """Types nested too deeply to be walked are refused."""
    declared: Any = int
    for _ in range(2000):
        declared = list[declared]

    with pytest.raises(SchemaError, match="nested too deeply"):
        compile_root(root_with(declared), guard=True)


class Box(Record, Generic[T]):
    content: T
    more: list[Box[T]] = []


class Color(enum.Enum):
    RED = "r"


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: Annotated[float, Meta(ge=0)] = 0.0


class Shape(Record, tag="shape", rename="camel"):
    own_color: Color = Color.RED


class Simple(Record):
    boxes: dict[str, Box[int]] = {}
    shape: Shape | None = None
    points: list[Point] = []
    limits: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=3)] = []


def test_description_is_readable() -> None:
    """The schema as text has names and bounds, and no modules."""
    text = describe(compile_root(Simple, guard=True))

    assert json.loads(text) == {
        "root": "Simple",
        "types": {
            "Simple": {
                "record": {
                    "boxes": "dict[str, Box[int]]",
                    "shape": "Shape | None",
                    "points": "list[Point]",
                    "limits": "list[int(ge=0)](max_length=3)",
                }
            },
            "Box[int]": {"record": {"content": "int", "more": "list[Box[int]]"}},
            "Shape": {"record": {"ownColor": "Color"}, "tag": {"type": "shape"}},
            "Color": {"enum": {"RED": "r"}},
            "Point": {"value": {"x": "float", "y": "float(ge=0)"}},
        },
    }
    assert __name__ not in text


def test_fingerprint_tells_schemas_apart() -> None:
    """The fingerprint depends on what is stored, not on guards or defaults."""

    class Other(Record):
        boxes: dict[str, Box[int]] = {}

    class Same(Record):
        boxes: dict[str, Box[int]] = {}
        note: str = "another default"

    first = fingerprint(describe(compile_root(Other, guard=True)))
    Same.__name__ = "Other"

    assert len(first) == 32
    assert first == fingerprint(describe(compile_root(Other, guard=False)))
    assert first != fingerprint(describe(compile_root(Same, guard=True)))
    assert first != fingerprint(describe(compile_root(dict[str, Any], guard=True)))


def test_classes_of_one_name_are_told_apart() -> None:
    """Two classes with the same name are two types in the description."""
    other = msgspec.defstruct("Point", [("z", int, 0)], bases=(Record,))
    root = root_with(tuple[Point, Point] | None)
    fields: list[Any] = [("a", dict[str, other], msgspec.field(default_factory=dict))]  # type: ignore[valid-type]  # at run time
    fields.append(("b", Point | None, None))
    types = json.loads(describe(compile_root(root, guard=True)))["types"]
    both = msgspec.defstruct("Root", fields, bases=(Record,))

    assert list(types) == ["Root", "Point"]
    assert set(json.loads(describe(compile_root(both, guard=True)))["types"]) == {
        "Root",
        "Point",
        "Point#2",
    }


def test_kinds_of_the_default_root() -> None:
    """Without a declaration the root is a dict of Any."""
    kind = compile_root(dict[str, Any], guard=True)

    assert isinstance(kind, DictKind)
    assert isinstance(kind.value, AnyKind)
    assert kind.copy({}, 0) == {}


def test_generic_instances_are_of_their_class() -> None:
    """Parameters make kinds, and the class of the instances is the origin."""
    kind = compile_root(Simple, guard=True)
    assert isinstance(kind, RecordKind)
    boxes = kind.fields["boxes"].kind
    assert isinstance(boxes, DictKind)
    assert isinstance(boxes.value, RecordKind)

    assert boxes.value.cls is Box
    assert boxes.value.fields["more"].kind.children() == (boxes.value,)
