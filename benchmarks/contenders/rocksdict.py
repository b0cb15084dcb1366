"""rocksdict with msgspec, in its raw mode: bytes to bytes, without its own encoding.

It has no transactions that read: threads that add to a balance would need locks of their own. Here
each thread has accounts of its own, so there are none, in favour of rocksdict.
"""

from typing import ClassVar

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from contenders.packed import decode, encode, packed
from contenders.work import Contender, Level


class Rocks(Contender):
    """One database, one column family."""

    settings: ClassVar[dict[Level, str]] = {
        "commit": "WriteOptions.sync=True, raw mode; msgspec values",
        "process": "WriteOptions.sync=False, raw mode; msgspec values",
    }
    notes = (
        "rocksdict: an update is a get and a put, without a lock; an empty view is a snapshot.",
    )
    packages = ("rocksdict",)

    def open(self, level: Level) -> None:
        """See Contender."""
        self.db = Rdict(str(self.folder / "bench.rocks"), Options(raw_mode=True))
        options = WriteOptions()
        options.sync = level == "commit"
        self.db.set_write_options(options)

    def close(self) -> None:
        """See Contender."""
        self.db.close()

    def load(self, count: int) -> None:
        """See Contender."""
        batch = WriteBatch(raw_mode=True)
        for number in range(count):
            batch.put(*packed(number))
        self.db.write(batch)

    def settle(self) -> None:
        """See Contender."""
        self.db.flush()

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        get = self.db.get
        for key in keys:
            decode(get(key.encode())).balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        return sum(decode(value).balance for value in self.db.values())

    def view(self, count: int) -> None:
        """See Contender."""
        snapshot = self.db.snapshot
        for _ in range(count):
            snapshot()

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        db = self.db
        for key in keys:
            name = key.encode()
            account = decode(db[name])
            account.balance += 1
            db[name] = encode(account)
