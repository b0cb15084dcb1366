"""What the calls mean that strace writes: the name, arguments and result of each, by kind.

Descriptors come as `3</path>` or `3</path>(deleted)`, paths as C writes strings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cairndb.tracing_events import CURRENT_DIRECTORY, NO_DESCRIPTOR
from cairndb.tracing_lines import span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OPENING: Final = ("open", "openat", "openat2", "creat")
_WRITING: Final = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "sendfile"),
    "copy_file_range",
)
_READING: Final = ("read", "pread64", "readv", "preadv", "preadv2")
_LOOKING: Final = ("stat", "lstat", "fstat", "newfstatat", "fstatat64", "statx")
_MAKING: Final = ("fork", "vfork", "clone", "clone3")
_DESCRIPTOR: Final = re.compile(r"(-?\d+|AT_FDCWD)(?:<([^<>]*)>)?(\(deleted\))?$")
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b"}
_DEVICE: Final = re.compile(r"st_dev=makedev\((0x[0-9a-f]+|0), (0x[0-9a-f]+|0)\)")
_EXTENDED_DEVICE: Final = re.compile(
    r"stx_dev_major=(0x[0-9a-f]+|\d+), stx_dev_minor=(0x[0-9a-f]+|\d+)"
)
_NUMBER: Final = re.compile(r"stx?_(ino|nlink)=(\d+)")
_LOCK: Final = re.compile(
    r"l_type=F_(\w+)LCK, l_whence=(?:SEEK_(\w+)|\w+), l_start=(-?\d+), l_len=(-?\d+)"
)
_OPEN_WORDS: Final[Mapping[str, str]] = {
    "O_CREAT": "create",
    "O_EXCL": "exclusive",
    "O_TRUNC": "truncate",
    "O_SYNC": "synchronous",
    "O_DSYNC": "synchronous",
    "O_CLOEXEC": "close on exec",
    "O_TMPFILE": "unnamed",
}


class RawCall(msgspec.Struct):
    """A call as it is written."""

    name: str
    arguments: list[str]
    result: str
    error: str
    result_path: str
    deleted: bool
    places: dict[str, Any]


def unescaped(text: str) -> str:
    """What strace has written in C's way, as Python has names of files."""
    if "\\" not in text:
        return text

    def character(match: re.Match[str]) -> bytes:
        if match[1]:
            return bytes([int(match[1], 16)])
        if match[2]:
            return bytes([int(match[2], 8) & 0xFF])
        return _ESCAPED.get(match[3], match[3]).encode("utf-8", "surrogateescape")

    parts, end = [], 0
    for match in _ESCAPE.finditer(text):
        parts += [text[end : match.start()].encode("utf-8", "surrogateescape"), character(match)]
        end = match.end()
    parts.append(text[end:].encode("utf-8", "surrogateescape"))
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _string(argument: str) -> str:
    """A path; empty if it isn't known (a pointer that couldn't be read)."""
    if argument.startswith('"') and argument.endswith('"'):
        return unescaped(argument[1:-1])
    return ""


def _at(argument: str, prefix: str = "") -> dict[str, Any]:
    """The directory that a path is relative to."""
    match = _DESCRIPTOR.match(argument)
    if match is None:
        raise ValueError(argument)
    number = CURRENT_DIRECTORY if match[1] == "AT_FDCWD" else int(match[1])
    return {f"{prefix}directory": number, f"{prefix}base": unescaped(match[2] or "")}


def _on(argument: str) -> dict[str, Any]:
    """The descriptor that a call is about, and its file."""
    match = _DESCRIPTOR.match(argument)
    if match is None or match[1] == "AT_FDCWD":
        raise ValueError(argument)
    found: dict[str, Any] = {"descriptor": int(match[1])}
    path = unescaped(match[2] or "")
    if path.startswith("/"):
        found |= {"base": path, "named": match[3] is None}
    return found


def _words(flags: str) -> frozenset[str]:
    return frozenset(_OPEN_WORDS[flag] for flag in flags.split("|") if flag in _OPEN_WORDS)


def _open(raw: RawCall) -> dict[str, Any]:
    arguments = raw.arguments
    if raw.name in {"open", "creat"}:
        arguments = ["AT_FDCWD", *arguments]
    flags = "O_CREAT|O_TRUNC" if raw.name == "creat" else arguments[2]
    if raw.name == "openat2":
        flags = flags.partition("flags=")[2].partition(",")[0].rstrip("}")
    found: dict[str, Any] = {"name": "open", "path": _string(arguments[1]), "words": _words(flags)}
    found |= _at(arguments[0])
    if not raw.error:
        found["descriptor"] = int(raw.result)
        if raw.result_path.startswith("/"):
            # What has been opened, through whatever links.
            found |= {"path": raw.result_path, "named": not raw.deleted}
    return found


def _flock(raw: RawCall) -> dict[str, Any]:
    flags = raw.arguments[1].split("|")
    words = {"flock"} | ({"shared"} if "LOCK_SH" in flags else set())
    words |= set() if "LOCK_NB" in flags else {"waiting"}
    name = "unlock" if "LOCK_UN" in flags else "lock"
    return {"name": name, "words": frozenset(words)} | _on(raw.arguments[0])


def _fcntl(raw: RawCall) -> dict[str, Any] | None:
    command = raw.arguments[1]
    on = _on(raw.arguments[0])
    if command in {"F_DUPFD", "F_DUPFD_CLOEXEC"}:
        words = frozenset({"close on exec"} if command.endswith("EXEC") else ())
        return {"name": "dup", "target": int(raw.result), "words": words} | on
    if command == "F_SETFD":
        words = frozenset({"close on exec"} if "FD_CLOEXEC" in raw.arguments[2] else ())
        return {"name": "keep", "words": words} | on
    if command.removeprefix("F_OFD_").removeprefix("F_") not in {"SETLK", "SETLKW"}:
        return None
    lock = _LOCK.search(raw.arguments[2])
    if lock is None:
        raise ValueError(command)
    words = frozenset(
        {"description" if "OFD" in command else "record"}
        | ({"waiting"} if command.endswith("W") else set())
        | ({"shared"} if lock[1] == "RD" else set())
    )
    span = span_of(int(lock[2] != "SET"), int(lock[3]), int(lock[4]))
    name = "unlock" if lock[1] == "UN" else "lock"
    return {"name": name, "words": words, "span": span} | on


def _look(raw: RawCall) -> dict[str, Any]:
    arguments = raw.arguments
    text = " ".join(arguments[1:])
    found: dict[str, Any] = {"name": "look"}
    if raw.name == "fstat":
        found |= _on(arguments[0])
    elif raw.name in {"stat", "lstat"}:
        found["path"] = _string(arguments[0])
    elif path := _string(arguments[1]):
        found |= {"path": path} | _at(arguments[0])
    else:
        found |= _on(arguments[0])
    device = _DEVICE.search(text) or _EXTENDED_DEVICE.search(text)
    numbers = dict(_NUMBER.findall(text))
    if not raw.error and device and numbers.keys() == {"ino", "nlink"}:
        found["device"] = int(device[1], 0) << 20 | int(device[2], 0)
        found |= {"inode": int(numbers["ino"]), "links": int(numbers["nlink"])}
    return found


def _unlink(raw: RawCall) -> dict[str, Any]:
    if raw.name == "unlink":
        return {"name": "unlink", "path": _string(raw.arguments[0])}
    words = frozenset({"directory"} if "AT_REMOVEDIR" in raw.arguments[2] else ())
    path = _string(raw.arguments[1])
    return {"name": "unlink", "path": path, "words": words} | _at(raw.arguments[0])


def _two_paths(raw: RawCall) -> dict[str, Any]:
    arguments = raw.arguments
    if raw.name in {"rename", "link"}:
        arguments = ["AT_FDCWD", arguments[0], "AT_FDCWD", arguments[1]]
    exchange = raw.name == "renameat2" and "RENAME_EXCHANGE" in arguments[4]
    return {
        "name": "link" if raw.name.startswith("link") else "rename",
        "path": _string(arguments[1]),
        "other": _string(arguments[3]),
        "words": frozenset({"exchange"} if exchange else ()),
        **_at(arguments[0]),
        **_at(arguments[2], "other_"),
    }


def _make(raw: RawCall) -> dict[str, Any]:
    text = " ".join(raw.arguments)
    words = frozenset(
        word
        for flag, word in (("CLONE_THREAD", "thread"), ("CLONE_FILES", "files"))
        if flag in text
    )
    child = NO_DESCRIPTOR if raw.error else int(raw.result)
    return {"name": "fork", "target": child, "words": words}


def _dup(raw: RawCall) -> dict[str, Any]:
    words = frozenset({"close on exec"} if "O_CLOEXEC" in raw.arguments[-1] else ())
    return {"name": "dup", "target": int(raw.result), "words": words} | _on(raw.arguments[0])


def _range(raw: RawCall) -> dict[str, Any] | None:
    if raw.arguments[2] != "0":  # CLOSE_RANGE_CLOEXEC closes nothing yet, and the other is rare
        return None
    first, last = (int(number, 0) for number in raw.arguments[:2])
    return {"name": "closerange", "descriptor": first, "target": last}


def _plain(name: str, position: int = 0) -> Callable[[RawCall], dict[str, Any]]:
    return lambda raw: {"name": name} | _on(raw.arguments[position])


READERS: Final[dict[str, Callable[[RawCall], dict[str, Any] | None]]] = {
    **dict.fromkeys(_OPENING, _open),
    **dict.fromkeys(_WRITING, _plain("write")),
    **dict.fromkeys(_READING, _plain("read")),
    **dict.fromkeys(_LOOKING, _look),
    **dict.fromkeys(_MAKING, _make),
    **dict.fromkeys(("unlink", "unlinkat"), _unlink),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), _two_paths),
    **dict.fromkeys(("fsync", "fdatasync"), _plain("sync")),
    **dict.fromkeys(("sync", "syncfs"), lambda _: {"name": "syncall"}),
    **dict.fromkeys(("dup", "dup2", "dup3"), _dup),
    **dict.fromkeys(("execve", "execveat"), lambda _: {"name": "exec"}),
    "chdir": lambda raw: {"name": "chdir", "path": _string(raw.arguments[0])},
    "fchdir": _plain("chdir"),
    "close": _plain("close"),
    "close_range": _range,
    "copy_file_range": _plain("write", 2),
    "fcntl": _fcntl,
    "flock": _flock,
}
