"""The public API on a real directory: what a user sees."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from bank import Account, Bank, balances, filled
from cairndb.files import RealDirectory
from cairndb.patch import decode_entries
from cairndb.recovery import read_chain
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "bank.cairn"


def test_an_update_is_there_after_reopening(path: Path) -> None:
    """What a block wrote is read back, equal and typed."""
    filled(path).close()
    with cairndb.open(path, Bank) as db, db.view() as bank:
        assert bank.accounts == {"alice": Account("Alice", 100), "bob": Account("Bob")}
        assert type(bank.accounts["alice"]) is Account


def test_an_exception_in_the_block_leaves_no_trace(path: Path) -> None:
    """A block that raises changes neither memory nor the log."""
    with filled(path) as db:
        lsn = db.lsn
        with pytest.raises(ZeroDivisionError), db.update() as bank:
            bank.accounts["alice"].balance = 1 // 0
        with pytest.raises(KeyError):
            db.run(Bank.transfer, "nobody", "bob", 5)
        assert balances(db) == {"alice": 100, "bob": 0}
        assert db.lsn == lsn


def test_a_refused_value_leaves_no_trace_and_names_the_path(path: Path) -> None:
    """A bound that is violated at the end of the block drops the whole update."""
    with filled(path) as db:
        with pytest.raises(cairndb.ValidationError, match="/accounts/bob/balance"):
            db.run(Bank.transfer, "bob", "alice", 5)
        assert balances(db) == {"alice": 100, "bob": 0}
        db.run(Bank.transfer, "alice", "bob", 5)
        assert balances(db) == {"alice": 95, "bob": 5}


def test_an_update_that_changes_nothing_writes_nothing(path: Path) -> None:
    """Setting what is there already takes no LSN."""
    with filled(path) as db:
        lsn = db.lsn
        with db.update() as bank:
            bank.accounts["alice"].balance = 100
        assert db.lsn == lsn


def test_outside_an_update_nothing_can_be_changed(path: Path) -> None:
    """Records, dicts, lists and sets of the state refuse, and show what to write."""
    with filled(path) as db, db.view() as bank:
        changes: list[Callable[[], object]] = [
            lambda: setattr(bank.accounts["alice"], "balance", 5),
            bank.accounts.clear,
            lambda: bank.accounts["alice"].tags.append("x"),
            lambda: bank.holidays.add("x"),
        ]
        for change in changes:
            with pytest.raises(cairndb.ReadOnlyError, match=r"with db\.update\(\)"):
                change()


def test_without_guard_containers_are_the_builtins(path: Path) -> None:
    """guard=False leaves dicts, lists and sets as they come."""
    with filled(path, guard=False) as db, db.view() as bank:
        assert type(bank.accounts) is dict
        assert type(bank.accounts["alice"].tags) is list


def test_run_returns_plain_values(path: Path) -> None:
    """What a method returns is out of the tree: never a draft, never the live state."""
    with filled(path) as db:
        account = db.run(Bank.open_account, "carol", "Carol")
        assert type(account) is Account
        assert account == Account("Carol")
        assert db.run(Bank.total) == 100


def test_run_wants_a_marked_method(path: Path) -> None:
    """An unmarked method is refused with what to write above it."""
    with filled(path) as db, pytest.raises(cairndb.UsageError, match=r"@cairndb\.update"):
        db.run(lambda bank: bank.name)


def test_run_refuses_what_would_run_later(path: Path) -> None:
    """A generator would use its draft after the end of the update."""

    @cairndb.update
    def later(bank: Bank) -> Any:
        yield bank.name

    with filled(path) as db, pytest.raises(cairndb.UsageError, match="list"):
        db.run(later)


def test_a_database_without_a_type_keeps_plain_data(path: Path) -> None:
    """The default root is dict[str, Any]."""
    with cairndb.open(path) as db, db.update() as root:
        root["a"] = {"b": [1, 2.5, None, True, b"x"]}
    with cairndb.open(path) as db:
        with db.update() as root:
            root["a"]["b"].append("more")
        with db.view() as root:
            assert root == {"a": {"b": [1, 2.5, None, True, b"x", "more"]}}
            assert json.dumps(root["a"]["b"][:4]) == "[1, 2.5, null, true]"


def test_a_root_may_be_a_typed_dict(path: Path) -> None:
    """dict[int, Account] keeps its keys' type."""
    with cairndb.open(path, dict[int, Account]) as db, db.update() as accounts:
        accounts[7] = Account("Seven")
    with cairndb.open(path, dict[int, Account]) as db, db.view() as accounts:
        assert accounts == {7: Account("Seven")}


def test_transactions_do_not_nest(path: Path) -> None:
    """An update inside an update or a view of the same thread is refused, not a deadlock."""
    with filled(path) as db:
        with db.update(), pytest.raises(cairndb.UsageError), db.update():
            pass
        with db.view(), pytest.raises(cairndb.UsageError), db.update():
            pass
        for blocking in (db.sync, db.checkpoint, db.close):
            with db.view(), pytest.raises(cairndb.UsageError, match="inside a block"):
                blocking()
        assert balances(db) == {"alice": 100, "bob": 0}


def test_a_view_inside_an_update_shows_the_state_before_it(path: Path) -> None:
    """A nested view is granted, and sees nothing of the draft."""
    with filled(path) as db, db.update() as bank:
        bank.accounts["alice"].balance = 1
        assert balances(db)["alice"] == 100


def test_views_nest(path: Path) -> None:
    """A thread that holds a view may open another."""
    with filled(path) as db, db.view(), db.view() as bank:
        assert bank.accounts["alice"].balance == 100


def test_waiting_for_an_update_has_a_limit(path: Path) -> None:
    """timeout= ends the wait with LockTimeout, which is a TimeoutError."""
    with filled(path) as db, db.update():
        waiting = Aside(lambda: db.update(timeout=0.01).__enter__())
        with pytest.raises(TimeoutError):
            waiting.result()


def test_a_draft_kept_after_its_block_is_stale(path: Path) -> None:
    """What a block hands out of its draft can't be used later."""
    with filled(path) as db:
        with db.update() as bank:
            account = bank.accounts["alice"]
        with pytest.raises(cairndb.StaleDraft):
            account.balance = 3
        with pytest.raises(cairndb.StaleDraft):
            _ = account.balance


def test_not_waiting_is_made_durable_soon_by_itself(path: Path) -> None:
    """durable=False returns at once, and the housekeeper syncs."""
    with filled(path) as db:
        with db.update(durable=False) as bank:
            bank.name = "First"
        lsn = db.lsn
        wait_until(lambda: db.durable_lsn >= lsn)


def test_sync_makes_everything_durable(path: Path) -> None:
    """After sync() the durable LSN is the applied one, at every level."""
    with filled(path, durability="process") as db:
        db.sync()
        assert db.durable_lsn == db.lsn


def test_many_threads_update_at_once(path: Path) -> None:
    """Updates of sixteen threads all arrive, each whole."""
    with filled(path) as db:

        def work() -> None:
            for _ in range(10):
                with db.update() as bank:
                    bank.accounts["bob"].balance += 1

        for aside in [Aside(work) for _ in range(16)]:
            aside.result()
        assert balances(db)["bob"] == 160
    with cairndb.open(path, Bank) as db:
        assert balances(db)["bob"] == 160


def test_audit_keeps_who_changed_what(path: Path) -> None:
    """With audit=True the log says which method was called with what."""
    with filled(path, audit=True) as db:
        db.run(Bank.transfer, "alice", "bob", amount=5)
    directory = RealDirectory(str(path))
    reading = read_chain(directory)
    entries = [
        entry
        for _, count, payload in reading.log_frames()
        for entry in decode_entries(payload, count)
    ]
    reading.close()
    directory.close()
    call = entries[-1].call
    assert call is not None
    assert (call.name, call.args, call.kwargs) == (
        "Bank.transfer",
        ["alice", "bob"],
        {"amount": 5},
    )


class Mute:
    """What can't even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Surrogate:
    """What shows itself with a character that can't be stored."""

    def __repr__(self) -> str:
        return "\ud800"


def test_audit_refuses_no_argument(path: Path) -> None:
    """An argument that can't be kept, nor even shown, doesn't keep an update from happening."""
    cycle: list[Any] = []
    cycle.append(cycle)
    odd = [Mute(), Surrogate(), cycle, object(), 2**70, "\ud800", {1: {(2, 3): None}}]
    with cairndb.open(path, Noting, audit=True) as db:
        for argument in odd:
            db.run(Noting.note, argument)
        with db.view() as root:
            assert root.count == len(odd)


class Noting(cairndb.Record):
    """A root whose method takes anything."""

    count: int = 0
    notes: dict[str, list[int]] = {}

    @cairndb.update
    def note(self, _argument: object) -> None:
        self.count += 1

    @cairndb.update
    def changed(self, make: Callable[[Any], Any]) -> Any:
        return make(self.notes)

    @cairndb.query
    def seen(self, make: Callable[[Any], Any]) -> Any:
        return make(self.notes)


@pytest.mark.parametrize("method", [Noting.changed, Noting.seen])
@pytest.mark.parametrize(
    "look", [iter, enumerate, *map(methodcaller, ("keys", "values", "items", "__reversed__"))]
)
def test_run_refuses_what_looks_later(path: Path, method: Any, look: Any) -> None:
    """An iterator or a view would show the tree after the transaction, so `run` refuses it."""
    with cairndb.open(path, Noting) as db:
        with pytest.raises(cairndb.UsageError, match="return a list"):
            db.run(method, look)
        assert db.lsn == 1


def test_an_interrupted_commit_stands_or_never_was(path: Path) -> None:
    """Ctrl-C at any moment of an update leaves a whole number of updates, and a usable object."""
    with filled(path) as db:
        stop = threading.Event()
        main = threading.main_thread().ident or 0

        def annoy() -> None:
            for _ in range(400):
                if not stop.wait(0.0005):
                    signal.pthread_kill(main, signal.SIGINT)

        annoying = Aside(annoy)
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                if annoying.done():
                    break
                with db.update() as bank:
                    bank.accounts["alice"].balance += 1
                    bank.accounts["bob"].balance += 1
        found = balances(db)
        assert found["alice"] - 100 == found["bob"]
        db.sync()
    with cairndb.open(path, Bank) as db:
        assert balances(db) == found


def test_a_caller_whose_stack_is_full_leaves_nothing_behind(path: Path) -> None:
    """Updates and views from any depth of recursion work, or raise and hold nothing."""

    def at_depth(depth: int, act: Callable[[], None]) -> None:
        if depth:
            at_depth(depth - 1, act)
        else:
            act()

    with filled(path) as db:

        def count() -> None:
            with db.update() as bank:
                bank.accounts["bob"].balance += 1

        def look() -> None:
            balances(db)

        done = 0
        for depth in range(sys.getrecursionlimit() - 250, sys.getrecursionlimit()):
            for act in (count, look):
                try:
                    at_depth(depth, act)
                except (RecursionError, cairndb.ValidationError):
                    continue
                done += act is count
        assert 0 < done < 250
        assert balances(db)["bob"] == done
    with cairndb.open(path, Bank) as db:
        assert balances(db)["bob"] == done


def test_run_says_that_it_takes_the_function(path: Path) -> None:
    """A bound method has its root already, which can't be the one of the block."""
    with filled(path) as db, pytest.raises(cairndb.UsageError, match=r"Bank\.total"):
        db.run(Bank().total)  # type: ignore[arg-type]  # the point
