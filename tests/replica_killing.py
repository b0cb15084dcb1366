"""A served database whose owner is killed under load, and processes with replicas that go on.

Each of them moves money through its replica, and looks at it all the while. The owner, `cairn
serve`, is killed with SIGKILL as soon as some more moves have been made, and started again at once.
Whatever a replica shows must have all the money, and every move that its process was told of; in
the end all must show the same.

    python tests/replica_killing.py DIRECTORY [KILLS] [PROCESSES] [SEED]
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

import cairndb
from replica_root import Ledger, Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_SECONDS = 120.0
MOVES_BETWEEN_KILLS = (20, 200)


class Result(Struct):
    """What came of it.

    Args:
        seconds: in all.
        lsn: in the end.
        seen: by each process.
        wrong: what must not be.
    """

    seconds: float
    lsn: int
    seen: list[Seen]
    wrong: list[str]


def environment() -> dict[str, str]:
    """For processes that import from here."""
    here = Path(__file__).parent
    return os.environ | {"PYTHONPATH": f"{here.parent / 'src'}:{here}"}


def start(
    directory: Path, log: Path, before: Sequence[str] = (), resp: Sequence[str] = ("off",)
) -> subprocess.Popen[bytes]:
    """The owner, on a Unix socket in a directory.

    Args:
        directory: of the database and the socket.
        log: for what it says.
        before: what runs it, if not the system as it is.
        resp: what follows `--resp`.
    """
    command = [*before, sys.executable, "-m", "cairndb", "serve", "replica_root:Ledger"]
    options = ["--http", "off", "--resp-unix", str(directory / "socket"), "--resp", *resp]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, str(directory / "ledger.cairn"), *options],
            stdout=output,
            stderr=output,
            env=environment(),
            cwd=directory,
        )


class Worker:
    """A process with a replica.

    Args:
        url: of the owner.
        name: of the process.
        log: for what it says besides.
        before: what runs it, if not the system as it is.
    """

    def __init__(self, url: str, name: str, log: Path, before: Sequence[str] = ()) -> None:
        program = str(Path(__file__).with_name("replica_root.py"))
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*before, sys.executable, program, url, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment(),
                text=True,
            )

    def tell(self, line: str) -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        """The next line from it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> None:
        """Have it gone."""
        self.process.kill()
        self.process.wait(LIMIT_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def wait_for_moves(mine: cairndb.Replica[Ledger], count: int) -> None:
    """Until so many more have been made, as a replica shows it."""
    until = time.monotonic() + LIMIT_SECONDS
    wanted = mine.lsn + count
    while mine.lsn < wanted:
        assert time.monotonic() < until, "no money is moved any more"
        time.sleep(0.002)


def run(directory: Path, kills: int, processes: int, seed: int) -> Result:
    """Kill the owner so often, and compare."""
    randomness = random.Random(seed)  # noqa: S311  to be had again
    log = directory / "owner.log"
    began = time.monotonic()
    owner = start(directory, log)
    url = f"cairn+unix://{directory / 'socket'}"
    try:
        with ExitStack() as stack:
            mine = stack.enter_context(cairndb.replica(url, Ledger, timeout=LIMIT_SECONDS))
            mine.run(Ledger.begin)
            workers = []
            for number in range(processes):
                workers.append(Worker(url, f"worker {number}", directory / "workers.log"))
                stack.callback(workers[-1].end)
            for _ in range(kills):
                wait_for_moves(mine, randomness.randint(*MOVES_BETWEEN_KILLS))
                owner.kill()
                owner.wait(LIMIT_SECONDS)
                owner = start(directory, log)
            wait_for_moves(mine, 20)
            seen, lsn = finish(workers, mine, url)
    finally:
        owner.send_signal(signal.SIGTERM)
        owner.wait(LIMIT_SECONDS)
    return Result(time.monotonic() - began, lsn, seen, differences(seen, lsn))


def differences(seen: list[Seen], lsn: int) -> list[str]:
    """What must not be."""
    wrong = [f"{each.name}: {text}" for each in seen for text in each.wrong]
    if len({each.state for each in seen}) > 1 or any(each.lsn < lsn for each in seen):
        wrong.append("in the end they don't all show the same")
    return wrong


def finish(
    workers: list[Worker], mine: cairndb.Replica[Ledger], url: str
) -> tuple[list[Seen], int]:
    """Stop all, and have them wait for the last LSN."""
    for each in workers:
        each.tell("stop")
    for each in workers:
        assert each.said() == "stopped\n", "a process has failed: see workers.log"
    with cairndb.connect(url, Ledger) as client:
        client.run(Ledger.begin)  # changes nothing, and its answer says where the owner is
        lsn = client.lsn
    for each in workers:
        each.tell(str(lsn))
    mine.wait(lsn, LIMIT_SECONDS)
    return [msgspec.json.decode(each.said(), type=Seen) for each in workers], lsn


def main() -> None:
    """From the command line."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    kills, processes, seed = (*map(int, sys.argv[2:]), *(20, 10, 1)[len(sys.argv) - 2 :])
    result = run(directory.resolve(), kills, processes, seed)
    for each in result.seen:
        print(each)  # noqa: T201
    print(f"{kills} kills in {result.seconds:.0f} s, to LSN {result.lsn}")  # noqa: T201
    print("\n".join(result.wrong[:20]) or "every replica was right, all the time")  # noqa: T201
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
