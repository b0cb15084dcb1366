"""What a block assigns to dicts: it's kept as bytes until it is looked at, and nobody notices."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import Meta

from cairndb import draft
from cairndb.errors import ValidationError
from cairndb.record import Record
from drafting import Bench


class Item(Record):
    size: int = 0
    tags: list[str] = []


class Limited(Record):
    size: Annotated[int, Meta(ge=0)] = 0


class Root(Record):
    items: dict[str, Item] = {}
    limited: dict[str, Limited] = {}


def bench() -> Bench:
    """A bench with one item."""
    return Bench(Root, Root(items={"a": Item()}))


def test_what_was_assigned_is_a_copy() -> None:
    """What the given record becomes later shows neither in the block nor in the state."""
    world = bench()
    tags = ["x"]
    given = Item(1, tags)
    with world.update() as root:
        for key in ("a", "b", "c"):
            root.items[key] = given
        tags.append("y")
        assert root.items["b"] == Item(1, ["x"])
        assert draft.plain(root).items["c"] == Item(1, ["x"])
        assert type(draft.plain(root.items)["a"].tags) is list
        tags.append("z")
    assert world.root.items == dict.fromkeys("abc", Item(1, ["x"]))


def test_what_was_assigned_can_be_changed() -> None:
    """A new value is changed as any other, and replaced, popped and put back."""
    world = bench()
    with world.update() as root:
        for key in ("a", "b", "c", "d"):
            root.items[key] = Item(1, ["x"])
        root.items["a"].size += 1
        root.items["b"].tags.append("y")
        root.items["b"].tags.append("z")
        root.items["c"] = Item(3)
        assert root.items.pop("d") == Item(1, ["x"])
        assert root.items.popitem() == ("c", Item(3))
        root.items["d"] = Item(4)
        assert root.items.get("d") == Item(4)
    assert world.root.items == {"a": Item(2, ["x"]), "b": Item(1, ["x", "y", "z"]), "d": Item(4)}
    assert [name for name, *_ in world.patch] == ["merge"]


def test_the_wrong_type_raises_where_it_is_assigned() -> None:
    """Among many right ones too, with its path; what came before it stands."""
    world = bench()
    with world.update() as root:
        root.items["a"] = Item(1, ["x"])
        wrong: Any = ("x",)
        with pytest.raises(ValidationError, match="/items/b/tags: expected list"):
            root.items["b"] = Item(1, wrong)
        wrong = 1
        with pytest.raises(ValidationError, match="/items/b/tags/1: expected str, got int"):
            root.items["b"] = Item(1, ["x", wrong])
        with pytest.raises(ValidationError, match="surrogates"):
            root.items["\ud800"] = Item()
    assert world.root.items == {"a": Item(1, ["x"])}


def test_what_a_bound_refuses_is_shown_until_the_end() -> None:
    """It can be put right within the update."""
    world = bench()
    with world.update() as root:
        root.limited["a"] = Limited(-1)
        assert root.limited["a"].size == -1
        root.limited["a"].size = 1
    assert world.root.limited == {"a": Limited(1)}
