"""cairndb itself, with its default settings; and without the guard on containers."""

import asyncio
import threading
import time
from typing import Any, ClassVar

import cairndb
from contenders.work import (
    AT_ONCE,
    FIRST,
    HOT,
    ITERATE,
    LOAD,
    READ,
    STORES_ALL,
    VIEW,
    Contender,
    Level,
    key_of,
    owner_of,
    tags_of,
)


class Account(cairndb.Record):
    """What is stored."""

    owner: str
    balance: int = 0
    tags: list[str] = []


class Bank(cairndb.Record):
    """The root."""

    accounts: dict[str, Account] = {}


class Cairn(Contender):
    """cairndb with its default settings."""

    figures = STORES_ALL | {AT_ONCE}
    settings: ClassVar[dict[Level, str]] = {
        "commit": 'durability="commit"',
        "process": 'durability="process"',
    }
    packages = ("cairndb", "msgspec")
    guard = True
    restart_target: float | None = 2.0

    def open(self, level: Level) -> None:
        """See Contender."""
        self.db: cairndb.Database[Bank] = cairndb.open(
            self.folder / "bench.cairn",
            Bank,
            durability=level,
            guard=self.guard,
            restart_target=self.restart_target,
        )

    def close(self) -> None:
        """See Contender."""
        self.db.close()

    def settle(self) -> None:
        """See Contender."""
        self.db.checkpoint()

    def load(self, count: int) -> None:
        """See Contender."""
        with self.db.update() as bank:
            accounts = bank.accounts
            for number in range(count):
                accounts[key_of(number)] = Account(owner_of(number), 100, tags_of(number))

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        with self.db.view() as bank:
            accounts = bank.accounts
            for key in keys:
                accounts[key].balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        with self.db.view() as bank:
            return sum(account.balance for account in bank.accounts.values())

    def view(self, count: int) -> None:
        """See Contender."""
        for _ in range(count):
            with self.db.view():
                pass

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            with self.db.update() as bank:
                bank.accounts[key].balance += 1

    def update_at_once(self, keys: list[str]) -> None:
        """See Contender."""

        async def update(key: str) -> None:
            async with self.db.update_async() as bank:
                bank.accounts[key].balance += 1

        async def program() -> None:
            await asyncio.gather(*map(update, keys))

        asyncio.run(program())

    def log_bytes(self) -> int:
        """How much log there is since the last checkpoint."""
        found: int = self.db.stats()["log_bytes_since_checkpoint"]
        return found

    def latencies(self, keys: list[str], seconds: float, times: int) -> dict[str, list[float]]:
        """Microseconds of each update, without a checkpoint and beside one, by turns.

        Args:
            keys: of the accounts to update, again and again.
            seconds: of each time without a checkpoint.
            times: how many checkpoints to make.
        """
        found: dict[str, list[float]] = {"without": [], "beside": []}
        for _ in range(times):
            self._latencies(keys, found["without"], time.perf_counter() + seconds, None)
            maker = threading.Thread(target=self.db.checkpoint)
            maker.start()
            self._latencies(keys, found["beside"], None, maker)
            maker.join()
        return found

    def _latencies(
        self,
        keys: list[str],
        found: list[float],
        until: float | None,
        maker: threading.Thread | None,
    ) -> None:
        clock, number = time.perf_counter, len(found)
        while maker.is_alive() if maker else clock() < (until or 0.0):
            key = keys[number % len(keys)]
            begun = clock()
            with self.db.update() as bank:
                bank.accounts[key].balance += 1
            found.append((clock() - begun) * 1e6)
            number += 1

    def objects(self) -> Any:
        """The object that holds all accounts."""
        with self.db.view() as bank:
            return bank.accounts


class Unguarded(Cairn):
    """cairndb whose containers are plain builtins; only reading and loading differ."""

    figures = frozenset({READ, HOT, ITERATE, VIEW, LOAD, FIRST})
    guard = False
    settings: ClassVar[dict[Level, str]] = {
        "commit": 'durability="commit", guard=False',
        "process": 'durability="process", guard=False',
    }
