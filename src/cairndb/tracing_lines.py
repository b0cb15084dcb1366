"""The lines that `tracing_calls.bt` and `tracing_calls.d` write.

The first is `cairn-trace`, the version, the tracer and the system. Fields are separated by tabs,
and are whole numbers but for the first of some lines and for paths, which come last:

    CALL   BEGUN ENDED PROCESS THREAD RESULT DESCRIPTOR FLAGS TARGET DEVICE INODE LINKS NAMED
    path   THREAD DIRECTORY PATH             of the call that its thread reports next; up to two
    span   THREAD TYPE WHENCE START LENGTH   likewise, of fcntl: the struct flock
    end                                      nothing was cut off
    first, last                              that these probes are there

CALL is a number of `_CALLS`, or `fork`, `exec`, `exit`. BEGUN and ENDED are nanoseconds, RESULT is
what the call returned, or minus the error. NAMED is 1 if the file still had
its name, -1 if that isn't known; what else isn't known is 0.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, Final

from cairndb.tracing_events import EVERYTHING, NO_DESCRIPTOR, Call

if TYPE_CHECKING:
    from collections.abc import Mapping

_CALLS: Final = (
    *("", "open", "close", "closerange", "flock", "fcntl", "sync", "syncall", "write", "read"),
    *("look", "unlink", "rename", "link", "dup", "chdir", "chdir"),
)
_FIELDS: Final = 13
_MARKS: Final = frozenset({"first", "last", "end"})
_LOST: Final = re.compile(r"Lost (\d+) events")
_CUT: Final = 199
"""bpftrace cuts longer texts off; such a path isn't known."""
_UNKNOWN: Final = "\n"  # is in no line

# The bits of open, and the commands of fcntl, system by system.
_OPEN_BITS: Final[Mapping[str, Mapping[str, int]]] = {
    "linux": {
        "create": 0o100,
        "exclusive": 0o200,
        "truncate": 0o1000,
        "synchronous": 0o10000,  # O_DSYNC, which is a part of O_SYNC
        "close on exec": 0o2000000,
        "unnamed": 0o20000000,
    },
    "darwin": {
        "create": 0x200,
        "exclusive": 0x800,
        "truncate": 0x400,
        "synchronous": 0x400080,
        "close on exec": 0x1000000,
        "lock shared": 0x10,
        "lock": 0x20,
    },
    "freebsd": {
        "create": 0x200,
        "exclusive": 0x800,
        "truncate": 0x400,
        "synchronous": 0x1000080,
        "close on exec": 0x100000,
        "lock shared": 0x10,
        "lock": 0x20,
    },
}
_COMMANDS: Final[Mapping[str, Mapping[int, str]]] = {
    "linux": {
        0: "dup",
        2: "keep",
        6: "record",
        7: "record waiting",
        37: "description",
        38: "description waiting",
        1030: "dup close",
    },
    "darwin": {0: "dup", 2: "keep", 8: "record", 9: "record waiting", 51: "sync", 67: "dup close"},
    "freebsd": {
        0: "dup",
        2: "keep",
        12: "record",
        13: "record waiting",
        17: "dup close",
    },
}
# F_RDLCK, F_WRLCK, F_UNLCK
_LOCK_TYPES: Final[Mapping[str, tuple[int, int, int]]] = {
    "linux": (0, 1, 2),
    "darwin": (1, 3, 2),
    "freebsd": (1, 3, 2),
}
_BSD_ERRORS: Final = {35: "EAGAIN", 62: "ELOOP", 63: "ENAMETOOLONG", 66: "ENOTEMPTY"}
_SHARED, _NOT_WAITING, _UNLOCK = 1, 4, 8  # of flock, everywhere
_REMOVE_DIRECTORY: Final = {"linux": 0x200, "darwin": 0x80, "freebsd": 0x800}
_EXCHANGE: Final = 2  # of renameat2
_SHARE_FILES, _SHARE_PROCESS = 0x400, 0x10000  # of clone
_DUP_CLOSE: Final = 0o2000000  # of dup3


class LineReader:
    """Turns lines into calls.

    Args:
        system: as `sys.platform` says it, without a version: linux, darwin or freebsd.
    """

    def __init__(self, system: str) -> None:
        self._system = system if system in _OPEN_BITS else "linux"
        self._paths: dict[int, list[tuple[int, str]]] = {}
        self._spans: dict[int, tuple[int, ...]] = {}
        self._last: list[tuple[int, str]] | None = None
        self.calls: list[Call] = []
        self.not_understood = 0
        self.lost = 0

    def read(self, line: str) -> None:
        """Take one line; what isn't understood is counted.

        Args:
            line: with or without its end.
        """
        line = line.rstrip("\n")
        if not line or line in _MARKS or line.startswith("cairn-trace\t"):
            return
        if match := _LOST.search(line):
            self.lost += int(match[1])
            return
        try:
            self._take(line.split("\t"), line)
        except (ValueError, LookupError, OverflowError):
            self.not_understood += 1
            if self._last is not None:
                # The rest of a name with a line break in it: what came before isn't the name.
                self._last[-1] = (self._last[-1][0], _UNKNOWN)

    def _take(self, fields: list[str], line: str) -> None:
        if fields[0] == "path":
            _, thread, directory, path = line.split("\t", 3)
            if len(path.encode(errors="surrogateescape")) >= _CUT:
                path = _UNKNOWN
            self._last = self._paths.setdefault(int(thread), [])
            self._last.append((int(directory), path))
        elif fields[0] == "span":
            _, thread, kind, whence, start, length = fields
            self._spans[int(thread)] = (int(kind), int(whence), int(start), int(length))
        elif len(fields) == _FIELDS:
            self._take_call(fields[0], [int(field) for field in fields[1:]])
            self._last = None
        else:
            raise ValueError(line)

    def _take_call(self, which: str, numbers: list[int]) -> None:
        begun, ended, process, thread, result, descriptor, flags, target = numbers[:8]
        device, inode, links, named = numbers[8:]
        paths = self._paths.pop(thread, [])
        span = self._spans.pop(thread, None)
        name = which if which in {"fork", "exec", "exit"} else _CALLS[int(which)]
        if not name or begun > ended:
            raise ValueError(which)
        found: dict[str, Any] = {
            "begun": begun,
            "ended": ended,
            "started": begun / 1e9,
            "finished": ended / 1e9,
            "process": process,
            "thread": thread,
            "descriptor": descriptor,
            "error": self._error(-result) if result < 0 else "",
        }
        path = paths[0][1] if paths else ""
        if any(each == _UNKNOWN for _, each in paths):
            raise ValueError(path)
        if name == "look" and path and descriptor >= 0:
            # bpftrace has looked at the directory that the path is relative to.
            found["descriptor"], inode = NO_DESCRIPTOR, 0
        if inode:
            found |= {"device": device, "inode": inode, "links": links}
            found["named"] = None if named < 0 else bool(named)
        for (directory, path), prefix in zip(paths, ("", "other"), strict=False):
            found[f"{prefix}_directory" if prefix else "directory"] = directory
            found[prefix or "path"] = path
        self._finish(name, found, (result, flags, target), span)

    def _error(self, number: int) -> str:
        if self._system != "linux" and number in _BSD_ERRORS:
            return _BSD_ERRORS[number]
        return errno.errorcode.get(number, f"error {number}")

    def _finish(
        self,
        name: str,
        found: dict[str, Any],
        numbers: tuple[int, int, int],
        span: tuple[int, ...] | None,
    ) -> None:
        result, flags, target = numbers
        words: set[str] = set()
        match name:
            case "flock":
                name = "unlock" if flags & _UNLOCK else "lock"
                words = {"flock"} | ({"shared"} if flags & _SHARED else set())
                words |= set() if flags & _NOT_WAITING else {"waiting"}
            case "fcntl":
                name, words = self._fcntl(found, numbers, span)
            case "dup":
                found["target"] = result
                words = {"close on exec"} if flags & _DUP_CLOSE else set()
            case "closerange" | "fork":
                found["target"] = target
                words = _fork_words(flags) if name == "fork" else set()
            case _:
                words = self._words(name, flags)
        # CLOSE_RANGE_CLOEXEC closes nothing yet, and its other option is rare.
        if name and not (name == "closerange" and flags):
            self.calls.append(Call(name=name, words=frozenset(words), **found))

    def _words(self, name: str, flags: int) -> set[str]:
        if name == "open":
            return {word for word, bit in _OPEN_BITS[self._system].items() if flags & bit}
        if name == "unlink" and flags & _REMOVE_DIRECTORY[self._system]:
            return {"directory"}
        if name == "rename" and flags & _EXCHANGE and self._system == "linux":
            return {"exchange"}
        return set()

    def _fcntl(
        self, found: dict[str, Any], numbers: tuple[int, int, int], span: tuple[int, ...] | None
    ) -> tuple[str, set[str]]:
        result, command, argument = numbers
        first, *more = _COMMANDS[self._system].get(command, "").split(" ")
        if first == "dup":
            found["target"] = result
            return "dup", ({"close on exec"} if more else set())
        if first == "keep":
            return "keep", ({"close on exec"} if argument & 1 else set())
        if first not in {"record", "description"} or span is None:
            return first if first == "sync" else "", set()
        shared, _, unlocked = _LOCK_TYPES[self._system]
        kind, whence, start, length = span
        found["span"] = span_of(whence, start, length)
        if kind == unlocked:
            return "unlock", {first}
        return "lock", {first, *more} | ({"shared"} if kind == shared else set())


def _fork_words(flags: int) -> set[str]:
    words = {"files"} if flags & _SHARE_FILES else set()
    return words | ({"thread"} if flags & _SHARE_PROCESS else set())


def span_of(whence: int, start: int, length: int) -> tuple[int, int]:
    """The bytes that a struct flock means.

    Args:
        whence: 0 if `start` counts from the beginning; else it isn't known from where.
        start: the offset.
        length: 0 means up to the end.

    Returns:
        The first byte, and the first after the last; of all that isn't known, everything.
    """
    if whence:
        return EVERYTHING
    if length < 0:
        return max(0, start + length), start
    return start, start + length if length else EVERYTHING[1]
