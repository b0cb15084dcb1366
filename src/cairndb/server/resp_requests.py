"""The commands in the bytes that a connection brings, whole or in pieces.

hiredis reads them: a command is an array of texts. What it would do for whoever sends anything is
bounded here:

- An array says how many elements it has, and hiredis makes room for as many at once, also for
  arrays inside of arrays, which no command has. So an announcement of a hundred or more reaches it
  only where a command may begin, and only if it is within the bounds; the same bytes inside of a
  text are a part of that.
- Between commands an empty line is nothing, as for Redis; hiredis would give up.
- An unfinished command may be as long as `bytes`, and what it takes to announce its arguments.

A connection whose first byte begins no array is somebody with netcat: it is read by lines, split as
a shell would, all its life. After an error it is at its end, as are all after one in the protocol.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

import hiredis
from msgspec import Struct

# An announcement: five digits, or three or four that are all there are; or an empty line.
_SPECIAL: Final = re.compile(rb"[*>|]([0-9]{5}|[0-9]{3,4}(?=\r))|(?<=\n)[\r\n]")
_ANNOUNCED_IN_PART: Final = re.compile(rb"[*>|][0-9]{0,4}\Z")
_ANNOUNCEMENT_BYTES: Final = 32  # `$` and a length, and what ends both lines
_LINE_BYTES_MAX: Final = 1 << 16
_NOTHING: Final = object()  # not hiredis's own, False: somebody may send that


class ProtocolError(Exception):
    """Bytes that are no command. There is no way to tell where the next one begins."""


class Bounds(Struct, frozen=True):
    """How large a command may be.

    Args:
        arguments: its name included; at most 9,999.
        bytes: of all of them.
    """

    arguments: int
    bytes: int


class Commands:
    """The commands of one connection: bytes are fed, and commands taken until there is none.

    Args:
        bounds: how large each may be; may be changed between two commands.
    """

    __slots__ = (
        "_at",
        "_chunk_bytes",
        "_held",
        "_is_between",
        "_is_line_ended",
        "_later",
        "_line",
        "_reader",
        "_unfinished_bytes",
        "bounds",
        "by_lines",
    )

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._chunk_bytes = 0
        # Fed since a command was whole, without the rest of what had its end.
        self._unfinished_bytes = 0
        # Whether all that was fed to the reader are whole commands.
        self._is_between = True
        # Whether a line break that follows is an empty line.
        self._is_line_ended = True
        # What could be the beginning of an announcement, and follows all that was fed.
        self._held = b""
        # Bytes whose part from `_at` on is yet to be fed; that begins with something special.
        self._later = b""
        self._at = 0
        self._line = bytearray()
        self.by_lines: bool | None = None
        """Whether lines are read; None before the first byte."""

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        if self.by_lines is not False and self._is_by_lines(data):
            self._line += data
            return
        self._chunk_bytes = len(data)
        self._unfinished_bytes += self._chunk_bytes
        if self._held:
            data, self._held = self._held + data, b""
        # Nearly all that comes ends with a command.
        if data[-1:] != b"\n":
            held = _ANNOUNCED_IN_PART.search(data)
            if held is not None:
                data, self._held = data[: held.start()], held.group()
        if self._later:
            self._later += data
            return
        special = _SPECIAL.search(data)
        if special is not None:
            self._later, self._at = data, special.start()
            data = data[: self._at]
        self._feed_reader(data)

    def _is_by_lines(self, data: bytes) -> bool:
        if self.by_lines is None and data:
            self.by_lines = data[:1] != b"*"
        return self.by_lines is not False

    def _feed_reader(self, data: bytes) -> None:
        if self._is_between and self._is_line_ended:
            data = data.lstrip(b"\r\n")
        if data:
            self._is_between = False
            self._is_line_ended = data[-1:] == b"\n"
            self._reader.feed(data)

    def take(self) -> list[bytes] | None:
        """The next command; None if there is no whole one yet.

        Raises:
            ProtocolError: nothing that follows can be read.
        """
        if self.by_lines:
            return self._take_line()
        while True:
            try:
                command = self._reader.gets()
            except Exception as error:  # noqa: BLE001
                # Of the library, or of Python, for what can't be the key of a map.
                raise ProtocolError(f"Protocol error: {error}") from None
            if command is _NOTHING:
                if self._later:
                    self._feed_more()
                    continue
                if self._unfinished_bytes > self._unfinished_bytes_max():
                    raise self._too_long()
                return None
            self._is_between = not self._reader.has_data()
            if command:
                return self._checked(command)
            if command is not None and command != []:
                raise _no_command()
            self._unfinished_bytes = 0  # an empty array is nothing, as for Redis

    def _feed_more(self) -> None:
        following = _SPECIAL.search(self._later, self._at + 1)
        end = len(self._later) if following is None else following.start()
        if not self._reader.has_data():
            self._check_announcement()
        self._feed_reader(self._later[self._at : end])
        if following is None:
            self._later, self._at = b"", 0
        else:
            self._at = end

    def _check_announcement(self) -> None:
        special = _SPECIAL.match(self._later, self._at)
        assert special is not None
        if special[1] is None:
            return
        if int(special[1]) > self.bounds.arguments:
            raise self._too_many()
        if not self._is_between:
            raise _no_command()

    def _checked(self, command: object) -> list[bytes]:
        if type(command) is not list or set(map(type, command)) != {bytes}:
            raise _no_command()
        bounds = self.bounds
        if len(command) > bounds.arguments:
            raise self._too_many()
        may_be_too_long = self._unfinished_bytes + self._chunk_bytes > bounds.bytes
        if may_be_too_long and sum(map(len, command)) > bounds.bytes:
            raise self._too_long()
        self._unfinished_bytes = 0
        return command

    def _unfinished_bytes_max(self) -> int:
        return self.bounds.bytes + _ANNOUNCEMENT_BYTES * (self.bounds.arguments + 1)

    def _too_many(self) -> ProtocolError:
        return ProtocolError(
            f"Protocol error: a command has at most {self.bounds.arguments:,} arguments here"
        )

    def _too_long(self) -> ProtocolError:
        return ProtocolError(
            f"Protocol error: a command has at most {self.bounds.bytes:,} bytes here"
        )

    def _take_line(self) -> list[bytes] | None:
        while True:
            line_bytes_max = min(self.bounds.bytes, _LINE_BYTES_MAX)
            end = self._line.find(b"\n", 0, line_bytes_max + 1)
            if end < 0:
                if len(self._line) > line_bytes_max:
                    raise ProtocolError(f"a line has at most {line_bytes_max:,} bytes here")
                return None
            line = bytes(self._line[:end]).decode(errors="surrogateescape")
            del self._line[: end + 1]
            try:
                words = shlex.split(line)
            except ValueError as error:
                raise ProtocolError(f"this line can't be split into arguments: {error}") from None
            if len(words) > self.bounds.arguments:
                raise self._too_many()
            if words:
                return [word.encode(errors="surrogateescape") for word in words]


def _no_command() -> ProtocolError:
    return ProtocolError("Protocol error: a command is an array of texts")
