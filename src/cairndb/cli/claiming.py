"""`claim`: a command for each file of a directory, each file once, whoever else does the same.

The command inherits the descriptor that has the lock. So a job is held as long as the command runs,
also if `cairn` is killed meanwhile; else another would begin the job beside it. What the command
starts and leaves running inherits it too, and holds a job that has failed until it ends.
"""

from __future__ import annotations

import signal
import subprocess
import time
from concurrent import futures
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from typer import Argument, Option

from cairndb.cli import output
from cairndb.locking_claims import ATTEMPTS, Queue, claims_of
from cairndb.locking_directory import JobDirectory

if TYPE_CHECKING:
    from types import FrameType

    from cairndb.locking import Claim

_PLACE: Final = "{}"
_STDERR: Final = 2


class CommandFailed(Exception):  # noqa: N818  it stands in the record of the attempt
    """It had another exit status than 0, was ended by a signal, or couldn't be started."""


class _Stopped(BaseException):
    """The command ended when it was to be stopped, or there is no such command: no attempt."""


def claim(
    directory: Annotated[str, Argument(metavar="DIRECTORY", help="Its files are the jobs.")],
    command: Annotated[
        list[str], Argument(metavar="-- COMMAND", help="What to run; {} is the file's path.")
    ],
    *,
    workers: Annotated[
        int, Option("--workers", "-j", min=1, metavar="N", help="Run so many at a time.")
    ] = 1,
    pattern: Annotated[
        str, Option(metavar="PATTERN", help="Only files whose names match, as '*.json'.")
    ] = "*",
    attempts: Annotated[
        int, Option(min=0, metavar="N", help="Give a job up after N attempts; 0: never.")
    ] = ATTEMPTS,
    dead_letters: Annotated[
        str | None,
        Option(
            metavar="DIRECTORY", help="Where to move what was given up; DIRECTORY/dead-letters."
        ),
    ] = None,
    json: Annotated[bool, Option("--json", help="One JSON object a job.")] = False,
) -> None:
    """Run a command for each file of a directory.

    A file whose command succeeds is removed; one whose command fails stays, to be tried again by
    the next run, and is moved to the dead letters after too many attempts. Any number of these, on
    one machine, share the files: no two run the command for the same file at the same time. The
    first Ctrl-C, or SIGTERM, ends it when the commands that run have ended; SIGTERM and a second
    Ctrl-C are passed on to them.

    Example: cairn claim inbox -j 4 -- gzip --keep {}
    """
    if not any(_PLACE in word for word in command):
        command = [*command, _PLACE]
    queue = Queue(JobDirectory(directory), attempts or None, dead_letters)
    commands = _Commands(queue, command, json=json)
    commands.run(pattern, workers)
    if commands.wrong:
        raise output.Misuse(commands.wrong)
    counts = commands.counts
    if not json:
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        output.write(told or "no jobs")
    if commands.interrupts:
        raise KeyboardInterrupt
    if lost := counts["failed"] + counts["given up"]:
        raise output.Negative(f"{lost} of {sum(counts.values())} jobs failed")


class _Running(NamedTuple):
    """One command."""

    job: Claim
    held: ExitStack
    """The claim's `with`."""
    process: subprocess.Popen[bytes]
    started: float


class _Commands:
    """Those that run, and what became of those that ran.

    All is done by the main thread; each of the others waits for one command. Signals raise nothing:
    they end the loop, and perhaps the commands.

    Args:
        queue: where jobs come from.
        command: with `{}` for the file.
        json: how to tell.
    """

    def __init__(self, queue: Queue, command: list[str], *, json: bool) -> None:
        self._queue = queue
        self._command = command
        self._json = json
        self._running: dict[futures.Future[int], _Running] = {}
        self._passed_on: int | None = None
        self.interrupts = 0
        self.wrong = ""
        """Why no command can be started."""
        self.counts = {"done": 0, "failed": 0, "given up": 0, "stopped": 0}

    def run(self, pattern: str, workers: int) -> None:
        """Run commands until there are no jobs, or it is to end; then wait for those that run.

        Args:
            pattern: of the names of jobs.
            workers: how many commands at a time.
        """
        before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGINT, self._interrupt),
                (signal.SIGTERM, self._terminate),
            )
            # What runs in the background of a shell may be started with SIGINT ignored.
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            with futures.ThreadPoolExecutor(workers) as pool:
                try:
                    jobs = claims_of(self._queue, pattern)
                    while not self.interrupts and not self.wrong and (job := next(jobs, None)):
                        self._tell_buried()
                        self._start(job, pool)
                        while len(self._running) >= workers:
                            self._settle_some()
                finally:
                    while self._running:
                        self._settle_some()
                    self._tell_buried()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # The first has reached the commands too, if it came from a terminal.
        self.interrupts += 1
        if self.interrupts > 1:
            self._signal(signal.SIGTERM if self.interrupts == 2 else signal.SIGKILL)
        else:
            output.say_error("nothing more is begun; Ctrl-C again ends what runs")

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupts += 1
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        self._passed_on = number
        for running in list(self._running.values()):
            running.process.send_signal(number)

    def _start(self, job: Claim, pool: futures.ThreadPoolExecutor) -> None:
        held = ExitStack()
        held.enter_context(job)
        started = time.monotonic()
        try:
            process = subprocess.Popen(  # noqa: S603  what the user wants run
                [word.replace(_PLACE, job.path) for word in self._command],
                stdin=subprocess.DEVNULL,
                stdout=_STDERR if self._json else None,
                pass_fds=(job.fileno(),),
            )
        except OSError as error:
            if _PLACE not in self._command[0]:
                self.wrong = f"{self._command[0]}: {error.strerror}"
            self._settle(job, held, self.wrong or f"it can't be run: {error.strerror}", started)
            return
        self._running[pool.submit(process.wait)] = _Running(job, held, process, started)
        if self._passed_on is not None:
            process.send_signal(self._passed_on)  # it came when this wasn't known to run

    def _settle_some(self) -> None:
        ended, _ = futures.wait(self._running, return_when=futures.FIRST_COMPLETED)
        for future in ended:
            job, held, _, started = self._running.pop(future)
            code = future.result()
            self._settle(job, held, _reason(code), started, code)

    def _settle(
        self, job: Claim, held: ExitStack, failed: str, started: float, code: int | None = None
    ) -> None:
        """End the claim of a job, by how its command ended, and tell."""
        outcome = "done"
        error: BaseException | None = None
        if failed and (self.interrupts or self.wrong):
            outcome, error = "stopped", _Stopped()
        elif failed:
            outcome, error = "failed", CommandFailed(failed)
        with suppress(_Stopped, CommandFailed), held:
            if error is not None:
                raise error
        if job.dead_letter:
            outcome = "given up"
        seconds = round(time.monotonic() - started, 3)
        self._tell(
            outcome,
            job.name,
            job.dead_letter,
            failed,
            attempt=job.attempt,
            seconds=seconds,
            exit=code,
        )

    def _tell_buried(self) -> None:
        while self._queue.buried:
            path = self._queue.buried.pop(0)
            self._tell("given up", Path(path).name, path, "its workers were killed")

    def _tell(
        self, outcome: str, name: str, dead_letter: str | None, failed: str, **more: Any
    ) -> None:
        self.counts[outcome] += 1
        if self._json:
            about = {"dead_letter": dead_letter, "reason": failed or None, **more}
            shown = {key: value for key, value in about.items() if value is not None}
            output.write_json({"job": name, "outcome": outcome, **shown}, compact=True)
        else:
            where = f": now {dead_letter}" if dead_letter else ""
            reason = f" ({failed})" if failed else ""
            shown_name = name if name.isprintable() else ascii(name)
            output.write(f"{outcome:8}  {shown_name}{reason}{where}")
        output.flush()


def _reason(code: int) -> str:
    """Why it isn't done, by how its command ended; empty if it is."""
    if code >= 0:
        return f"exit status {code}" if code else ""
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
