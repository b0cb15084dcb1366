"""Threads that do everything at once, switched as often as the interpreter can."""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import cairndb
from bank import Account, Bank
from threads import Aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNTS = 10
ROUNDS = 150


@pytest.fixture
def _hurried() -> Iterator[None]:
    """Threads that are switched after next to nothing."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def transfers(db: cairndb.Database[Bank], seed: int) -> None:
    """Move money about; a transfer that an account can't pay is refused."""
    chance = random.Random(seed)  # noqa: S311  reproducible, not secret
    for _ in range(ROUNDS):
        source, target = chance.sample(range(ACCOUNTS), 2)
        try:
            db.run(Bank.transfer, str(source), str(target), chance.randrange(5))
        except cairndb.ValidationError:
            continue


def views(db: cairndb.Database[Bank]) -> None:
    """Count the money: never a view between two halves of a transfer, or of what may be lost."""
    for _ in range(ROUNDS):
        with db.view() as bank:
            assert sum(account.balance for account in bank.accounts.values()) == 100 * ACCOUNTS
            shown = db.lsn
        assert db.durable_lsn >= shown


def upkeep(db: cairndb.Database[Bank]) -> None:
    """Everything else that takes locks or the flusher's role."""
    for number in range(ROUNDS // 10):
        db.sync()
        db.checkpoint()
        db.stats()
        with db.update(durable=False) as bank:
            bank.name = str(number)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(tmp_path: Path, seed: int) -> None:
    """Updates, views, syncs and checkpoints of ten threads: all end, and the money is all there."""
    path = tmp_path / "bank.cairn"
    before = set(threading.enumerate())
    with cairndb.open(path, Bank, restart_target=0.01) as db:
        with db.update() as bank:
            for number in range(ACCOUNTS):
                bank.accounts[str(number)] = Account("somebody", 100)
        work: list[Callable[[], None]] = [lambda: views(db)] * 4 + [lambda: upkeep(db)] * 2
        work += [lambda: transfers(db, seed)] * 4
        for aside in [Aside(function) for function in work]:
            aside.result()
        last = db.lsn
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert names <= {"cairndb syncs", "cairndb checkpoints"}
    with cairndb.open(path, Bank) as db:
        assert db.lsn == last
        assert db.run(Bank.total) == 100 * ACCOUNTS
