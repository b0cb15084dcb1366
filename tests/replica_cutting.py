"""Two hosts, the link between them cut and restored under load: replicas come back by themselves.

The hosts are those of `served_cutting`, and need root. One has the owner, the other processes with
replicas, which move money and look at it all the while. While the link is down they show what they
had; when it is back they go on, and in the end all show the same.

    python tests/replica_cutting.py DIRECTORY [SECONDS...]
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import cairndb
from replica_killing import LIMIT_SECONDS, Result, Worker, differences, finish, start
from replica_root import Ledger
from served_cutting import PORT, SERVER, Hosts

COMMAND = ("/usr/sbin/ip", "netns", "exec")


def wait_for_all(mine: cairndb.Replica[Ledger], processes: int) -> float:
    """Until each process has moved money; how long that took."""
    began = time.monotonic()
    first = moves(mine)
    while True:
        now = moves(mine)
        if len(now) == processes and all(now[name] > first.get(name, 0) for name in now):
            return time.monotonic() - began
        assert time.monotonic() < began + LIMIT_SECONDS, "somebody doesn't come back"
        time.sleep(0.01)


def moves(mine: cairndb.Replica[Ledger]) -> dict[str, int]:
    """The last move of each process."""
    with mine.view() as ledger:
        return dict(ledger.moves)


def run(directory: Path, cuts: list[float], processes: int = 3) -> tuple[Result, list[float]]:
    """Cut the link so often, for so many seconds each, and compare.

    Returns:
        What came of it, and how many seconds after each cut all had moved money again.
    """
    began, back = time.monotonic(), []
    with ExitStack() as stack:
        hosts = Hosts()
        stack.callback(hosts.close)
        address = f"{SERVER}:{PORT}"
        owner = start(
            directory,
            directory / "owner.log",
            (*COMMAND, hosts.server),
            (address, "--insecure-listen"),
        )
        stack.callback(owner.wait, LIMIT_SECONDS)
        stack.callback(owner.send_signal, signal.SIGTERM)
        mine_url = f"cairn+unix://{directory / 'socket'}"  # of the same file system
        mine = stack.enter_context(cairndb.replica(mine_url, Ledger, timeout=LIMIT_SECONDS))
        mine.run(Ledger.begin)
        workers = []
        for number in range(processes):
            log = directory / "workers.log"
            before = (*COMMAND, hosts.client)
            workers.append(Worker(f"cairn://{address}", f"worker {number}", log, before))
            stack.callback(workers[-1].end)
        wait_for_all(mine, processes)
        for seconds in cuts:
            hosts.cut()
            time.sleep(seconds)
            hosts.restore()
            back.append(wait_for_all(mine, processes))
        seen, lsn = finish(workers, mine, mine_url)
    return Result(time.monotonic() - began, lsn, seen, differences(seen, lsn)), back


def main() -> None:
    """From the command line."""
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    cuts = [*map(float, sys.argv[2:])] or [0.5, 3.0, 15.0]
    result, back = run(directory, cuts)
    for each in result.seen:
        print(each)  # noqa: T201
    shown = ", ".join(f"{seconds:.1f}" for seconds in back)
    print(f"{len(cuts)} cuts in {result.seconds:.0f} s; back after {shown} s")  # noqa: T201
    print("\n".join(result.wrong[:20]) or "every replica was right, all the time")  # noqa: T201
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
