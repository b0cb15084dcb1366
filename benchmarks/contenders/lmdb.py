"""lmdb with msgspec.

Of its settings, `writemap` gains most: an update without a sync takes a quarter of the time, one
with a sync somewhat less. `map_async` and, without syncs, `metasync` change nothing that can be
measured; with syncs, `metasync=False` gives up the durability of the last update, so it is out.
"""

from typing import ClassVar

import lmdb

from contenders.packed import decode, encode, packed
from contenders.work import Contender, Level

MAP_BYTES = 4 << 30


class Lmdb(Contender):
    """One environment, one unnamed database."""

    settings: ClassVar[dict[Level, str]] = {
        "commit": "sync=True, metasync=True, writemap=True; msgspec values",
        "process": "sync=False, writemap=True; msgspec values",
    }
    packages = ("lmdb",)

    def open(self, level: Level) -> None:
        """See Contender."""
        self.environment = lmdb.open(
            str(self.folder / "bench.lmdb"),
            map_size=MAP_BYTES,
            writemap=True,
            sync=level == "commit",
        )

    def close(self) -> None:
        """See Contender."""
        self.environment.sync(True)
        self.environment.close()

    def load(self, count: int) -> None:
        """See Contender."""
        with self.environment.begin(write=True) as transaction:
            put = transaction.put
            for number in range(count):
                key, value = packed(number)
                put(key, value, append=True)

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        with self.environment.begin(buffers=True) as transaction:
            get = transaction.get
            for key in keys:
                decode(get(key.encode())).balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        with self.environment.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            values = cursor.iternext(keys=False, values=True)
            return sum(decode(value).balance for value in values)

    def view(self, count: int) -> None:
        """See Contender."""
        begin = self.environment.begin
        for _ in range(count):
            with begin():
                pass

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        begin = self.environment.begin
        for key in keys:
            name = key.encode()
            with begin(write=True, buffers=True) as transaction:
                account = decode(transaction.get(name))
                account.balance += 1
                transaction.put(name, encode(account))
