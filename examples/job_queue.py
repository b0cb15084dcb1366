"""A durable job queue: leases, retries with back-off, and jobs that can't be put in twice.

A worker claims the job that is due first and gets a lease. It finishes the job, or extends the
lease, or dies: then the lease ends and another worker gets the job. Each lease has a token, so a
worker that was thought dead and wasn't can't finish what is another's by now. A job that has failed
too often is kept among the dead, to be looked at.

    python examples/job_queue.py --database jobs.cairn --jobs 50
"""

import argparse
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import cairndb
from cairndb import Index

LEASE = timedelta(seconds=30)
BACK_OFF = timedelta(seconds=10)
ATTEMPTS_MAX = 5


class Job(cairndb.Record):
    """Something to do; it is due when it may be claimed: at once, later, or when a lease ends."""

    number: int
    name: str
    due: datetime
    payload: Any = None
    priority: int = 0
    attempts: int = 0
    token: int = 0  # of the lease; 0: nobody has it
    problem: str = ""


class Queue(cairndb.Record):
    """The root."""

    jobs: dict[int, Job] = {}
    dead: dict[int, Job] = {}
    added: int = 0
    tokens: int = 0
    done: int = 0

    by_name = Index(Job, "jobs/*", key=lambda job: job.name, unique=True)
    by_due = Index(Job, "jobs/*", key=lambda job: (job.due, -job.priority), ordered=True)

    @cairndb.check
    def adds_up(self) -> bool:
        """No job gets lost, and none is counted twice."""
        return self.added == len(self.jobs) + len(self.dead) + self.done

    @cairndb.update
    def put(self, name: str, payload: Any, now: datetime, priority: int = 0) -> int:
        """Add a job, or find the one of that name that isn't done yet; its number."""
        known = self.by_name.get(name)
        if known is not None:
            return known.number
        self.added += 1
        self.jobs[self.added] = Job(self.added, name, now, payload, priority)
        return self.added

    @cairndb.update
    def claim(self, now: datetime) -> Job | None:
        """Take the job that is due first, for as long as a lease is; None if none is due."""
        while (due := self.by_due.first()) and due[0].due <= now:
            job = due[0]
            if job.attempts < ATTEMPTS_MAX:
                self.tokens += 1
                job.attempts += 1
                job.token = self.tokens
                job.due = now + LEASE
                return job  # to its caller as a copy
            self._bury(job, "its worker has vanished")
        return None

    @cairndb.update
    def extend(self, claim: Job, now: datetime) -> bool:
        """Begin the lease anew; False: the job is another's by now, or done: let go of it."""
        if job := self._leased(claim, now):
            job.due = now + LEASE
        return job is not None

    @cairndb.update
    def finish(self, claim: Job, now: datetime) -> bool:
        """The job is done; False: it was another's by then, and counts as theirs."""
        if job := self._leased(claim, now):
            del self.jobs[job.number]
            self.done += 1
        return job is not None

    @cairndb.update
    def fail(self, claim: Job, problem: str, now: datetime) -> bool:
        """Try again later, each time after twice as long; at last it is dead."""
        if job := self._leased(claim, now):
            if job.attempts == ATTEMPTS_MAX:
                self._bury(job, problem)
            else:
                job.problem, job.token = problem, 0
                job.due = now + BACK_OFF * 2 ** (job.attempts - 1)
        return job is not None

    def _leased(self, claim: Job, now: datetime) -> Job | None:
        job = self.jobs.get(claim.number)
        return job if job is not None and job.token == claim.token and now < job.due else None

    def _bury(self, job: Job, problem: str) -> None:
        job.problem = problem
        self.dead[job.number] = self.jobs.pop(job.number)


@cairndb.query
def next_due(queue: Queue) -> datetime | None:
    """When the next job may be claimed; None if there is none."""
    return next((job.due for job in queue.by_due.first()), None)


def work(db: cairndb.Database[Queue], now: datetime, chance: random.Random) -> None:
    """Do what is due; every third job fails."""
    while (claim := db.run(Queue.claim, now)) is not None:
        if chance.random() > 1 / 3 or not db.run(Queue.fail, claim, "bad luck", now):
            db.run(Queue.finish, claim, now)


def main() -> None:
    """Do some jobs; the clock jumps to when the next is due."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", default="jobs.cairn")
    parser.add_argument("--jobs", type=int, default=200)
    given = parser.parse_args()
    now = datetime.now(UTC)
    with cairndb.open(given.database, Queue) as db:
        for i in range(given.jobs):
            db.run(Queue.put, f"job {i}", i, now, i % 3)
        while due := db.run(next_due):
            now = max(now, due)
            with ThreadPoolExecutor(8) as workers:
                for seed in range(8):
                    workers.submit(work, db, now, random.Random(seed))  # noqa: S311  not a secret
        with db.view() as queue:
            print(f"{queue.done} of {queue.added} done, {len(queue.dead)} dead")


if __name__ == "__main__":
    main()
