"""diskcache with msgspec: a cache that never evicts."""

import threading
from typing import ClassVar

from diskcache import Cache

from contenders.packed import decode, encode, packed
from contenders.work import STORES_ALL, VIEW, Contender, Level

COMMON = 'eviction_policy="none", no size limit, SQLite in WAL mode; msgspec values'


class DiskCache(Contender):
    """One cache directory; a connection for each thread is its own affair."""

    settings: ClassVar[dict[Level, str]] = {
        "commit": f"sqlite_synchronous=2 (FULL), {COMMON}",
        "process": f"sqlite_synchronous=0 (OFF), {COMMON}",
    }
    figures = STORES_ALL - {VIEW}
    notes = ("diskcache has no views: its transactions are for writing.",)
    packages = ("diskcache",)
    accounts_max = 100_000

    def open(self, level: Level) -> None:
        """See Contender."""
        # SQLite has threads that wait for each other sleep: this is many times as fast.
        self.writing = threading.Lock()
        self.cache = Cache(
            str(self.folder / "bench.diskcache"),
            timeout=60,
            eviction_policy="none",
            size_limit=1 << 50,
            cull_limit=0,
            sqlite_synchronous=2 if level == "commit" else 0,
            sqlite_cache_size=65536,
            sqlite_mmap_size=1 << 28,
        )

    def close(self) -> None:
        """See Contender."""
        self.cache.close()

    def load(self, count: int) -> None:
        """See Contender."""
        cache = self.cache
        with cache.transact():
            for number in range(count):
                key, value = packed(number)
                cache[key.decode()] = value

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        cache = self.cache
        for key in keys:
            decode(cache[key]).balance  # noqa: B018  the read is the work

    def iterate(self) -> int:
        """See Contender."""
        cache = self.cache
        return sum(decode(cache[key]).balance for key in cache)

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        cache = self.cache
        for key in keys:
            with self.writing, cache.transact():
                account = decode(cache[key])
                account.balance += 1
                cache[key] = encode(account)
