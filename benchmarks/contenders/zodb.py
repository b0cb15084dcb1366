"""ZODB: a FileStorage, a BTree of persistent objects, a connection for each thread."""

import importlib
import threading
from pathlib import Path
from typing import Any, ClassVar

import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from ZODB.FileStorage import FileStorage

from contenders.work import Contender, Level, key_of, owner_of, tags_of

# As many objects as there will ever be: its cache then keeps what has been read once.
CACHE_OBJECTS = 10_000_000


class PersistentAccount(Persistent):
    """An account that ZODB loads and stores by itself."""

    def __init__(self, owner: str, balance: int, tags: list[str]) -> None:
        self.owner = owner
        self.balance = balance
        self.tags = tags


class Zodb(Contender):
    """A transaction manager and a connection for each thread."""

    settings: ClassVar[dict[Level, str]] = {
        "commit": "FileStorage, which syncs at each commit; OOBTree; a cache for everything",
        "process": "the same with the sync taken out of FileStorage, which has no setting for it",
    }
    packages = ("ZODB", "BTrees")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / "bench.fs"

    def open(self, level: Level) -> None:
        """See Contender."""
        # The name in the package is that of the class.
        module: Any = importlib.import_module("ZODB.FileStorage.FileStorage")
        if not hasattr(self, "fsync"):
            self.fsync = module.fsync
        module.fsync = self.fsync if level == "commit" else None
        # pool_size: more connections than that are warned of.
        self.db = ZODB.DB(
            FileStorage(str(self.file)), cache_size=CACHE_OBJECTS, cache_size_bytes=0, pool_size=20
        )
        self.local = threading.local()
        manager, connection = self.mine()
        with manager:
            if "accounts" not in connection.root():
                connection.root()["accounts"] = OOBTree()

    def mine(self) -> tuple[Any, Any]:
        """This thread's transaction manager and connection."""
        if not hasattr(self.local, "pair"):
            manager = transaction.TransactionManager()
            self.local.pair = manager, self.db.open(transaction_manager=manager)
        pair: tuple[Any, Any] = self.local.pair
        return pair

    def close(self) -> None:
        """See Contender."""
        self.db.close()

    def load(self, count: int) -> None:
        """See Contender."""
        manager, connection = self.mine()
        with manager:
            accounts = connection.root()["accounts"]
            for number in range(count):
                accounts[key_of(number)] = PersistentAccount(owner_of(number), 100, tags_of(number))

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        manager, connection = self.mine()
        with manager:
            accounts = connection.root()["accounts"]
            for key in keys:
                accounts[key].balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        manager, connection = self.mine()
        with manager:
            return sum(account.balance for account in connection.root()["accounts"].values())

    def view(self, count: int) -> None:
        """See Contender."""
        manager, _ = self.mine()
        for _ in range(count):
            with manager:
                pass

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        manager, connection = self.mine()
        for key in keys:
            with manager:
                connection.root()["accounts"][key].balance += 1
