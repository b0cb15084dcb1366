"""The bank that many tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

import cairndb

if TYPE_CHECKING:
    from pathlib import Path


class Account(cairndb.Record):
    """Somebody's money."""

    owner: str
    balance: Annotated[int, Meta(ge=0)] = 0
    tags: list[str] = []


class Bank(cairndb.Record):
    """The root."""

    accounts: dict[str, Account] = {}
    holidays: set[str] = set()
    name: str = ""

    @cairndb.update
    def open_account(self, key: str, owner: str) -> Account:
        """Add an account, and return it."""
        self.accounts[key] = Account(owner)
        return self.accounts[key]

    @cairndb.update
    def transfer(self, source: str, target: str, amount: int) -> None:
        """Move money, or fail halfway."""
        self.accounts[target].balance += amount
        self.accounts[source].balance -= amount

    @cairndb.query
    def total(self) -> int:
        """All the money there is."""
        return sum(account.balance for account in self.accounts.values())


def filled(path: Path, **options: Any) -> cairndb.Database[Bank]:
    """A bank with two accounts."""
    db = cairndb.open(path, Bank, **options)
    with db.update() as bank:
        bank.accounts["alice"] = Account("Alice", 100)
        bank.accounts["bob"] = Account("Bob")
    return db


def balances(db: cairndb.Database[Bank]) -> dict[str, int]:
    """What everybody has."""
    with db.view() as bank:
        return {key: account.balance for key, account in bank.accounts.items()}
