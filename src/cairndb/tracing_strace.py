"""The lines of strace: `OPTIONS` is how it must be run, `StraceReader` reads them.

A line is a whole call, or its beginning (`<unfinished ...>`) or its end (`<... resumed>`) if
another process had something to report in between. strace halts a process at both ends of each
call, so that the order of the lines is one in which things can have happened; the end of a process
that is killed may be reported after its locks have gone to another.

Descriptors come with the path that their file has at that moment (-y), and `(deleted)` if it has
lost it: that is exact. Inodes and link counts are there only where the program asked for them.

Not used: --seccomp-bpf. It makes tracing a third quicker, but a process that outlives its tracer
finds that its calls fail.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cairndb.tracing_events import Call
from cairndb.tracing_strace_calls import READERS, RawCall, unescaped

OPTIONS: Final = (
    # Calls that a machine doesn't have are passed over by the question marks.
    *(
        "-f",
        "-y",
        "-q",
        "-s",
        "0",
        "-e",
        "trace=" + ",".join(f"?{name}" for name in (*READERS, "exit_group")),
    ),
    # stat's results in full, but not the environment of every program.
    *("-e", "abbrev=execve,execveat,clone3", "-e", "signal=none"),
    *("--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"),
)
"""What strace must be given, before -o and the command."""

_LINE: Final = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_BEGUN: Final = re.compile(r"(\w+)\((.*?) ?<unfinished \.\.\.>$")
_ENDED: Final = re.compile(r"<\.\.\. (\w+) resumed>(.*)$")
_WHOLE: Final = re.compile(r"(\w+)\((.*)$")
_GONE: Final = re.compile(r"\+\+\+ (exited|killed|superseded) ")
_OTHER: Final = re.compile(
    r"--- |\+\+\+ |restart_syscall\(|\?\?\?\?|<\.\.\. restart_syscall|<ptrace"
)
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|<[^<>"]*>|[(\[{]|[)\]}]|,|[^"<(\[{)\]},]+|.')
_RESULT: Final = re.compile(r"\s+= (?:(-1) (\w+)|(-?\d+|0x[0-9a-f]+|\?)(<[^<>]*>)?(\(deleted\))?)")
_TOOK: Final = re.compile(r"<(\d+\.\d+)>$")


class StraceReader:
    """Turns the lines of strace into calls, which are complete after `finish`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.not_understood = 0
        self.lost = 0
        self._number = 0
        self._begun: dict[int, tuple[int, float, str, str]] = {}
        self._leaders: dict[int, int] = {}
        self._ended: set[int] = set()

    def read(self, line: str) -> None:
        """Take the next line; what isn't understood is counted.

        Args:
            line: with or without its end.
        """
        self._number += 1
        line = line.rstrip("\n")
        if not line:
            return
        try:
            self._take(line)
        except (ValueError, LookupError, OverflowError):
            self.not_understood += 1

    def finish(self) -> None:
        """Whatever was only begun has ended with the trace."""
        for thread, (place, time, name, text) in sorted(self._begun.items()):
            if name in {"close", "exit_group"}:
                self._add(self._raw(thread, name, text + ") = 0", (place, place), (time, time)))
        if self._leaders:
            self.calls = [
                msgspec.structs.replace(call, process=self._leader(call.process))
                for call in self.calls
            ]

    def _leader(self, thread: int) -> int:
        seen = set()
        while thread in self._leaders and thread not in seen:
            seen.add(thread)
            thread = self._leaders[thread]
        return thread

    def _take(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            raise ValueError(line)
        thread, time, text = int(match[1]), float(match[2]), match[3]
        if gone := _GONE.match(text):
            self._gone(thread, time, killed=gone[1] != "superseded")
        elif begun := _BEGUN.match(text):
            self._begun[thread] = (self._number, time, begun[1], begun[2])
            if begun[1] == "exit_group":
                self._exit(thread, time)
        elif ended := _ENDED.match(text):
            place, started, name, before = self._begun.pop(thread)
            if name != ended[1]:
                raise ValueError(line)
            places = (place, self._number), (started, time)
            self._add(self._raw(thread, name, before + ended[2], *places))
        elif _OTHER.match(text):
            return
        elif whole := _WHOLE.match(text):
            if whole[1] == "exit_group":
                self._exit(thread, time)
                return
            took = _TOOK.search(text)
            finished = time + (float(took[1]) if took else 0.0)
            places = (self._number, self._number), (time, finished)
            self._add(self._raw(thread, whole[1], whole[2], *places))
        else:
            raise ValueError(line)

    def _exit(self, thread: int, time: float, *words: str) -> None:
        process = self._leader(thread)
        if process not in self._ended:
            self._ended.add(process)
            self.calls.append(
                Call(
                    name="exit",
                    begun=self._number,
                    ended=self._number,
                    started=time,
                    finished=time,
                    process=thread,
                    thread=thread,
                    words=frozenset(words),
                )
            )

    def _gone(self, thread: int, time: float, *, killed: bool) -> None:
        self._begun.pop(thread, None)
        if killed and self._leader(thread) == thread:
            self._exit(thread, time, "killed")

    @staticmethod
    def _raw(
        thread: int, name: str, text: str, places: tuple[int, int], times: tuple[float, float]
    ) -> RawCall:
        arguments, rest = _split(text)
        match = _RESULT.match(rest)
        if match is None:
            raise ValueError(text)
        where = {
            "begun": places[0],
            "ended": places[1],
            "started": times[0],
            "finished": times[1],
            "process": thread,
            "thread": thread,
        }
        result = match[3] or "-1"
        error = match[2] or ""
        if result == "?":
            error = "interrupted"
        path = unescaped(match[4][1:-1]) if match[4] else ""
        return RawCall(name, arguments, result, error, path, bool(match[5]), where)

    def _add(self, raw: RawCall) -> None:
        reader = READERS.get(raw.name)
        if reader is None:
            return
        found = reader(raw)
        if found is None:
            return
        call = Call(error=raw.error, **raw.places, **found)
        if call.name == "fork":
            if call.error:
                return
            self._ended.discard(call.target)  # a number may be used again
            if "thread" in call.words:
                self._leaders[call.target] = call.thread
            else:
                self._leaders.pop(call.target, None)
        self.calls.append(call)


def _split(text: str) -> tuple[list[str], str]:
    """The arguments up to the closing bracket, and what follows it."""
    arguments: list[str] = []
    current, depth = "", 0
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if piece in "([{":
            depth += 1
        elif piece in ")]}":
            if depth == 0:
                if current.strip() or arguments:
                    arguments.append(current.strip())
                return arguments, text[match.end() :]
            depth -= 1
        elif piece == "," and depth == 0:
            arguments.append(current.strip())
            current = ""
            continue
        current += piece
    raise ValueError(text)
