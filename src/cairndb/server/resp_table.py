"""What a command is to those who look it up: its name, how it is called, and who carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cairndb.errors import UsageError

if TYPE_CHECKING:
    from cairndb.server.resp_connection import Connection

Handler = Callable[["Connection", list[bytes]], bytes | None]
"""Gets the command, its name first; gives the reply, or None if that comes by itself.

A `CairnError` that it raises becomes the reply.
"""


class Command:
    """A command.

    Args:
        name: in capitals.
        arguments: for people, as `name numkeys [argument ...]`: in brackets what may be left out,
            dots for what may be repeated.
        summary: what it does, in a sentence without its full stop.
        handler: what carries it out.
        group: beside which others it is listed.
        is_open: whether somebody may call it who isn't known yet.
        writes: whether it may change the state.

    Attributes:
        words: each of the arguments, as for people; what may be repeated is one of them.
        least: how many it takes at least.
        most: how many at most; None for any number.
    """

    def __init__(
        self,
        name: str,
        arguments: str,
        summary: str,
        handler: Handler,
        group: str = "connection",
        *,
        is_open: bool = False,
        writes: bool = False,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.summary = summary
        self.handler = handler
        self.group = group
        self.is_open = is_open
        self.writes = writes
        self.words = arguments.replace(" ...]", "...]").split()
        self.least = sum(not word.startswith("[") for word in self.words)
        self.most = None if "...]" in arguments else len(self.words)

    def check(self, arguments: int) -> None:
        """Raise `UsageError` if it isn't called with so many."""
        if arguments < self.least or (self.most is not None and arguments > self.most):
            wanted = f"{self.name} {self.arguments}".rstrip()
            raise UsageError(f"wrong number of arguments for '{self.name}': call it as {wanted}")


def number(text: bytes, name: str, least: int = 0) -> int:
    """What a text says as a number.

    Raises:
        UsageError: it is no integer, or less than `least`.
    """
    try:
        value = int(text) if len(text) <= 20 else None
    except ValueError:
        value = None
    if value is None or value < least:
        raise UsageError(f"{name} is an integer from {least} on, not {text[:40]!r}")
    return value


def word(text: bytes) -> str:
    """A text of people.

    Raises:
        UsageError: it isn't in UTF-8.
    """
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{text[:40]!r} isn't UTF-8") from None
