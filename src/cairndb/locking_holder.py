"""Who has a lock, as one line of JSON in the file, for whoever comes second.

A record, not the lock: the lock is the system's, and ends with the process; the record stays where
it couldn't be removed, and isn't there where it couldn't be written. So nothing is decided by it;
it is for messages, and `Holder.stale` says what it is worth.

A number names a process on one host, in one pid namespace, until it is given to another. So a
record has, besides the number,

    host       as platform.node() has it;
    namespace  where the number was counted: on Linux the boot and the namespace (the first one of
               every host has the same name, so the boot is needed). Two containers of one host may
               go by one name of a host, and both have a process 1;
    started    when the process began, which tells it from a later one of the same number: on Linux
               in ticks since the boot (the clock may be set, and a namespace of times moves them:
               it is part of `namespace`), elsewhere as `ps` says it, to the second.

What can't be compared isn't guessed at: then `stale` is None. After another boot it is None too:
that may be another host of the same name.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec

BYTES_MAX: Final = 1 << 16
"""Of an encoded record: whoever reads no more than that has all of one."""

# Twelve bytes each, at worst.
_COMMAND_LENGTH_MAX: Final = 4096
_PS_SECONDS: Final = 5.0
_PROC: Final = Path("/proc")


class Holder(msgspec.Struct, frozen=True):
    """The process that has a lock, and since when."""

    host: str
    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    command: str
    since: Annotated[datetime, msgspec.Meta(tz=True)]
    """When the lock was taken."""
    started: str | None = None
    """Tells the process from others of its number; None: not known."""
    namespace: str | None = None
    """Where the number means that process; None: not known."""

    @property
    def stale(self) -> bool | None:
        """Whether the process is gone; None if that can't be known from here."""
        if self.namespace is None or (self.host, self.namespace) != (_host(), _namespace()):
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it is there, another user's
        started = _started_of(self.pid)
        if started is None or self.started is None:
            return None
        return started != self.started

    @property
    def is_this_process(self) -> bool:
        """Whether it is the process that asks."""
        same_place = (self.host, self.namespace) == (_host(), _namespace())
        return same_place and (self.pid, self.started) == (os.getpid(), _started_here())


AnyHolder = TypeVar("AnyHolder", bound=Holder)


def this_process() -> Holder:
    """A record of this process, since now."""
    return Holder(
        _host(),
        os.getpid(),
        _encodable(" ".join(sys.orig_argv)[:_COMMAND_LENGTH_MAX]),
        datetime.now(UTC),
        _started_here(),
        _namespace(),
    )


def encode(holder: Holder) -> bytes:
    """The record as a line of JSON."""
    return msgspec.json.encode(holder) + b"\n"


def decode(content: bytes) -> Holder | None:
    """The record that is the whole of a file's content; None if that is anything else."""
    return decode_as(Holder, content)


def decode_as(kind: type[AnyHolder], content: bytes) -> AnyHolder | None:
    """The same, of a kind of record that says more.

    Args:
        kind: a subclass of `Holder`. Fields that it doesn't have are passed over.
        content: of a file, whoever wrote it.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError):
        return None


def describe(holder: Holder) -> str:
    """The record for people, on one line, with nothing in it that a terminal would act on."""
    host, command = printable(holder.host), printable(holder.command)
    return f"process {holder.pid} on {host} ({command}), {since_text(holder)}"


def since_text(holder: Holder) -> str:
    """Since when, for people: in their time."""
    since = holder.since
    with contextlib.suppress(OverflowError, ValueError):  # there it is the year 0 or 10000
        since = since.astimezone()
    return f"since {since:%F %T}"


def printable(text: str) -> str:
    """Text with escapes for what isn't a character to be seen."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _encodable(text: str) -> str:
    """Text without what stands for bytes of an argument that aren't UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _host() -> str:
    return _encodable(platform.node())


# Both are forgotten in the child of a fork, which may be in another namespace too.
@functools.cache
def _namespace() -> str | None:
    if sys.platform != "linux":
        return sys.platform  # there are none
    try:
        found = [(_PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()]
        found.append(str((_PROC / "self/ns/pid").readlink()))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):  # since Linux 5.6
        found.append(str((_PROC / "self/ns/time").readlink()))
    return " ".join(found)


@functools.cache
def _started_here() -> str | None:
    return _started_of_proc("self") if sys.platform == "linux" else started_of_ps(os.getpid())


def _started_of(pid: int) -> str | None:
    """When a process began, as its own record says it; empty if it is done; None: not known."""
    if sys.platform != "linux":
        return started_of_ps(pid)
    try:
        # /proc may be that of another namespace, in which the number is another process.
        if (_PROC / "self").readlink() != Path(str(os.getpid())):
            return None
    except OSError:
        return None
    return _started_of_proc(str(pid))


def _started_of_proc(name: str) -> str | None:
    try:
        return started_of_stat((_PROC / name / "stat").read_bytes())
    except (OSError, ValueError, IndexError):
        return None


def started_of_stat(content: bytes) -> str:
    """The start of a process in ticks since the boot; empty if it is a zombie: it holds nothing.

    Source: proc_pid_stat(5), fields 3, 20 and 22.

    Args:
        content: of /proc/PID/stat.

    Raises:
        ValueError: it isn't that.
        IndexError: it isn't that.
    """
    # The second field, the name, may have anything in it, but is the only one with parentheses.
    fields = content.rpartition(b")")[2].split()
    # Of a process whose first thread has ended the state is Z too; the others may go on.
    if fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1:
        return ""
    return str(int(fields[19]))


def started_of_ps(pid: int) -> str | None:
    """The start of a process as ps says it; empty if it is a zombie, None if it isn't to be had.

    Args:
        pid: its number.
    """
    import subprocess  # noqa: PLC0415  not needed on Linux, and slow to import

    # lstart is told in the language and the zone of who asks.
    command = ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    try:
        told = subprocess.run(  # noqa: S603  a number is all that varies
            command,
            env={"LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_PS_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    state, _, started = told.decode(errors="replace").strip().partition(" ")
    return "" if state.startswith("Z") else " ".join(started.split()) or None


def _forget() -> None:
    _namespace.cache_clear()
    _started_here.cache_clear()


os.register_at_fork(after_in_child=_forget)
