"""What a program does to one directory, taken from a trace of *all* its system calls.

`strace` shows every call with its arguments in full; here a trace becomes the sequence of
operations that the simulation knows. Nothing may be overlooked: a call that names the directory or
a descriptor in it, and isn't known here, is an error, and so are calls that could change files
without naming one (io_uring, a sync of everything), writes through a map, a failed operation, and
two operations on one file whose times overlap, for which the simulation has no words.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from simulated import SimulatedDirectory, SimulatedFile

NOTE: Final = b"@"
"""What a traced program writes to say something in the trace begins with this."""


class Operation(NamedTuple):
    """One thing done to the directory, or said by the program (`note`).

    `number` is an offset or a length, `other` the new name of a renaming, or what was said.
    """

    kind: str
    name: str
    number: int = 0
    data: bytes = b""
    other: str = ""


class Call(NamedTuple):
    """A system call: between which lines of the trace it ran, and its text."""

    begun: int
    ended: int
    name: str
    text: str
    result: str

    def arguments(self) -> list[str]:
        """Its arguments as strace writes them."""
        found = re.findall(r'(?:"[^"]*"|<[^>]*>|\{[^}]*\}|\[[^\]]*\]|[^,"<{\[])+', self.text)
        return [argument.strip() for argument in found]

    @property
    def failed(self) -> bool:
        """Whether the system refused."""
        return self.result.startswith("-1 ")


_WHOLE: Final = re.compile(r"(\d+) +(\w+)\((.*)\)\s+= (.*)")
_BEGUN: Final = re.compile(r"(\d+) +(\w+)\((.*?) ?<unfinished \.\.\.>")
_ENDED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*?)(?:<unfinished \.\.\.>)?\)\s+= (.*)")
_OTHER: Final = re.compile(r"\d+ +(--- .* ---|\+\+\+ .* \+\+\+)")


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """The calls of all processes and threads, in the order in which they ended.

    Args:
        lines: of the trace.
    """
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        if match := _WHOLE.match(line):
            yield Call(number, number, match[2], match[3], match[4])
        elif match := _BEGUN.match(line):
            begun[match[1]] = (number, match[2], match[3])
        elif match := _ENDED.match(line):
            start, name, text = begun.pop(match[1])
            assert name == match[2], line
            yield Call(start, number, name, text + match[3], match[4])
        else:
            assert _OTHER.match(line), line
    for start, name, text in begun.values():
        yield Call(start, sys.maxsize, name, text, "-1 (the process has ended)")


def _hexadecimal(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _decoded(text: str) -> bytes:
    """The bytes of the hexadecimal string in an argument."""
    return bytes.fromhex(re.sub(r'[^"<]*["<]([^">]*)[">].*', r"\1", text).replace("\\x", ""))


# What can change a file, or make changes durable, without naming it.
_FORBIDDEN: Final = frozenset(
    {"sync", "syncfs", "io_uring_setup", "io_uring_enter", "io_setup", "io_submit", "chroot"}
)
_HARMLESS: Final = frozenset(
    {"access", "faccessat", "faccessat2", "fstat", "fstatfs", "lstat", "newfstatat", "stat"}
    | {"close", "execve", "flock", "getcwd", "getdents64", "lseek", "pread64", "readlink"}
    | {"readlinkat", "statfs", "statx"}
)
_DUPLICATION: Final = frozenset({"F_DUPFD_CLOEXEC", "F_GETFL", "F_GETFD", "F_SETFD"})


class Tracer:
    """Turns calls to operations on one directory.

    Args:
        directory: its absolute path.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._parent = str(directory.parent)
        self._handlers: Mapping[str, Callable[[list[str]], Operation | None]] = {
            "openat": self._open,
            "pwrite64": self._write,
            "fdatasync": self._sync,
            "fsync": self._sync,
            "fallocate": self._allocate,
            "ftruncate": self._truncate,
            "renameat": self._rename,
            "unlinkat": self._remove,
            "mkdir": self._make,
            "mkdirat": self._make,
            "fcntl": self._duplicate,
        }

    def operations(self, lines: Iterable[str]) -> list[Operation]:
        """Everything that is done to the directory and said, in order.

        Args:
            lines: of the trace.
        """
        here = _hexadecimal(self._directory.encode())
        parent = f"<{_hexadecimal(self._parent.encode())}>"
        note = f'"{_hexadecimal(NOTE)}'
        found: list[tuple[Call, Operation]] = []
        for call in calls(lines):
            assert call.name not in _FORBIDDEN, call
            operation = None
            if here in call.text or parent in call.text:
                operation = self._operation(call)
            elif call.name == "write" and note in call.text:
                said = _decoded(call.arguments()[1])[len(NOTE) :]
                operation = Operation("note", "", other=said.decode())
            if operation is not None:
                found.append((call, operation))
        found.sort(key=lambda pair: pair[0].begun)
        running: list[tuple[Call, Operation]] = []
        for call, operation in found:
            running = [pair for pair in running if pair[0].ended > call.begun]
            for _, other in running:
                assert not _meet(operation, other), (operation, other)
            running.append((call, operation))
        return [operation for _, operation in found]

    def _operation(self, call: Call) -> Operation | None:
        if call.name in _HARMLESS:
            return None
        assert call.name in self._handlers, f"unknown: {call.name}({call.text[:300]})"
        operation = self._handlers[call.name](call.arguments())
        if operation is None:
            return None
        if call.failed:
            # LOCK is removed, if it is there, before it is made.
            assert (operation.kind, "ENOENT" in call.result) == ("remove", True), call
            return None
        if operation.kind == "write":
            return operation._replace(data=operation.data[: int(call.result)])
        return operation

    def _name(self, argument: str) -> str:
        """The name in the directory of a descriptor's file; empty for the directory itself."""
        assert "deleted" not in argument, "a file without a name is changed"
        path = _decoded(argument).decode()
        assert path == self._directory or path.startswith(self._directory + "/"), argument
        return path[len(self._directory) + 1 :]

    def _relative(self, descriptor: str, name: str) -> str:
        assert self._name(descriptor) == ""
        return _decoded(name).decode()

    def _open(self, arguments: list[str]) -> Operation | None:
        flags = set(arguments[2].split("|"))
        assert "O_CLOEXEC" in flags
        assert "O_TRUNC" not in flags
        if "O_CREAT" not in flags:
            return None
        assert flags >= {"O_EXCL", "O_NOFOLLOW"}
        return Operation("create", self._relative(arguments[0], arguments[1]))

    def _write(self, arguments: list[str]) -> Operation:
        data = _decoded(arguments[1])
        assert len(data) == int(arguments[2]), "the trace has cut the data off"
        return Operation("write", self._name(arguments[0]), int(arguments[3]), data)

    def _sync(self, arguments: list[str]) -> Operation:
        if _decoded(arguments[0]).decode() == self._parent:
            return Operation("sync parent", "")
        name = self._name(arguments[0])
        return Operation("sync" if name else "sync directory", name)

    def _allocate(self, arguments: list[str]) -> Operation:
        assert arguments[1:3] == ["0", "0"]
        return Operation("allocate", self._name(arguments[0]), int(arguments[3]))

    def _truncate(self, arguments: list[str]) -> Operation:
        return Operation("truncate", self._name(arguments[0]), int(arguments[1]))

    def _rename(self, arguments: list[str]) -> Operation:
        old, new = self._relative(*arguments[:2]), self._relative(*arguments[2:])
        return Operation("rename", old, other=new)

    def _remove(self, arguments: list[str]) -> Operation:
        assert arguments[2] == "0"
        return Operation("remove", self._relative(arguments[0], arguments[1]))

    def _make(self, arguments: list[str]) -> Operation:
        # Before the mode come the path, or a descriptor and a name in it.
        path = "/".join(_decoded(argument).decode() for argument in arguments[:-1])
        assert path == self._directory, arguments
        return Operation("make directory", "")

    def _duplicate(self, arguments: list[str]) -> None:
        assert arguments[1] in _DUPLICATION, arguments


def _meet(one: Operation, other: Operation) -> bool:
    """Whether two operations are about the same thing, so that their order matters."""
    naming = {"create", "rename", "remove", "sync directory"}
    return one.name == other.name or {one.kind, other.kind} <= naming


def trace(program: list[str], output: Path, environment: dict[str, str]) -> list[str]:
    """Run a program to its good end under strace.

    Args:
        program: what to run.
        output: a file for the trace.
        environment: of the program.

    Returns:
        The lines of the trace.
    """
    # -f: threads and children; -y: paths of descriptors; -xx: all strings in hexadecimal.
    command = ["strace", "-f", "-y", "-xx", "-s", str(1 << 24), "-o", str(output), *program]
    result = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return output.read_text(encoding="ascii").splitlines()


@cache
def why_not() -> str:
    """Why nothing can be traced here; empty if it can."""
    if sys.platform != "linux":
        return "strace is Linux's"
    if shutil.which("strace") is None:
        return "strace isn't installed (Debian: apt install strace)"
    tried = subprocess.run(
        ["strace", "-f", "-y", "-xx", "-o", "/dev/null", "true"],  # noqa: S607  found on the path
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "tracing isn't permitted here (ptrace)"


def replay(
    operations: Iterable[Operation], directory: SimulatedDirectory, say: Callable[[str], None]
) -> None:
    """Do the same to a simulated directory.

    Args:
        operations: from a trace.
        directory: an empty one.
        say: is told the notes.
    """
    files: dict[str, SimulatedFile] = {}
    for operation in operations:
        kind, name, _, _, other = operation
        if kind == "note":
            say(other)
        elif kind == "create":
            files[name] = directory.create(name)
        elif kind == "rename":
            directory.rename(name, other)
            if name in files:
                files[other] = files.pop(name)
        elif kind == "remove":
            directory.remove(name)
            files.pop(name, None)
        elif kind == "sync directory":
            directory.sync()
        elif name:
            if name not in files:
                files[name] = directory.open(name, write=True)
            _change(files[name], operation)
        else:
            assert kind in {"make directory", "sync parent"}, kind


def _change(file: SimulatedFile, operation: Operation) -> None:
    match operation.kind:
        case "write":
            file.write(operation.number, operation.data)
        case "sync":
            file.sync()
        case "allocate":
            file.allocate(operation.number)
        case kind:
            assert kind == "truncate", kind
            file.truncate(operation.number)
