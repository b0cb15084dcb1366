"""Redis with an append-only file, a process of its own on a Unix socket.

An account is a hash, so that an update is one command, HINCRBY, and a read another, HGET. The
server is started by the process that asks it, and ended with it.
"""

import asyncio
import atexit
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import redis
import redis.asyncio

from contenders.work import AT_ONCE, STORES_ALL, VIEW, Contender, Level, key_of, owner_of, tags_of

SERVER = shutil.which("redis-server")
if SERVER is None:
    raise ImportError("redis-server isn't on the path (Debian: apt install redis-server)")

COMMON = "appendonly yes, no snapshots, no rewriting meanwhile; Unix socket, redis-py with hiredis"
BATCH = 10_000
CONNECTIONS = 64
# Within the server: many times as fast as to ask for each balance, pipelined.
TOTAL = """
local total, cursor = 0, "0"
repeat
  local found = redis.call("SCAN", cursor, "COUNT", 10000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do total = total + redis.call("HGET", key, "balance") end
until cursor == "0"
return total
"""


class Server:
    """A server of its own for a folder.

    Args:
        folder: where its append-only file is.
        level: whether it syncs before it answers.
    """

    def __init__(self, folder: Path, level: Level) -> None:
        # In a short folder: the path of a Unix socket has at most 107 bytes.
        self.sockets = tempfile.mkdtemp(prefix="redis-")
        self.socket = f"{self.sockets}/redis"
        fsync = "always" if level == "commit" else "no"
        assert SERVER is not None
        options = ["--port", "0", "--unixsocket", self.socket, "--dir", str(folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", fsync]
        options += ["--auto-aof-rewrite-percentage", "0", "--aof-use-rdb-preamble", "yes"]
        options += ["--rdbcompression", "no", "--rdbchecksum", "no"]
        self.process = subprocess.Popen(  # noqa: S603  found on the path
            [SERVER, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

        # Whoever asks may be ended before it has been closed.
        atexit.register(self.end)

    def first_answer(self, command: bytes) -> bytes:
        """Ask until it answers with something else than that it isn't ready."""
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.socket)
                    client.sendall(command)
                    answer = client.recv(4096)
                if answer and not answer.startswith(b"-LOADING"):
                    return answer
            except OSError:
                pass
            assert self.process.poll() is None, "redis-server has ended"
            time.sleep(0.0005)

    def end(self) -> None:
        """Have it write what it hasn't, and wait for its end."""
        atexit.unregister(self.end)
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.sockets, ignore_errors=True)


def first_read(folder: Path, key: str) -> float:
    """Seconds from the start of the server to its answer to a HGET, by a client that waits."""
    begun = time.perf_counter()
    server = Server(folder, "process")
    try:
        answer = server.first_answer(f"HGET {key} balance\r\n".encode())
        seconds = time.perf_counter() - begun
        assert re.match(rb"\$\d", answer), answer
    finally:
        server.end()
    return seconds


class Redis(Contender):
    """A server and a client with connections for all threads."""

    figures = STORES_ALL - {VIEW} | {AT_ONCE}
    settings: ClassVar[dict[Level, str]] = {
        "commit": f"appendfsync always, {COMMON}",
        "process": f"appendfsync no, {COMMON}",
    }
    notes = (
        "Redis: an account is a hash. It has no views.",
        "Redis is loaded by pipelines of 10,000 commands: that is quickest, if not one update.",
        "Redis, first read: from the start of the server to a client that is there already.",
        "Redis sums up all balances in a script, within the server.",
        "Redis rewrote its file before it was started for the first read (BGREWRITEAOF).",
    )
    packages = ("redis", "hiredis")

    def open(self, level: Level) -> None:
        """See Contender."""
        self.server = Server(self.folder, level)
        self.server.first_answer(b"PING\r\n")
        self.client: Any = redis.Redis(unix_socket_path=self.server.socket, protocol=2)

    def close(self) -> None:
        """See Contender."""
        self.client.close()
        self.server.end()

    def settle(self) -> None:
        """See Contender."""
        self.client.bgrewriteaof()
        while True:
            state = self.client.info("persistence")
            if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                return
            time.sleep(0.01)

    def load(self, count: int) -> None:
        """See Contender."""
        for first in range(0, count, BATCH):
            pipeline = self.client.pipeline(transaction=False)
            for number in range(first, min(first + BATCH, count)):
                owner, tags = owner_of(number), ",".join(tags_of(number))
                pipeline.execute_command(
                    "HSET", key_of(number), "owner", owner, "balance", 100, "tags", tags
                )
            pipeline.execute()

    def read(self, keys: list[str]) -> None:
        """See Contender."""
        command = self.client.execute_command
        for key in keys:
            int(command("HGET", key, "balance"))

    def iterate(self) -> int:
        """See Contender."""
        return int(self.client.eval(TOTAL, 0))

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        command = self.client.execute_command
        for key in keys:
            command("HINCRBY", key, "balance", 1)

    def update_at_once(self, keys: list[str]) -> None:
        """See Contender."""

        async def program() -> None:
            pool: Any = redis.asyncio.BlockingConnectionPool(
                connection_class=redis.asyncio.UnixDomainSocketConnection,
                path=self.server.socket,
                max_connections=CONNECTIONS,
                timeout=None,
            )
            client: Any = redis.asyncio.Redis(connection_pool=pool)
            command = client.execute_command
            await asyncio.gather(*(command("HINCRBY", key, "balance", 1) for key in keys))
            await client.aclose()
            await pool.aclose()

        asyncio.run(program())
