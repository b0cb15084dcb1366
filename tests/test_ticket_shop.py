"""The ticket shop of the examples: workers of a web service, each with a replica."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from replica_killing import environment

EXAMPLE = Path(__file__).parent.parent / "examples" / "ticket_shop.py"
LIMIT_SECONDS = 60.0


class _Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=LIMIT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_SECONDS)
        self.sock.connect(str(self._path))


class Site:
    """The web service, as a visitor sees it: each request may get to another worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.workers: set[str] = set()

    def ask(self, method: str, url: str, data: Any = None, seen: str = "0") -> tuple[int, Any, str]:
        """The status, what came, and up to where that was seen."""
        with closing(_Local(self._path)) as connection:
            body = None if data is None else json.dumps(data)
            connection.request(method, url, body, {"Seen": seen})
            response = connection.getresponse()
            self.workers.add(response.headers.get("Worker", ""))
            return response.status, json.loads(response.read()), response.headers.get("Seen", "0")

    def wait(self, workers: int) -> None:
        """Until so many workers have answered."""
        until = time.monotonic() + LIMIT_SECONDS
        while len(self.workers) < workers:
            assert time.monotonic() < until, "the web service never came"
            try:
                self.ask("GET", "/shows")
            except OSError:
                time.sleep(0.05)


def started(stack: ExitStack, directory: Path, *command: str) -> subprocess.Popen[bytes]:
    """A process that ends with the stack."""
    with (directory / "log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=output,
            stderr=output,
            env=environment(),
            cwd=directory,
        )

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_SECONDS)

    stack.callback(end)
    return process


def owner_of(stack: ExitStack, directory: Path) -> subprocess.Popen[bytes]:
    """The owner of the database."""
    options = ["--resp", "off", "--http", "off", "--resp-unix", str(directory / "owner")]
    serve = ["-m", "cairndb", "serve", "ticket_shop:Shop", str(directory / "shop.cairn")]
    return started(stack, directory, *serve, "--app-dir", str(EXAMPLE.parent), *options)


def sell(site: Site, customers: int) -> None:
    """Many buy at the same time, and look at once at what they have, wherever they get to."""

    def visit(number: int) -> tuple[int, list[Any]]:
        customer = f"customer {number}"
        url = "/shows/Hamlet/tickets"
        status, sold, seen = site.ask("POST", url, {"customer": customer})
        assert status == 200, sold
        _, tickets, _ = site.ask("GET", f"/customers/{customer.replace(' ', '%20')}", seen=seen)
        return sold["seat"], tickets

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(visit, range(customers)))
    assert sorted(seat for seat, _ in found) == list(range(1, customers + 1))
    assert all(tickets == [["Hamlet", seat]] for seat, tickets in found)


@pytest.mark.process
@pytest.mark.slow
def test_workers_sell_each_seat_once_and_show_it_at_once(tmp_path: Path) -> None:
    """Whichever worker is asked, a customer sees his ticket; without an owner pages are there."""
    with ExitStack() as stack:
        owner = owner_of(stack, tmp_path)
        database, path = f"cairn+unix://{tmp_path / 'owner'}", tmp_path / "web"
        options = ["--workers", "2", "--uds", str(path)]
        started(stack, tmp_path, str(EXAMPLE), "--database", database, *options)
        site = Site(path)
        site.wait(2)
        _, _, seen = site.ask("POST", "/shows", {"title": "Hamlet", "seats": 31})
        assert site.ask("GET", "/shows", seen=seen)[:2] == (200, {"Hamlet": 31})
        sell(site, 30)
        owner.kill()
        owner.wait(LIMIT_SECONDS)
        assert site.ask("GET", "/shows")[:2] == (200, {"Hamlet": 1})
        owner_of(stack, tmp_path)
        buy = ("POST", "/shows/Hamlet/tickets", {"customer": "Kim"})
        assert site.ask(*buy)[:2] == (200, {"seat": 31})
        assert site.ask(*buy)[0] == 409
        assert site.ask("GET", "/health")[0] == 200
