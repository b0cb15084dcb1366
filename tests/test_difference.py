"""Two states are compared by path, and what is told is enough to come from the one to the other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from cairndb import codec
from cairndb.difference import differences

LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2)
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from("abc"), below),
    max_leaves=12,
)


def encoded(value: Any) -> Raw:
    """Its bytes."""
    return Raw(codec.encode(value))


def decoded(side: Raw | None) -> Any:
    """A side of a difference; ... where there is nothing."""
    return ... if side is None else codec.decode(side)


def told(before: Any, after: Any) -> list[tuple[Any, Any, Any]]:
    """What differs, decoded."""
    found = differences(encoded(before), encoded(after))
    return [(path, decoded(old), decoded(new)) for path, old, new in found]


def test_what_came_went_and_changed() -> None:
    """Each is told with its path, as deep as possible."""
    before = {"a": {"x": 1, "y": 2}, "b": [1, 2, 3], "gone": None}
    after = {"a": {"x": 1, "y": 3}, "b": [1, 3, 4], "new": {"z": 0}}
    assert told(before, after) == [
        (("gone",), None, ...),
        (("a", "y"), 2, 3),
        (("b", 1), 2, ...),
        (("b", 2), ..., 4),
        (("new",), ..., {"z": 0}),
    ]


def test_a_change_inside_of_an_element_is_told_there() -> None:
    """Between the same neighbours an element is opened, not replaced."""
    before = [{"n": 1, "x": 1}, {"n": 2, "x": 1}]
    after = [{"n": 1, "x": 1}, {"n": 2, "x": 5}]
    assert told(before, after) == [((1, "x"), 1, 5)]


@given(TREES, TREES)
def test_equal_states_and_only_they_have_no_differences(before: Any, after: Any) -> None:
    """Nothing is told of a state and itself; something of any two others."""
    assert told(before, before) == []
    changed = codec.encode(before) != codec.encode(after)
    # The order of a dict's keys is the one thing that no path names.
    assert bool(told(before, after)) == changed or _reordered(before, after)


def _reordered(before: Any, after: Any) -> bool:
    return bool(before == after and repr(before) != repr(after))
