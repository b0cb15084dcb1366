"""Patches of whole updates: what is one operation, what is none, and what is refused."""

from __future__ import annotations

import json
import operator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb import draft
from cairndb.errors import StaleDraft, ValidationError
from cairndb.patch import MERGE
from cairndb.record import Record
from drafting import Bench
from effort import examples


class Account(Record):
    owner: str
    balance: int = 0
    tags: list[str] = []


class Bank(Record):
    accounts: dict[str, Account] = {}
    total: int = 0


class Folder(Record):
    folders: dict[str, Folder] = {}
    files: list[str] = []


def bank(count: int = 2) -> Bench:
    """A bank with accounts named by their numbers."""
    return Bench(Bank, Bank({str(number): Account(f"owner {number}") for number in range(count)}))


def test_nothing_done_is_nothing() -> None:
    """Reading makes no patch, nor do writes that leave everything as it was."""
    world = bank()
    with world.update() as root:
        assert [account.tags for account in root.accounts.values()] == [[], []]
    assert world.patch == []
    with world.update() as root:
        root.accounts["0"].tags.append("x")
        root.accounts["0"].tags.pop()
        root.accounts["2"] = Account("c")
        del root.accounts["2"]
        root.total += 1
        root.total -= 1
    assert world.patch == []


def test_a_transfer_is_two_operations() -> None:
    """What an update changed, and nothing else."""
    world = bank()
    with world.update() as root:
        root.accounts["0"].balance -= 5
        root.accounts["1"].balance += 5
    assert world.patch == [
        ("set", "/accounts/0/balance", -5),
        ("set", "/accounts/1/balance", 5),
    ]


def test_a_new_subtree_is_one_operation() -> None:
    """However it came about, what is new is set at once, whole."""
    world = Bench(Folder, Folder())
    with world.update() as root:
        root.folders["a"] = Folder()
        root.folders["a"].folders["b"] = Folder()
        root.folders["a"].folders["b"].files += ["x", "y"]
        root.folders["a"].folders["b"].files.pop(0)
    below = {"b": {"folders": {}, "files": ["y"]}}
    assert world.patch == [("set", "/folders/a", {"folders": below, "files": []})]


def test_a_bulk_load_is_one_merge() -> None:
    """Many new records are one operation, whose bytes are those of one dict of them."""
    world = bank(0)
    with world.update() as root:
        for number in range(1000):
            root.accounts[str(number)] = Account(f"owner {number}")
    assert [each[:2] for each in world.patch] == [("merge", "/accounts")]
    with world.update() as root:
        root.accounts["5"] = Account("other")
        root.accounts["5"].tags.append("t")
        root.accounts["6"] = Account("owner 6")
        root.accounts["new"] = Account("new")
    assert world.patch == [
        (
            "merge",
            "/accounts",
            {
                "5": {"owner": "other", "balance": 0, "tags": ["t"]},
                "new": {"owner": "new", "balance": 0, "tags": []},
            },
        )
    ]
    assert list(world.root.accounts)[-1] == "new"


@pytest.mark.parametrize("count", [2, 15, 16, 17, 65_535, 65_536])
def test_merges_of_every_header(count: int) -> None:
    """MessagePack counts the keys of a map in three ways; each is written and read."""
    world = Bench(dict[int, int], {-1: 0})
    with world.update() as root:
        root[-1] = 1
        root.update((number, number) for number in range(count - 1))
    (name, path, argument) = world.patch[0]
    assert (name, path, len(argument)) == ("merge", "/", count)
    assert len(world.root) == count


def test_several_drafts_of_one_state() -> None:
    """Collecting twice gives the same, and a draft that is dropped leaves no trace."""
    world = bank()
    with world.dropped() as root:
        root.accounts["0"].balance = 7
        root.accounts["9"] = Account("z")
        first = draft.collect(root)
        assert [msgspec.msgpack.encode(each) for each in first] == [
            msgspec.msgpack.encode(each) for each in draft.collect(root)
        ]
    with world.dropped() as root:
        assert root.accounts["0"].balance == 0
        assert len(root.accounts) == 2
        assert draft.collect(root) == []


def test_a_removed_branch_is_removed_to_its_leaves() -> None:
    """Drafts anywhere below a removed node can be read, and refuse to be written."""
    world = Bench(Folder, Folder({"a": Folder({"b": Folder({"c": Folder()})})}))
    with world.update() as root:
        a = root.folders["a"]
        c = a.folders["b"].folders["c"]
        c.files.append("x")
        del root.folders["a"]
        late = a.folders["b"]
        for node in (a, late, c):
            with pytest.raises(StaleDraft, match="removed or replaced"):
                node.files.append("y")
        assert c.files == ["x"]
        assert late.folders["c"].files == ["x"]
        root.folders["z"] = a
        root.folders["z"].folders["b"].folders["c"].files.append("z")
    assert world.root.folders["z"].folders["b"].folders["c"].files == ["x", "z"]
    for node in (a, late, c):
        with pytest.raises(StaleDraft, match="has ended"):
            _ = node.files


def test_moving_a_branch_below_itself_copies_it() -> None:
    """The tree can't become a cycle: what is assigned is a copy of what was there."""
    world = Bench(Folder, Folder({"a": Folder(files=["x"])}))
    with world.update() as root:
        root.folders["a"].folders["self"] = root.folders["a"]
        root.folders["b"] = root
        assert root.folders["b"].folders["a"].folders["self"].files == ["x"]
    assert world.root.folders["a"].folders["self"] == Folder(files=["x"])
    assert list(world.root.folders["b"].folders) == ["a"]


def test_depth_is_bounded_from_the_root() -> None:
    """A hundred levels are kept; one more is refused at the line that assigns it."""
    world = Bench(dict[str, Any], {})
    with world.update() as root:
        node = root
        for _ in range(99):
            node["a"] = {}
            node = node["a"]
        with pytest.raises(ValidationError, match="deeper than 100"):
            node["a"] = {"a": {}}
        node["a"] = 1
    cycle: list[Any] = []
    cycle.append(cycle)
    with world.dropped() as root, pytest.raises(ValidationError, match="cycle"):
        root["cycle"] = cycle
    assert json.loads(json.dumps(world.root)) == world.root


def test_errors_name_stored_keys_and_fields() -> None:
    """The path of an error is that of the patch: RFC 6901, fields by their stored names."""
    with bank().dropped() as root:
        root.accounts["a/b"] = Account("x")
        with pytest.raises(ValidationError) as caught:
            root.accounts["a/b"].tags.append(5)
        assert caught.value.path == ("accounts", "a/b", "tags", 0)
        assert str(caught.value).startswith("/accounts/a~1b/tags/0: ")


SPLICED = st.lists(st.integers(0, 3), max_size=8)


@settings(max_examples=examples(150))
@given(SPLICED, SPLICED)
def test_any_list_becomes_any_other(before: list[int], after: list[int]) -> None:
    """Assigning a slice of everything gives splices that make it, no more than what differs."""
    world = Bench(dict[str, list[int]], {"a": before})
    with world.update() as root:
        root["a"][:] = after
    logged = sum(len(argument[2]) for name, _, argument in world.patch if name == "splice")
    if len(before) == len(after):
        assert logged == sum(map(operator.ne, before, after))


@given(st.permutations(range(7)), st.data())
def test_moves_log_what_moved(order: list[int], data: st.DataObject) -> None:
    """A sorted list logs only elements outside a longest run that stayed."""
    world = Bench(dict[str, list[int]], {"a": list(range(7))})
    with world.update() as root:
        root["a"].sort(key=order.index)
        if data.draw(st.booleans()):
            root["a"].pop(data.draw(st.integers(0, 6)))
    logged = sum(len(argument[2]) for _, _, argument in world.patch)
    assert logged < 7


@pytest.mark.slow
def test_a_big_load_is_encoded_at_once() -> None:
    """200,000 new records are one MERGE."""
    world = bank(0)
    root = draft.open_draft(world.kind, world.root)
    for number in range(200_000):
        root.accounts[str(number)] = Account("x", number)
    (only,) = draft.collect(root)
    assert only.code == MERGE
    assert len(msgspec.msgpack.decode(only.argument)) == 200_000
    draft.close(root)
