"""The life of drafts: one per node, forgotten when clean, read-only when removed, then dead."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest

from cairndb import draft
from cairndb.errors import StaleDraft, ValidationError
from cairndb.record import Record
from drafting import Bench

if TYPE_CHECKING:
    from collections.abc import Callable


class Person(Record):
    name: str = ""
    nick_names: list[str] = []

    def title(self) -> str:
        return self.name.upper()

    def __len__(self) -> int:
        return len(self.nick_names)


class Circle(Record, tag="circle"):
    radius: float = 1.0


class Group(Record, tag="group"):
    members: list[Circle | Group] = []
    note: str | list[str] | None = None


class Root(Record):
    people: dict[str, Person] = {}
    shape: Circle | Group | None = None


def bench(**fields: Any) -> Bench:
    """A bench with these fields of the root, and one person."""
    fields.setdefault("people", {"ann": Person("ann", ["a"])})
    return Bench(Root, Root(**fields))


def test_removed_nodes_can_be_read_not_written() -> None:
    """A draft of a replaced node shows what it showed; writing to it or below it raises."""
    world = bench(shape=Group([Circle(1.0)]))
    with world.update() as root:
        shape = root.shape
        circle = shape.members[0]
        circle.radius = 2.0
        root.shape = None
        assert shape.members[0].radius == 2.0
        for write in (
            lambda: setattr(circle, "radius", 3.0),
            lambda: shape.members.append(Circle()),
            lambda: setattr(shape, "note", "x"),
        ):
            with pytest.raises(StaleDraft, match="removed or replaced"):
                write()
        root.shape = shape
        root.shape.members[0].radius = 5.0
        assert circle.radius == 2.0
    assert world.root.shape == Group([Circle(5.0)])


def test_one_draft_per_node() -> None:
    """Two looks at a place give one draft, also after a write, and after all were forgotten."""
    with bench().dropped() as root:
        assert root.people is root.people
        assert root.people["ann"] is root.people["ann"]
        root.people["ann"].nick_names.append("b")
        gc.collect()
        assert root.people["ann"].nick_names == ["a", "b"]


def test_clean_drafts_are_forgotten() -> None:
    """A draft that nobody holds and that wrote nothing is freed."""
    with bench().dropped() as root:
        reference = weakref.ref(root.people["ann"])
        assert reference() is None
        assert not root.people._children


def test_ended_drafts_raise() -> None:
    """After the block every access raises StaleDraft, to slots too; repr and isinstance don't."""
    with bench(shape=Group([Circle(1.0)])).dropped() as root:
        ann, shape, nicks = root.people["ann"], root.shape, root.people["ann"].nick_names
        circle = shape.members[0]
        circle.radius = 2.0
        root.shape = None
        removed = circle
        bound = ann.title
    for access in (
        lambda: ann.name,
        lambda: setattr(ann, "name", "x"),
        lambda: delattr(ann, "name"),
        lambda: ann.nick_names,
        lambda: ann == ann,  # noqa: PLR0124  the comparison itself raises
        bound,
        lambda: len(ann),
        lambda: removed.radius,
        lambda: nicks[0],
        lambda: root.people,
        lambda: draft.plain(ann),
        lambda: copy.deepcopy(shape),
    ):
        with pytest.raises(StaleDraft, match="has ended"):
            access()
    assert "ended" in repr(ann)
    assert isinstance(ann, Person)
    assert not isinstance(ann, int)
    with pytest.raises(AttributeError):
        msgspec.json.encode(ann)


def test_an_ended_draft_is_no_value() -> None:
    """A draft kept from an earlier update can't be assigned in a later one."""
    world = bench()
    with world.dropped() as root:
        kept = root.people["ann"]
    with world.dropped() as root, pytest.raises(StaleDraft):
        root.people["bob"] = kept


def test_containers_without_guard() -> None:
    """Without guards drafts touch the state as little."""
    world = Bench(Root, Root(people={"ann": Person(nick_names=["a"])}), guard=False)
    with world.update() as root:
        root.people["ann"].nick_names.append("b")
        root.people["bob"] = root.people["ann"]
        root.people["bob"].nick_names.clear()
    assert world.root.people["ann"].nick_names == ["a", "b"]
    assert world.root.people["bob"].nick_names == []


class Bare(Record):
    """A record without a field."""


class Same(Record, eq=False, weakref=True, dict=True):
    """A record whose equality is identity, with what a configuration may ask for."""

    number: int = 0


class Lean(Record, gc=False):
    number: int = 0


class Registered(Record):
    number: int = 0
    seen: ClassVar[list[str]] = []

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Registered.seen.append(cls.__name__)

    def __bool__(self) -> bool:
        return False

    @classmethod
    def made(cls, number: int) -> Registered:
        return cls(number)


class Odd(Record):
    bare: Bare | None = None
    lean: Lean | None = None
    same: Same | None = None
    registered: dict[str, Registered] = {}


def test_configurations_of_records() -> None:
    """Records without fields, compared by identity, not seen by gc, false, with a class hook."""
    world = Bench(dict[str, Odd], {"a": Odd(Bare(), Lean(), Same(1), {"r": Registered(1)})})
    with world.update() as root:
        odd = root["a"]
        assert odd.bare == Bare()
        assert repr(odd.bare) == "Bare()"
        assert odd.same == odd.same
        assert odd.same != Same(1)
        assert {odd.same: 1}[odd.same] == 1
        odd.same.number += 1
        odd.lean.number += 1
        assert odd.registered["r"] is odd.registered["r"]
        odd.registered["r"].number += 1
        odd.registered["s"] = odd.registered["r"].made(7)
        odd.registered["s"].number += 1
        kept = odd.registered["s"]
        odd.registered["t"] = odd.registered.pop("s")
    with pytest.raises(StaleDraft):
        _ = kept.number
    assert [path for _, path, _ in world.patch] == [
        "/a/lean/number",
        "/a/same/number",
        "/a/registered/r/number",
        "/a/registered/t",
    ]
    assert world.root["a"].registered["t"].number == 8
    assert Registered.seen == ["Registered"]  # once, by the class that is generated for its drafts


def below_list(node: Any) -> Any:
    """An empty list in a list."""
    node.append([])
    return node[0]


def below_dict(node: Any) -> Any:
    """An empty dict in a dict."""
    node["k"] = {}
    return node["k"]


def below_record(node: Any) -> Any:
    """A Record in a Record."""
    node.below = Deep()
    return node.below


def descend(node: Any, step: Callable[[Any], Any]) -> None:
    """Make a tree deeper, one empty node at a time."""
    for _ in range(200):
        node = step(node)


class Deep(Record):
    items: list[Any] = []
    keys: dict[str, Any] = {}
    below: Deep | None = None


@pytest.mark.parametrize(
    ("start", "step"), [("items", below_list), ("keys", below_dict), ("below", below_record)]
)
def test_no_step_by_step_deeper_than_a_value(start: str, step: Callable[[Any], Any]) -> None:
    """A tree that grows by one empty node at a time ends at the depth that one value may have."""
    world = Bench(Deep, Deep(below=Deep()))
    with world.update() as root:
        with pytest.raises(ValidationError, match="deeper than 100") as caught:
            descend(getattr(root, start), step)
        assert 99 <= len(caught.value.path) <= 101
    assert draft.plain(world.root) == world.root
