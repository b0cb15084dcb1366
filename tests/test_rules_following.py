"""Indexes of a replica, which only sees operations, after random updates of every kind.

The updates are those of test_draft_model, and what an index must find is what a search of the whole
tree finds, as in test_rules_model.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

import cairndb
from cairndb import draft
from cairndb.index import LIVE
from cairndb.patch import decode_entry, encode_entry
from cairndb.replicas_engine import Copy
from cairndb.rules import rules_of
from cairndb.rules_following import Following
from cairndb.rules_tree import find, plain_part
from cairndb.service_tail import Tail
from cairndb.watch_hub import Hub
from cairndb.watch_items import Start
from draft_model import Branch, Leaf, Root
from drafting import Bench
from effort import examples
from test_draft_model import CHECKED
from test_rules_model import Indexes, check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.kinds import Kind
    from cairndb.patch import Operation
    from cairndb.rules import Rules


def contents(rules: Rules) -> dict[Any, dict[Any, set[Any]]]:
    """What is in all tables that anything is in."""
    found = {}
    for (each, owner), table in rules._tables.items():
        keys = list(table.in_order())
        assert table.size == sum(len(table.at(key)) for key in keys)
        if keys:
            found[id(each), owner] = {key: set(table.at(key)) for key in keys}
    return found


def compare(kind: Kind, rules: Rules, root: Any) -> None:
    """Tables that were kept up are those that would be made anew, and records find them."""
    anew = rules_of(kind)
    assert anew is not None
    # Of a root of its own: records find the indexes of whatever was made last.
    anew.build(kind.decode(kind.encode(root)), strict=False)
    assert contents(rules) == contents(anew)
    assert {path: len(found) for path, (_, found) in rules._owned.items()} == {
        path: len(found) for path, (_, found) in anew._owned.items()
    }
    for path, (node, found) in rules._owned.items():
        part = find(plain_part(kind, root), path)
        assert part is not None
        assert node is part.value
        assert LIVE[id(node)][1] is found
        for entries in found.values():
            assert len(list(entries)) == len(entries)
    anew.close()


class Followed(Indexes):
    """Drives a database, and a replica that gets every update."""

    def made(self, root: Root) -> Any:
        live = super().made(root)
        self.copy = Copy(live.kind, "simulated")
        self.tail: Tail | None = None
        self.steps = 0
        return live

    @invariant()
    def commits_often(self) -> None:
        """Many small updates, where the machines that this one is made of make few large ones."""
        if hasattr(self, "copy"):
            self.steps += 1
            if self.steps % 3 == 0:
                self.commit()

    def committed(self) -> None:
        super().committed()
        self.follow()

    def follow(self) -> None:
        """Let everything come, and look at it."""
        tail, engine = self.tail, self.bench.engine
        if tail is None or tail._engine is not engine:
            start = Start(*self.copy.position) if self.copy.ready else None
            self.tail = tail = Tail(Hub(engine), start)
        behind = True
        while behind:
            item, behind = tail.step()
            if item is not None:
                self.copy.take(item)
        assert self.copy.position == engine.position
        root = self.copy.tree.root
        check(root)
        assert self.copy.rules is not None
        compare(self.copy.tree.kind, self.copy.rules, root)

    @rule()
    def kill(self) -> None:
        self.leave()
        super().kill()

    @rule()
    def reopen(self) -> None:
        self.leave()
        super().reopen()

    def leave(self) -> None:
        if self.tail is not None:
            self.tail.close()
            self.tail = None

    def teardown(self) -> None:
        self.leave()
        if hasattr(self, "copy"):
            self.copy.close()
        super().teardown()


Followed.TestCase.settings = settings(CHECKED, max_examples=examples(8), stateful_step_count=30)
TestFollowed = pytest.mark.slow(Followed.TestCase)


class Lucky:
    """Random values, and random small changes of a root: many at once, and quickly."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  no secret

    def some(self, most: int) -> range:
        return range(self.random.randint(0, most))

    def name(self) -> str:
        return self.random.choice("abcd")

    def number(self) -> Any:
        return self.random.choice([-1, 0, 1, 2, 0.0, -0.0, 1.0, 1.5])

    def leaf(self) -> Leaf:
        tags = [self.name() for _ in self.some(3)]
        flags = {self.number() for _ in self.some(3)}
        return Leaf(self.random.randint(-2, 2), 0.0, tags, flags)

    def branch(self, depth: int = 2) -> Branch:
        leaves = {self.name(): self.leaf() for _ in self.some(3)}
        return Branch(leaves, self.either(depth - 1))

    def either(self, depth: int = 2) -> Any:
        choices: list[Any] = [None, 3, [1, 2], self.leaf()]
        return self.random.choice([*choices, self.branch(depth)] if depth else choices)

    def change(self, root: Root) -> None:
        """One of many small changes."""
        match self.random.randint(0, 4):
            case 0:
                self.change_leaves(root.leaves)
            case 1:
                self.change_items(root.items)
            case 2:
                self.change_mixed(root.mixed)
            case 3:
                self.change_either(root)
            case _:
                self.change_all(root)

    def change_leaf(self, leaf: Leaf) -> None:
        match self.random.randint(0, 3):
            case 0:
                leaf.number = self.random.randint(-2, 2)
            case 1:
                leaf.tags = [self.name() for _ in self.some(3)]
            case 2:
                leaf.tags.append(self.name())
            case _:
                leaf.flags ^= {self.number()}

    def change_leaves(self, leaves: Any) -> None:
        match self.random.randint(0, 4):
            case 0:
                leaves[self.name()] = self.leaf()
            case 1:
                leaves.pop(self.name(), None)
            case 2:
                leaves.update({self.name(): self.leaf() for _ in range(4)})
            case _:
                for leaf in leaves.values():
                    self.change_leaf(leaf)

    def change_items(self, items: Any) -> None:
        at = self.random.randint(0, 4)
        match self.random.randint(0, 4):
            case 0:
                items.insert(at, self.leaf())
            case 1:
                del items[at : at + 2]
            case 2:
                items.reverse()
            case 3:
                items.append(self.leaf())
            case _:
                for leaf in items[at:]:
                    self.change_leaf(leaf)

    def change_mixed(self, mixed: Any) -> None:
        match self.random.randint(0, 4):
            case 0:
                mixed[self.number()] = self.branch()
            case 1:
                mixed.pop(self.number(), None)
            case 2:
                mixed.update({self.number(): self.branch() for _ in range(3)})
            case _:
                for branch in mixed.values():
                    self.change_leaves(branch.leaves)
                    self.change_either(branch)

    def change_either(self, holder: Root | Branch) -> None:
        either = holder.either
        if isinstance(either, Branch) and self.random.random() < 0.7:
            self.change_leaves(either.leaves)
            self.change_either(either)
        elif isinstance(either, Leaf) and self.random.random() < 0.7:
            self.change_leaf(either)
        else:
            holder.either = self.either()

    def change_all(self, root: Root) -> None:
        match self.random.randint(0, 3):
            case 0:
                root.leaves = {self.name(): self.leaf() for _ in self.some(3)}
            case 1:
                root.items = [self.leaf() for _ in self.some(4)]
            case 2:
                root.mixed = {self.number(): self.branch() for _ in self.some(3)}
            case _:
                root.items = list(reversed([cairndb.plain(item) for item in root.items]))


class FollowedBench(Bench):
    """A state with indexes that follow its operations."""

    rules: Rules | None = None

    def commit(self, operations: Sequence[Operation]) -> None:
        entry = decode_entry(encode_entry(0, operations))
        if self.rules is None:
            self.rules = made = rules_of(self.kind)
            assert made is not None
            self.tree.apply(self.tree.resolve(entry.operations))
            made.build(self.root, strict=False)
            return
        prepared = self.tree.resolve(entry.operations)
        following = Following(self.rules, self.root, entry.operations)
        self.tree.apply(prepared)
        following.enter(self.root)

    def finish(self, root: Any, before: bytes) -> None:
        del before
        self.commit(draft.collect(root))


@given(st.integers(0, 1 << 32))
@settings(max_examples=examples(40))
def test_tables_are_what_they_would_be_anew(seed: int) -> None:
    """After any update an index kept up by operations is what `build` makes of the state."""
    lucky = Lucky(seed)
    leaves = {lucky.name(): lucky.leaf() for _ in range(4)}
    items = [lucky.leaf() for _ in range(4)]
    mixed = {lucky.number(): lucky.branch() for _ in range(3)}
    bench = FollowedBench(Root, Root(leaves, items, mixed=mixed))
    assert bench.rules is not None
    for _ in range(12):
        with bench.update() as root:
            for _ in range(lucky.random.randint(1, 3)):
                lucky.change(root)
        compare(bench.kind, bench.rules, bench.root)
    bench.rules.close()
