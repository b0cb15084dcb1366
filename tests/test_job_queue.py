"""The job queue of the examples: no job gets lost, and none is done twice while a lease holds."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import cairndb
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update
from effort import examples
from simulated import SimulatedDirectory, World

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAMPLE = EXAMPLES / "job_queue.py"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def loaded(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


job_queue = loaded("job_queue")
Queue: Any = job_queue.Queue


class Workers(RuleBasedStateMachine):
    """Workers claim, finish, fail or forget, while the clock goes on and owners are killed."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.kind = compile_root(Queue, guard=True)
        self.engine = own(SimulatedDirectory(self.world), self.kind, create=True).engine
        self.now = BEGIN
        self.claims: list[tuple[Any, datetime]] = []
        self.put: dict[str, int] = {}
        self.finished: list[int] = []
        self.retired: set[int] = set()

    def run(self, name: str, *arguments: Any) -> Any:
        """One update, as `db.run` makes it."""
        with Update[Any](self.engine, None, durable=True) as queue:
            result = getattr(queue, name)(*arguments, self.now)
            return result.__cairn_plain__() if hasattr(result, "__cairn_plain__") else result

    @rule(name=st.sampled_from("abcdef"))
    def add(self, name: str) -> None:
        number = self.run("put", name, {"name": name})
        if name in self.put and self.put[name] not in {*self.finished, *self.retired}:
            assert number == self.put[name]
        self.put[name] = number

    @rule()
    def claim(self) -> None:
        job = self.run("claim")
        if job is not None:
            leased = [c for c, until in self.claims if until > self.now]
            assert job.number not in {c.number for c in leased}
            self.claims.append((job, self.now + job_queue.LEASE))

    @rule(pick=st.integers(0, 20), how=st.sampled_from(["finish", "extend", "fail", "fail"]))
    def report(self, pick: int, how: str) -> None:
        """A worker may be late, or report twice: then it is told so, and nothing happens."""
        if not self.claims:
            return
        job, until = self.claims[pick % len(self.claims)]
        arguments = ("bad luck",) if how == "fail" else ()
        accepted = self.run(how, job, *arguments)
        assert accepted == (self.now < until)
        if accepted:
            self.claims.remove((job, until))
            if how == "extend":
                self.claims.append((job, self.now + job_queue.LEASE))
            elif how == "finish":
                assert job.number not in self.finished
                self.finished.append(job.number)

    @rule(seconds=st.sampled_from([1, 10, 29, 30, 40, 200]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def kill_the_owner(self) -> None:
        if self.engine.rules is not None:
            self.engine.rules.close()
        for directory in self.world.locks[:]:
            directory.close()
        self.engine = own(SimulatedDirectory(self.world), self.kind, create=True).engine

    @invariant()
    def nothing_is_lost(self) -> None:
        queue = self.engine.tree.root
        self.retired = set(queue.dead)
        everything = {*queue.jobs, *queue.dead, *self.finished}
        assert everything == set(range(1, queue.added + 1))
        assert queue.done == len(self.finished)

    def teardown(self) -> None:
        self.engine.close()


Workers.TestCase.settings = settings(
    deadline=None, database=None, max_examples=examples(25), stateful_step_count=40
)
TestWorkers = Workers.TestCase


@pytest.mark.process
def test_the_queue_runs_as_a_script(tmp_path: Path) -> None:
    """Every job is done or dead at its end; run again it goes on with the same database."""
    for total in (30, 60):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), "--database", str(tmp_path / "j.cairn"), "--jobs", "30"],
            capture_output=True,
            text=True,
            check=True,
        )
        finished, added, dead = (int(word) for word in done.stdout.split() if word.isdigit())
        assert finished + dead == added == total


def test_any_number_of_jobs_can_be_dead(tmp_path: Path) -> None:
    """One claim lays aside all whose last workers have died, and finds the job behind them."""
    with cairndb.open(tmp_path / "jobs.cairn", Queue, durability="process") as db:
        with db.update() as queue:
            for number in range(1, 1101):
                queue.jobs[number] = job_queue.Job(
                    number, str(number), BEGIN, attempts=job_queue.ATTEMPTS_MAX, token=1
                )
            queue.added = 1100
        db.run(Queue.put, "alive", None, BEGIN + timedelta(seconds=1))
        assert db.run(Queue.claim, BEGIN + timedelta(seconds=1)).name == "alive"
        with db.view() as queue:
            assert len(queue.dead) == 1100


def test_tasks_and_threads_do_each_job_once(tmp_path: Path) -> None:
    """Sixty-four tasks and sixteen threads claim and finish beside each other."""
    done: list[int] = []

    async def task(db: cairndb.Database[Any]) -> None:
        while (job := await db.run_async(Queue.claim, BEGIN)) is not None:
            assert await db.run_async(Queue.finish, job, BEGIN)
            done.append(job.number)

    def thread(db: cairndb.Database[Any]) -> None:
        while (job := db.run(Queue.claim, BEGIN)) is not None:
            assert db.run(Queue.finish, job, BEGIN)
            done.append(job.number)

    async def program(db: cairndb.Database[Any]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(64):
                tasks.create_task(task(db))

    with cairndb.open(tmp_path / "jobs.cairn", Queue, durability="process") as db:
        for number in range(150):
            db.run(Queue.put, str(number), None, BEGIN)
        threads = [threading.Thread(target=thread, args=(db,)) for _ in range(16)]
        for each in threads:
            each.start()
        asyncio.run(program(db))
        for each in threads:
            each.join()
        assert sorted(done) == list(range(1, 151))


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
sys.path.insert(0, sys.argv[2])
import cairndb, job_queue
db = cairndb.open(sys.argv[1], job_queue.Queue)
now = datetime(2026, 1, 1, tzinfo=UTC)
db.run(job_queue.Queue.put, "a", "payload", now)
print(db.run(job_queue.Queue.claim, now).token, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    """Its job is another's when the lease has ended, and not before."""
    path = tmp_path / "jobs.cairn"
    command = [sys.executable, "-c", KILLED, str(path), str(EXAMPLE.parent)]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.stdout == "1\n", died.stderr
    with cairndb.open(path, Queue) as db:
        assert db.run(Queue.claim, BEGIN + job_queue.LEASE - timedelta(seconds=1)) is None
        again = db.run(Queue.claim, BEGIN + job_queue.LEASE)
        assert (again.number, again.token, again.payload, again.attempts) == (1, 2, "payload", 2)
        assert db.run(Queue.finish, again, BEGIN + job_queue.LEASE)
