"""What an entry is said to have changed is what a comparison of the whole states shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from cairndb import codec, touched
from cairndb.difference import Difference, differences
from cairndb.fold import Fold
from cairndb.notation import step_text
from cairndb.patch import (
    ADD,
    DELETE,
    MERGE,
    SET,
    SPLICE,
    Operation,
    Tree,
    decode_entry,
    encode_entry,
    operation,
)
from cairndb.pattern import Pattern
from cairndb.schema import compile_root
from effort import examples
from strategies import roots
from test_difference import TREES
from test_patch_folds import random_operation, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.errors import Path


def everything(value: Raw, path: Path = ()) -> Iterator[tuple[Path, Raw]]:
    """Every path of a state, and what is there."""
    yield path, value
    level: dict[Any, Raw] = {}
    if codec.is_map(value):
        level = codec.open_map(value)
    elif codec.is_array(value):
        level = dict(enumerate(codec.open_list(value)))
    for step, part in level.items():
        yield from everything(part, (*path, step))


def by_brute_force(before: Raw | None, after: Raw | None, pattern: Pattern) -> list[Difference]:
    """Every path of both states that matches, compared."""
    olds = {} if before is None else dict(everything(before))
    news = {} if after is None else dict(everything(after))
    found = []
    for path in {**olds, **news}:
        topmost = not any(pattern.matches(path[:length]) for length in range(len(path)))
        old, new = olds.get(path), news.get(path)
        if not pattern.matches(path) or plain(old) == plain(new):
            continue
        if not pattern.is_deep:
            found.append(Difference(path, old, new))
        elif topmost and old is not None and new is not None:
            found += differences(old, new, path)
        elif topmost:
            found.append(Difference(path, old, new))
    return found


def plain(value: Raw | None) -> bytes | None:
    """The bytes of a side."""
    return None if value is None else bytes(value)


def sorted_plain(found: list[Difference]) -> list[Any]:
    """Differences in an order that says nothing."""
    return sorted(((each.path, plain(each.before), plain(each.after)) for each in found), key=repr)


def a_pattern(data: st.DataObject, states: list[Raw]) -> Pattern:
    """A pattern that is made of a path of one of the states."""
    paths = [path for state in states for path, _ in everything(state)]
    path = data.draw(st.sampled_from(paths))
    steps = [data.draw(st.sampled_from([step_text(step), "*", "**", ""])) for step in path]
    ending = data.draw(st.sampled_from([[], [], ["**"], ["*"]]))
    return Pattern.parse("".join(f"/{step}" for step in [*filter(None, steps), *ending]))


def check(data: st.DataObject, fold: Fold, operations: list[Operation], *more: Pattern) -> None:
    """Apply an entry, and compare what is told of it under one of the patterns, or a random one."""
    before = None if fold.root is None else Raw(fold.encode())
    trial = Fold()
    trial.root = before
    trial.apply(operations)
    after = Raw(trial.encode())
    pattern = data.draw(st.sampled_from(more)) if more else None
    pattern = pattern or a_pattern(data, [after] if before is None else [before, after])
    found = touched.apply(fold, operations, pattern)
    assert fold.encode() == bytes(after)
    expected = sorted_plain(by_brute_force(before, after, pattern))
    assert sorted_plain(found) == expected
    assert sorted_plain(touched.compare(before, after, pattern)) == expected


RANDOM = settings(suppress_health_check=list(HealthCheck), max_examples=examples(20))


@RANDOM
@given(st.data())
def test_what_is_told_is_what_differs(data: st.DataObject) -> None:
    """Random entries on states of random types, under random patterns."""
    check_history(data)


@pytest.mark.slow
@settings(RANDOM, max_examples=examples(80))
@given(st.data())
def test_what_is_told_is_what_differs_longer(data: st.DataObject) -> None:
    """The same, for many more random types."""
    check_history(data)


def check_history(data: st.DataObject) -> None:
    """Random entries on a random type's state."""
    tree, fold = Tree(compile_root(data.draw(roots()), guard=False)), Fold()
    entries = [[operation(SET, (), written(data, tree.kind))]]
    for _ in range(5):
        if not entries:
            count = data.draw(st.integers(1, 3))
            entries.append([random_operation(data, tree) for _ in range(count)])
        operations = decode_entry(encode_entry(0, entries.pop())).operations
        try:
            tree.apply(tree.resolve(operations))
        except ValueError:
            before = fold.encode()
            with pytest.raises(ValueError):  # noqa: PT011  not the same message
                touched.apply(fold, operations, Pattern.parse("/**"))
            assert fold.encode() == before
        else:
            check(data, fold, operations)


LIST_PATTERNS = [*map(Pattern.parse, ("/**", "/l/**", "/l/*", "/l/*/**", "/l/1", "/l/*/a", "/l"))]
ELEMENTS = st.integers(0, 2) | st.fixed_dictionaries({"a": st.integers(0, 1)})


@settings(RANDOM, max_examples=examples(150))
@given(st.data())
def test_lists_are_compared_by_position(data: st.DataObject) -> None:
    """Elements that change and splices of one list, with many equal elements, in one entry."""
    fold = Fold()
    size = data.draw(st.integers(0, 6))
    filled = data.draw(st.lists(ELEMENTS, min_size=size, max_size=size))
    fold.apply([operation(SET, (), {"l": filled, "m": 0})])
    positions = st.lists(st.integers(0, max(0, size - 1)), max_size=4, unique=True)
    changed = data.draw(positions) if size else []
    entry = [operation(SET, ("l", each), data.draw(ELEMENTS)) for each in changed]
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)), reverse=True)
    for end, start in zip(cuts[::2], cuts[1::2], strict=False):
        new = data.draw(st.lists(ELEMENTS, max_size=3))
        entry.append(operation(SPLICE, ("l",), [start, end - start, new]))
    check(data, fold, decode_entry(encode_entry(0, entry)).operations, *LIST_PATTERNS)


@given(TREES, TREES, st.data())
def test_two_states_are_compared(before: Any, after: Any, data: st.DataObject) -> None:
    """Also where neither comes of the other by an entry, as over a barrier."""
    states = [Raw(codec.encode(before)), Raw(codec.encode(after))]
    pattern = a_pattern(data, states)
    found = touched.compare(states[0], states[1], pattern)
    assert sorted_plain(found) == sorted_plain(by_brute_force(states[0], states[1], pattern))


BANK: Any = {
    "accounts": {"alice": {"balance": 1, "tags": ["a", "b"]}, "bob": {"balance": 2, "tags": []}},
    "holidays": ["friday", "monday"],
}


def told(pattern: str, *operations: Any) -> list[Any]:
    """What an entry changes in the bank."""
    fold = Fold()
    fold.apply([operation(SET, (), BANK)])
    entry = decode_entry(encode_entry(0, operations)).operations
    return [
        (path, *(... if side is None else codec.decode(side) for side in sides))
        for path, *sides in touched.apply(fold, entry, Pattern.parse(pattern))
    ]


def test_the_value_of_a_match_is_told_whole() -> None:
    """At the path that matches, whatever below it the entry touched."""
    paid = (SET, ("accounts", "alice", "balance"), 5)
    assert told("/accounts/*/balance", paid) == [(("accounts", "alice", "balance"), 1, 5)]
    (change,) = told("/accounts/*", paid)
    assert change[:2] == (("accounts", "alice"), BANK["accounts"]["alice"])
    assert change[2]["balance"] == 5
    assert told("/accounts/bob/**", paid) == []
    assert told("/accounts/*/balance/more", paid) == []


def test_below_a_deep_pattern_the_smallest_parts_are_told() -> None:
    """As `cairn diff` does."""
    entry = [
        (SPLICE, ("accounts", "alice", "tags"), [0, 1, ["c"]]),
        (DELETE, ("accounts", "bob"), None),
    ]
    assert told("/accounts/**", *entry) == [
        (("accounts", "bob"), BANK["accounts"]["bob"], ...),
        (("accounts", "alice", "tags", 0), "a", "c"),
    ]


def test_below_a_deep_pattern_lists_are_aligned() -> None:
    """An element that is now where another was has moved, also where each was set by itself."""
    moved = [(SET, ("holidays", 0), "monday"), (SET, ("holidays", 1), "sunday")]
    assert told("/**", *moved) == [
        (("holidays", 0), "friday", ...),
        (("holidays", 1), ..., "sunday"),
    ]
    assert told("/holidays/*", *moved) == [
        (("holidays", 0), "friday", "monday"),
        (("holidays", 1), "monday", "sunday"),
    ]


def test_what_holds_a_match_may_come_and_go() -> None:
    """A part of something that was set, merged or deleted is told as if it had been itself."""
    path = ("accounts", "bob", "balance")
    assert told("/**/balance", (DELETE, ("accounts", "bob"), None)) == [(path, 2, ...)]
    assert told("/**/balance", (SET, ("accounts", "bob"), {"balance": 2})) == []
    merged = (MERGE, ("accounts",), {"bob": {"balance": 3}, "carol": {"balance": 4}})
    assert told("/accounts/*/balance", merged) == [
        (path, 2, 3),
        (("accounts", "carol", "balance"), ..., 4),
    ]
    assert told("/holidays", (ADD, ("holidays",), ["easter"])) == [
        (("holidays",), ["friday", "monday"], ["easter", "friday", "monday"])
    ]
