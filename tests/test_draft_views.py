"""The views and iterators of drafts of dicts: live, with set algebra, and strict about changes."""

from __future__ import annotations

from typing import Any

import pytest

from cairndb.errors import StaleDraft
from cairndb.record import Record
from drafting import Bench


class Item(Record):
    size: int = 0


class Root(Record):
    scores: dict[str, int] = {}
    items: dict[str, Item] = {}


def bench(**fields: Any) -> Bench:
    """A bench with these fields, and scores a=1, b=2, c=3."""
    fields.setdefault("scores", {"a": 1, "b": 2, "c": 3})
    return Bench(Root, Root(**fields))


def test_views_are_live() -> None:
    """Views follow the dict, and keys and items have set algebra."""
    with bench().dropped() as root:
        keys, values, items = root.scores.keys(), root.scores.values(), root.scores.items()
        root.scores["d"] = 4
        assert (len(keys), len(values), len(items)) == (4, 4, 4)
        assert list(reversed(values)) == [4, 3, 2, 1]
        assert next(reversed(items)) == ("d", 4)
        assert keys == {"a", "b", "c", "d"}
        assert keys & {"a", "x"} == {"a"}
        assert {"a", "x"} - keys == {"x"}
        assert {"x"} | keys == {*"abcdx"}
        assert keys ^ {"a"} == {"b", "c", "d"}
        assert {"a"} < keys
        assert keys.isdisjoint(["x"])
        assert ("a", 1) in items
        assert items & {("a", 1), ("a", 2)} == {("a", 1)}
        assert 4 in values
        assert keys.mapping is root.scores
        assert repr(keys) == "dict_keys(['a', 'b', 'c', 'd'])"
        assert repr(values) == "dict_values([1, 2, 3, 4])"
        assert repr(items) == "dict_items([('a', 1), ('b', 2), ('c', 3), ('d', 4)])"


@pytest.mark.parametrize("name", ["__iter__", "__reversed__", "keys", "values", "items"])
def test_iteration_notices_changes_of_size(name: str) -> None:
    """Adding or removing while iterating raises as it does for a dict; replacing doesn't."""
    with bench().dropped() as root:
        for key in root.scores:
            root.scores[key] = 0
        changes: list[Any] = [lambda: root.scores.pop("a"), lambda: root.scores.update(z=1)]
        for change in changes:
            iterator = iter(getattr(root.scores, name)())
            next(iterator)
            change()
            with pytest.raises(RuntimeError, match="changed size"):
                next(iterator)
        iterator = iter(getattr(root.scores, name)())
        root.scores.clear()
        with pytest.raises(RuntimeError):
            next(iterator)


def test_ended_and_iterators() -> None:
    """An ended draft, its views and its running iterators raise."""
    with bench(items={"a": Item(1), "b": Item(2)}).dropped() as root:
        items, view, values = root.items, root.items.keys(), iter(root.items.values())
        next(values)
        keys = iter(items)
        next(keys)
    for access in (
        lambda: items["a"],
        lambda: len(items),
        lambda: list(items),
        lambda: "a" in items,
        lambda: items == {},
        lambda: items.get("a"),
        lambda: items.setdefault("a", Item()),
        lambda: list(view),
        lambda: next(values),
        lambda: next(keys),
        lambda: bool(items),
        lambda: reversed(items),
        lambda: items | {},
        lambda: {} | items,
    ):
        with pytest.raises(StaleDraft):
            access()
