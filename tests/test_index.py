"""Indexes: what they find in views and updates, what they refuse, and what can't be declared."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

import cairndb
from cairndb import Index


class Card(cairndb.Record):
    number: int
    labels: list[str] = []


class Account(cairndb.Record):
    owner: str
    email: str | None = None
    balance: int = 0
    tags: list[str] = []
    cards: dict[str, Card] = {}

    by_number = Index(Card, "cards/*", key=lambda card: card.number, ordered=True)


class Bank(cairndb.Record):
    accounts: dict[str, Account] = {}
    queue: list[Account] = []

    by_owner = Index(Account, "accounts/*", key=lambda account: account.owner, ordered=True)
    by_email = Index(
        Account,
        "accounts/*",
        key=lambda account: account.email,
        where=lambda account: account.email is not None,
        unique=True,
    )
    by_tag = Index(Account, "accounts/*", keys=lambda account: account.tags)
    by_card = Index(Card, "accounts/*/cards/*", key=lambda card: card.number)
    queued = Index(Account, "queue/*", key=lambda account: account.owner)


def opened(path: Path) -> cairndb.Database[Bank]:
    """A bank with three accounts."""
    db = cairndb.open(path / "bank.cairn", Bank)
    with db.update() as bank:
        bank.accounts["a"] = Account("Alice", "alice@example.org", 10, ["new", "vip"])
        bank.accounts["b"] = Account("Bob", None, 20, ["new"])
        bank.accounts["c"] = Account("Alice", None, 30, cards={"x": Card(7)})
    return db


def test_an_index_finds_live_records_by_key(tmp_path: Path) -> None:
    """What a view gets are the records of the state themselves, none where there is no such key."""
    with opened(tmp_path) as db, db.view() as bank:
        assert {a.balance for a in bank.by_owner["Alice"]} == {10, 30}
        assert bank.by_owner["Bob"][0] is bank.accounts["b"]
        assert bank.by_owner["Carol"] == []
        assert sorted(bank.by_owner.paths("Alice")) == [("accounts", "a"), ("accounts", "c")]
        assert bank.by_owner.keys() == ["Alice", "Bob"]
        assert ("Bob" in bank.by_owner, "Carol" in bank.by_owner) == (True, False)
        assert (bank.by_owner.count("Alice"), len(bank.by_owner)) == (2, 3)
        assert [a.owner for a in bank.by_owner] == ["Alice", "Alice", "Bob"]


def test_one_is_the_only_one(tmp_path: Path) -> None:
    """`one` refuses none and several; `get` has a default for none."""
    with opened(tmp_path) as db, db.view() as bank:
        assert bank.by_email.one("alice@example.org").balance == 10
        assert bank.by_email.get("nobody@example.org") is None
        assert bank.by_email.get("nobody@example.org", 5) == 5
        with pytest.raises(KeyError):
            bank.by_email.one("nobody@example.org")
        with pytest.raises(LookupError, match=r"2 entries have the key 'Alice' in Bank\.by_owner"):
            bank.by_owner.one("Alice")


def test_an_entry_may_have_several_keys_or_none(tmp_path: Path) -> None:
    """`keys` makes any number of keys, each once; `where` leaves entries out."""
    with opened(tmp_path) as db:
        with db.view() as bank:
            assert [a.owner for a in bank.by_tag["vip"]] == ["Alice"]
            assert bank.by_tag.count("new") == 2
            assert len(bank.by_email) == 1
        with db.update() as bank:
            bank.accounts["b"].tags = ["vip", "vip"]
        with db.view() as bank:
            assert (bank.by_tag.count("vip"), bank.by_tag.count("new")) == (2, 1)


def test_an_ordered_index_scans(tmp_path: Path) -> None:
    """Ranges leave out their end unless told otherwise; prefixes; the first and the last."""
    with opened(tmp_path) as db:
        with db.update() as bank:
            for name in ("Al", "Bobby", "Carol"):
                bank.accounts[name] = Account(name)
        with db.view() as bank:
            names = bank.by_owner

            def owners(found: list[Account]) -> list[str]:
                return [account.owner for account in found]

            assert owners(names.range("Alice", "Bob")) == ["Alice", "Alice"]
            assert owners(names.range("Bob", "Bobby", inclusive=(False, True))) == ["Bobby"]
            assert owners(names.range(high="B", reverse=True)) == ["Alice", "Alice", "Al"]
            assert owners(names.range("Bob", limit=2)) == ["Bob", "Bobby"]
            assert owners(names.prefix("Bob")) == ["Bob", "Bobby"]
            assert owners(names.prefix("Bob", reverse=True, limit=1)) == ["Bobby"]
            assert len(names.prefix("")) == len(names) == 6
            assert owners(names.first(2)) == ["Al", "Alice"]
            assert owners(names.last()) == ["Carol"]
            with pytest.raises(cairndb.UsageError, match=r"Bank\.by_tag isn't ordered"):
                bank.by_tag.first()


@pytest.mark.parametrize(
    ("prefix", "keys", "found"),
    [
        (b"a\xff", [b"a", b"a\xff", b"a\xff\xff", b"b"], [b"a\xff", b"a\xff\xff"]),
        (b"\xff", [b"\xfe", b"\xff", b"\xffa"], [b"\xff", b"\xffa"]),
        ("a\U0010ffff", ["a", "a\U0010ffff", "a\U0010ffffz", "b"], ["a\U0010ffff", "a\U0010ffffz"]),
        ((1,), [(0, 9), (1, -5), (1, 5), (2, 0)], [(1, -5), (1, 5)]),
    ],
)
def test_a_prefix_ends_where_it_should(tmp_path: Path, prefix: Any, keys: Any, found: Any) -> None:
    """Also where its last character or byte is the last that there is, and for tuples."""

    class Named(cairndb.Record):
        key: Any

    class Names(cairndb.Record):
        all: list[Named] = []
        by_key = Index(
            Named,
            "all/*",
            key=lambda each: tuple(each.key) if isinstance(each.key, list) else each.key,
            ordered=True,
        )

    with cairndb.open(tmp_path / "x.cairn", Names) as db:
        with db.update() as names:
            names.all = [Named(list(key) if isinstance(key, tuple) else key) for key in keys]
        with db.view() as names:
            for reverse in (False, True):
                shown = [each.key for each in names.by_key.prefix(prefix, reverse=reverse)]
                shown = [tuple(key) if isinstance(key, list) else key for key in shown]
                assert shown == (found[::-1] if reverse else found)
            with pytest.raises(cairndb.UsageError, match="has no beginning"):
                names.by_key.prefix(5)


def test_an_update_sees_its_own_changes(tmp_path: Path) -> None:
    """What it finds are drafts; an update that is dropped leaves no trace in an index."""
    with opened(tmp_path) as db:
        update = db.update()
        bank = update.__enter__()
        bank.by_owner.one("Bob").owner = "Carol"
        assert bank.by_owner.keys() == ["Alice", "Carol"]
        assert bank.by_owner["Bob"] == []
        bank.by_owner.one("Carol").owner = "Bob"
        assert bank.by_owner.paths("Bob") == [("accounts", "b")]
        del bank.accounts["b"]
        assert bank.by_owner.range("B", "D") == []
        bank.accounts["z"] = Account("Zoe")
        assert [a.owner for a in bank.by_owner.last(2)] == ["Zoe", "Alice"]
        update.__exit__(ValueError, ValueError(), None)
        with db.view() as bank:
            assert bank.by_owner.keys() == ["Alice", "Bob"]


def test_nested_paths_and_records_that_own_an_index(tmp_path: Path) -> None:
    """An index of the root may go through several wildcards; that of a record is its own."""
    with opened(tmp_path) as db:
        with db.update() as bank:
            bank.accounts["a"].cards["y"] = Card(7)
            bank.accounts["a"].cards["z"] = Card(8)
            assert [card.number for card in bank.accounts["a"].by_number.last()] == [8]
        with db.view() as bank:
            paths = bank.by_card.paths(7)
            assert sorted(paths) == [
                ("accounts", "a", "cards", "y"),
                ("accounts", "c", "cards", "x"),
            ]
            account = bank.accounts["a"]
            assert account.by_number.paths(8) == [("accounts", "a", "cards", "z")]
            assert account.by_number[7] == [account.cards["y"]]
        with db.update() as bank:
            bank.accounts["a"] = Account("Alice", cards={"q": Card(9)})
        with db.view() as bank:
            assert bank.accounts["a"].by_number.keys() == [9]


def test_records_of_a_list_may_move(tmp_path: Path) -> None:
    """An index of a list follows its positions."""
    with opened(tmp_path) as db:
        with db.update() as bank:
            bank.queue = [Account("A"), Account("B"), Account("C")]
        with db.update() as bank:
            bank.queue.insert(0, bank.queue.pop())
        with db.view() as bank:
            assert [bank.queued.paths(name)[0][1] for name in "CAB"] == [0, 1, 2]


def test_a_unique_key_rejects_the_update_that_gives_it_twice(tmp_path: Path) -> None:
    """The error names both; nothing has happened. A key may change hands within one update."""
    with opened(tmp_path) as db:
        lsn = db.lsn
        with (
            pytest.raises(cairndb.ConstraintError, match=r"Bank\.by_email is unique") as caught,
            db.update() as bank,
        ):
            bank.accounts["b"].email = "alice@example.org"
        assert set(caught.value.paths) == {("accounts", "a"), ("accounts", "b")}
        assert db.lsn == lsn
        with db.update() as bank:
            bank.accounts["b"].email = bank.accounts["a"].email
            bank.accounts["a"].email = None
        with db.view() as bank:
            assert bank.by_email.one("alice@example.org").owner == "Bob"


def test_a_key_that_is_put_back_as_it_was_is_what_it_was(tmp_path: Path) -> None:
    """Also where an index was asked while it was another, and something else has changed."""
    with opened(tmp_path) as db:
        with db.update() as bank:
            bank.accounts["a"].email = "other@example.org"
            assert bank.by_email.get("alice@example.org") is None
            bank.accounts["a"].email = "alice@example.org"
            bank.accounts["a"].balance += 1
        with db.view() as bank:
            assert bank.by_email.paths("alice@example.org") == [("accounts", "a")]
            assert "other@example.org" not in bank.by_email


def test_a_key_function_that_raises_rejects_the_update_with_the_path(tmp_path: Path) -> None:
    """So does one that makes what can't be a key: a list, NaN, or what can't be compared."""

    class Item(cairndb.Record):
        value: Any

    class Items(cairndb.Record):
        items: dict[str, Item] = {}
        ratio = Index(Item, "items/*", key=lambda item: item.value[0], ordered=True)

    with cairndb.open(tmp_path / "x.cairn", Items) as db:
        with db.update() as items:
            items.items["good"] = Item([1])
        for bad, reason in [
            (None, "TypeError"),
            ([[2]], "unhashable"),
            ([float("nan")], "nan can't be a key"),
            (["text"], r"Items\.ratio is ordered"),
        ]:
            with (
                pytest.raises(cairndb.ConstraintError, match=reason) as caught,
                db.update() as items,
            ):
                items.items["bad"] = Item(bad)
            assert caught.value.paths == (("items", "bad"),)
        with db.view() as items:
            assert list(items.items) == ["good"]
            assert items.ratio.keys() == [1]


def test_new_keys_that_cant_be_compared_with_each_other_are_refused(tmp_path: Path) -> None:
    """Before anything is logged, though the index was empty."""

    class Item(cairndb.Record):
        value: int | str

    class Items(cairndb.Record):
        items: list[Item] = []
        by_value = Index(Item, "items/*", key=lambda item: item.value, ordered=True)

    with cairndb.open(tmp_path / "x.cairn", Items) as db:
        with pytest.raises(cairndb.ConstraintError, match="is ordered"), db.update() as items:
            items.items = [Item(1), Item("a")]
        assert db.lsn == 1


def test_a_state_that_breaks_a_new_index_is_refused_at_open(tmp_path: Path) -> None:
    """The error names the records. A reader opens it all the same."""

    class Strict(cairndb.Record):
        accounts: dict[str, Account] = {}
        queue: list[Account] = []
        by_owner = Index(Account, "accounts/*", key=lambda a: a.owner, unique=True)

    opened(tmp_path).close()
    with pytest.raises(cairndb.ConstraintError, match="both have 'Alice'") as caught:
        cairndb.open(tmp_path / "bank.cairn", Strict)
    assert caught.value.paths == (("accounts", "a"), ("accounts", "c"))
    reader = cairndb.open(tmp_path / "bank.cairn", Strict, read_only=True)
    with reader, reader.view() as bank:
        assert bank.by_owner.count("Alice") == 2
    with cairndb.open(tmp_path / "bank.cairn", Bank) as db:
        assert db.lsn == 2


def test_indexes_are_there_after_every_way_of_opening(tmp_path: Path) -> None:
    """Reopened, read-only, and as of the past."""
    db = opened(tmp_path)
    lsn = db.lsn
    with db.update() as bank:
        bank.accounts["b"].owner = "Carol"
    db.close()
    path = tmp_path / "bank.cairn"
    with cairndb.open(path, Bank) as db, db.view() as bank:
        assert bank.by_owner.keys() == ["Alice", "Carol"]
    with cairndb.open(path, Bank, read_only=True) as db, db.view() as bank:
        assert bank.by_owner.keys() == ["Alice", "Carol"]
    with cairndb.open(path, Bank, at=lsn) as db, db.view() as bank:
        assert bank.by_owner.keys() == ["Alice", "Bob"]


def test_an_index_of_a_record_outside_of_a_database_says_so() -> None:
    """A record of one's own, or a copy, has no index."""
    with pytest.raises(cairndb.UsageError, match=r"Bank\.by_owner is an index of what is in"):
        _ = Bank().by_owner
    assert repr(Bank.by_owner) == "<cairndb.Index Bank.by_owner over /accounts/*>"


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (Index(Account, "acounts/*", key=id), "there is no 'acounts' in Bad"),
        (Index(Account, "accounts", key=id), r"stands dict\[str, Account\]"),
        (Index(Account, "accounts/*/owner", key=id), "stands str"),
        (Index(Card, "accounts/*", key=id), "declared of Card"),
        (Index(Account, "accounts/*/owner/x", key=id), "there is no 'x' in str"),
    ],
)
def test_an_index_that_can_find_nothing_is_refused_at_open(
    tmp_path: Path, index: Any, problem: str
) -> None:
    """With what stands there; nothing is made."""

    class Bad(cairndb.Record):
        accounts: dict[str, Account] = {}
        wrong = index

    with pytest.raises(cairndb.SchemaError, match=problem):
        cairndb.open(tmp_path / "x.cairn", Bad)
    assert not (tmp_path / "x.cairn" / "DATABASE").exists()


def test_an_index_takes_one_of_key_and_keys() -> None:
    """Neither and both are refused where they are written."""
    with pytest.raises(cairndb.UsageError, match="one of key="):
        Index(Account, "accounts/*", key=id, keys=list)  # type: ignore[call-overload]  # refused


def test_bounds_and_indexes_leave_the_stored_schema_alone(tmp_path: Path) -> None:
    """An index isn't on disk: adding one needs nothing."""

    class Plain(cairndb.Record):
        accounts: dict[str, Annotated[str, Meta(max_length=5)]] = {}

    with cairndb.open(tmp_path / "x.cairn", Plain) as db, db.update() as plain:
        plain.accounts["a"] = "x"

    class Noted(cairndb.Record):
        accounts: dict[str, Annotated[str, Meta(max_length=5)]] = {}

        @cairndb.check
        def not_empty(self) -> bool:
            return bool(self.accounts)

    with cairndb.open(tmp_path / "x.cairn", Noted) as noted:
        assert noted.lsn == 2
