"""TinyDB: one JSON file, written whole by each update.

Its cache keeps what was read, and is set to write each change at once; accounts are found by their
number, which is the only way that TinyDB doesn't search for.
"""

from typing import ClassVar

from tinydb import JSONStorage, TinyDB
from tinydb.middlewares import CachingMiddleware
from tinydb.operations import add
from tinydb.table import Document

from contenders.work import CROWD, STORES_ALL, VIEW, Contender, Level, key_of, owner_of, tags_of

SETTINGS = "CachingMiddleware that writes each change; documents found by doc_id"
PREFIX = len(key_of(0)) - 7


def id_of(key: str) -> int:
    """The number in a key; TinyDB counts from one."""
    return int(key[PREFIX:]) + 1


class Tiny(Contender):
    """One file, one table."""

    figures = STORES_ALL - {VIEW, CROWD}
    settings: ClassVar[dict[Level, str]] = {
        "commit": f"JSONStorage, which syncs each time; {SETTINGS}",
        "process": f"the same: it always syncs; {SETTINGS}",
    }
    notes = ("TinyDB isn't made for threads, and has no views.",)
    packages = ("tinydb",)
    accounts_max = 100_000

    def open(self, level: Level) -> None:
        """See Contender."""
        del level
        middleware = CachingMiddleware(JSONStorage)
        middleware.WRITE_CACHE_SIZE = 1
        self.db = TinyDB(self.folder / "bench.json", storage=middleware)

    def close(self) -> None:
        """See Contender."""
        self.db.close()

    def load(self, count: int) -> None:
        """See Contender."""
        self.db.insert_multiple(
            Document(
                {
                    "key": key_of(number),
                    "owner": owner_of(number),
                    "balance": 100,
                    "tags": tags_of(number),
                },
                doc_id=number + 1,
            )
            for number in range(count)
        )

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        get = self.db.get
        for key in keys:
            document = get(doc_id=id_of(key))
            assert isinstance(document, Document)
            document["balance"]

    def iterate(self) -> int:
        """See Contender."""
        return sum(document["balance"] for document in self.db)

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            self.db.update(add("balance", 1), doc_ids=[id_of(key)])
