"""Sleeping in the main thread without sleeping through a signal.

Python runs the handlers of signals in the main thread, between two of its instructions. A signal
that comes after the last of them and before the system sleeps is only noted: `poll` isn't
interrupted, since it hasn't begun, and the handler runs when it returns, which may be never. So,
while the main thread polls, Python is asked to write a byte for each signal where it is polled
(`signal.set_wakeup_fd`). What an event loop has asked for before is put back, and its bytes are
handed on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from typing import Final

_BYTES_MAX: Final = 4096

# What is polled, and what is written to; none until it is needed. The main thread's alone.
_pair: Final[list[int]] = []


def may_be_interrupted() -> bool:
    """Whether this is the thread that handlers run in."""
    return threading.get_ident() == threading.main_thread().ident


def poll_noticing_signals(poller: select.poll, milliseconds: float) -> list[tuple[int, int]]:
    """Poll in the main thread, until a signal comes at the latest.

    Args:
        poller: with what is polled.
        milliseconds: how long.

    Returns:
        What is ready; perhaps with a descriptor that only says that a signal came.
    """
    if not _pair:
        _pair.extend(_make())
    reader, writer = _pair
    poller.register(reader, select.POLLIN)
    previous: int | None = None
    try:
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        # Sends nothing: it has Python look for signals that came before the descriptor was set.
        signal.pthread_kill(threading.get_ident(), 0)
        ready = poller.poll(milliseconds)
    finally:
        _put_back(previous, writer)
    if any(number == reader for number, _ in ready):
        # The handlers have run, or do so before the next instruction.
        with contextlib.suppress(BlockingIOError):
            came = os.read(reader, _BYTES_MAX)
            # Its own, if it was a handler that slept here.
            if previous not in {-1, writer}:
                os.write(previous, came)
    return ready


def _put_back(previous: int | None, writer: int) -> None:
    """Have bytes for signals written where they were before.

    Args:
        previous: that place; None if a handler has raised before it could be noted.
        writer: where they are written now, if that handler didn't come before that too.
    """
    found = signal.set_wakeup_fd(-1 if previous is None else previous, warn_on_full_buffer=False)
    if previous is None and found != writer:
        signal.set_wakeup_fd(found, warn_on_full_buffer=False)


def _make() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    return reader.detach(), writer.detach()


def _forget() -> None:
    """After a fork, in the child: the pair is the parent's."""
    for each in _pair:
        os.close(each)
    _pair.clear()


os.register_at_fork(after_in_child=_forget)
