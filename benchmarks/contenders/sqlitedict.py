"""sqlitedict with msgspec.

It turns SQLite's syncs off for everybody; to be durable the setting is put back, which costs it
speed, and is what the comparison is about.
"""

from typing import ClassVar

import sqlitedict

from contenders.packed import decode, encode, packed
from contenders.work import CROWD, STORES_ALL, VIEW, Contender, Level


class SqliteDict(Contender):
    """One table; a thread of its own does everything."""

    figures = STORES_ALL - {VIEW, CROWD}
    settings: ClassVar[dict[Level, str]] = {
        "commit": 'journal_mode="WAL", synchronous=FULL set by hand; msgspec values',
        "process": 'journal_mode="WAL", synchronous=OFF, which is fixed; msgspec values',
    }
    notes = ("sqlitedict has no views, and one transaction for all threads: not run with 16.",)
    packages = ("sqlitedict",)
    accounts_max = 100_000

    def open(self, level: Level) -> None:
        """See Contender."""
        self.dict = sqlitedict.SqliteDict(
            str(self.folder / "bench.sqlite"), journal_mode="WAL", encode=encode, decode=decode
        )
        if level == "commit":
            self.dict.conn.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """See Contender."""
        self.dict.close()

    def load(self, count: int) -> None:
        """See Contender."""
        pairs = (packed(number) for number in range(count))
        self.dict.update((key.decode(), decode(value)) for key, value in pairs)
        self.dict.commit()

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            self.dict[key].balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        return sum(account.balance for account in self.dict.values())

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        for key in keys:
            account = self.dict[key]
            account.balance += 1
            self.dict[key] = account
            self.dict.commit()
