"""A database that is served: a bank, with every kind of method and argument."""

from __future__ import annotations

import enum
import time
from datetime import date  # noqa: TC003  msgspec resolves it at run time
from decimal import Decimal  # noqa: TC003  as above
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003  as above

from msgspec import Meta

import cairndb
from cairndb.service import Request, Service
from cairndb.service_access import EVERYTHING

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.service import Answer


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Account(cairndb.Record):
    """Somebody's money."""

    owner: str
    balance: Annotated[int, Meta(ge=0)] = 0
    tags: list[str] = []


class InsufficientFunds(Exception):  # noqa: N818  as an application might call it
    """The application's own error."""


class Bank(cairndb.Record):
    """The root of what is served."""

    accounts: dict[str, Account] = {}
    by_number: dict[int, str] = {}
    holidays: set[date] = set()
    notes: list[str] = []
    distances: dict[tuple[str, str], float] = {}

    @cairndb.update
    def open_account(self, key: str, owner: str, balance: int = 0) -> Account:
        """Add an account, and return it."""
        self.accounts[key] = Account(owner, balance)
        return self.accounts[key]

    @cairndb.update
    def transfer(self, source: str, target: str, amount: Annotated[int, Meta(gt=0)]) -> int:
        """Move money, and return what is left."""
        if self.accounts[source].balance < amount:
            raise InsufficientFunds(source, amount)
        self.accounts[source].balance -= amount
        self.accounts[target].balance += amount
        return self.accounts[source].balance

    @cairndb.update
    def put_account(self, key: str, account: Account) -> None:
        """Take a whole record."""
        self.accounts[key] = account

    @cairndb.update
    def add_note(self, text: str, *, twice: bool = False) -> int:
        """Take an argument that can only be named."""
        self.notes.extend([text] * (2 if twice else 1))
        return len(self.notes)

    @cairndb.query
    def total(self) -> int:
        """All the money there is."""
        return sum(account.balance for account in self.accounts.values())

    @cairndb.query
    def holders(self, owner: str | None = None) -> dict[str, Account]:
        """Accounts, by their keys."""
        return {k: a for k, a in self.accounts.items() if owner in {None, a.owner}}

    @cairndb.query
    def echo(self, colour: Colour, day: date, price: Decimal, key: UUID, ratio: float) -> list[Any]:
        """Give back what came, to see what became of it."""
        return [colour, day, price, key, ratio]

    @cairndb.query
    def wait(self, seconds: float) -> float:
        """Take long."""
        time.sleep(seconds)
        return seconds


def opened(path: Path, **options: Any) -> cairndb.Database[Bank]:
    """A bank with two accounts."""
    db = cairndb.open(path / "bank.cairn", Bank, **options)
    with db.update() as bank:
        bank.accounts["alice"] = Account("Alice", 100)
        bank.accounts["bob"] = Account("Bob")
    return db


def asked(service: Service, target: str, *texts: str, **options: Any) -> Answer:
    """The answer to somebody who may do everything, and sends texts."""
    options.setdefault("grant", EVERYTHING)
    data = [text.encode() for text in texts]
    return service.handle(Request("run", target, "text", data, **options))


def asked_json(service: Service, target: str, data: str, **options: Any) -> Answer:
    """The answer to somebody who sends JSON."""
    options.setdefault("grant", EVERYTHING)
    return service.handle(Request("run", target, "json", data.encode(), **options))


def value(answer: Answer) -> Any:
    """What an answer holds, or its error raised."""
    if answer.error is not None:
        raise answer.error
    return answer.value
