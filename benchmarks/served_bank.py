"""The database that `served.py` has served: accounts, with one field to count up."""

import cairndb

ACCOUNTS = 10_000


def key_of(number: int) -> str:
    """The key of an account."""
    return f"account-{number:06}"


class Account(cairndb.Record):
    """Somebody's money."""

    owner: str
    balance: int = 0
    tags: list[str] = []


class Bank(cairndb.Record):
    """The root."""

    accounts: dict[str, Account] = {}

    @cairndb.update
    def fill(self, count: int) -> None:
        """Make accounts."""
        for number in range(count):
            self.accounts[key_of(number)] = Account(f"Owner {number}", 100, ["a", "b"])

    @cairndb.update
    def deposit(self, key: str, amount: int) -> int:
        """Change one field, and return it."""
        account = self.accounts[key]
        account.balance += amount
        return account.balance

    @cairndb.query
    def balance(self, key: str) -> int:
        """Read one field."""
        return self.accounts[key].balance
