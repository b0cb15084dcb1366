"""Patterns of paths mean what a recursive reading of them means, and their text says all of it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb import codec
from cairndb.notation import path_text, step_text
from cairndb.pattern import Pattern, stored_step
from cairndb.schema import compile_root
from effort import examples
from strategies import KEYS, keys_of

STEPS = st.sampled_from(["a", "b", "1", "*", "**", '"*"', ""])
PATHS = st.lists(st.sampled_from(["a", "b", 1, "1", "*", "**", ""]), max_size=5)
MEANINGS: dict[str, set[Any]] = {"1": {"1", 1}, '"*"': {'"*"', "*"}}


def means(steps: list[str], path: list[Any]) -> bool:
    """Whether a pattern is meant to match a path, by trying out everything."""
    if not steps:
        return not path
    first, *rest = steps
    if first == "**":
        return any(means(rest, path[skipped:]) for skipped in range(len(path) + 1))
    one = bool(path) and (first == "*" or path[0] in MEANINGS.get(first, {first}))
    return one and means(rest, path[1:])


def parsed(steps: list[str]) -> Pattern:
    """A pattern of steps."""
    return Pattern.parse("".join(f"/{step}" for step in steps))


@settings(max_examples=examples(400))
@given(st.lists(STEPS, max_size=4), PATHS)
def test_what_matches_is_what_the_wildcards_say(steps: list[str], path: list[Any]) -> None:
    """Against the model, and the same for what may be above of a match."""
    if steps == [""]:
        steps = []  # "/" is the root
    pattern = parsed(steps)
    assert pattern.matches(path) == means(steps, path)
    walk = pattern.walk(path)
    longer = [[*path, *more] for more in (["a"], ["b"], [1], ["*"], ["", "a"], ["a", "b", 1, "a"])]
    if any(means(steps, each) for each in longer):
        assert walk.leads_on
    assert walk.is_over == (not walk.matched and not walk.leads_on)
    wanted = walk.wanted
    for step in ("a", "b", 1, "1", "*", "**", ""):
        assert wanted is None or step in wanted or walk.down(step).is_over
    if pattern.is_deep and walk.matched:
        assert walk.down("anything").matched


@given(st.lists(STEPS, max_size=5))
def test_a_pattern_is_given_back_as_text(steps: list[str]) -> None:
    """Its text is parsed to the same pattern, with or without the first slash."""
    pattern = parsed(steps)
    assert Pattern.parse(str(pattern)) == pattern
    if steps[:1] != [""]:
        assert Pattern.parse(str(pattern).removeprefix("/")) == pattern


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", ()),
        ("", ()),
        ("a/b", ("a", "b")),
        ("/a~1b/~0c", ("a/b", "~c")),
        ('/"*"/"**"', ("*", "**")),
        ("/17", (17,)),
        ("/17", ("17",)),
        ("/-1", (-1,)),
        ("/true", (True,)),
        ('/[1, "a"]', ((1, "a"),)),
        ('/{"$bytes": "AP8="}', (b"\x00\xff",)),
        ("/2025-01-01T12:00:00Z", (dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC),)),
        ("/2025-01-01", (dt.date(2025, 1, 1),)),
        ("/" + str(uuid.UUID(int=7)), (uuid.UUID(int=7),)),
    ],
)
def test_a_step_is_written_as_the_command_shows_it(text: str, path: tuple[Any, ...]) -> None:
    """Text as it is, other keys as their JSON, what would be a wildcard in quotes."""
    assert Pattern.parse(text).matches(path)
    assert not Pattern.parse(text).matches((*path, "more"))
    assert Pattern.parse(path_text(map(stored_step, path))).matches(path)


@pytest.mark.parametrize("annotation", KEYS, ids=str)
@settings(max_examples=examples(15))
@given(data=st.data())
def test_a_key_is_found_as_stored_and_as_declared(annotation: Any, data: st.DataObject) -> None:
    """What `cairn ls` shows of a stored key matches it, and the object that the program has."""
    kind: Any = compile_root(dict[annotation, int], guard=False)
    key = kind.key.copy(data.draw(keys_of(annotation)), 0)
    (stored,) = codec.open_map(kind.encode({key: 0}))
    pattern = Pattern.parse("/" + step_text(stored))
    assert pattern.matches([stored])
    assert pattern.matches([key])
