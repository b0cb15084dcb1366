"""The files that tracing needs: named pipes, /proc and /sys, recordings, our scripts.

Beside `files` this is the one module that calls the system for files: these aren't a database's.
"""

from __future__ import annotations

import contextlib
import os
import platform
import select
import shutil
import sys
import tempfile
from importlib import resources
from typing import TYPE_CHECKING, Final, TextIO

from cairndb.tracing_events import Known
from cairndb.tracing_paths import asked_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_KNOWN_MAX: Final = 20_000
_FIRST_PID_NAMESPACE: Final = 4026531836


def script(name: str) -> str:
    """Where a script for another tracer is.

    Args:
        name: its ending: `bt` for bpftrace, `d` for DTrace.
    """
    return str(resources.files("cairndb").joinpath(f"tracing_calls.{name}"))


def absolute(pattern: str) -> list[str]:
    """The absolute paths that a path or pattern on the command line means.

    Args:
        pattern: as it was given.

    Returns:
        The path itself, and what it leads to if there are symbolic links on the way.
    """
    path = os.path.abspath(pattern)  # noqa: PTH100  Path.absolute leaves .. in
    return list(dict.fromkeys([path, os.path.realpath(path)]))


def read_lines(path: str) -> Iterator[str]:
    """The lines of a recording.

    Args:
        path: its file.
    """
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:  # noqa: PTH123
        yield from file


def writable(path: str) -> TextIO:
    """A new file for text, to be closed.

    Args:
        path: of it; what is there is replaced.
    """
    return open(path, "w", encoding="utf-8", errors="surrogateescape")  # noqa: PTH123


def write_text(path: str, text: str) -> None:
    """Make a file, or replace it.

    Args:
        path: of it.
        text: that it is to have.
    """
    with writable(path) as file:
        file.write(text)


def current_directory() -> str:
    """Where relative paths begin."""
    return os.getcwd()  # noqa: PTH109  a text


def why_not_strace() -> str:
    """Why strace can't be used; empty if nothing speaks against it."""
    if sys.platform != "linux":
        return "strace is Linux's"
    if shutil.which("strace") is None:
        return "strace isn't installed (Debian: apt install strace)"
    return ""


def why_not_bpftrace() -> str:
    """Why bpftrace can't be used; empty if nothing speaks against it."""
    if sys.platform != "linux":
        return "bpftrace is Linux's"
    if shutil.which("bpftrace") is None:
        return "bpftrace isn't installed (Debian: apt install bpftrace)"
    if os.geteuid() != 0:
        return "bpftrace needs root"
    return _why_not_in_kernel()


def _why_not_in_kernel() -> str:
    if platform.machine() not in {"x86_64", "aarch64"}:
        return f"the script doesn't know the numbers of the calls of {platform.machine()}"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):  # noqa: PTH110
        return "the kernel doesn't describe its types (CONFIG_DEBUG_INFO_BTF)"
    places = ("/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events")
    if not any(map(os.path.exists, places)):
        return "tracefs isn't mounted (mount -t tracefs tracefs /sys/kernel/tracing)"
    if os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:  # noqa: PTH116
        return "in a container the numbers of processes are others than the kernel's"
    return ""


def known(patterns: Sequence[str]) -> list[Known]:
    """The files that are there, of those that are asked for; of very many the first."""
    test = asked_for(patterns)
    found: list[Known] = []
    for pattern in patterns:
        top = pattern
        while any(sign in top for sign in "*?["):
            top = os.path.dirname(top)  # noqa: PTH120
        for path in _below(top):
            if len(found) >= _KNOWN_MAX:
                return found
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if test(path):
                    device = os.major(status.st_dev) << 20 | os.minor(status.st_dev)
                    found.append(Known(path, device, status.st_ino, status.st_nlink))
    return found


def _below(top: str) -> Iterator[str]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (f"{folder}/{name}" for name in (*folders, *files))


class Lines:
    """The lines that come through a descriptor, as far as they are there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.ended = False

    def some(self, seconds: float) -> list[str]:
        """What comes within a time; `ended` says whether more can come."""
        if not self._poll.poll(seconds * 1000):
            return []
        data = os.read(self._descriptor, 1 << 16)
        if not data:
            self.ended = True
            rest, self._rest = self._rest, b""
            return [rest.decode("utf-8", "surrogateescape")] if rest else []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "surrogateescape") for line in lines]

    def close(self) -> None:
        """Give up the descriptor."""
        os.close(self._descriptor)


@contextlib.contextmanager
def named_pipe() -> Iterator[str]:
    """A new named pipe, removed at the end.

    Yields:
        Its path.
    """
    with tempfile.TemporaryDirectory(prefix="cairn-trace-") as folder:
        path = f"{folder}/lines"
        os.mkfifo(path)
        yield path


def lines_of_pipe(path: str) -> Lines:
    """The lines that will be written to a named pipe.

    Args:
        path: of it.
    """
    # Without waiting for the other end, which is only going to be started.
    return Lines(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def opened_and_closed(path: str) -> bool:
    """Let go on whoever waits for the other end of a named pipe.

    Args:
        path: of it.

    Returns:
        False if nobody waits, or not yet.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def get_parent() -> None:
    """A system call that does nothing, for who waits for one."""
    os.getppid()


def found(program: str) -> bool:
    """Whether there is such a program.

    Args:
        program: its name, or its path.
    """
    return shutil.which(program) is not None
