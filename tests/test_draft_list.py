"""Drafts of lists: the whole interface of list, which elements stay, and net effects."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import MutableSequence
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from cairndb import draft
from cairndb.draft_splice import longest_rising
from cairndb.errors import StaleDraft, ValidationError
from cairndb.record import Record
from drafting import Bench


class Item(Record, order=True):
    size: int = 0
    tags: list[str] = []


class Root(Record):
    numbers: list[int] = []
    items: list[Item] = []
    rows: list[list[int]] = []
    bounded: Annotated[list[int], Meta(max_length=3)] = []
    mixed: list[Item | int | None] = []


def bench(**fields: Any) -> Bench:
    """A bench with these fields, and the numbers 0 to 4."""
    fields.setdefault("numbers", [0, 1, 2, 3, 4])
    return Bench(Root, Root(**fields))


def test_nothing_public_is_missing() -> None:
    """The draft has every public name and every operator of list."""
    with bench().dropped() as root:
        assert set(dir([])) - set(dir(root.numbers)) <= {"__class_getitem__"}


def test_reading() -> None:
    """Indices, slices, search, arithmetic and comparison are a list's."""
    with bench().dropped() as root:
        numbers = root.numbers
        assert issubclass(type(numbers), MutableSequence)
        assert not isinstance(numbers, list)
        assert (numbers[0], numbers[-1], numbers[1:3], numbers[::-2]) == (0, 4, [1, 2], [4, 2, 0])
        assert type(numbers[:]) is list
        assert (len(numbers), list(numbers)) == (5, [0, 1, 2, 3, 4])
        assert list(reversed(numbers)) == [4, 3, 2, 1, 0]
        assert 3 in numbers
        assert 7 not in numbers
        assert (numbers.index(2), numbers.index(2, 1, -1), numbers.count(4)) == (2, 2, 1)
        assert operator.add(numbers, [5]) == [0, 1, 2, 3, 4, 5]
        assert operator.add([9], numbers) == [9, *numbers]
        assert operator.add(numbers, numbers) == [*numbers, *numbers]
        assert numbers * 2 == 2 * numbers == [*numbers, *numbers]
        assert numbers == [0, 1, 2, 3, 4]
        assert numbers == [0, 1, 2, 3, 4]
        assert numbers != (0, 1, 2, 3, 4)
        assert [0, 1] < numbers < [0, 2]
        assert numbers >= numbers[:]
        assert repr(numbers) == "[0, 1, 2, 3, 4]"
        first, *rest = numbers
        assert (first, rest) == (0, [1, 2, 3, 4])
        match numbers:
            case [0, *_, last]:
                assert last == 4
            case _:
                pytest.fail("not matched")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda node: node[9], IndexError, "list index out of range"),
        (lambda node: node["a"], TypeError, "list indices must be integers or slices, not str"),
        (lambda node: node.__setitem__(9, 1), IndexError, "assignment index out of range"),
        (lambda node: node.__delitem__(9), IndexError, "assignment index out of range"),
        (lambda node: node.pop(9), IndexError, "pop index out of range"),
        (lambda node: (node.clear(), node.pop()), IndexError, "pop from empty list"),
        (lambda node: node.remove(9), ValueError, "x not in list"),
        (lambda node: node.index(9), ValueError, "is not in list"),
        (lambda node: node.__setitem__(slice(0, 2), 5), TypeError, "can only assign an iterable"),
        (
            lambda node: node.__setitem__(slice(0, 4, 2), [1]),
            ValueError,
            "sequence of size 1 to ext",
        ),
        (lambda node: operator.add(node, (1,)), TypeError, None),
        (lambda node: operator.add((1,), node), TypeError, None),
        (lambda node: node < 5, TypeError, None),
        (lambda node: node.extend(5), TypeError, None),
        (lambda node: node * "a", TypeError, None),
        (lambda node: {node}, TypeError, "unhashable"),
        (lambda node: node.sort(None), TypeError, None),
    ],
)
def test_errors_are_a_lists(call: Any, error: type[Exception], message: str | None) -> None:
    """What a list refuses, its draft refuses with the same error."""
    with bench().dropped() as root, pytest.raises(error, match=message):
        call(root.numbers)


def test_writing() -> None:
    """Every mutator does what a list's does, and returns what it returns."""
    world = bench(numbers=[3, 1, 2])
    with world.update() as root:
        numbers = root.numbers
        assert numbers.append(5) is None
        numbers.insert(0, 9)
        numbers.insert(-100, 8)
        numbers.insert(100, 7)
        assert numbers == [8, 9, 3, 1, 2, 5, 7]
        assert (numbers.pop(), numbers.pop(0), numbers.pop(-2)) == (7, 8, 2)
        numbers.remove(9)
        numbers.extend(iter([4, 4]))
        assert numbers == [3, 1, 5, 4, 4]
        numbers.sort()
        numbers.reverse()
        assert numbers == [5, 4, 4, 3, 1]
        with pytest.raises(TypeError):
            numbers.sort(key=numbers.append)  # ends, though each look at an element adds one
        del numbers[5:]
        numbers.sort(key=lambda number: number % 3, reverse=True)
        assert numbers == [5, 4, 4, 1, 3]
        numbers[1:3] = [7, 8, 9]
        numbers[::2] = [0, 0, 0]
        assert numbers == [0, 7, 0, 9, 0, 3]
        del numbers[::2]
        assert numbers == [7, 9, 3]
        numbers += (1,)
        numbers *= 2
        assert numbers == [7, 9, 3, 1] * 2
        numbers.extend(numbers)
        del numbers[4:]
        numbers *= -1
        numbers[:] = [6]
        assert numbers is root.numbers
    assert world.root.numbers == [6]


def test_appending_costs_what_was_appended() -> None:
    """One splice at the end, whatever the length of the list."""
    world = bench(numbers=list(range(1000)))
    with world.update() as root:
        root.numbers.append(7)
        root.numbers.extend([8, 9])
        assert not root.numbers._values.keys() & set(range(1000))
    assert world.patch == [("splice", "/numbers", [1000, 0, [7, 8, 9]])]
    with world.update() as root:
        assert [root.numbers.pop() for _ in range(3)] == [9, 8, 7]
        root.numbers[5] = 6
    assert world.patch == [("set", "/numbers/5", 6), ("splice", "/numbers", [1000, 3, []])]


def test_what_did_not_move_stays() -> None:
    """A longest run of elements in their old order stays; others are deleted and logged again."""
    world = bench()
    with world.update() as root:
        root.numbers.insert(0, root.numbers.pop())
    assert world.patch == [
        ("splice", "/numbers", [4, 1, []]),
        ("splice", "/numbers", [0, 0, [4]]),
    ]
    with world.update() as root:
        root.numbers.sort()
        root.numbers.reverse()
        root.numbers.reverse()
        root.numbers.append(root.numbers.pop())
    assert [name for name, _, _ in world.patch] == ["splice", "splice"]
    assert world.root.numbers == [0, 1, 2, 3, 4]


def test_equal_ends_and_middles_are_left_out() -> None:
    """Assigning a whole new list logs only the elements that differ."""
    world = bench(numbers=list(range(10)))
    with world.update() as root:
        root.numbers[:] = [0, 1, 2, 30, 4, 5, 60, 7, 8, 9]
    assert world.patch == [
        ("splice", "/numbers", [6, 1, [60]]),
        ("splice", "/numbers", [3, 1, [30]]),
    ]
    with world.update() as root:
        root.numbers[:] = [0, 1, 2, 4, 5, 60, 7, 8, 9]
    assert world.patch == [("splice", "/numbers", [3, 1, []])]
    with world.update() as root:
        root.numbers[:] = list(root.numbers)
        root.numbers[0] = False + 0
        root.numbers.insert(3, 1)
        del root.numbers[3]
    assert world.patch == []


def test_changes_below_address_the_old_positions() -> None:
    """Operations on elements that stay come first, by their positions before the patch."""
    world = bench(items=[Item(0), Item(1), Item(2)])
    with world.update() as root:
        items = root.items
        last = items[2]
        items.insert(0, Item(9))
        del items[1]
        last.size = 20
        items[1].tags.append("t")
        items[0].size = 90
        items.append(items[2])
        items[3].size = 21
    assert world.patch == [
        ("set", "/items/2/size", 20),
        ("splice", "/items/1/tags", [0, 0, ["t"]]),
        ("splice", "/items", [3, 0, [{"size": 21, "tags": []}]]),
        ("splice", "/items", [0, 1, [{"size": 90, "tags": []}]]),
    ]


def test_children_are_drafts_however_reached() -> None:
    """Iteration, slices, unpacking, reversed, copies and sums give the same drafts."""
    world = bench(items=[Item(1), Item(2)], rows=[[1], [2]])
    with world.update() as root:
        items = root.items
        one, two = items
        assert items[0] is one
        assert items[:2] == [one, two]
        assert items[1:][0] is two
        assert next(reversed(items)) is two
        assert operator.add(items, [])[0] is one
        assert operator.add([], items)[0] is one
        assert items.copy()[0] is one
        assert copy.copy(items)[0] is one
        assert max(items) is two
        for item in items:
            item.size += 1
        root.rows[0] += [5]
        root.rows[1][0] = 7
    assert world.root.items == [Item(2), Item(3)]
    assert world.root.rows == [[1, 5], [7]]


def test_moved_drafts_stay_alive() -> None:
    """Sorting, reversing and slice assignment move elements; their drafts go on."""
    world = bench(items=[Item(1), Item(2), Item(3)])
    with world.update() as root:
        items = root.items
        first = items[0]
        items.reverse()
        first.size = 10
        assert items[2] is first
        items[:] = [items[2], items[0], first]
        assert items[0] is first
        first.size = 11
        assert items[2].size == 10
        items.sort(key=lambda item: -item.size)
        items[0:2] = items[0:2]
        first.tags.append("t")
    assert world.root.items == [Item(11, ["t"]), Item(10), Item(3)]


def test_swapping_by_assignment_copies() -> None:
    """`l[i], l[j] = l[j], l[i]` swaps the values; the drafts of before are of removed nodes."""
    world = bench(items=[Item(1), Item(2)])
    with world.update() as root:
        items = root.items
        first = items[0]
        items[0], items[1] = items[1], items[0]
        with pytest.raises(StaleDraft):
            first.size = 5
    assert world.root.items == [Item(2), Item(1)]


def test_pop_gives_a_plain_value() -> None:
    """What is popped is a copy with the changes, and its draft is one of a removed node."""
    world = bench(items=[Item(1)])
    with world.update() as root:
        item = root.items[0]
        item.tags.append("t")
        popped = root.items.pop()
        assert type(popped) is Item
        assert popped == Item(1, ["t"])
        assert item == popped
        with pytest.raises(StaleDraft):
            item.tags.append("u")
        with pytest.raises(StaleDraft):
            item.size = 2


def test_wrong_elements_are_refused_whole() -> None:
    """Nothing of an extend or a slice is done if one element is of the wrong type."""
    with bench(items=[Item(1)]).dropped() as root:
        with pytest.raises(ValidationError, match="/numbers/6"):
            root.numbers.extend([5, "x"])
        with pytest.raises(ValidationError, match="/numbers/2"):
            root.numbers[1:3] = [7, "x"]
        with pytest.raises(ValidationError, match="/numbers/1"):
            root.numbers[1] = "x"
        with pytest.raises(ValidationError, match="/items/1/tags/0"):
            root.items.append(Item(1, [1]))  # type: ignore[list-item]  # to be refused
        assert root.numbers == [0, 1, 2, 3, 4]
        root.items.insert(0, Item())
        with pytest.raises(ValidationError, match="/items/1/size"):
            root.items[1].size = "x"


def test_bounds_are_judged_at_the_end() -> None:
    """A list may be too long for a while, not at the end of the block."""
    world = bench(bounded=[1])
    with world.update() as root:
        root.bounded.extend([2, 3, 4, 5])
        del root.bounded[3:]
    with pytest.raises(ValidationError, match="/bounded"), world.update() as root:
        root.bounded.append(4)
    assert world.root.bounded == [1, 2, 3]


def test_elements_that_may_be_nodes() -> None:
    """In a list of a union, nodes are drafts and values are values."""
    world = bench(mixed=[1, Item(2), None])
    with world.update() as root:
        root.mixed[1].size += 1
        root.mixed[0] = Item(5)
        root.mixed[0].size = 6
        root.mixed[2] = 3
    assert world.root.mixed == [Item(6), Item(3), 3]


def test_iteration_follows_changes() -> None:
    """A list may grow and shrink under its iterator, as a list does."""
    with bench().dropped() as root:
        seen = []
        for number in root.numbers:
            seen.append(number)
            if number == 1:
                root.numbers.append(9)
                root.numbers.remove(2)
        assert seen == [0, 1, 3, 4, 9]


def test_copies_are_plain() -> None:
    """plain, deepcopy and pickle give plain lists of Records."""
    with bench(items=[Item(1)]).dropped() as root:
        root.items[0].size = 2
        for copied in (
            draft.plain(root.items),
            copy.deepcopy(root.items),
            pickle.loads(pickle.dumps(root.items)),  # noqa: S301  of our own bytes
        ):
            assert type(copied) is list
            assert type(copied[0]) is Item
            assert copied == [Item(2)]


def test_ended() -> None:
    """An ended draft and its running iterators raise."""
    with bench(items=[Item(1), Item(2)]).dropped() as root:
        items, iterator, backwards = root.items, iter(root.items), reversed(root.items)
        next(iterator)
        next(backwards)
    for access in (
        lambda: items[0],
        lambda: items[:],
        lambda: len(items),
        lambda: list(items),
        lambda: 1 in items,
        lambda: items == [],
        lambda: items < [],
        lambda: operator.add(items, []),
        lambda: operator.add([], items),
        lambda: items.append(Item()),
        lambda: items.sort(),  # noqa: PLW0108  the look-up has to raise
        lambda: next(iterator),
        lambda: next(backwards),
        lambda: reversed(items),
    ):
        with pytest.raises(StaleDraft):
            access()


@given(st.permutations(range(8)), st.integers(0, 8))
def test_longest_rising(numbers: list[int], count: int) -> None:
    """As long as the longest among all rising subsequences, found by brute force."""
    numbers = numbers[:count]
    lengths: list[int] = []
    for place, number in enumerate(numbers):
        shorter = [
            length for before, length in zip(numbers, lengths, strict=False) if before < number
        ]
        lengths.append(1 + max(shorter, default=0))
        assert len(lengths) == place + 1
    found = longest_rising(numbers)
    assert len(found) == max(lengths, default=0)
    assert found == sorted(found)
    positions = [numbers.index(number) for number in found]
    assert positions == sorted(positions)
