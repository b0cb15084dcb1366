"""Two hosts, the link between them cut and restored under load: a client comes back by itself.

The hosts are network namespaces of Linux, joined by a pair of virtual network cards; it needs root.
One has the owner, `cairn serve`, the other threads that share a client and count names, each name
once. The link is taken down for some seconds, again and again: for less than the kernel's patience,
and for longer. In the end every call must have been answered, and every name counted once.

    python tests/served_cutting.py DIRECTORY [SECONDS...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

import cairndb
from remote_root import Tally
from served_killing import LIMIT_SECONDS, TIMEOUT_SECONDS, Load, Result, compare

if TYPE_CHECKING:
    from typing import IO

SERVER, CLIENT = "10.214.57.1", "10.214.57.2"
PORT = 7379
HERE = Path(__file__).parent
REPORT_SECONDS = 0.05


def why_not() -> str | None:
    """What is missing here for namespaces; None for nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        made = subprocess.run(["/usr/sbin/ip", "netns", "list"], check=False, capture_output=True)
    except OSError:
        return "needs ip, of iproute2"
    return None if made.returncode == 0 else "network namespaces are refused here"


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["/usr/sbin/ip", *words], check=True, capture_output=True, timeout=30)


class Hosts:
    """Two hosts and the link between them."""

    def __init__(self) -> None:
        mark = f"{os.getpid() % 100000}"
        self.server, self.client = f"cairn-s{mark}", f"cairn-c{mark}"
        self._stack = ExitStack()
        ends = (self.server, f"cs{mark}", SERVER), (self.client, f"cc{mark}", CLIENT)
        self._card = ends[0][1]
        for name, _, _ in ends:
            ip("netns", "add", name)
            self._stack.callback(ip, "netns", "del", name)
        ip("link", "add", ends[0][1], "type", "veth", "peer", "name", ends[1][1])
        for name, card, address in ends:
            ip("link", "set", card, "netns", name)
            ip("-n", name, "address", "add", f"{address}/24", "dev", card)
            ip("-n", name, "link", "set", card, "up")
            ip("-n", name, "link", "set", "lo", "up")

    def cut(self) -> None:
        """Take the link down."""
        ip("-n", self.server, "link", "set", self._card, "down")

    def restore(self) -> None:
        """Have it again."""
        ip("-n", self.server, "link", "set", self._card, "up")

    def close(self) -> None:
        """Remove both."""
        self._stack.close()


def start(host: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
    """A Python program on a host."""
    environment = dict(os.environ, PYTHONPATH=f"{HERE.parent / 'src'}:{HERE}")
    whole = ["/usr/sbin/ip", "netns", "exec", host, sys.executable, *command]
    return subprocess.Popen(whole, env=environment, **options)  # type: ignore[call-overload, no-any-return]


def be_client(threads: int) -> None:
    """The client's host: say how many have been acknowledged, until the end of what is read."""
    stopping = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stopping.set()

    threading.Thread(target=wait, daemon=True).start()
    with cairndb.connect(f"cairn://{SERVER}:{PORT}", Tally, timeout=TIMEOUT_SECONDS) as client:
        load = Load(client, threads)
        while not stopping.wait(REPORT_SECONDS):
            print(len(load.acknowledged), flush=True)  # noqa: T201
        load.stop()
    found = [load.acknowledged, load.unknown, load.wrong, load.seconds]
    print(json.dumps(found), flush=True)  # noqa: T201


class Report(Struct):
    """What a client has told.

    Args:
        acknowledged: as `Load` has it, and so the others.
        unknown: of these nobody knows.
        wrong: what must not be.
        seconds: that each call took.
    """

    acknowledged: list[str]
    unknown: list[str]
    wrong: list[str]
    seconds: list[float]


def wait_for_more(output: IO[bytes]) -> float:
    """Until something more is acknowledged; returns the seconds that it took."""
    began, first = time.monotonic(), int(output.readline())
    while int(output.readline()) == first:
        assert time.monotonic() < began + LIMIT_SECONDS, "nothing is acknowledged any more"
    return time.monotonic() - began


def run(directory: Path, cuts: list[float], threads: int = 8) -> tuple[Result, list[float]]:
    """Cut the link so often, for so many seconds each, and compare.

    Returns:
        What came of it, and how many seconds after each cut something was acknowledged again.
    """
    began, back = time.monotonic(), []
    with ExitStack() as stack:
        hosts = Hosts()
        stack.callback(hosts.close)
        options = ["--resp", f"{SERVER}:{PORT}", "--insecure-listen", "--http", "off"]
        database = str(directory / "tally.cairn")
        with (directory / "owner.log").open("wb") as log:
            serve = ("-m", "cairndb", "serve", "remote_root:Tally", database, *options)
            owner = start(hosts.server, *serve, stderr=log, cwd=directory)
        stack.callback(owner.wait, LIMIT_SECONDS)
        stack.callback(owner.terminate)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        client = stack.enter_context(
            start(hosts.client, __file__, "--client", f"{threads}", **pipes)
        )
        assert client.stdin is not None
        assert client.stdout is not None
        wait_for_more(client.stdout)
        for seconds in cuts:
            hosts.cut()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                client.stdout.readline()
            hosts.restore()
            back.append(wait_for_more(client.stdout))
        client.stdin.close()
        *_, last = client.stdout
        report = Report(*json.loads(last))
    taken = time.monotonic() - began
    wrong = compare(directory, report)
    counts = len(report.acknowledged), len(report.unknown)
    return Result(len(cuts), *counts, taken, max(report.seconds), wrong), back


def main() -> None:
    """From the command line."""
    if sys.argv[1] == "--client":
        be_client(int(sys.argv[2]))
        return
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    result, back = run(directory, [*map(float, sys.argv[2:])] or [0.5, 3.0, 15.0])
    shown = ", ".join(f"{seconds:.1f}" for seconds in back)
    print(  # noqa: T201
        f"{result.kills} cuts in {result.seconds:.0f} s: {result.acknowledged} acknowledged, "
        f"{result.unknown} unknown; back after {shown} s"
    )
    print("\n".join(result.wrong[:20]) or "every acknowledged update is there exactly once")  # noqa: T201
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
