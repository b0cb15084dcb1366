"""Redis clients of others: redis-cli, redis-benchmark, redis-py, ioredis and node-redis."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serving_resp import Served, packed

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = Path(__file__).parent / "clients"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A bank."""
    with Served(tmp_path) as server:
        yield server


def output(*command: str, text: str = "") -> str:
    """What a program prints; the test is skipped where it isn't installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} isn't installed")
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.process
def test_redis_cli(served: Served) -> None:
    """With both versions of the protocol, from arguments and from a file of commands."""
    cli = ["redis-cli", "-p", str(served.port)]
    assert output(*cli, "FCALL", "transfer", "0", "alice", "bob", "5") == "95\n"
    assert output(*cli, "--json", "FCALL", "holders", "0", "Bob") == (
        '{"bob":{"owner":"Bob","balance":5,"tags":[]}}\n'
    )
    commands = "PING\nFCALL add_note 0 'two words'\nCAIRN.GET /notes\nFCALL nothing 0\n"
    told = output(*cli, "-3", text=commands).split("\n")
    assert told[:3] == ["PONG", "1", '["two words"]']
    assert told[3].startswith("ERR there is no method 'nothing'")
    assert "server_name:cairndb" in output(*cli, "INFO", "server")
    piped = (packed("PING") + packed("FCALL", "total", "0")).decode()
    assert "errors: 0, replies: 2" in output(*cli, "--pipe", text=piped)


@pytest.mark.process
@pytest.mark.parametrize("pipelined", ["1", "16"])
def test_redis_benchmark(served: Served, pipelined: str) -> None:
    """Many connections, each update counted once."""
    command = ["-p", str(served.port), "-q", "-n", "640", "-c", "16", "-P", pipelined]
    told = output("redis-benchmark", *command, "FCALL", "add_note", "0", "x")
    assert "requests per second" in told
    assert "rror" not in told
    with served.db.view() as bank:
        assert len(bank.notes) == 640


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(served: Served, protocol: int) -> None:
    """Its own methods for all that it has some for; a pipeline, an error, messages of changes."""
    redis = pytest.importorskip("redis")
    with redis.Redis(port=served.port, protocol=protocol, decode_responses=True) as client:
        assert client.ping()
        assert client.fcall("transfer", 0, "alice", "bob", "5") == 95
        assert client.fcall_ro("total", 0) == 100
        with pytest.raises(redis.ResponseError, match="InsufficientFunds"):
            client.fcall("transfer", 0, "alice", "bob", "500")
        with client.pipeline(transaction=False) as pipeline:
            for text in "abc":
                pipeline.fcall("add_note", 0, text)
            assert pipeline.execute() == [1, 2, 3]
        assert client.info("server")["server_name"] == "cairndb"
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.execute_command("CAIRN.GET", "/notes") == '["a","b","c"]'
        with client.pubsub() as messages:
            messages.subscribe("/notes/*")
            assert messages.get_message(timeout=30)["type"] == "subscribe"
            client.fcall("add_note", 0, "d")
            item = json.loads(messages.get_message(timeout=30)["data"])
            assert item["changes"] == [{"path": "/notes/3", "after": "d"}]
            if protocol == 2:  # in version 3 redis-py takes any server's reply to it for a message
                messages.ping()
                assert messages.get_message(timeout=30)["type"] == "pong"
            messages.unsubscribe()
            assert messages.get_message(timeout=30)["type"] == "unsubscribe"


def test_redis_py_with_asyncio(served: Served) -> None:
    """Many calls at once, over a pool of connections."""
    redis = pytest.importorskip("redis.asyncio")

    async def work() -> list[Any]:
        pool = redis.BlockingConnectionPool(port=served.port, max_connections=10, protocol=3)
        async with redis.Redis.from_pool(pool) as client:
            calls = [client.fcall("add_note", 0, "x") for _ in range(100)]
            return list(await asyncio.gather(*calls))

    assert sorted(asyncio.run(work())) == list(range(1, 101))


@pytest.mark.process
@pytest.mark.parametrize("command", ["ioredis.cjs", "redis.cjs 2", "redis.cjs 3"])
def test_node(served: Served, command: str) -> None:
    """Calls, a pipeline, an error, messages of changes, with each of the clients for Node."""
    script, *protocol = command.split()
    if not (CLIENTS / "node_modules" / script.removesuffix(".cjs")).exists():
        pytest.skip("needs npm install --prefix tests/clients")
    told = json.loads(output("node", str(CLIENTS / script), str(served.port), *protocol))
    assert told["failed"].startswith("ERR InsufficientFunds")
    assert told | {"failed": ""} == {
        "left": 95,
        "lengths": [1, 2, 3],
        "failed": "",
        "notes": ["a", "b", "c"],
        "after": 5,
        "pong": "PONG",
    }
