"""What is measured: the operations behind the figures of check_figures.py.

A figure is prepared outside of what is measured. It gives `Steps`: `work` does the operations, and
`without`, where there is one, all that isn't to count, which is subtracted. `bytes` figures give
their number. Everything is deterministic: the same keys in the same order, no clock of its own.

Only what has been public for long is used here, since older versions have to run it too; what one
can't do is left out for it alone, so keep what is imported at the top to what all of them have.
"""

import asyncio
import gc
import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check_figures import RECORDS

import cairndb

NEVER = 1e6
"""Seconds until a background look that shouldn't come while something is measured."""


class Account(cairndb.Record):
    """The record of all figures."""

    owner: str
    balance: int = 0
    tags: list[str] = []


class Bank(cairndb.Record):
    """The root."""

    accounts: dict[str, Account] = {}


@dataclass
class Steps:
    """A figure, ready: what is measured, what is subtracted, and what is done when it is over.

    `work` can be done again and again.
    """

    work: Callable[[], object]
    without: Callable[[], object] | None = None
    end: Callable[[], object] = lambda: None


class Work:
    """The figures, in a folder of their own.

    Args:
        folder: for databases; what `prepare` has made there is used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = itertools.count()
        self.new = itertools.count(RECORDS)

    def prepare(self, figure: str, count: int) -> None:
        """Make the databases that a figure opens, in a process that isn't measured.

        Args:
            figure: its name; most need none.
            count: how many operations it will do.
        """
        if figure == "open a small database":
            self._make("small", records=10, updates=0)
        for size in (count, 2 * count):
            if figure == "open a checkpoint":
                self._make(f"checkpoint-{size}", records=size, updates=0)
            elif figure == "replay the log":
                self._make(f"log-{size}", records=RECORDS, updates=size)

    def steps(self, figure: str, count: int) -> Steps:
        """Get a figure ready.

        Args:
            figure: its name.
            count: how many operations `work` has to do.
        """
        opened = {
            "open a small database": lambda: Steps(lambda: self._open_small(count)),
            "open a checkpoint": lambda: self._opening("checkpoint", count),
            "replay the log": lambda: self._opening("log", count),
        }
        if figure in opened:
            return opened[figure]()
        if figure == "load in one update":
            db = self._opened(self._fresh())
            return Steps(lambda: load(db, itertools.islice(self.new, count)), end=db.close)
        db = self._opened(self._fresh(), guard=figure != "read a field, unguarded")
        load(db, range(RECORDS))
        if figure == "update in a task":
            return self._tasks(db, count)
        return Steps(self._loop(figure, db, count), end=db.close)

    def bytes(self, figure: str, count: int) -> float:
        """A figure that is a number of bytes per operation or record."""
        if figure == "memory of a record":
            sizes = [self._memory(size) for size in (count, 2 * count)]
            return (sizes[1] - sizes[0]) / count
        with self._opened(self._fresh()) as db:
            load(db, range(RECORDS))
            before = db.stats()["log_bytes_since_checkpoint"]
            self._loop("update of one field", db, count)()
            return float(db.stats()["log_bytes_since_checkpoint"] - before) / count

    def _loop(self, figure: str, db: Any, count: int) -> Callable[[], object]:
        """The operations that are a loop over one open database."""
        keys = [key_of(number * 7 % RECORDS) for number in range(count)]

        def view() -> None:
            for _ in keys:
                with db.view():
                    pass

        def read() -> None:
            with db.view() as bank:
                accounts = bank.accounts
                for key in keys:
                    accounts[key].balance  # noqa: B018  the read is the work

        def iterate() -> None:
            with db.view() as bank:
                accounts = bank.accounts
                for _ in range(-(-count // len(accounts))):
                    sum(account.balance for account in accounts.values())

        loops: dict[str, Callable[[], object]] = {
            "empty view": view,
            "read a field, guarded": read,
            "read a field, unguarded": read,
            "iterate": iterate,
        }
        return loops[figure] if figure in loops else self._updates(figure, db, keys)

    def _updates(self, figure: str, db: Any, keys: list[str]) -> Callable[[], object]:
        """The operations that are updates, one after the other."""

        def one_field() -> None:
            for key in keys:
                with db.update() as bank:
                    bank.accounts[key].balance += 1

        def two_fields() -> None:
            for key in keys:
                with db.update() as bank:
                    account = bank.accounts[key]
                    account.balance += 1
                    account.owner = key

        def append() -> None:
            for key in keys:
                with db.update() as bank:
                    bank.accounts[key].tags.append("new")

        def record() -> None:
            for number in itertools.islice(self.new, len(keys)):
                with db.update() as bank:
                    bank.accounts[key_of(number)] = account_of(number)

        return {
            "update of one field": one_field,
            "update of two fields": two_fields,
            "append to a list": append,
            "new record": record,
        }[figure]

    def _tasks(self, db: Any, count: int) -> Steps:
        """Updates that are all begun at once, each in a task of its own."""
        keys = [key_of(number * 7 % RECORDS) for number in range(count)]
        runner = asyncio.Runner()

        async def update(key: str) -> None:
            async with db.update_async() as bank:
                bank.accounts[key].balance += 1

        async def program() -> None:
            await asyncio.gather(*map(update, keys))

        def end() -> None:
            runner.close()
            db.close()

        runner.run(program())
        return Steps(lambda: runner.run(program()), end=end)

    def _opening(self, prefix: str, count: int) -> Steps:
        """Opening twice as much, and what is subtracted from it: opening once as much."""
        more, less = f"{prefix}-{2 * count}", f"{prefix}-{count}"
        return Steps(lambda: self._open_and_close(more), lambda: self._open_and_close(less))

    def _open_small(self, count: int) -> None:
        for _ in range(count):
            self._open_and_close("small")

    def _open_and_close(self, name: str) -> None:
        with self._opened(name) as db, db.view() as bank:
            assert bank.accounts

    def _fresh(self) -> str:
        """A name that no process has had."""
        return f"fresh-{os.getpid()}-{next(self.names)}"

    def _opened(self, name: str, *, guard: bool = True) -> Any:
        """A database that nothing happens to but what is asked for."""
        return cairndb.open(
            self.folder / f"{name}.cairn",
            Bank,
            durability="process",
            sync_interval=NEVER,
            restart_target=None,
            guard=guard,
        )

    def _make(self, name: str, *, records: int, updates: int) -> None:
        """A database with a checkpoint of some records, and updates in the log after it."""
        if (self.folder / f"{name}.cairn").exists():
            return
        with self._opened(name) as db:
            load(db, range(records))
            db.checkpoint()
            for number in range(updates):
                with db.update() as bank:
                    bank.accounts[key_of(number * 7 % records)].balance += 1

    def _memory(self, records: int) -> int:
        """What Python has allocated for a database that was loaded from its checkpoint."""
        name = self._fresh()
        self._make(name, records=records, updates=0)
        gc.collect()
        tracemalloc.start()
        try:
            with self._opened(name):
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()


def key_of(number: int) -> str:
    """An account's key."""
    return f"account-{number:06}"


def account_of(number: int) -> Account:
    """An account, with two tags."""
    return Account(f"Owner number {number}", 100, ["private", f"branch {number % 100}"])


def load(db: Any, numbers: Iterable[int]) -> None:
    """Put in new records, in one update."""
    with db.update() as bank:
        for number in numbers:
            bank.accounts[key_of(number)] = account_of(number)
