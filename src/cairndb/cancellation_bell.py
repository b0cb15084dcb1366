"""Bells: descriptors that become readable when they are rung, and stay so.

1. A bell is never drained. So any number of threads can poll it, whoever begins to after it was
   rung returns at once, and no order of polling and ringing loses a wake-up.
2. It is an eventfd where the system has them, else a pair of sockets, which takes two descriptors.
3. It is closed with the object, and in no other way: who polls it holds the object.
4. In a forked child it is another one, under the same numbers. Shared with the parent, a bell that
   the child rings would keep the parent's threads awake for ever: it is never drained.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

_EIGHT_BYTES: Final = (1).to_bytes(8, "little")
"""What an eventfd takes, in whichever order of bytes it is read: it isn't zero, nor the highest."""

_open: Final[dict[int, int]] = {}
"""Of each bell, from the descriptor that is polled to the one that is written to."""


class Bell:
    """One bell."""

    # As long as there is none: Ctrl-C may come at any moment of __init__.
    number = -1
    _writer = -1

    def __init__(self) -> None:
        reader, self._writer = _make()
        self.number = reader
        _open[reader] = self._writer

    def ring(self) -> None:
        """Make it readable, now and for ever. From any thread and any signal handler."""
        with contextlib.suppress(BlockingIOError):  # a pair that is full of earlier rings
            os.write(self._writer, _EIGHT_BYTES)

    def __del__(self) -> None:
        if self.number >= 0:
            # Out of the list first: the number may be another's as soon as it is closed.
            _open.pop(self.number, None)
            _close(self.number, self._writer)


def _make() -> tuple[int, int]:
    if hasattr(os, "eventfd"):
        number = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return number, number
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    return reader.detach(), writer.detach()


def _close(reader: int, writer: int) -> None:
    os.close(reader)
    if writer != reader:
        os.close(writer)


def _renew() -> None:
    """After a fork, in the child: put a fresh bell in the place of each."""
    for reader, writer in list(_open.items()):
        fresh_reader, fresh_writer = _make()
        os.dup2(fresh_reader, reader, inheritable=False)
        if writer != reader:
            os.dup2(fresh_writer, writer, inheritable=False)
        _close(fresh_reader, fresh_writer)


os.register_at_fork(after_in_child=_renew)
