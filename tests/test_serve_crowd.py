"""Many connections at once: idle ones, busy ones, and those that behave badly among them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
from typing import TYPE_CHECKING

import pytest

from daemons import SECONDS, Daemon, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

IDLE, BUSY, EACH, BAD = 1000, 200, 10, 50
PING = b"*1\r\n$4\r\nPING\r\n"


def count(name: str) -> bytes:
    """A command that counts."""
    return b"*4\r\n$5\r\nFCALL\r\n$5\r\ncount\r\n$1\r\n0\r\n$%d\r\n%b\r\n" % (
        len(name),
        name.encode(),
    )


@pytest.fixture
def _many_files() -> Iterator[None]:
    """As many descriptors as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * IDLE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """All connections of the test.

    Args:
        daemon: what they are made to.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.connections: list[Connection] = []
        self.acknowledged = 0

    async def connect(self, protocol: str = "resp") -> Connection:
        """One more."""
        self.connections.append(
            await asyncio.open_connection("127.0.0.1", self.daemon.port(protocol))
        )
        return self.connections[-1]

    async def ping(self, connection: Connection) -> None:
        """Be answered."""
        reader, writer = connection
        writer.write(PING)
        assert await reader.readline() == b"+PONG\r\n"

    async def be_busy(self, number: int) -> None:
        """Count, each time when the one before has been answered."""
        reader, writer = await self.connect()
        for expected in range(1, EACH + 1):
            writer.write(count(f"busy-{number}"))
            assert await reader.readline() == b":%d\r\n" % expected
            self.acknowledged += 1

    async def vanish(self) -> None:
        """Ask for something, and be gone before it is answered."""
        _, writer = await self.connect()
        writer.write(count("vanished"))
        await writer.drain()
        writer.transport.abort()

    async def babble(self, chance: random.Random) -> None:
        """Send what means nothing, and be let go."""
        reader, writer = await self.connect()
        writer.write(chance.randbytes(2000) + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass

    async def dawdle(self, protocol: str) -> None:
        """Begin a request, and don't end it."""
        _, writer = await self.connect(protocol)
        writer.write(count("never")[:-3] if protocol == "resp" else b"GET /healthz HTTP/1.1\r\nX: ")
        await writer.drain()

    async def gather(self) -> None:
        """Be there, all of them, and behave as each does."""
        chance = random.Random(1)  # noqa: S311  the same every time
        async with asyncio.timeout(4 * SECONDS):
            idle = [await self.connect() for _ in range(IDLE)]
            await asyncio.gather(*map(self.ping, idle))
            await asyncio.gather(
                *(self.dawdle(protocol) for protocol in ("resp", "http") for _ in range(BAD)),
                *(self.be_busy(number) for number in range(BUSY)),
                *(self.vanish() for _ in range(BAD)),
                *(self.babble(chance) for _ in range(BAD)),
            )
            await asyncio.gather(*map(self.ping, idle))
            for _, writer in self.connections:
                writer.close()
            for _, writer in self.connections:
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.usefixtures("_many_files")
def test_a_crowd_is_served_whoever_is_in_it(tmp_path: Path) -> None:
    """A thousand idle connections and two hundred busy ones are served beside those that misbehave.

    What was answered is there; what was asked for by who vanished may be; nothing else is.
    """
    with Daemon(tmp_path / "bank.cairn", root="patient:Patient") as daemon:
        crowd = Crowd(daemon)
        asyncio.run(crowd.gather())
        assert crowd.acknowledged == BUSY * EACH
        # Those that are gone leave nothing behind.
        last = daemon.resp()
        eventually(lambda: "\nconnected_clients:1\r" in last("INFO", "clients"))
        assert BUSY * EACH <= last.run("total") <= BUSY * EACH + BAD
        assert daemon.stop() == 0
