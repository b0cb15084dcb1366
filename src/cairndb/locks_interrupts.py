"""Deferred interrupts: Ctrl-C held back while something must not be left half done."""

from __future__ import annotations

import os
import threading

# `signal` itself, without its conversions to enums, which take ten times as long as the rest.
from _signal import (  # type: ignore[import-not-found]
    getsignal,
    signal,
)
from _thread import get_ident
from signal import SIGINT
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class _Deferral:
    """See `deferred_interrupts`. Everything here is written by the main thread alone.

    One object for all blocks, since it is on the way of every update: what is asked of the system
    takes more than half of its time, and a block inside another asks nothing.
    """

    __slots__ = ("_depth", "_frame", "_main", "_note_it", "_noted", "_previous")

    def __init__(self) -> None:
        self._note_it = self._note
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing is deferred; also in a forked child, where the thread that forked is the main."""
        self._main = threading.main_thread().ident
        self._depth = 0
        self._noted = False
        self._frame: FrameType | None = None
        self._previous: Callable[[int, FrameType | None], object] | None = None

    def in_child(self) -> None:
        """After a fork: another thread's block, which the child doesn't have, is over."""
        if self._depth:
            previous = self._previous
            self.begin_anew()
            signal(SIGINT, previous)
        else:
            self.begin_anew()

    def __enter__(self) -> None:
        if get_ident() != self._main:
            return
        if self._depth:
            self._depth += 1
            return
        handler = getsignal(SIGINT)
        if callable(handler):
            self._noted = False
            self._previous = handler
            signal(SIGINT, self._note_it)
            self._depth = 1

    def _note(self, _number: int, frame: FrameType | None) -> None:
        self._noted = True
        self._frame = frame

    def __exit__(self, *_exception: object) -> None:
        if not self._depth or get_ident() != self._main:
            return
        if self._depth > 1:
            self._depth -= 1
            return
        previous = self._previous
        assert previous is not None
        self._depth = 0
        signal(SIGINT, previous)
        if self._noted:
            self._noted = False
            frame, self._frame = self._frame, None
            previous(SIGINT, frame)


deferred_interrupts: Final = _Deferral()
"""Hold back Ctrl-C while a block runs: `with deferred_interrupts: ...`; it is raised right after.

Only the main thread gets interrupts, and only a handler written in Python can be held back: with
the system's default SIGINT ends the process, which is a crash like any other.
"""

os.register_at_fork(after_in_child=deferred_interrupts.in_child)
