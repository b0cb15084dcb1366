"""A served database beside Redis and beside FastAPI on SQLite: the same work, in the same run.

    python benchmarks/served.py [--rounds 3] [--seconds 2] [--short]

Every server runs all the time, on loopback, and every row is measured in every round, one after the
other: two processes with threads ask as fast as they can. What an update has answered is on disk:
cairndb with durability="commit", Redis with appendfsync=always, SQLite with WAL and
synchronous=FULL. Shown are medians of the rounds, and ratios to them.

Clients and servers share the machine: where clients are in Python, they take most of it. So there
are rows by redis-benchmark, which is C, too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import machine
from served_bank import ACCOUNTS, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "benchmarks"
PROCESSES = 2
START_SECONDS = 60.0
PACKAGES = ("cairndb", "msgspec", "redis", "hiredis", "uvicorn", "starlette", "fastapi")


@dataclass(frozen=True)
class Row:
    """One figure of one contender.

    Args:
        figure: what is measured.
        contender: the server, and by which client.
        kind: of client, see `served_load`; or `redis-benchmark`.
        server: whose address it gets.
        connections: of all processes together.
        what: `update` or `read`.
        pipeline: how many in one go.
    """

    figure: str
    contender: str
    kind: str
    server: str
    connections: int
    what: str = "update"
    pipeline: int = 1


PYTHON = [
    ("cairndb, its client", "client", "cairndb"),
    ("cairndb, redis-py", "redis functions", "resp"),
    ("cairndb, HTTP", "http", "http"),
    ("Redis, redis-py", "redis", "redis"),
    ("FastAPI and SQLite, HTTP", "fastapi", "fastapi"),
]
IN_C = [("cairndb", "resp"), ("Redis", "redis")]


def rows() -> Iterator[Row]:
    """All of them, in the order of the table."""
    for count in (1, 16, 256):
        for name, kind, server in PYTHON:
            yield Row(f"durable updates, {connections(count)}", name, kind, server, count)
    for count in (1, 16):
        for name, kind, server in (PYTHON[1], PYTHON[3]):
            figure = f"durable updates, {connections(count)}, 16 in one go"
            yield Row(figure, name, kind, server, count, pipeline=16)
    for name, kind, server in PYTHON:
        yield Row("reads, 16 connections", name, kind, server, 16, what="read")
    yield Row("reads, 16 connections", "cairndb, a replica", "replica", "cairndb", 16, what="read")
    for count, depth in ((1, 1), (16, 1), (256, 1), (16, 16)):
        for name, server in IN_C:
            go = f", {depth} in one go" if depth > 1 else ""
            figure = f"durable updates by redis-benchmark, {connections(count)}{go}"
            yield Row(figure, name, "redis-benchmark", server, count, pipeline=depth)


def connections(count: int) -> str:
    """So many, in words."""
    return "1 connection" if count == 1 else f"{count} connections"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    """A server, as long as the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603  our own commands
            command, stdout=file, stderr=file, cwd=HERE, env={**os.environ, **environment}
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, log: Path) -> None:
    """Return when somebody listens there."""
    until = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > until:
            sys.exit(f"{log.name} didn't start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """All servers, filled; their addresses."""
    ports = {name: free_port() for name in ("resp", "http", "redis", "fastapi")}
    addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    cairndb = [sys.executable, "-m", "cairndb", "serve", "served_bank:Bank"]
    cairndb += [str(folder / "bank.cairn"), "--resp", addresses["resp"]]
    cairndb += ["--http", addresses["http"]]
    redis = ["redis-server", "--port", str(ports["redis"]), "--dir", str(folder), "--save", ""]
    redis += ["--appendonly", "yes", "--appendfsync", "always"]
    fastapi = [sys.executable, "-m", "uvicorn", "served_fastapi:app", "--log-level", "warning"]
    fastapi += ["--port", str(ports["fastapi"]), "--no-access-log"]
    logs = {name: folder / f"{name}.log" for name in ("cairndb", "redis", "fastapi")}
    with (
        running(cairndb, logs["cairndb"]),
        running(redis, logs["redis"]),
        running(fastapi, logs["fastapi"], SERVED_SQLITE=str(folder / "bank.sqlite")),
    ):
        for name, port in ports.items():
            wait_for(port, logs.get(name, logs["cairndb"]))
        fill(addresses)
        yield {**addresses, "cairndb": f"cairn://{addresses['resp']}"}


def fill(addresses: dict[str, str]) -> None:
    """Make the accounts everywhere."""
    import redis  # noqa: PLC0415  only where it is measured

    for name, path, body in (("http", "/run/fill", f"[{ACCOUNTS}]"), ("fastapi", "/fill", "")):
        connection = http.client.HTTPConnection(addresses[name])
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"{name} wasn't filled: {answer.status} {answer.read()!r}")
        connection.close()
    host, _, port = addresses["redis"].rpartition(":")
    client = redis.Redis(host=host, port=int(port))
    pipeline = client.pipeline(transaction=False)
    for number in range(ACCOUNTS):
        fields = {"owner": f"Owner {number}", "balance": 100}
        pipeline.hset(key_of(number), mapping=fields)
    pipeline.execute()


def measured(row: Row, address: str, seconds: float) -> dict[str, float]:
    """Do what a row says once."""
    if row.kind == "redis-benchmark":
        return by_redis_benchmark(row, address, seconds)
    processes = min(PROCESSES, row.connections)
    loads = []
    for _ in range(processes):
        load = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, str(HERE / "served_load.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        plan = {
            "kind": row.kind,
            "address": address,
            "connections": row.connections // processes,
            "seconds": seconds,
            "what": row.what,
            "pipeline": row.pipeline,
        }
        assert load.stdin is not None
        load.stdin.write(json.dumps(plan) + "\n")
        load.stdin.flush()
        loads.append(load)
    for load in loads:
        assert load.stdout is not None
        if load.stdout.readline() != "ready\n":
            sys.exit(f"{row.contender}: the load didn't get ready")
    for load in loads:
        assert load.stdin is not None
        load.stdin.write("go\n")
        load.stdin.flush()
    found = [json.loads(load.communicate()[0]) for load in loads]
    return {
        "rate": sum(each["rate"] for each in found),
        "median": statistics.median(each["median"] for each in found),
        "p99": max(each["p99"] for each in found),
    }


def by_redis_benchmark(row: Row, address: str, seconds: float) -> dict[str, float]:
    """The same by a program in C, one key, as long as its pace says."""
    host, _, port = address.rpartition(":")
    key = key_of(0)
    asked = ["FCALL", "deposit", "0", key, "1"]
    if row.server == "redis":
        asked = ["HINCRBY", key, "balance", "1"]
    count, rate = 1000, 0.0
    while True:
        done = subprocess.run(  # noqa: S603  a fixed program
            [
                *("redis-benchmark", "-h", host, "-p", port, "-c", str(row.connections)),
                *("-P", str(row.pipeline), "-n", str(count), "--csv", *asked),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.findall(r'"([\d.]+)"', done.stdout.splitlines()[-1])
        rate = float(found[0])
        if count >= 0.7 * rate * seconds:
            # rps, and latencies in milliseconds: average, least, median, p95, p99, most
            return {"rate": rate, "median": float(found[3]) / 1e3, "p99": float(found[5]) / 1e3}
        count = int(rate * seconds)


def table(samples: dict[Row, list[dict[str, float]]]) -> Iterator[str]:
    """The results in Markdown, a section for each figure."""
    medians = {
        row: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for row, found in samples.items()
    }
    figures = dict.fromkeys(row.figure for row in samples)
    for figure in figures:
        group = {row: found for row, found in medians.items() if row.figure == figure}
        yield f"\n## {figure.capitalize()}\n"
        bases = [("Redis", "× Redis"), ("FastAPI", "× FastAPI and SQLite")]
        bases = [b for b in bases if any(row.contender.startswith(b[0]) for row in group)]
        titles = ["", "a second", "least to most", "median ms", "p99 ms", *(b[1] for b in bases)]
        yield f"| {' | '.join(titles)} |"
        yield "| --- |" + " ---: |" * (len(titles) - 1)
        for row, found in group.items():
            rates = [each["rate"] for each in samples[row]]
            cells = [row.contender, f"{found['rate']:,.0f}"]
            cells += [f"{min(rates):,.0f} to {max(rates):,.0f}"]
            cells += [f"{1e3 * found['median']:.2f}", f"{1e3 * found['p99']:.2f}"]
            for name, _ in bases:
                base = next(f for r, f in group.items() if r.contender.startswith(name))
                cells.append(f"{found['rate'] / base['rate']:.2f}")
            yield f"| {' | '.join(cells)} |"


def report(samples: dict[Row, list[dict[str, float]]], about: dict[str, str]) -> str:
    """The page."""
    head = __doc__ or ""
    lines = ["# A served database beside its peers", "", *head.split("\n\n")[2:]]
    lines += [*table(samples), "\n## Machine\n", *(f"- {k}: {v}" for k, v in about.items()), ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a row in a round")
    parser.add_argument("--figure", default="", help="only figures that contain this text")
    parser.add_argument("--short", action="store_true", help="one round, printed and not kept")
    arguments = parser.parse_args()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server isn't installed here: it is what cairndb is measured against")
    chosen = [row for row in rows() if arguments.figure in row.figure]
    samples: dict[Row, list[dict[str, float]]] = {row: [] for row in chosen}
    with tempfile.TemporaryDirectory(dir=HERE.parent) as name, servers(Path(name)) as addresses:
        about = machine(Path(name), PACKAGES)
        for number in range(1 if arguments.short else arguments.rounds):
            for row in chosen:
                told = f"round {number + 1}: {row.figure}: {row.contender}"
                print(f"\r\033[K{told}", end="", file=sys.stderr, flush=True)
                samples[row].append(measured(row, addresses[row.server], arguments.seconds))
        print("\r\033[K", end="", file=sys.stderr)
    text = report(samples, about)
    print(text)
    if not arguments.short and not arguments.figure:
        (RESULTS / "served.md").write_text(text, encoding="utf-8")
        kept: list[Any] = [{**vars(row), "samples": found} for row, found in samples.items()]
        (RESULTS / "served.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
