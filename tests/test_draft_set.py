"""Drafts of sets: the whole interface of set, and net effects."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import MutableSet
from typing import Annotated, Any
from uuid import UUID

import pytest
from msgspec import Meta

from cairndb import draft
from cairndb.errors import StaleDraft, ValidationError
from cairndb.record import Record
from drafting import Bench


class Root(Record):
    words: set[str] = set()
    numbers: set[int | float] = set()
    ids: set[UUID] = set()
    pairs: set[tuple[int, str]] = set()
    bounded: Annotated[set[int], Meta(max_length=2)] = set()
    by_name: dict[str, set[int]] = {}


def bench(**fields: Any) -> Bench:
    """A bench with these fields, and the words a, b and c."""
    fields.setdefault("words", {"a", "b", "c"})
    return Bench(Root, Root(**fields))


def test_nothing_public_is_missing() -> None:
    """The draft has every public name and every operator of set."""
    with bench().dropped() as root:
        assert set(dir(set())) - set(dir(root.words)) <= {"__class_getitem__"}


def test_reading() -> None:
    """Membership, comparison and set algebra are a set's; results are plain sets."""
    with bench().dropped() as root:
        words = root.words
        words.add("d")
        words.remove("a")
        plain = {"b", "c", "d"}
        assert issubclass(type(words), MutableSet)
        assert not isinstance(words, set)
        assert "d" in words
        assert "a" not in words
        assert (len(words), set(words), sorted(words)) == (3, plain, ["b", "c", "d"])
        for other in ({"b", "x"}, frozenset("bcd"), {"b": 1}.keys(), {"b", "c", "d", "e"}):
            for compute in (operator.and_, operator.or_, operator.sub, operator.xor):
                assert compute(words, other) == compute(plain, set(other))
                assert compute(other, words) == compute(set(other), plain)
                assert type(compute(words, other)) is set
            for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt):
                assert compare(words, other) == compare(plain, set(other))
                assert compare(other, words) == compare(set(other), plain)
        assert words & words == plain
        assert words == words.copy()
        assert words != ["b", "c", "d"]
        assert words.union("x", "y") == plain | {"x", "y"}
        assert words.intersection("bx", "b") == {"b"}
        assert words.difference("b", "c") == {"d"}
        assert words.symmetric_difference("bx") == {"c", "d", "x"}
        assert words.isdisjoint("xyz")
        assert words.issubset("abcd")
        assert words.issuperset("bc")
        assert words >= {"b"}
        with pytest.raises(TypeError):
            _ = words | ["x"]
        with pytest.raises(TypeError):
            _ = words < ["x"]
        with pytest.raises(TypeError, match="unhashable"):
            hash(words)
        assert repr(words - {"b", "c"}) == "{'d'}"


def test_writing() -> None:
    """Every mutator does what a set's does; the patch is what was added and what is gone."""
    world = bench()
    with world.update() as root:
        words = root.words
        words.add("x")
        words.add("a")
        words.discard("nothing")
        with pytest.raises(KeyError):
            words.remove("nothing")
        words.update("xy", ["z"])
        words |= {"p", "q"}
        words -= {"p"}
        words &= {*"abcqxyz"}
        words ^= {"q", "r"}
        words.difference_update("y", "z")
        words.intersection_update("abrx", "abxr")
        words.symmetric_difference_update("bs")
        assert words == {"a", "r", "s", "x"}
        assert words is root.words
        with pytest.raises(TypeError):
            words |= ["x"]
    assert world.patch == [
        ("discard", "/words", ["b", "c"]),
        ("add", "/words", ["r", "s", "x"]),
    ]


def test_set_back_is_nothing() -> None:
    """An element removed and added again, or added and removed, is no operation."""
    world = bench()
    with world.update() as root:
        root.words.remove("a")
        root.words.add("a")
        root.words.add("z")
        root.words.discard("z")
        root.words.clear()
        root.words |= {"a", "b", "c"}
        root.words = {"c", "b", "a"}
    assert world.patch == []


def test_operators_on_itself() -> None:
    """A set with itself on the right side of an operator in place."""
    with bench().dropped() as root:
        root.words |= root.words
        root.words &= root.words
        assert root.words == {"a", "b", "c"}
        root.words -= root.words
        assert not root.words
        root.words.update("ab")
        root.words ^= root.words
        assert not root.words


def test_pop_takes_everything_once() -> None:
    """Popping until it is empty gives each element once."""
    world = bench(words={str(number) for number in range(1000)})
    with world.update() as root:
        root.words.add("new")
        root.words.discard("5")
        popped = [root.words.pop() for _ in range(1000)]
        assert sorted(popped) == sorted({str(number) for number in range(1000)} - {"5"} | {"new"})
        with pytest.raises(KeyError, match="empty"):
            root.words.pop()
    assert world.patch == [("set", "/words", [])]


def test_elements_are_named_as_stored() -> None:
    """1.0 in the state is found as 1, and named 1.0 in the patch."""
    world = bench(numbers={1.0, 2, 3})
    with world.update() as root:
        root.numbers.add(1)
        root.numbers.discard(2.0)
    assert world.patch == [("discard", "/numbers", [2])]
    with world.update() as root:
        root.numbers.discard(1)
        root.numbers.add(1)
    assert sorted(map(repr, world.root.numbers)) == ["1", "3"]


def test_elements_of_other_types() -> None:
    """UUIDs and tuples are elements like others; a wrong type is refused at once."""
    world = bench(ids={UUID(int=1)}, pairs={(1, "a")})
    with world.update() as root:
        root.ids.add(UUID(int=2))
        root.ids.discard(UUID(int=1))
        root.pairs.add((2, "b"))
        with pytest.raises(ValidationError, match="/ids: "):
            root.ids.add("x")
        with pytest.raises(TypeError, match="unhashable"):
            root.pairs.add([])
    assert world.root.ids == {UUID(int=2)}
    assert world.root.pairs == {(1, "a"), (2, "b")}


def test_bounds_are_judged_at_the_end() -> None:
    """A set may be too big for a while, not at the end of the block."""
    world = bench(bounded={1})
    with world.update() as root:
        root.bounded |= {2, 3}
        root.bounded.discard(1)
    with pytest.raises(ValidationError, match="/bounded"), world.update() as root:
        root.bounded.add(4)
    assert world.root.bounded == {2, 3}


def test_iteration_notices_changes_of_size() -> None:
    """Adding or removing while iterating raises as it does for a set."""
    with bench().dropped() as root:
        changes: list[Any] = [lambda: root.words.add("z"), lambda: root.words.discard("a")]
        for change in changes:
            iterator = iter(root.words)
            next(iterator)
            change()
            with pytest.raises(RuntimeError, match="changed size"):
                next(iterator)


def test_sets_below_new_and_removed_nodes() -> None:
    """A new set is one operation; the draft of a removed one refuses to change."""
    world = bench(by_name={"a": {1}})
    with world.update() as root:
        root.by_name.setdefault("b", set()).update({2, 1})
        gone = root.by_name["a"]
        gone.add(5)
        assert root.by_name.pop("a") == {1, 5}
        for change in (
            lambda: gone.add(1),
            lambda: gone.discard(1),
            gone.pop,
            gone.clear,
            lambda: gone.update([1]),
        ):
            with pytest.raises(StaleDraft):
                change()
        assert gone == {1, 5}
    assert world.patch == [("delete", "/by_name/a", None), ("set", "/by_name/b", [1, 2])]


def test_copies_are_plain() -> None:
    """copy, deepcopy, pickle and plain give plain sets."""
    with bench().dropped() as root:
        root.words.add("d")
        for copied in (
            draft.plain(root.words),
            copy.copy(root.words),
            copy.deepcopy(root.words),
            pickle.loads(pickle.dumps(root.words)),  # noqa: S301  of our own bytes
        ):
            assert type(copied) is set
            assert copied == {"a", "b", "c", "d"}


def test_ended() -> None:
    """An ended draft and its running iterators raise."""
    with bench().dropped() as root:
        words, iterator = root.words, iter(root.words)
        next(iterator)
    for access in (
        lambda: "a" in words,
        lambda: len(words),
        lambda: list(words),
        lambda: words == set(),
        lambda: words | set(),
        lambda: set() | words,
        lambda: words.add("x"),
        lambda: words.isdisjoint("x"),
        lambda: next(iterator),
    ):
        with pytest.raises(StaleDraft):
            access()
