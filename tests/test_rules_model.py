"""Indexes after random updates, in them and after reopening, against a search of the whole tree.

The updates are those of test_draft_model: every call that dicts, lists, sets and records have.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from cairndb import plain
from cairndb.index import LIVE
from cairndb.opening import own
from draft_model import Branch, Leaf, Root
from effort import examples
from simulated import SimulatedDirectory
from test_draft_model import CHECKED
from test_history import OPTIONS, Histories, Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.engine import Engine
    from cairndb.index import Entries

INDEXES: dict[str, tuple[Callable[[tuple[Any, ...]], bool], Callable[[Leaf], list[Any]]]] = {
    "by_number": (
        lambda path: len(path) == 2 and path[0] == "leaves",
        lambda leaf: [leaf.number],
    ),
    "by_tag": (lambda path: len(path) == 2 and path[0] == "items", lambda leaf: leaf.tags),
    "by_flags": (
        lambda path: len(path) == 4 and (path[0], path[2]) == ("mixed", "leaves"),
        lambda leaf: [len(leaf.flags)] if leaf.number > 0 else [],
    ),
    "the_leaf": (lambda path: path == ("either",), lambda leaf: [leaf.number]),
    "everywhere": (lambda _path: True, lambda leaf: [(leaf.number, *leaf.tags)]),
}


def searched(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every record of a plain tree, with its path."""
    if isinstance(value, Leaf | Branch):
        yield path, value
    if isinstance(value, Leaf | Branch | Root):
        for name in value.__struct_fields__:
            yield from searched(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from searched(item, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from searched(item, (*path, position))


def expected(root: Any, name: str) -> dict[Any, dict[Any, str]]:
    """What an index of the root has to find: by key the paths, with what stands there."""
    is_meant, keys_of = INDEXES[name]
    found: dict[Any, dict[Any, str]] = defaultdict(dict)
    for path, record in searched(plain(root)):
        if isinstance(record, Leaf) and is_meant(path):
            for key in keys_of(record):
                found[key][path] = repr(record)
    return dict(found)


def shown(entries: Entries[Any, Any]) -> dict[Any, dict[Any, str]]:
    """What an index finds."""
    keys = entries.keys()
    assert len(keys) == len(set(keys))
    assert all(key in entries for key in keys)
    found = {
        key: dict(zip(entries.paths(key), map(repr, map(plain, entries[key])), strict=True))
        for key in keys
    }
    assert len(entries) == sum(map(len, found.values())) == len(list(entries))
    return found


def check(root: Any) -> None:
    """Compare every index of a root, and of every branch in it."""
    for name in INDEXES:
        assert shown(getattr(root, name)) == expected(root, name), name
    numbers = [leaf.number for leaf in root.by_number]
    assert numbers == sorted(numbers)
    assert [leaf.number for leaf in root.by_number.last(100)] == numbers[::-1]
    in_range = [leaf.number for leaf in root.by_number.range(-1, 1, reverse=True)]
    assert in_range == [number for number in reversed(numbers) if -1 <= number < 1]
    tuples = [(leaf.number, *leaf.tags) for leaf in root.everywhere.prefix((1,))]
    assert tuples == sorted(key for key in tuples if key[0] == 1)
    for path, branch in searched(root):
        if isinstance(branch, Branch):
            mine: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
            for key in sorted(branch.leaves):
                mine[branch.leaves[key].number].append((*path, "leaves", key))
            assert {key: sorted(branch.by_number.paths(key)) for key in mine} == mine
            assert set(branch.by_number.keys()) == set(mine)


class Indexed(Live):
    """A database with its indexes."""

    def opened(self) -> Engine:
        engine = own(SimulatedDirectory(self.world), self.kind, create=True, options=OPTIONS).engine
        if engine.tree.root is not None:
            check(engine.tree.root)
        return engine

    def kill(self) -> None:
        if self.engine.rules is not None:
            self.engine.rules.close()
        super().kill()


class Indexes(Histories):
    """Drives a database with indexes."""

    def made(self, root: Root) -> Live:
        self.others = set(LIVE)  # of tests that left a database open
        return Indexed(root)

    def committed(self) -> None:
        super().committed()
        check(self.bench.root)

    def dropped(self) -> None:
        super().dropped()
        check(self.bench.root)

    @rule(name=st.sampled_from(sorted(INDEXES)))
    def ask_in_the_block(self, name: str) -> None:
        """An update sees its own changes, however often it asks in between."""
        assert shown(getattr(self.draft, name)) == expected(self.draft, name)

    @rule()
    def ask_a_branch_in_the_block(self) -> None:
        for branch in self.draft.mixed.values():
            numbers = sorted(leaf.number for leaf in branch.leaves.values())
            assert sorted(leaf.number for leaf in branch.by_number) == numbers

    @rule(number=st.integers(-2, 2))
    def change_what_is_found(self, number: int) -> None:
        """What is found in an update are drafts: changing one changes the tree."""
        for found, model in zip(
            self.draft.by_number[number],
            [self.model.leaves[path[1]] for path in self.draft.by_number.paths(number)],
            strict=True,
        ):
            found.number = model.number = number + 1

    def teardown(self) -> None:
        super().teardown()
        if self.update is not None and self.bench.engine.rules is not None:
            self.bench.engine.rules.close()
        assert set(LIVE) <= self.others


class LongIndexes(Indexes):
    """The same, for longer."""


Indexes.TestCase.settings = settings(CHECKED, max_examples=examples(10), stateful_step_count=20)
LongIndexes.TestCase.settings = settings(CHECKED, max_examples=examples(80), stateful_step_count=40)
TestIndexes = Indexes.TestCase
TestLongIndexes = pytest.mark.slow(LongIndexes.TestCase)
