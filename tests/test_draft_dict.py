"""Drafts of dicts: the whole interface of dict, order, live views, and net effects."""

from __future__ import annotations

import copy
import pickle
from collections.abc import MutableMapping
from time import perf_counter
from typing import Annotated, Any

import pytest
from msgspec import Meta

from cairndb import draft
from cairndb.errors import StaleDraft, ValidationError
from cairndb.record import Record
from drafting import Bench

Scores = dict[str, int]


class Item(Record):
    size: int = 0
    tags: list[str] = []


class Root(Record):
    scores: dict[str, int] = {}
    items: dict[str, Item] = {}
    nested: dict[str, dict[str, int]] = {}
    mixed: dict[int | float, str] = {}
    pairs: dict[tuple[int, str], int] = {}
    bounded: Annotated[dict[str, int], Meta(max_length=2)] = {}
    anything: Any = None


def bench(**fields: Any) -> Bench:
    """A bench with these fields, and scores a=1, b=2, c=3."""
    fields.setdefault("scores", {"a": 1, "b": 2, "c": 3})
    return Bench(Root, Root(**fields))


def test_nothing_public_is_missing() -> None:
    """The draft and its views have every public name and every operator of the builtins'."""
    allowed = {"__class_getitem__", "__init_subclass__"}
    with bench().dropped() as root:
        for mine, theirs in (
            (root.scores, {}),
            (root.scores.keys(), {}.keys()),
            (root.scores.values(), {}.values()),
            (root.scores.items(), {}.items()),
        ):
            assert set(dir(theirs)) - set(dir(mine)) <= allowed


def test_reading() -> None:
    """Lookups, membership, length, iteration both ways and comparison are a dict's."""
    with bench().dropped() as root:
        scores = root.scores
        assert issubclass(type(scores), MutableMapping)
        assert not isinstance(scores, dict)
        assert (scores["a"], scores.get("b"), scores.get("x"), scores.get("x", 7)) == (
            1,
            2,
            None,
            7,
        )
        assert "a" in scores
        assert "x" not in scores
        assert (len(scores), list(scores), list(reversed(scores))) == (3, [*"abc"], [*"cba"])
        assert scores == {"c": 3, "a": 1, "b": 2}
        assert scores == {"a": 1, "b": 2, "c": 3}
        assert scores != {"a": 1}
        assert scores != 5
        assert dict(scores) == {**scores} == scores.copy() == scores
        assert repr(scores) == "{'a': 1, 'b': 2, 'c': 3}"
        with pytest.raises(KeyError, match="'x'"):
            _ = scores["x"]
        with pytest.raises(TypeError, match="unhashable"):
            _ = scores[[]]
        with pytest.raises(TypeError, match="unhashable"):
            hash(scores)
        match scores:
            case {"a": 1, **rest}:
                assert rest == {"b": 2, "c": 3}
            case _:
                pytest.fail("not matched")


def test_order() -> None:
    """A replaced key keeps its place, a new one and one put back stand at the end."""
    world = bench()
    with world.update() as root:
        scores = root.scores
        scores["a"] = 10
        scores["d"] = 4
        del scores["b"]
        scores["b"] = 20
        assert list(scores.items()) == [("a", 10), ("c", 3), ("d", 4), ("b", 20)]
        assert list(reversed(scores)) == ["b", "d", "c", "a"]
    assert list(world.root.scores) == ["a", "c", "d", "b"]
    assert world.patch == [
        ("delete", "/scores/b", None),
        ("merge", "/scores", {"a": 10, "d": 4, "b": 20}),
    ]


def test_what_comes_back_to_its_place_is_nothing() -> None:
    """Keys put back in their old order at the old end are no change; others are deleted and set."""
    world = bench()
    with world.update() as root:
        last = root.scores.popitem()
        root.scores["b"] = root.scores.pop("b")
        root.scores.update([last])
    assert world.patch == []
    with world.update() as root:
        root.scores["a"] = root.scores.pop("a")
    assert world.patch == [("delete", "/scores/a", None), ("set", "/scores/a", 1)]
    with world.update() as root:
        items = list(root.scores.items())
        root.scores.clear()
        root.scores.update(items)
    assert world.patch == []


def test_pop_popitem_setdefault() -> None:
    """The methods that remove give plain values; setdefault gives the draft of what it assigned."""
    world = bench(items={"a": Item(1), "b": Item(2)})
    with world.update() as root:
        root.items["a"].size = 5
        popped = root.items.pop("a")
        assert type(popped) is Item
        assert popped == Item(5)
        assert root.items.pop("a", None) is None
        with pytest.raises(KeyError):
            root.items.pop("a")
        assert root.items.setdefault("b", Item(9)).size == 2
        root.items.setdefault("c", Item(3)).tags.append("t")
        key, value = root.items.popitem()
        assert (key, type(value), value) == ("c", Item, Item(3, ["t"]))
        assert root.items.popitem() == ("b", Item(2))
        with pytest.raises(KeyError, match="dictionary is empty"):
            root.items.popitem()
    assert world.root.items == {}


def test_update_and_operators() -> None:
    """update, `|=`, `|` in both directions and fromkeys take and give what a dict's do."""
    world = bench(items={"a": Item(1)})
    with world.update() as root:
        scores = root.scores
        scores.update({"a": 2}, d=4)
        scores.update([("e", 5)])
        scores |= {"f": 6}
        scores |= [("g", 7)]
        scores.update(scores)
        assert scores is root.scores
        assert type(scores | {"z": 0}) is dict
        assert (scores | {"z": 0})["z"] == 0
        assert list({"z": 0} | scores) == ["z", *scores]
        assert list(scores | scores) == list(scores)
        with pytest.raises(TypeError):
            _ = scores | [("a", 1)]
        with pytest.raises(TypeError):
            scores.update(5)
        assert scores.fromkeys("ab", 1) == {"a": 1, "b": 1}
        (root.items | {})["a"].size = 3
        root.items.copy()["a"].tags.append("x")
    assert world.root.scores == {"a": 2, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}
    assert world.root.items == {"a": Item(3, ["x"])}


def test_children_are_drafts_however_reached() -> None:
    """Values, items, get, unpacking and iteration give the same drafts."""
    world = bench(items={"a": Item(1), "b": Item(2)})
    with world.update() as root:
        a = root.items["a"]
        assert a is root.items.get("a")
        assert a is next(iter(root.items.values()))
        assert a is next(iter(root.items.items()))[1]
        assert a is dict(root.items)["a"]
        for item in root.items.values():
            item.size += 1
        for _, item in root.items.items():  # noqa: PERF102  it is what is tested
            item.tags.append("t")
    assert world.root.items == {"a": Item(2, ["t"]), "b": Item(3, ["t"])}


def test_new_and_removed_nodes() -> None:
    """A new subtree is one operation with all that was done to it; a removed one is a delete."""
    world = bench(items={"a": Item(1)})
    with world.update() as root:
        root.items["b"] = Item(2)
        root.items["b"].tags += ["x", "y"]
        root.items["b"].size = 3
        removed = root.items["a"]
        del root.items["a"]
        with pytest.raises(StaleDraft):
            removed.size = 1
        with pytest.raises(StaleDraft):
            removed.tags.append("x")
    assert world.patch == [
        ("delete", "/items/a", None),
        ("set", "/items/b", {"size": 3, "tags": ["x", "y"]}),
    ]


def test_a_replaced_node_equal_to_the_old_is_nothing() -> None:
    """Overwriting with an equal value, or undoing below a new value, leaves nothing to log."""
    world = bench(items={"a": Item(1, ["t"])})
    with world.update() as root:
        root.items["a"] = Item(1, ["t", "u"])
        root.items["a"].tags.pop()
    assert world.patch == []


def test_moving_a_node_copies_it() -> None:
    """A draft assigned elsewhere is a value: the two go separate ways."""
    world = bench(nested={"a": {"x": 1}})
    with world.update() as root:
        root.nested["b"] = root.nested["a"]
        root.nested["b"]["x"] = 2
        root.nested["a"]["y"] = 3
        root.nested["a"] = root.nested["a"]
        root.nested["c"] = root.nested.pop("a")
    assert world.root.nested == {"b": {"x": 2}, "c": {"x": 1, "y": 3}}


def test_existing_keys_are_named_as_stored() -> None:
    """1.0 in the state is reached as 1, and named 1.0 in the patch; a new key is what was given."""
    world = bench(mixed={1.0: "a", 2: "b"})
    with world.update() as root:
        root.mixed[1] = "x"
        assert list(root.mixed) == [1.0, 2]
        del root.mixed[2.0]
    assert world.patch == [("delete", "/mixed/2", None), ("set", "/mixed/1.0", "x")]
    assert type(next(iter(world.root.mixed))) is float


def test_a_key_put_back_in_another_form_is_another_key() -> None:
    """Deleting 1.0 and putting 1 there changes the state, though they are equal."""
    world = bench(mixed={1.0: "a"})
    with world.update() as root:
        root.mixed[1] = root.mixed.pop(1.0)
    assert type(next(iter(world.root.mixed))) is int


def test_keys_of_other_types() -> None:
    """A tuple as a key goes through the path as itself."""
    world = bench(pairs={(1, "a"): 1})
    with world.update() as root:
        root.pairs[1, "a"] += 1
        root.pairs[2, "b"] = 5
        with pytest.raises(ValidationError, match="/pairs: key"):
            root.pairs["x"] = 1
    assert world.root.pairs == {(1, "a"): 2, (2, "b"): 5}


def test_bounds_are_judged_at_the_end() -> None:
    """A dict may be too long for a while, not at the end of the block."""
    world = bench(bounded={"a": 1})
    with world.update() as root:
        root.bounded.update(b=2, c=3)
        del root.bounded["a"]
    with pytest.raises(ValidationError, match="/bounded: "), world.update() as root:
        root.bounded["d"] = 4
    assert world.root.bounded == {"b": 2, "c": 3}


def test_clearing_a_big_dict_is_one_small_operation() -> None:
    """Whichever is smaller: the deletions, or the whole of what is left."""
    world = bench(scores={f"k{number}": number for number in range(100)})
    with world.update() as root:
        root.scores.clear()
        root.scores["x"] = 1
    assert world.patch == [("set", "/scores", {"x": 1})]
    with world.update() as root:
        root.scores.clear()
    assert world.patch in ([("set", "/scores", {})], [("delete", "/scores/x", None)])


def test_popping_everything() -> None:
    """Popitem takes the newest first, and is one walk in all."""
    count = 20_000
    world = bench(scores={str(number): number for number in range(count)})
    with world.update() as root:
        root.scores["new"] = -1
        root.scores.pop(str(count - 1))
        expected = [("new", -1), *((str(n), n) for n in reversed(range(count - 1)))]
        assert [root.scores.popitem() for _ in range(len(root.scores))] == expected
        assert not root.scores
    assert world.root.scores == {}


def test_the_root_may_be_a_dict() -> None:
    """A dict as root works as any other, also when all of it changes."""
    world = Bench(dict[str, Any], {"a": 1, "b": [1]})
    with world.update() as root:
        root["b"].append(2)
        root["c"] = {"d": None}
    assert world.patch == [("splice", "/b", [1, 0, [2]]), ("set", "/c", {"d": None})]
    with world.update() as root:
        root.clear()
    with world.update() as root:
        root |= {str(number): number for number in range(10)}
    assert [name for name, _, _ in world.patch] == ["merge"]


def test_copies_are_plain() -> None:
    """plain, deepcopy and pickle give plain dicts of Records; a shallow copy keeps drafts."""
    with bench(items={"a": Item(1)}).dropped() as root:
        root.items["a"].size = 2
        expected = {"a": Item(2)}
        for copied in (
            draft.plain(root.items),
            copy.deepcopy(root.items),
            pickle.loads(pickle.dumps(root.items)),  # noqa: S301  of our own bytes
        ):
            assert type(copied) is dict
            assert type(copied["a"]) is Item
            assert copied == expected
        assert copy.copy(root.items)["a"] is root.items["a"]


def test_under_any() -> None:
    """Containers under Any are drafts as well; what can't be kept is refused at once."""
    world = bench(anything={"a": {"b": [1, 2]}})
    with world.update() as root:
        root.anything["a"]["b"][0] = "x"
        root.anything["a"].setdefault("c", []).append({"d": 1})
        root.anything["a"]["c"][0]["d"] = 2
        with pytest.raises(ValidationError, match="/anything/a/z"):
            root.anything["a"]["z"] = {1, 2}
        with pytest.raises(ValidationError, match="/anything/a"):
            root.anything["a"][None] = 1
    assert world.root.anything == {"a": {"b": ["x", 2], "c": [{"d": 2}]}}


@pytest.mark.slow
def test_one_key_costs_the_same_in_any_dict() -> None:
    """Reading and changing one key of 300,000 takes about as long as of ten."""
    seconds = {}
    for count in (10, 300_000):
        world = bench(items={str(number): Item(number) for number in range(count)})
        times = []
        for _ in range(20):
            start = perf_counter()
            root = draft.open_draft(world.kind, world.root)
            root.items["5"].size += 1
            root.items["new"] = Item()
            del root.items["6"]
            assert len(draft.collect(root)) == 3
            draft.close(root)
            times.append(perf_counter() - start)
        seconds[count] = min(times)
    assert seconds[300_000] < 10 * seconds[10] + 0.001
