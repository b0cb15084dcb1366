"""What the tests of the daemon start it with, and talk to it by."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TESTS = Path(__file__).parent
SOURCES = TESTS.parent / "src"
SECONDS = 30.0
"""How long anything may take until a test fails."""


class Resp:
    """A connection that speaks the Redis protocol.

    Args:
        address: a port of this machine, or the path of a Unix socket.
        wrap: what becomes of the socket, TLS say.
    """

    def __init__(
        self,
        address: int | str,
        wrap: Callable[[socket.socket], socket.socket] = lambda connected: connected,
    ) -> None:
        if isinstance(address, int):
            connected = socket.create_connection(("127.0.0.1", address), timeout=SECONDS)
        else:
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(SECONDS)
            connected.connect(address)
        self.socket = wrap(connected)
        self._reader = hiredis.Reader(replyError=_Refused)

    def send(self, *words: str | bytes) -> None:
        """Send a command."""
        self.socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # any number

    def receive(self) -> Any:
        """The next reply; raises `ConnectionError` if there is none, the error if it is one."""
        while (reply := self._reader.gets()) is False:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError("it was closed")
            self._reader.feed(data)
        if isinstance(reply, _Refused):
            raise reply
        return reply.decode() if isinstance(reply, bytes) else reply

    def __call__(self, *words: str | bytes) -> Any:
        """Send a command, and return its reply."""
        self.send(*words)
        return self.receive()

    def run(self, method: str, *arguments: object) -> Any:
        """Run a method."""
        return self("FCALL", method, "0", *map(str, arguments))

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class _Refused(Exception):  # noqa: N818  as it comes over the wire
    """An error that was answered."""


Refused = _Refused


class Daemon:
    """A daemon in a process of its own.

    Args:
        path: of the database.
        arguments: further flags.
        root: what is served.
        environment: further variables.
        before: what runs the command, if it isn't run by itself.
        addresses: flags that say where to listen.
        read_log: whether what it logs is read after it has started.
        options: of `subprocess.Popen`.
    """

    def __init__(
        self,
        path: Path,
        *arguments: str,
        root: str = "bank:Bank",
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        addresses: Sequence[str] = ("--resp=127.0.0.1:0", "--http=127.0.0.1:0"),
        read_log: bool = True,
        **options: Any,
    ) -> None:
        self._connections: list[Resp] = []
        self.log = path.parent / f"{path.name}.{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "cairndb", "serve", root, str(path)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, *command, *addresses, f"--app-dir={TESTS}", *arguments],
                stderr=log if read_log else subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(SOURCES), **(environment or {})},
                **options,
            )

    def _read_until(self, event: str) -> None:
        """Of a pipe: what is logged until then."""
        assert self.process.stderr is not None
        with self.log.open("ab") as log:
            while f'"{event}"'.encode() not in self.log.read_bytes():
                line = self.process.stderr.readline()
                assert line, self.log.read_text()
                log.write(line)
                log.flush()

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """What was logged, or only what of one kind."""
        lines = self.log.read_text().splitlines()
        logged = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in logged if event in {None, each["event"]}]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Return what was logged when this has been for the first or n-th time."""
        until = time.monotonic() + SECONDS
        while len(found := self.events(event)) < count:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.005)  # until the next look
        return found[count - 1]

    def port(self, protocol: str) -> int:
        """Where it listens."""
        for each in self.events("listening"):
            if each["protocol"] == protocol and ":" in each["at"]:
                return int(each["at"].rpartition(":")[2])
        raise AssertionError(self.log.read_text())

    def resp(self) -> Resp:
        """A new connection, closed with this at the latest."""
        self._connections.append(Resp(self.port("resp")))
        return self._connections[-1]

    def http(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """A request of its own, answered by status and body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port("http"), SECONDS)) as asked:
            asked.request(method, path, headers=headers)
            answered = asked.getresponse()
            return answered.status, answered.read()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(SECONDS)

    def stop(self) -> int:
        """Stop it, and return its exit code."""
        self.signal()
        return self.ended()

    def __enter__(self) -> Self:
        try:
            if self.process.stderr is not None:
                self._read_until("started")
            self.wait_for("started")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for connection in self._connections:
            connection.close()
        self.process.kill()
        self.process.wait(SECONDS)
        if self.process.stderr is not None:
            self.process.stderr.close()


def eventually(true: Callable[[], object]) -> None:
    """Return when something has become true."""
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)  # until the next look


def refusal(path: Path, *arguments: str, code: int, **options: Any) -> str:
    """What a daemon says that doesn't start."""
    daemon = Daemon(path, *arguments, **options)
    assert daemon.ended() == code, daemon.log.read_text()
    (line,) = [line for line in daemon.log.read_text().splitlines() if line.startswith("cairn: ")]
    return line
