"""What replicas follow in tests of many processes: money that is moved, and never lost.

    python tests/replica_root.py URL NAME

is a process with a replica, which moves money as fast as it can until it is told to stop by a line,
and then waits for the LSN that the next line says. What it saw it writes as a line of JSON.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

import cairndb
from cairndb.errors import OutcomeUnknown, ReplicaBehind

if TYPE_CHECKING:
    from cairndb.replicas import Replica

ACCOUNTS = 10
MONEY = 1000
TIMEOUT_SECONDS = 60.0


class Ledger(cairndb.Record):
    """The root: money, and the last move of each process."""

    accounts: dict[str, int] = {}
    moves: dict[str, int] = {}

    @cairndb.update
    def begin(self) -> None:
        """Bring the money in, once."""
        if not self.accounts:
            self.accounts = {f"{number}": MONEY // ACCOUNTS for number in range(ACCOUNTS)}

    @cairndb.update
    def move(self, name: str, number: int, source: str, target: str) -> int:
        """Move what can be moved; the number follows that of the last move of this name."""
        amount = min(7, self.accounts[source])
        self.accounts[source] -= amount
        self.accounts[target] += amount
        self.moves[name] = number
        return number


class Seen(Struct):
    """What a process tells in the end.

    Args:
        name: of it.
        moves: that were acknowledged.
        unknown: that may have been made, as it was told.
        behind: that it was told hadn't come in time.
        views: that it looked at.
        lsn: that it shows in the end.
        state: a checksum of the state then.
        resyncs: how often it began anew with a checkpoint.
        connections: how often it connected.
        slowest: seconds that the longest move took.
        wrong: what must not be.
    """

    name: str
    moves: int = 0
    unknown: int = 0
    behind: int = 0
    views: int = 0
    lsn: int = 0
    state: int = 0
    resyncs: int = 0
    connections: int = 0
    slowest: float = 0.0
    wrong: list[str] = []


def look(replica: Replica[Ledger], seen: Seen) -> dict[str, int]:
    """Look at the state, which must be one of the owner's, and no older than the last one."""
    with replica.view() as ledger:
        lsn = replica.lsn
        money = sum(ledger.accounts.values())
        moves = dict(ledger.moves)
    seen.views += 1
    if money != MONEY:
        seen.wrong.append(f"LSN {lsn} has {money}")
    if lsn < seen.lsn:
        seen.wrong.append(f"LSN {lsn} after {seen.lsn}")
    seen.lsn = lsn
    return moves


def move(replica: Replica[Ledger], seen: Seen, number: int, randomness: random.Random) -> None:
    """Move some money; it must be seen here when that returns."""
    source, target = (str(randomness.randrange(ACCOUNTS)) for _ in range(2))
    began = time.monotonic()
    try:
        replica.run(Ledger.move, seen.name, number, source, target)
    except OutcomeUnknown:
        seen.unknown += 1
    except ReplicaBehind:
        seen.behind += 1
    else:
        seen.moves += 1
        if look(replica, seen).get(seen.name) != number:
            seen.wrong.append(f"move {number} isn't there at LSN {seen.lsn}")
    seen.slowest = max(seen.slowest, time.monotonic() - began)


def main() -> None:
    """From the command line."""
    url, name = sys.argv[1:3]
    seen = Seen(name)
    randomness = random.Random(name)  # noqa: S311  to be had again
    stopping = threading.Event()
    final: list[int] = []

    def listen() -> None:
        sys.stdin.readline()
        stopping.set()
        final.append(int(sys.stdin.readline()))

    with cairndb.replica(url, Ledger, timeout=TIMEOUT_SECONDS) as replica:
        told = threading.Thread(target=listen, daemon=True)
        told.start()
        number = look(replica, seen).get(name, 0)
        while not stopping.is_set():
            number += 1
            move(replica, seen, number, randomness)
        print("stopped", flush=True)  # noqa: T201
        told.join()
        replica.wait(final[0], TIMEOUT_SECONDS)
        look(replica, seen)
        with replica.view() as ledger:
            seen.state = zlib.crc32(msgspec.json.encode([ledger.accounts, ledger.moves]))
        stats = replica.stats()
        seen.resyncs, seen.connections = stats["resyncs"], stats["connections"]
    print(msgspec.json.encode(seen).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
