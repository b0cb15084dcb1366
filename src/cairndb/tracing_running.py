"""A command run under a tracer, with its input, output, signals and exit code as they would be.

strace is the parent of the command; its lines come through a named pipe, since a descriptor would
be inherited. bpftrace attaches to a shell that waits to become the command. A trace ends with the
command: what it leaves running goes on, untraced.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from cairndb import tracing_system as system
from cairndb.tracing_events import Heading, TraceError
from cairndb.tracing_strace import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

_READY_SECONDS: Final = 60.0
_LINGER_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.1
_LAST: Final = 64
_SETTINGS: Final = {
    "BPFTRACE_STRLEN": "200",
    "BPFTRACE_MAX_STRLEN": "200",
    "BPFTRACE_MAP_KEYS_MAX": "16384",
    "BPFTRACE_MAX_MAP_KEYS": "16384",
    "BPFTRACE_PERF_RB_PAGES": "512",
}


class Run(NamedTuple):
    """How a traced command ended."""

    lines: list[str]
    """The recording."""
    code: int
    """Its exit code, or minus the signal that ended it."""
    interrupted: bool
    """Whether there was a Ctrl-C."""
    left: bool
    """Whether it has left processes running."""


def run(
    command: Sequence[str],
    patterns: Sequence[str],
    tracer: str,
    say: Callable[[str], None],
) -> Run:
    """Run a command to its end, and record what it and its descendants do.

    Args:
        command: the program and its arguments.
        patterns: absolute paths of which it is of interest what was there before.
        tracer: `strace`, `bpftrace`, or empty: bpftrace where it works, else strace.
        say: is told what somebody who waits should know.

    Returns:
        The recording and how the command ended.

    Raises:
        TraceError: nothing can be traced here, or the command can't be started.
    """
    if not system.found(command[0]):
        raise TraceError(f"{command[0]}: there is no such program; check its name and PATH")
    reasons = {"bpftrace": system.why_not_bpftrace(), "strace": system.why_not_strace()}
    if tracer and reasons[tracer]:
        raise TraceError(f"{tracer} can't trace here: {reasons[tracer]}")
    heading = Heading(
        cairn_trace=1,
        tracer=tracer,
        system=sys.platform,
        directory=system.current_directory(),
        patterns=list(patterns),
        command=list(command),
        known=system.known(patterns),
    )
    interrupts = _Interrupts()
    with system.named_pipe() as pipe, interrupts.counted():
        if tracer == "bpftrace" or (not tracer and not reasons["bpftrace"]):
            bpftrace = _Bpftrace(command, pipe, interrupts)
            failure = bpftrace.attached()
            if not failure:
                return bpftrace.run(heading)
            if tracer or reasons["strace"]:
                raise TraceError(f"bpftrace can't trace here: {failure}")
            say(f"using strace, since bpftrace doesn't work here: {failure}")
            interrupts.root = 0
        if reasons["strace"]:
            raise TraceError(_nothing(reasons))
        return _Strace(command, pipe, interrupts).run(heading)


def _nothing(reasons: dict[str, str]) -> str:
    if sys.platform == "linux":
        return f"there is nothing to trace with: {reasons['strace']}; {reasons['bpftrace']}"
    return (
        "cairn traces on Linux only. Here record with DTrace, as root: "
        f"dtrace -s {system.script('d')} -c 'COMMAND' -o FILE $(uname), then: "
        "cairn trace --replay FILE"
    )


class _Interrupts:
    """Ctrl-C goes to the command, which is in the same group of processes; then we wait for it.

    If it was sent to this process alone, the command gets one too. A second one kills it.
    """

    def __init__(self) -> None:
        self.root = 0
        """The process to pass them on to; 0 before it is there and when it has ended."""
        self.count = 0
        self._since = 0.0
        self._passed_on = False

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count them instead of raising: an exception could lose lines that have been read.

        To be told to end (SIGTERM) is passed on too.
        """
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:  # as in the background of a shell: of the command too
            signal.signal(signal.SIGINT, self._came)
        terminated = signal.signal(signal.SIGTERM, self._terminated)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            signal.signal(signal.SIGTERM, terminated)

    def _came(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._since = time.monotonic()
        if self.count > 1:
            self._send(signal.SIGKILL)

    def _terminated(self, number: int, _frame: FrameType | None) -> None:
        if not self.root:
            raise SystemExit(128 + number)
        self._send(signal.SIGTERM)

    def pass_on(self) -> None:
        """If the command goes on though it was interrupted, tell it once."""
        late = time.monotonic() - self._since > _LINGER_SECONDS
        if self.count and late and not self._passed_on:
            self._passed_on = True
            self._send(signal.SIGINT)

    def _send(self, number: signal.Signals) -> None:
        if self.root:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.root, number)


class _Strace:
    """A command under strace.

    Args:
        command: the program and its arguments.
        pipe: for its lines.
        interrupts: are counted.
    """

    def __init__(self, command: Sequence[str], pipe: str, interrupts: _Interrupts) -> None:
        self._command = command
        self._pipe = pipe
        self._interrupts = interrupts
        self._root = 0
        self._code: int | None = None
        self._ended = 0.0

    def run(self, heading: Heading) -> Run:
        """Run it to its end."""
        lines = system.lines_of_pipe(self._pipe)
        found: list[str] = []
        left = False
        try:
            strace = subprocess.Popen(  # noqa: S603  what it is asked to run
                ["strace", *OPTIONS, "-o", self._pipe, "--", *self._command]  # noqa: S607
            )
            while not lines.ended and (found or strace.poll() is None):
                for line in lines.some(_LOOK_SECONDS):
                    found.append(line)
                    self._notice(line)
                self._interrupts.pass_on()
                if self._lingers() and strace.poll() is None:
                    # A shell doesn't wait for what is still there either.
                    left = True
                    strace.kill()
            returned = strace.wait()
        finally:
            lines.close()
        if not self._root:
            raise TraceError(
                f"strace couldn't start {self._command[0]} (it ended with {returned}): see what it "
                "said above. In a container, ptrace may have to be permitted"
            )
        first = msgspec.structs.replace(heading, tracer="strace", root=self._root)
        code = self._code if left and self._code is not None else returned
        return Run([_encoded(first), *found], code, self._interrupts.count > 0, left)

    def _lingers(self) -> bool:
        """Whether the command has ended, and strace had time to end too."""
        return self._code is not None and time.monotonic() - self._ended > _LINGER_SECONDS

    def _notice(self, line: str) -> None:
        """See who the command is, and when it ends."""
        who, _, rest = line.partition(" ")
        if not self._root and who.isdigit():
            self._root = self._interrupts.root = int(who)
        words = rest.partition("+++ ")[2].split()
        if who != str(self._root) or len(words) < 2 or self._code is not None:
            return
        self._interrupts.root = 0
        if words[0] == "exited":
            self._code = int(words[2])
        elif words[0] == "killed":
            self._code = -getattr(signal, words[2], signal.SIGKILL)
        self._ended = time.monotonic()


class _Bpftrace:
    """A command that bpftrace has been attached to.

    Args:
        command: the program and its arguments.
        pipe: on which the command waits for its start.
        interrupts: are counted.
    """

    def __init__(self, command: Sequence[str], pipe: str, interrupts: _Interrupts) -> None:
        self._pipe = pipe
        self._interrupts = interrupts
        self._found: list[str] = []
        # The shell becomes the command when somebody has opened the other end of the pipe.
        self._command = subprocess.Popen(  # noqa: S603  what it is asked to run
            ["/bin/sh", "-c", ': <"$0"; exec "$@"', pipe, *command]
        )
        interrupts.root = self._command.pid
        self._tracer = subprocess.Popen(  # noqa: S603  our own script
            [
                *("bpftrace", "-q", "-B", "line", system.script("bt")),
                *(str(interrupts.root), str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | _SETTINGS,
            start_new_session=True,  # Ctrl-C isn't for it
        )
        assert self._tracer.stdout is not None
        self._lines = system.Lines(self._tracer.stdout.fileno())

    def attached(self) -> str:
        """Wait until it traces.

        Returns:
            Why it doesn't, after which the command is gone; empty if it does.
        """
        until = time.monotonic() + _READY_SECONDS
        while not {"first", "last"} <= set(self._found):
            system.get_parent()
            if self._lines.ended or time.monotonic() > until or self._interrupts.count:
                self._command.kill()
                self._command.wait()
                said = self._stop()
                if self._interrupts.count:
                    raise KeyboardInterrupt
                return said or "it didn't begin within a minute"
            self._found += self._lines.some(_LOOK_SECONDS)
        return ""

    def _stop(self) -> str:
        """End it; the last thing that it complained of."""
        self._tracer.kill()
        _, said = self._tracer.communicate()
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return next((line for line in reversed(lines) if "ERROR" in line), "")

    def run(self, heading: Heading) -> Run:
        """Let the command go, and see it to its end."""
        started, until, stop_at = False, 0.0, 0.0
        while not self._lines.ended and "end" not in self._found[-_LAST:]:
            started = started or system.opened_and_closed(self._pipe)
            new = self._lines.some(_LOOK_SECONDS)
            self._found += new
            self._interrupts.pass_on()
            if self._command.poll() is not None:
                self._interrupts.root = 0
                # What it hasn't written when it is told to end can be lost; so not while it writes.
                until = until or time.monotonic() + _LINGER_SECONDS
                now = time.monotonic()
                quiet = not new or now > until + 4 * _LINGER_SECONDS
                if quiet and now > max(until, stop_at):
                    # Now and then it doesn't notice the first time.
                    stop_at = now + 4 * _LINGER_SECONDS
                    self._tracer.send_signal(signal.SIGINT)
        said = self._stop()
        if not stop_at:
            raise TraceError(f"bpftrace ended early: {said or 'without a word'}. Try --with strace")
        code = self._command.wait()
        first = msgspec.structs.replace(heading, tracer="bpftrace", root=self._command.pid)
        lines = [_encoded(first), *self._found]
        return Run(lines, code, self._interrupts.count > 0, _left(self._found))


def _left(lines: Sequence[str]) -> bool:
    """Whether some process hasn't ended by the end of the lines of our script."""
    running: set[str] = set()
    for line in lines:
        fields = line.split("\t")
        if fields[0] == "fork" and len(fields) > 8 and not int(fields[7]) & 0x10000:  # CLONE_THREAD
            running.add(fields[8])
        elif fields[0] == "exit" and len(fields) > 3:
            running.discard(fields[3])
    return bool(running)


def _encoded(heading: Heading) -> str:
    return msgspec.json.encode(heading).decode()
