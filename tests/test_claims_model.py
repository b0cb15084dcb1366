"""Jobs against a model: put, claimed, done, failed, killed, removed by others, in any order."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cairndb.locking import claim, claims, put
from cairndb.locking_hold import take
from effort import examples
from test_kill import MEMORY

if TYPE_CHECKING:
    from cairndb.locking import Claim
    from cairndb.locking_hold import Hold

ATTEMPTS = 2
NAMES = st.sampled_from(["a", "b", "ä 1"])
OUTCOMES = st.sampled_from(["done", "fail", "stop", "kill"])


class Job(NamedTuple):
    """One file, as the model knows it."""

    name: str
    data: bytes


class Queue(RuleBasedStateMachine):
    """A directory, and what must be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.jobs: dict[str, Job] = {}
        self.begun: dict[Job, int] = {}
        self.held: dict[Job, Claim] = {}
        self.dead: dict[str, Job] = {}
        self.writing: dict[str, Hold | None] = {}
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        """Nothing is held any more, and the directory is gone."""
        for job in list(self.held):
            self.end(job, "kill")
        for hold in self.writing.values():
            if hold is not None:
                hold.close()
        shutil.rmtree(self.inbox)

    def new(self, name: str) -> Job:
        """A job that no other is equal to."""
        return Job(name, str(next(self.numbers)).encode())

    def expect_dead(self, job: Job) -> None:
        """It is moved, to a name that is free."""
        names = (job.name if n == 1 else f"{job.name}.{n}" for n in itertools.count(1))
        self.dead[next(name for name in names if name not in self.dead)] = job
        del self.jobs[job.name]

    def is_exhausted(self, job: Job) -> bool:
        """Whether a claim buries it."""
        return self.begun[job] >= ATTEMPTS

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        """It is there, or the name is taken."""
        job = self.new(name)
        try:
            put(self.inbox, name, job.data)
        except FileExistsError:
            assert name in self.jobs
        else:
            self.place(job)

    def place(self, job: Job) -> None:
        """A new file has the name. Clocks are coarse, and inodes used again: times differ here."""
        assert job.name not in self.jobs
        self.jobs[job.name] = job
        self.begun[job] = 0
        time = int(job.data) * 10**9
        os.utime(self.inbox / job.name, ns=(time, time))

    @rule(name=NAMES)
    def claim(self, name: str) -> None:
        """It is begun, unless somebody has it, or it was begun too often."""
        job = self.jobs.get(name)
        claimed = claim(self.inbox / name, attempts=ATTEMPTS)
        if job is None or job in self.held:
            assert claimed is None
        elif self.is_exhausted(job):
            assert claimed is None
            self.expect_dead(job)
        else:
            assert claimed is not None
            self.begin(job, claimed)

    def begin(self, job: Job, claimed: Claim) -> None:
        """It is what was put, and counted."""
        self.begun[job] += 1
        self.held[job] = claimed.__enter__()
        assert (claimed.name, claimed.read()) == job
        assert claimed.attempt == self.begun[job]

    @rule(name=NAMES)
    def give_back(self, name: str) -> None:
        """A claim that isn't entered changes nothing."""
        job = self.jobs.get(name)
        if job is not None and job not in self.held and not self.is_exhausted(job):
            claimed = claim(self.inbox / name, attempts=ATTEMPTS)
            assert claimed is not None
            claimed.release()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=OUTCOMES)
    def end_one(self, data: st.DataObject, outcome: str) -> None:
        """The work has ended, in one way or another."""
        self.end(data.draw(st.sampled_from(list(self.held))), outcome)

    def end(self, job: Job, outcome: str) -> None:
        """What comes of it, unless another has removed the file meanwhile."""
        claimed = self.held.pop(job)
        mine = self.jobs.get(job.name) == job
        if outcome == "kill":
            claimed._hold.close()
            return
        error = {"done": None, "fail": ValueError("no"), "stop": KeyboardInterrupt()}[outcome]
        claimed.__exit__(type(error) if error else None, error, None)
        assert not getattr(error, "__notes__", ())
        if not mine:
            return
        if outcome == "done":
            del self.jobs[job.name]
        elif outcome == "stop":
            self.begun[job] -= 1
        elif self.is_exhausted(job):
            self.expect_dead(job)
            assert claimed.dead_letter is not None
            assert Path(claimed.dead_letter).read_bytes() == job.data

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), replace=st.booleans())
    def remove(self, data: st.DataObject, *, replace: bool) -> None:
        """Somebody removes a job without asking, held or not, and perhaps puts another there."""
        name = data.draw(st.sampled_from(list(self.jobs)))
        del self.jobs[name]
        (self.inbox / name).unlink()
        if replace:
            job = self.new(name)
            (self.inbox / name).write_bytes(job.data)
            self.place(job)

    @rule(killed=st.booleans())
    def leave(self, *, killed: bool) -> None:
        """Somebody is in `put`, or was killed there."""
        name = f".put-1-{next(self.numbers):016x}"
        hold = take(str(self.inbox / name), create=True)
        assert hold is not None
        self.writing[name] = hold
        if killed:
            hold.close()
            self.writing[name] = None

    @rule(data=st.data(), limit=st.integers(1, 4))
    def loop(self, data: st.DataObject, limit: int) -> None:
        """All that is to be had comes, in order, once each; remnants are removed."""
        for name, hold in list(self.writing.items()):
            if hold is None:
                del self.writing[name]
        free = sorted(name for name, job in self.jobs.items() if job not in self.held)
        wanted = [self.jobs[name] for name in free if not self.is_exhausted(self.jobs[name])]
        got: list[Job] = []
        complete = True
        for claimed in claims(self.inbox, attempts=ATTEMPTS):
            job = self.jobs[claimed.name]
            got.append(job)
            self.begin(job, claimed)
            outcome = data.draw(OUTCOMES)
            self.end(job, outcome)
            # After a kill the loop, which knows nothing of it, would give the same again.
            if outcome == "kill" or len(got) == limit:
                complete = False
                break
        self.bury_those_passed(free, got, complete=complete)
        assert got == wanted[: len(got)]
        records = self.inbox / ".attempts"
        if records.exists():
            assert {record.name for record in records.iterdir()} <= set(self.jobs)

    def bury_those_passed(self, free: list[str], got: list[Job], *, complete: bool) -> None:
        """Whatever was exhausted before the last one that came has been buried."""
        last = got[-1].name if got and not complete else "\U0010ffff"
        for name in free:
            job = self.jobs.get(name)
            if job is not None and job not in got and name < last and self.is_exhausted(job):
                self.expect_dead(job)

    @invariant()
    def what_is_there(self) -> None:
        """The jobs of the model, whole; the dead letters; and who is writing."""
        there = {entry.name: entry for entry in self.inbox.iterdir() if entry.is_file()}
        assert set(there) == {*self.jobs, *self.writing}
        for name, job in self.jobs.items():
            assert there[name].read_bytes() == job.data
        graves = self.inbox / "dead-letters"
        with contextlib.suppress(FileNotFoundError):
            buried = {g.name: g.read_bytes() for g in graves.iterdir() if g.is_file()}
            buried.pop(".lock")
            assert buried == {name: job.data for name, job in self.dead.items()}
            for name, job in self.dead.items():
                record = json.loads((graves / ".errors" / name).read_text("utf-8"))
                assert record["attempts"] == self.begun[job] == ATTEMPTS
            return
        assert self.dead == {}


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=examples(60), stateful_step_count=30)
