"""A process of `served.py`'s load: threads, each with a connection, that ask without a pause.

It reads one line of JSON (kind, address, connections, seconds, what, pipeline), connects, says
`ready`, and begins at the next line. At the end it prints how many answers came, and latencies.
"""

import http.client
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from served_bank import ACCOUNTS, Bank, key_of

Ask = Callable[[str], object]


def by_client(address: str) -> tuple[Ask, Ask]:
    """Our own client: one for all threads, as an application has it."""
    import cairndb  # noqa: PLC0415  only where it is measured

    client = _shared(address, lambda: cairndb.connect(address, Bank))
    return (
        lambda key: client.run(Bank.deposit, key, 1),
        lambda key: client.run(Bank.balance, key),
    )


def by_redis_functions(address: str) -> tuple[Ask, Ask]:
    """redis-py, calling methods of the bank."""
    redis = _redis(address)
    return (
        lambda key: redis.fcall("deposit", 0, key, "1"),
        lambda key: redis.fcall_ro("balance", 0, key),
    )


def by_redis(address: str) -> tuple[Ask, Ask]:
    """redis-py and Redis's own commands."""
    redis = _redis(address)
    return (
        lambda key: redis.hincrby(key, "balance", 1),
        lambda key: redis.hget(key, "balance"),
    )


def by_http(address: str) -> tuple[Ask, Ask]:
    """The standard library's client on a connection that stays: the quickest that Python has."""
    connection = _http(address)
    return (
        lambda key: _sent(connection, "/run/deposit", f'["{key}",1]'),
        lambda key: _sent(connection, "/run/balance", f'["{key}"]'),
    )


def by_fastapi(address: str) -> tuple[Ask, Ask]:
    """The same for the FastAPI service."""
    connection = _http(address)
    return (
        lambda key: _sent(connection, f"/deposit?key={key}&amount=1", ""),
        lambda key: _sent(connection, f"/balance?key={key}", None),
    )


def by_replica(address: str) -> tuple[Ask, Ask]:
    """A copy in this process, for all threads."""
    import cairndb  # noqa: PLC0415  only where it is measured

    replica = _shared(address, lambda: cairndb.replica(address, Bank))
    return (
        lambda key: replica.run(Bank.deposit, key, 1),
        lambda key: replica.run(Bank.balance, key),
    )


KINDS = {
    "client": by_client,
    "replica": by_replica,
    "redis functions": by_redis_functions,
    "redis": by_redis,
    "http": by_http,
    "fastapi": by_fastapi,
}

_mutex = threading.Lock()
_clients: dict[str, Any] = {}


def _shared(address: str, make: Callable[[], Any]) -> Any:
    with _mutex:
        if address not in _clients:
            _clients[address] = make()
        return _clients[address]


def _redis(address: str) -> Any:
    import redis  # noqa: PLC0415  only where it is measured

    host, _, port = address.rpartition(":")
    return redis.Redis(host=host, port=int(port), single_connection_client=True, protocol=3)


def _http(address: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(address)
    connection.connect()
    return connection


def _sent(connection: http.client.HTTPConnection, target: str, body: str | None) -> bytes:
    headers = {"Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", target, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{target}: {answer.status} {data!r}")
    return data


def pipelined(address: str, kind: str, depth: int) -> Ask:
    """So many updates in one go, by redis-py."""
    redis = _redis(address)

    def ask(key: str) -> object:
        pipeline = redis.pipeline(transaction=False)
        for _ in range(depth):
            if kind == "redis":
                pipeline.hincrby(key, "balance", 1)
            else:
                pipeline.fcall("deposit", 0, key, "1")
        return pipeline.execute()

    return ask


class Load:
    """The threads of one process.

    Args:
        plan: as the module says.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.go = threading.Event()
        self.latencies: list[list[float]] = []
        self.ready = threading.Barrier(plan["connections"] + 1)
        self.threads = [
            threading.Thread(target=self.work, args=(seed,), daemon=True)
            for seed in range(plan["connections"])
        ]

    def asking(self) -> Ask:
        """How one thread asks."""
        plan = self.plan
        if plan["pipeline"] > 1:
            return pipelined(plan["address"], plan["kind"], plan["pipeline"])
        update, read = KINDS[plan["kind"]](plan["address"])
        return update if plan["what"] == "update" else read

    def work(self, seed: int) -> None:
        """One thread: ask until the time is over."""
        chosen = random.Random(seed)  # noqa: S311  which account is no secret
        taken: list[float] = []
        self.latencies.append(taken)
        try:
            ask = self.asking()
            ask(key_of(0))
        except BaseException:
            self.ready.abort()  # or the others would wait for ever
            raise
        self.ready.wait()
        self.go.wait()
        until = time.perf_counter() + self.plan["seconds"]
        while (begun := time.perf_counter()) < until:
            ask(key_of(chosen.randrange(ACCOUNTS)))
            taken.append(time.perf_counter() - begun)

    def run(self) -> dict[str, float]:
        """Do it, when told to."""
        for thread in self.threads:
            thread.start()
        self.ready.wait()
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.perf_counter()
        self.go.set()
        for thread in self.threads:
            thread.join()
        seconds = time.perf_counter() - begun
        all_taken = sorted(each for taken in self.latencies for each in taken)
        return {
            "rate": len(all_taken) * self.plan["pipeline"] / seconds,
            "median": all_taken[len(all_taken) // 2],
            "p99": all_taken[len(all_taken) * 99 // 100],
        }


if __name__ == "__main__":
    print(json.dumps(Load(json.loads(sys.stdin.readline())).run()), flush=True)
