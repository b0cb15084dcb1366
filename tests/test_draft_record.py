"""Drafts of records: fields, the user's own methods, comparison, copies, and their end."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from cairndb import draft
from cairndb.errors import ReadOnlyError, ValidationError
from cairndb.record import Record
from drafting import Bench

T = TypeVar("T")


class Named(Record, kw_only=True):
    name: str = ""

    def title(self) -> str:
        return self.name.upper()

    def rename(self, name: str) -> None:
        self.name = name


class Person(Named, kw_only=True, rename="camel"):
    birth_year: int = 1900
    weight: float = 0.0
    nick_names: list[str] = []
    friends: dict[str, int] = {}
    marks: set[str] = set()

    @property
    def age(self) -> int:
        return 2000 - self.birth_year

    @age.setter
    def age(self, age: int) -> None:
        self.birth_year = 2000 - age

    @classmethod
    def named(cls, name: str) -> Person:
        return cls(name=name)

    @classmethod
    def itself(cls) -> type[Person]:
        return cls

    @staticmethod
    def twice(number: int) -> int:
        return number * 2

    def title(self) -> str:
        return "Dr. " + super().title()

    def __len__(self) -> int:
        return len(self.nick_names)

    def __iter__(self) -> Any:
        return iter(self.nick_names)

    def __contains__(self, nick: str) -> bool:
        return nick in self.nick_names

    def __call__(self, nick: str) -> None:
        self.nick_names.append(nick)


class Circle(Record, tag="circle"):
    radius: float = 1.0


class Group(Record, tag="group"):
    members: list[Circle | Group] = []
    note: str | list[str] | None = None


class Pair(Record, Generic[T]):
    left: T
    right: list[T] = []


class Point(Record, order=True):
    x: int
    y: int = 0


class Loose(Record):
    number: int = 0

    def __eq__(self, other: object) -> bool:
        return getattr(other, "number", None) == self.number

    def __repr__(self) -> str:
        return f"<loose {self.number}>"

    __hash__ = None  # type: ignore[assignment]  # as any record


class Root(Record):
    people: dict[str, Person] = {}
    shape: Circle | Group | None = None
    pair: Pair[int] | None = None
    anything: Any = None
    points: list[Point] = []
    loose: dict[str, Loose] = {}


def bench(**fields: Any) -> Bench:
    """A bench with these fields of the root, and one person."""
    fields.setdefault("people", {"ann": Person(name="ann", nick_names=["a"])})
    return Bench(Root, Root(**fields))


def test_fields_read_and_write() -> None:
    """A field set is read back, and is one operation under its stored name."""
    world = bench()
    with world.update() as root:
        ann = root.people["ann"]
        assert ann.birth_year == 1900
        ann.birth_year += 5
        assert ann.birth_year == 1905
    assert world.patch == [("set", "/people/ann/birthYear", 1905)]
    assert world.root.people["ann"].birth_year == 1905


def test_set_back_is_nothing() -> None:
    """A field set and set back is no operation, nor is an equal value; True isn't 1, 1 is 1.0."""
    world = bench(anything=1)
    with world.update() as root:
        ann = root.people["ann"]
        ann.name, name = "eve", ann.name
        ann.name = name
        ann.weight = 0
        ann.nick_names = ["a"]
        ann.nick_names.append("b")
        ann.nick_names.pop()
        root.people = dict(root.people)
    assert world.patch == []
    with world.update() as root:
        root.anything = True
    assert world.patch == [("set", "/anything", True)]


def test_nan_equals_nan() -> None:
    """NaN assigned where NaN stands is no operation."""
    world = bench()
    for patch in ([("set", "/people/ann/weight")], []):
        with world.update() as root:
            root.people["ann"].weight = float("nan")
        assert [each[:2] for each in world.patch] == patch


def test_methods_of_the_user() -> None:
    """Methods, properties with setters, super() and dunders run on the draft."""
    world = bench()
    with world.update() as root:
        ann = root.people["ann"]
        ann.rename("eve")
        ann.age = 10
        ann("b")
        assert (ann.title(), ann.age, len(ann), list(ann)) == ("Dr. EVE", 10, 2, ["a", "b"])
        assert "b" in ann
        assert ann.twice(4) == 8
    assert [path for _, path, _ in world.patch] == [
        "/people/ann/name",
        "/people/ann/birthYear",
        "/people/ann/nickNames",
    ]


def test_class_is_the_records() -> None:
    """Class methods get the record's class; isinstance and `__class__` say the same."""
    with bench().dropped() as root:
        ann = root.people["ann"]
        assert ann.itself() is Person
        assert ann.__class__ is Person
        assert isinstance(ann, Person)
        assert type(ann.named("bob")) is Person
        assert type(ann.__class__(name="x")) is Person


def test_match() -> None:
    """Class patterns see fields, and node fields as drafts."""
    with bench(shape=Group([Circle(2.0)]), points=[Point(1, 2)]).dropped() as root:
        match root.shape:
            case Group(members=[Circle(radius=radius)]):
                assert radius == 2.0
            case _:
                pytest.fail("not matched")
        match root.points[0]:
            case Point(x, y):
                assert (x, y) == (1, 2)
            case _:
                pytest.fail("not matched")


def test_misspelt_field() -> None:
    """A name that is no field can't be assigned, deleted or read."""
    with bench().dropped() as root:
        ann = root.people["ann"]
        with pytest.raises(AttributeError, match="nick_names"):
            ann.nickname = "x"
        with pytest.raises(AttributeError, match="no field 'title'"):
            ann.title = "x"
        with pytest.raises(AttributeError):
            _ = ann.nickname
        with pytest.raises(AttributeError, match="can't be deleted"):
            del ann.name


def test_wrong_types_are_refused_where_they_are_assigned() -> None:
    """The error has the whole path, and the draft keeps what it had."""
    with bench().dropped() as root:
        ann = root.people["ann"]
        for name, value, path in (
            ("birth_year", "x", "/people/ann/birthYear"),
            ("birth_year", True, "/people/ann/birthYear"),
            ("nick_names", ["a", 1], "/people/ann/nickNames/1"),
            ("friends", {"a": None}, "/people/ann/friends/a"),
        ):
            with pytest.raises(ValidationError, match=path):
                setattr(ann, name, value)
        assert ann == Person(name="ann", nick_names=["a"])
        with pytest.raises(ValidationError, match="/shape"):
            root.shape = Person()


def test_assignment_copies() -> None:
    """What was assigned and what the draft shows don't share anything that can change."""
    world = bench()
    with world.update() as root:
        nicks = ["x"]
        root.people["ann"].nick_names = nicks
        nicks.append("later")
        group = Group([Circle(1.0)])
        root.shape = group
        root.shape.members[0].radius = 3.0
        root.shape.members.append(Circle(4.0))
        assert group == Group([Circle(1.0)])
    assert world.root.people["ann"].nick_names == ["x"]
    assert world.root.shape == Group([Circle(3.0), Circle(4.0)])
    assert [each[:2] for each in world.patch] == [
        ("splice", "/people/ann/nickNames"),
        ("set", "/shape"),
    ] or [each[:2] for each in world.patch] == [
        ("set", "/people/ann/nickNames"),
        ("set", "/shape"),
    ]


def test_unions_and_any() -> None:
    """A field that may hold a node is a draft or a value, by what stands there now."""
    world = bench(anything={"a": [1, {"b": 2}]})
    with world.update() as root:
        assert root.shape is None
        root.shape = Circle(1.0)
        root.shape.radius = 2.0
        root.shape = Group(note=["n"])
        root.shape.note.append("m")
        root.anything["a"][1]["b"] = 3
        root.anything["c"] = "scalar"
        assert root.anything["c"] == "scalar"
    assert world.root.shape == Group(note=["n", "m"])
    assert world.patch[1:] == [("set", "/anything/a/1/b", 3), ("set", "/anything/c", "scalar")]
    with world.update() as root:
        root.shape.note = "text"
        assert root.shape.note == "text"
        root.shape.note = None
        root.anything = 1.5
    assert world.patch == [("set", "/shape/note", None), ("set", "/anything", 1.5)]


def test_generic_records() -> None:
    """The parameters of a generic record judge what is assigned."""
    world = bench(pair=Pair(1, [2]))
    with world.update() as root:
        root.pair.right.append(3)
        with pytest.raises(ValidationError, match="/pair/right/2"):
            root.pair.right.append("x")
        with pytest.raises(ValidationError, match="/pair/left"):
            root.pair.left = "x"
    assert world.root.pair == Pair(1, [2, 3])


def test_comparison_both_ways() -> None:
    """Drafts and records compare by their fields, in either order; changes count."""
    with bench(points=[Point(1, 2), Point(1, 2), Point(2)]).dropped() as root:
        first, second, third = root.points
        plain: Any = Point(1, 2)
        assert first == plain
        assert plain == first
        assert first == second
        assert first < third
        assert third > first
        assert plain <= first
        assert not plain > first
        assert sorted([third, Point(0), first]) == [Point(0), plain, third]
        assert not any((first != plain, plain != first, first != second))
        first.x = 5
        assert first != plain
        assert plain != first
        assert first != 5
        assert root.people["ann"] == Person(name="ann", nick_names=["a"])
        assert Person(name="ann") != root.people["ann"]
        with pytest.raises(TypeError):
            hash(first)


def test_user_defined_dunders_stay() -> None:
    """A class's own `__eq__` and `__repr__` are the draft's too."""
    with bench(loose={"a": Loose(1)}).dropped() as root:
        loose = root.loose["a"]
        assert loose == Loose(1)
        assert repr(loose) == "<loose 1>"


def test_repr_shows_the_changes() -> None:
    """A draft's repr is that of the record that it shows."""
    with bench(shape=Group([Circle(1.0)])).dropped() as root:
        root.shape.members[0].radius = 2.0
        assert repr(root.shape) == "Group(members=[Circle(radius=2.0)], note=None)"


def test_copies_are_plain() -> None:
    """copy, deepcopy, pickle and plain give Records of their own."""
    with bench().dropped() as root:
        ann = root.people["ann"]
        ann.nick_names.append("b")
        expected = Person(name="ann", nick_names=["a", "b"])
        for copied in (
            copy.copy(ann),
            copy.deepcopy(ann),
            pickle.loads(pickle.dumps(ann)),  # noqa: S301  of our own bytes
            draft.plain(ann),
            ann.__replace__(),
        ):
            assert type(copied) is Person
            assert type(copied.nick_names) is list
            assert copied == expected
        assert ann.__replace__(name="b").name == "b"


def test_structs_replace_gives_a_value() -> None:
    """`msgspec.structs.replace(draft, ...)` can be read and assigned, and isn't a draft."""
    world = bench()
    with world.update() as root:
        ann = root.people["ann"]
        ann.nick_names.append("b")
        changed = msgspec.structs.replace(ann, name="changed")
        assert changed.name == "changed"
        assert changed.nick_names == ["a", "b"]
        assert type(changed.nick_names) is list
        with pytest.raises(ReadOnlyError):
            changed.name = "x"
        root.people["copy"] = changed
        ann.nick_names.append("c")
    assert world.root.people["copy"] == Person(name="changed", nick_names=["a", "b"])


def test_encoders_fail_loudly() -> None:
    """Json and msgspec don't see a half-drawn draft as something else."""
    with bench().dropped() as root:
        root.people["ann"].nick_names.append("b")
        with pytest.raises(TypeError):
            json.dumps(root.people)
        with pytest.raises(TypeError):
            msgspec.json.encode(root.people["ann"])


def test_assigned_to_itself_is_nothing() -> None:
    """`r.x = r.x` and `r.x += ...` keep the draft that stands there."""
    world = bench()
    with world.update() as root:
        ann = root.people["ann"]
        nicks = ann.nick_names
        ann.nick_names = nicks
        ann.nick_names += ["b"]
        ann.marks |= {"m"}
        ann.friends |= {"f": 1}
        assert ann.nick_names is nicks
    assert [name for name, _, _ in world.patch] == ["splice", "set", "add"]
