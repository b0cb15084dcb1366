"""Watches of an open database: what they give, when they end, and what they leave behind."""

from __future__ import annotations

import datetime as dt
import enum
import gc
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.errors import UnknownPosition, UsageError
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb.watch import Watch


class Color(enum.Enum):
    RED = "red"


class Account(cairndb.Record):
    owner: str
    balance: int = 0
    tags: set[str] = set()


class Circle(cairndb.Record, tag="circle"):
    color: Color = Color.RED


class Square(cairndb.Record, tag="square"):
    color: str = "red"


class Bank(cairndb.Record):
    accounts: dict[str, Account] = {}
    by_id: dict[uuid.UUID, dt.date] = {}
    shape: Circle | Square | None = None
    steps: list[tuple[int, int]] = []

    @cairndb.update
    def deposit(self, key: str, amount: int) -> None:
        """An update that has a name."""
        self.accounts[key].balance += amount


@pytest.fixture
def db(tmp_path: Path) -> Iterator[cairndb.Database[Bank]]:
    """A bank with one account, at LSN 2."""
    with cairndb.open(tmp_path / "bank.cairn", Bank, audit=True) as db:
        with db.update() as bank:
            bank.accounts["alice"] = Account("Alice", 1)
        yield db


def deposit(db: cairndb.Database[Bank], amount: int = 1) -> int:
    """One update; its LSN."""
    db.run(Bank.deposit, "alice", amount)
    return db.lsn


def seen(watch: Watch) -> list[tuple[str, int, list[tuple[str, Any, Any]]]]:
    """What there is by now: kind, LSN, and the changes."""
    found: list[tuple[str, int, list[tuple[str, Any, Any]]]] = []
    while (item := watch.poll()) is not None:
        changes = [(change.pointer, change.before, change.after) for change in item.changes]
        found.append((item.kind, item.lsn, changes))
    return found


def test_each_update_is_one_item(db: cairndb.Database[Bank]) -> None:
    """All that it changed under the pattern, with its LSN, time, and the name of its call."""
    watch = db.watch("/accounts/*/balance")
    before = dt.datetime.now(dt.UTC)
    deposit(db, 4)
    with db.update() as bank:
        bank.accounts["bob"] = Account("Bob", 7)
        bank.accounts["alice"].balance = 0
        bank.accounts["alice"].tags.add("new")
    item = watch.poll()
    assert item is not None
    assert item.time is not None
    assert before <= item.time <= dt.datetime.now(dt.UTC)
    assert (item.kind, item.lsn, item.call) == ("update", 3, "Bank.deposit")
    (change,) = item.changes
    assert (change.path, change.kind) == (("accounts", "alice", "balance"), "changed")
    assert (change.before, change.after) == (1, 5)
    assert seen(watch) == [
        ("update", 4, [("/accounts/alice/balance", 5, 0), ("/accounts/bob/balance", None, 7)])
    ]


def test_what_doesnt_match_is_no_item(db: cairndb.Database[Bank]) -> None:
    """Nor is what is set to what it was, or an update that changed nothing."""
    watch = db.watch("/accounts/bob/**")
    deposit(db)
    with db.update() as bank:
        bank.accounts["bob"] = Account("Bob")
    with db.update() as bank:
        bank.accounts["bob"] = Account("Bob")
    with db.update():
        pass
    bob = [("/accounts/bob", None, Account("Bob"))]
    assert seen(watch) == [("update", 4, bob)]


def test_initial_begins_with_what_is_there(db: cairndb.Database[Bank]) -> None:
    """As of an LSN, and goes on from there; also if there is nothing yet."""
    watch = db.watch("/accounts/*/balance", initial=True)
    nothing = db.watch("/accounts/bob", initial=True)
    deposit(db)
    assert seen(watch) == [
        ("initial", 2, [("/accounts/alice/balance", None, 1)]),
        ("update", 3, [("/accounts/alice/balance", 1, 2)]),
    ]
    assert seen(nothing) == [("initial", 2, [])]


def test_a_watch_goes_on_after_a_position(db: cairndb.Database[Bank]) -> None:
    """Of an item, or an LSN alone; from the log, here and after the database was opened again."""
    for _ in range(4):
        deposit(db)
    first, second, *_ = list(db.watch("/accounts/**", since=2, timeout=0))
    assert (first.lsn, second.lsn) == (3, 4)
    assert [item.lsn for item in db.watch(since=first.position, timeout=0)] == [4, 5, 6]
    assert [item.lsn for item in db.watch(since=0, timeout=0)] == [1, 2, 3, 4, 5, 6]
    assert list(db.watch(since=6, timeout=0)) == []
    path = db.path
    db.close()
    with cairndb.open(path, Bank) as again:
        assert [item.lsn for item in again.watch(since=second.position, timeout=0)] == [5, 6]


@pytest.mark.parametrize("since", ["5-00000000", 9, "9-00000000", "0-00000001"])
def test_a_position_of_another_history_is_told(db: cairndb.Database[Bank], since: int) -> None:
    """Another checksum at that LSN, or an LSN that isn't reached yet."""
    for _ in range(3):
        deposit(db)
    with pytest.raises(UnknownPosition, match="of another history"):
        db.watch(since=since)
    assert db.stats()["watches"] == 0


@pytest.mark.parametrize("since", ["", "4711-", "-1", -1, "x", 1.5])
def test_what_is_no_position_is_refused(db: cairndb.Database[Bank], since: Any) -> None:
    """With an example of one; so is asking for two beginnings."""
    with pytest.raises(UsageError, match="isn't a position"):
        db.watch(since=since)
    with pytest.raises(UsageError, match="one of them"):
        db.watch(since=1, initial=True)


def test_values_are_of_their_types(db: cairndb.Database[Bank]) -> None:
    """Records are Records, keys are keys, also where only the state tells the type."""
    watch = db.watch("/**", since=2)
    key = uuid.UUID(int=7)
    with db.update() as bank:
        bank.by_id[key] = dt.date(2025, 1, 2)
        bank.shape = Square("blue")
        bank.steps.append((1, 2))
    colors = db.watch("/shape/color")
    with db.update() as bank:
        bank.shape = Circle()
        bank.steps[0] = (1, 3)
    with db.update() as bank:
        bank.shape = None
    first, second, third = (watch.poll() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert {change.path: change.after for change in first.changes} == {
        ("by_id", key): dt.date(2025, 1, 2),
        ("shape",): Square("blue"),
        ("steps", 0): (1, 2),
    }
    assert {change.path: change.after for change in second.changes} == {
        ("shape",): Circle(),
        ("steps", 0): (1, 3),
    }
    assert third.changes[0].before == Circle()
    assert seen(colors) == [
        ("update", 4, [("/shape/color", "blue", Color.RED)]),
        ("update", 5, [("/shape/color", Color.RED, None)]),
    ]


def test_what_is_given_is_no_part_of_the_tree(db: cairndb.Database[Bank]) -> None:
    """Containers are the reader's own."""
    item = db.watch("/accounts/*", initial=True).poll()
    assert item is not None
    tags = item.changes[0].after.tags
    assert type(tags) is set
    tags.add("mine")
    with db.view() as bank:
        assert not bank.accounts["alice"].tags


def test_a_set_is_one_value(db: cairndb.Database[Bank]) -> None:
    """The smallest parts that differ are those that have a path."""
    watch = db.watch("/accounts/**")
    with db.update() as bank:
        bank.accounts["alice"].tags |= {"a", "b"}
    assert seen(watch) == [("update", 3, [("/accounts/alice/tags", set(), {"a", "b"})])]


@pytest.mark.parametrize(
    "pattern",
    ["/acounts/*", "/accounts/*/balanc", "/steps/first", "/steps/0/0", "/shape/size", "/by_id/x"],
)
def test_a_misspelt_pattern_is_refused(db: cairndb.Database[Bank], pattern: str) -> None:
    """No path of the declared types could ever match it; `**` may be anything."""
    with pytest.raises(UsageError, match="is no path that is declared"):
        db.watch(pattern)
    for good in ("/", "/by_id/*", "/shape/color", "/steps/*", "/**/balance", "/*/*/*"):
        db.watch(good).close()


def test_bookmarks_tell_how_far_it_got(db: cairndb.Database[Bank]) -> None:
    """Where there are updates and none that matches; not where there are none."""
    watch = db.watch("/accounts/bob", bookmarks=0)
    assert seen(watch) == []
    deposit(db)
    assert seen(watch) == [("bookmark", 3, [])]
    assert seen(watch) == []
    assert watch.position.startswith("3-")


def test_a_timeout_ends_the_iteration(db: cairndb.Database[Bank]) -> None:
    """For good, as iterators end; `poll` waits again."""
    watch = db.watch(timeout=0.01)
    deposit(db)
    assert [item.lsn for item in watch] == [3]
    deposit(db)
    assert list(watch) == []
    assert watch.poll() is None
    again = db.watch(since=watch.position)
    item = again.poll(10)
    assert item is not None
    assert item.lsn == 4
    assert again.poll(0.01) is None


def test_an_item_ends_a_wait(db: cairndb.Database[Bank]) -> None:
    """As soon as it is durable."""
    watch = db.watch()
    waiting = Aside(lambda: next(watch))
    wait_until(lambda: watch._gate is not None)
    deposit(db)
    assert waiting.result().lsn == 3


def test_closing_ends_a_wait(db: cairndb.Database[Bank]) -> None:
    """From another thread, at once: the iteration is over."""
    watch = db.watch()
    waiting = Aside(lambda: list(watch))
    wait_until(lambda: watch._gate is not None)
    watch.close()
    assert waiting.result() == []
    assert list(watch) == []


def test_the_end_of_the_database_ends_a_wait(db: cairndb.Database[Bank]) -> None:
    """With the error that everybody gets."""
    watch = db.watch()
    waiting = Aside(lambda: list(watch))
    wait_until(lambda: watch._gate is not None)
    db.close()
    with pytest.raises(UsageError, match="has been closed"):
        waiting.result()


def test_nothing_is_left_behind(db: cairndb.Database[Bank]) -> None:
    """A watch that is closed or forgotten costs later updates nothing."""
    with db.watch():
        assert db.stats()["watches"] == 1
    watch: Watch | None = db.watch(since=1)
    assert watch is not None
    assert watch.poll() is not None
    watch = None
    gc.collect()
    assert db.stats()["watches"] == 0
    assert db._engine.on_promise is None


def test_an_update_may_watch(db: cairndb.Database[Bank]) -> None:
    """In its block a watch begins with the state before it."""
    with db.update() as bank:
        watch = db.watch("/accounts/*/balance", initial=True)
        bank.accounts["alice"].balance = 9
    assert seen(watch) == [
        ("initial", 2, [("/accounts/alice/balance", None, 1)]),
        ("update", 3, [("/accounts/alice/balance", 1, 9)]),
    ]
