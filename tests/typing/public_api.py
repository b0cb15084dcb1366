"""What type checkers must infer of the public API. Checked by mypy and pyright, never run."""

from typing import Any, assert_type

import cairndb
from cairndb.cancellation import CancelToken


class Account(cairndb.Record):
    """A record."""

    owner: str
    balance: int = 0


class Bank(cairndb.Record):
    """A root."""

    accounts: dict[str, Account] = {}
    by_owner = cairndb.Index(Account, "accounts/*", key=lambda account: account.owner)
    by_letter = cairndb.Index(Account, "accounts/*", keys=lambda account: set(account.owner))
    by_balance = cairndb.Index(
        Account,
        "accounts/*",
        key=lambda account: (account.balance, account.owner),
        where=lambda account: account.balance > 0,
        unique=True,
        ordered=True,
    )

    @cairndb.update
    def deposit(self, key: str, amount: int = 1) -> int:
        """An update with an argument that may be left out."""
        self.accounts[key].balance += amount
        return self.accounts[key].balance

    @cairndb.query
    def owners(self) -> list[str]:
        """A query."""
        return [account.owner for account in self.accounts.values()]


def typed_by_the_root() -> None:
    """A database is typed by its root, and so are its views and updates."""
    db = cairndb.open("bank.cairn", Bank)
    assert_type(db, cairndb.Database[Bank])
    with db.update() as bank:
        assert_type(bank, Bank)
        bank.accounts["alice"] = Account("Alice")
        bank.accounts["alice"].balance += 5
        bank.accounts["alice"].blance = 5  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    with db.view() as bank:
        assert_type(bank.accounts["alice"].balance, int)
    assert_type(cairndb.plain(bank), Bank)


def run_is_typed_by_the_method() -> None:
    """Arguments and results of run are those of the method."""
    db = cairndb.open("bank.cairn", Bank)
    assert_type(db.run(Bank.deposit, "alice", 5), int)
    assert_type(db.run(Bank.deposit, "alice", amount=5), int)
    assert_type(db.run(Bank.owners), list[str])
    db.run(Bank.deposit, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    db.run(Bank.deposit)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def tasks_are_typed_as_threads_are() -> None:
    """What tasks use is typed by the root and the method, too."""
    async with cairndb.open("bank.cairn", Bank) as db:
        assert_type(db, cairndb.Database[Bank])
        update = db.update_async()
        async with update as bank:
            assert_type(bank, Bank)
        assert_type(update.lsn, int | None)
        assert_type(update.committed, bool)
        async with db.view_async(timeout=1.0) as bank:
            assert_type(bank, Bank)
        assert_type(await db.run_async(Bank.deposit, "alice", amount=5), int)
        assert_type(await db.run_async(Bank.owners), list[str])
        await db.run_async(Bank.deposit, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def dicts_are_roots_too() -> None:
    """A root may be a dict, and is dict[str, Any] without a type."""
    assert_type(cairndb.open("x.cairn"), cairndb.Database[dict[str, Any]])
    assert_type(cairndb.open("x.cairn", dict[int, Account]), cairndb.Database[dict[int, Account]])


def typed_by_the_index(bank: Bank) -> None:
    """An index is typed by its entries' class and by what its function returns."""
    assert_type(Bank.by_owner, cairndb.Index[Account, str])
    assert_type(bank.by_owner, cairndb.Entries[Account, str])
    assert_type(bank.by_owner["Alice"], list[Account])
    assert_type(bank.by_letter.one("A"), Account)
    assert_type(bank.by_letter.get("A"), Account | None)
    assert_type(bank.by_balance.keys(), list[tuple[int, str]])
    assert_type(bank.by_balance.range((5, ""), None, reverse=True), list[Account])
    bank.by_owner[5]  # type: ignore[index]  # pyright: ignore[reportArgumentType]


def watches_give_changes() -> None:
    """A watch is an iterator of items, whose values are of whatever stands at their paths."""
    db = cairndb.open("bank.cairn", Bank)
    with db.watch("/accounts/*/balance", initial=True, timeout=1.0) as watch:
        assert_type(watch, cairndb.Watch)
        for change in watch:
            assert_type(change, cairndb.Change)
            assert_type(change.position, str)
            assert_type(change.changes, tuple[cairndb.ValueChange, ...])
        assert_type(watch.poll(), cairndb.Change | None)
    db.watch(since="4711-1b2e9ab0")
    db.watch(since=4711)
    db.watch(since=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    subscription = db.on_commit("/**", lambda change: change.lsn)
    assert_type(subscription, cairndb.Subscription)


def clients_call_as_if_it_were_open_here() -> None:
    """A client is typed by its root, and its calls by the method, with or without limits."""
    client = cairndb.connect("cairn://localhost", Bank)
    assert_type(client, cairndb.Client[Bank])
    assert_type(client.run(Bank.deposit, "alice", 5), int)
    assert_type(client.run(Bank.deposit, "alice", amount=5), int)
    assert_type(client.run(Bank.owners), list[str])
    assert_type(client.run(Bank.deposit, "alice", 5, timeout=1.0, cancel=CancelToken()), int)
    assert_type(client.run(Bank.owners, cancel=CancelToken()), list[str])
    calls = client.within(timeout=1.0, cancel=CancelToken())
    assert_type(calls.run(Bank.deposit, "alice", amount=5), int)
    assert_type(client.get("/accounts/alice", Account), Account)
    for change in client.watch("/accounts/*", since="4711-1b2e9ab0", timeout=1.0):
        assert_type(change, cairndb.Change)
    client.run(Bank.deposit, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    client.run(Bank.deposit)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    calls.run(Bank.deposit, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    assert_type(cairndb.connect("cairn://localhost"), cairndb.Client[dict[str, Any]])


async def clients_of_tasks_are_typed_as_well() -> None:
    """What tasks await is typed the same."""
    async with cairndb.connect("cairn://localhost", Bank) as client:
        assert_type(client, cairndb.Client[Bank])
        assert_type(await client.run_async(Bank.deposit, "alice", amount=5), int)
        assert_type(await client.run_async(Bank.owners, timeout=1.0), list[str])
        await client.run_async(Bank.deposit, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def replicas_are_read_as_databases_and_run_as_clients() -> None:
    """A replica is typed by its root, and so are its views, calls and watches."""
    replica = cairndb.replica("cairn://localhost", Bank)
    assert_type(replica, cairndb.Replica[Bank])
    with replica.view() as bank:
        assert_type(bank, Bank)
    assert_type(replica.run(Bank.deposit, "alice", 5), int)
    assert_type(replica.run(Bank.owners, timeout=1.0), list[str])
    assert_type(replica.within(timeout=1.0).run(Bank.deposit, "alice", amount=5), int)
    assert_type(replica.lag.lsns, int)
    assert_type(replica.watch("/**"), cairndb.Watch)
    replica.run(Bank.deposit, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    assert_type(cairndb.replica("cairn://localhost"), cairndb.Replica[dict[str, Any]])


async def replicas_of_tasks_are_typed_as_well() -> None:
    """What tasks await is typed the same."""
    async with cairndb.replica("cairn://localhost", Bank) as replica:
        assert_type(await replica.run_async(Bank.deposit, "alice", amount=5), int)
        async with replica.view_async() as bank:
            assert_type(bank, Bank)
