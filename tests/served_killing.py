"""A served database whose owner is killed again and again, under load, and clients that go on.

Threads share a client and count names, each name once. The owner, `cairn serve`, is killed with
SIGKILL as soon as some more have been acknowledged, and started again at once. In the end every
name that was acknowledged must have been counted exactly once, and no other more than that.

    python tests/served_killing.py DIRECTORY [KILLS] [THREADS] [SEED]
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

import cairndb
from cairndb.errors import OutcomeUnknown
from remote_root import Tally

if TYPE_CHECKING:
    from cairndb.client import Client

TIMEOUT_SECONDS = 60.0
LIMIT_SECONDS = 120.0
"""How long anything may take: a client that hangs fails the test."""
ACKNOWLEDGED_BETWEEN_KILLS = (1, 200)


class Result(Struct):
    """What came of it.

    Args:
        kills: of the owner.
        acknowledged: names that were counted, as the clients were told.
        unknown: names of which the clients were told that nobody knows.
        seconds: in all.
        slowest: the longest that a call took, in seconds.
        wrong: what must not be.
    """

    kills: int
    acknowledged: int
    unknown: int
    seconds: float
    slowest: float
    wrong: list[str]


class Told(Protocol):
    """What clients were told."""

    acknowledged: list[str]
    unknown: list[str]
    wrong: list[str]


class Load:
    """Threads that count names until they are told to stop.

    Args:
        client: of the database.
        threads: how many.
    """

    def __init__(self, client: Client[Tally], threads: int) -> None:
        self._client = client
        self._stopping = threading.Event()
        # Appended to by the threads:
        self.acknowledged: list[str] = []
        self.unknown: list[str] = []
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        turn = 0
        while not self._stopping.is_set():
            name = f"{number}-{turn}"
            turn += 1
            began = time.monotonic()
            try:
                counted = self._client.run(Tally.count, name)
            except OutcomeUnknown:
                self.unknown.append(name)
            except Exception as error:  # noqa: BLE001  reported
                self.wrong.append(f"{name}: {error!r}")
                return
            else:
                self.acknowledged.append(name)
                if counted != 1:
                    self.wrong.append(f"{name} was counted {counted} times, a client was told")
            self.seconds.append(time.monotonic() - began)

    def wait(self, acknowledged: int) -> None:
        """Until so many have been acknowledged."""
        until = time.monotonic() + LIMIT_SECONDS
        while len(self.acknowledged) < acknowledged and not self.wrong:
            assert time.monotonic() < until, "nothing is acknowledged any more"
            time.sleep(0.001)

    def stop(self) -> None:
        """Until all threads have ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(LIMIT_SECONDS)
            if thread.is_alive():
                self.wrong.append("a client hangs past its timeout")


def start(directory: Path, log: Path) -> subprocess.Popen[bytes]:
    """The owner, on a Unix socket in a directory."""
    here = Path(__file__).parent
    environment = dict(os.environ)
    environment["PYTHONPATH"] = f"{here.parent / 'src'}:{here}"
    command = [sys.executable, "-m", "cairndb", "serve", "remote_root:Tally"]
    options = ["--resp", "off", "--http", "off", "--resp-unix", str(directory / "socket")]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, str(directory / "tally.cairn"), *options],
            stdout=output,
            stderr=output,
            env=environment,
            cwd=directory,
        )


def compare(directory: Path, load: Told) -> list[str]:
    """What must not be: names that are counted otherwise than their clients were told."""
    wrong = list(load.wrong)
    with (
        cairndb.open(directory / "tally.cairn", Tally, lock_timeout=LIMIT_SECONDS) as db,
        db.view() as tally,
    ):
        counts = dict(tally.counts)
    wrong += [
        f"{name} was acknowledged, and counted {counts.get(name, 0)} times"
        for name in load.acknowledged
        if counts.get(name) != 1
    ]
    known = set(load.acknowledged) | set(load.unknown)
    wrong += [f"{name} was counted, and nobody knows of it" for name in set(counts) - known]
    wrong += [f"{name} was counted {n} times" for name, n in counts.items() if n != 1]
    return wrong


def run(directory: Path, kills: int, threads: int, seed: int) -> Result:
    """Kill the owner so often, and compare."""
    randomness = random.Random(seed)  # noqa: S311  to be had again
    log = directory / "owner.log"
    began = time.monotonic()
    owner = start(directory, log)
    url = f"cairn+unix://{directory / 'socket'}"
    try:
        with cairndb.connect(url, Tally, timeout=TIMEOUT_SECONDS) as client:
            load = Load(client, threads)
            for _ in range(kills):
                more = randomness.randint(*ACKNOWLEDGED_BETWEEN_KILLS)
                load.wait(len(load.acknowledged) + more)
                owner.kill()
                owner.wait(LIMIT_SECONDS)
                owner = start(directory, log)
            load.wait(len(load.acknowledged) + 1)
            load.stop()
    finally:
        owner.send_signal(signal.SIGTERM)
        owner.wait(LIMIT_SECONDS)
    return Result(
        kills,
        len(load.acknowledged),
        len(load.unknown),
        time.monotonic() - began,
        max(load.seconds),
        compare(directory, load),
    )


def main() -> None:
    """From the command line."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    kills, threads, seed = (*map(int, sys.argv[2:]), *(20, 16, 1)[len(sys.argv) - 2 :])
    result = run(directory.resolve(), kills, threads, seed)
    print(  # noqa: T201
        f"{result.kills} kills in {result.seconds:.0f} s: {result.acknowledged} acknowledged, "
        f"{result.unknown} unknown, the slowest call took {result.slowest:.1f} s"
    )
    print("\n".join(result.wrong[:20]) or "every acknowledged update is there exactly once")  # noqa: T201
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
