"""The quick lane of `Tree.resolve`, and replay in batches, with the general way as the oracle."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Raw

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.patch import (
    DELETE,
    SET,
    Operation,
    Tree,
    decode_entries,
    decode_entry,
    encode_entry,
    operation,
)
from cairndb.patch_replay import Replay
from cairndb.record import Record
from cairndb.schema import compile_root
from effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable


class Part(Record, rename="camel"):
    """With fields that the lane takes, and others that it mustn't."""

    whole_number: int = 0
    small: Annotated[int, Meta(le=9)] = 0
    text: str | None = None
    fractions: tuple[float, ...] = ()
    names: list[str] = []


class Root(Record):
    """With dicts that the lane takes, and others that it mustn't."""

    parts: dict[str, Part] = {}
    numbered: dict[int, Part] = {}
    short: dict[Annotated[str, Meta(max_length=2)], Part] = {}
    pairs: dict[tuple[int, str], Part] = {}
    listed: list[Part] = []
    some: dict[str, Part | None] = {}
    anything: Any = None
    plain: dict[str, int] = {}


KINDS = [compile_root(Root, guard=guard) for guard in (True, False)]
FIELDS = ["parts", "numbered", "short", "pairs", "listed", "some", "anything", "plain", "other", 1]
KEYS = ["a", "b", "", "long", 1, 2, True, 1.0, None, Raw(codec.encode([1, "a"])), Raw(b"\x80")]
NAMES = ["wholeNumber", "whole_number", "small", "text", "fractions", "names", "a", 0, Raw(b"\x80")]
VALUES: list[Any] = [0, 9, 10, 2**70 - 1 >> 6, -1, 1.0, True, None, "text", [], ["a"], [1.5], {}]
VALUES += [{"wholeNumber": 1, "small": 2, "text": None, "fractions": [], "names": ["x"]}]
ARGUMENTS = [*map(codec.encode, VALUES), b"\xc1", b"\x91" * 2000 + b"\xc0", b"\xa1\xff"]


def a_tree(guard: int) -> Tree:
    """A tree with something in every field."""
    part = {"wholeNumber": 1, "small": 1, "text": "", "fractions": [0.5], "names": ["x"]}
    kind = KINDS[guard]
    root = Root(
        parts={"a": Part(1), "b": Part(2)},
        numbered={1: Part(3)},
        short={"a": Part(4)},
        pairs={(1, "a"): Part(5)},
        listed=[Part(6), Part(7)],
        some={"a": Part(8), "b": None},
        anything={"a": part},
        plain={"a": 1},
    )
    tree = Tree(kind)
    tree.apply(tree.resolve([operation(SET, (), kind.encode(kind.copy(root, 0)))]))
    return tree


def outcome(tree: Tree, change: Callable[[], None]) -> tuple[str, str, bytes]:
    """What an entry has made, or why it was refused."""
    refused: Exception | None = None
    try:
        change()
    except (ValueError, ValidationError) as error:
        refused = error
    return type(refused).__name__, str(refused), tree.kind.encode(tree.root)


def applied(tree: Tree, operations: list[Operation]) -> tuple[str, str, bytes]:
    """The same of what a commit does with an entry's operations."""
    return outcome(tree, lambda: tree.apply(tree.resolve(operations)))


@settings(max_examples=examples(60))
@given(
    st.sampled_from([0, 1]),
    st.lists(
        st.tuples(
            st.tuples(st.sampled_from(FIELDS), st.sampled_from(KEYS), st.sampled_from(NAMES))
            | st.tuples(st.sampled_from(FIELDS), st.sampled_from(KEYS)),
            st.sampled_from(ARGUMENTS),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_the_quick_lane_does_what_the_general_way_does(
    guard: int, changes: list[tuple[tuple[Any, ...], bytes]]
) -> None:
    """Whatever is set where: the same state, or the same refusal, also when entries are replayed.

    The same SET twice in one entry does what it does once, and isn't for the lane.
    """
    quick, general, replay = a_tree(guard), a_tree(guard), Replay(a_tree(guard))
    for path, argument in changes:
        data = encode_entry(0, [(SET, path, Raw(argument))])
        try:
            (entry,) = decode_entries(data, 1)
        except ValueError:
            continue
        found = applied(quick, entry.operations)
        assert found == applied(general, entry.operations * 2)
        assert found == outcome(replay.tree, partial(replay.run, data, 1))
        assert replay.done == (found[0] == "NoneType")


def test_the_lane_follows_what_is_replaced() -> None:
    """A root, a dict or a record that was replaced is the one that is changed next."""
    tree = a_tree(1)
    other = codec.encode({"wholeNumber": 5, "small": 0, "text": None, "fractions": [], "names": []})
    kind = tree.kind
    entries: list[list[tuple[int, tuple[Any, ...], Any]]] = [
        [(SET, ("parts", "a", "small"), 2)],
        [(SET, ("parts", "a"), Raw(other))],
        [(SET, ("parts", "a", "small"), 3)],
        [(SET, ("parts",), {"a": Raw(other), "c": Raw(other)})],
        [(SET, ("parts", "c", "small"), 4)],
        [(SET, (), Raw(kind.encode(kind.copy(Root(parts={"d": Part()}), 0))))],
        [(SET, ("parts", "d", "small"), 5)],
    ]
    replay = Replay(tree)
    for number, each in enumerate(entries):
        replay.run(encode_entry(number, each), 1)

    assert tree.root == Root(parts={"d": Part(small=5)})
    assert replay.time == 6


A_SMALL = [(SET, ("parts", "a", "small"), 2)]
B_SMALL = [(SET, ("parts", "b", "small"), 3)]
# What the decoder of a batch of them doesn't take, and what it can't tell.
OTHERS: list[list[tuple[int, tuple[Any, ...], Any]]] = [
    [(SET, ("parts", "a", "wholeNumber"), 5)],
    [(SET, ("plain", "a"), 5)],
    [(DELETE, ("plain", "a"), None)],
    [*A_SMALL, *B_SMALL],
    [],
    [(SET, ("parts", "nobody", "small"), 1)],
    [(SET, ("parts", "a", "small"), 10)],
    [(SET, ("parts", "a", "small"), True)],
    [(SET, ("parts", 1, "small"), 1)],
    [(DELETE, ("parts", "nobody"), None)],
]


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.lists(st.sampled_from([A_SMALL, B_SMALL]) | st.sampled_from(OTHERS), max_size=5),
        max_size=6,
    ),
    st.none() | st.integers(0, 4),
)
def test_pieces_are_replayed_as_their_entries_are(
    pieces: list[list[list[tuple[int, tuple[Any, ...], Any]]]], limit: int | None
) -> None:
    """Whatever is in them: up to the limit, or to the entry that is refused, for that reason."""
    replay, tree = Replay(a_tree(1)), a_tree(1)
    begin = [A_SMALL, A_SMALL]  # so that what follows is tried as a batch first
    replay.run(b"".join(encode_entry(1, each) for each in begin), 2)
    applied(tree, decode_entry(encode_entry(1, A_SMALL)).operations)
    for piece in pieces:
        encoded = [encode_entry(number, each) for number, each in enumerate(piece, 2)]
        found = outcome(replay.tree, partial(replay.run, b"".join(encoded), len(encoded), limit))
        for number, data in enumerate(encoded[:limit]):
            expected = applied(tree, decode_entry(data).operations)
            if expected[0] != "NoneType":
                assert (found, replay.done) == (expected, number)
                return
        assert found == outcome(tree, lambda: None)
        assert replay.done == len(encoded[:limit])
        if encoded[:limit]:
            assert replay.time == replay.done + 1


def test_nothing_is_changed_before_the_first_value_of_the_root() -> None:
    """The lane needs a root, as the general way does."""
    tree = Tree(KINDS[1])
    with pytest.raises(ValueError, match="first value"):
        tree.resolve([operation(SET, ("parts", "a", "small"), codec.encode(1))])
