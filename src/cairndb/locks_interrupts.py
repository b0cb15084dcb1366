"""Deferred interrupts: Ctrl-C held back while something must not be left half done."""

from __future__ import annotations

import threading

# `signal` itself, without its conversions to enums, which take ten times as long as the rest.
from _signal import (  # type: ignore[import-not-found]
    getsignal,
    signal,
)
from signal import SIGINT
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class deferred_interrupts:  # noqa: N801  used as a statement, like contextlib's
    """Hold back Ctrl-C while a block runs; it is raised right after.

    Only the main thread gets interrupts, and only a handler written in Python can be held back:
    with the system's default SIGINT ends the process, which is a crash like any other.
    """

    __slots__ = ("_frame", "_noted", "_previous")

    def __init__(self) -> None:
        self._previous: Callable[[int, FrameType | None], object] | None = None
        self._noted = False
        self._frame: FrameType | None = None

    def __enter__(self) -> Self:
        if threading.get_ident() == threading.main_thread().ident:
            handler = getsignal(SIGINT)
            if callable(handler):
                self._previous = handler
                signal(SIGINT, self._note)
        return self

    def _note(self, _number: int, frame: FrameType | None) -> None:
        self._noted = True
        self._frame = frame

    def __exit__(self, *_exception: object) -> None:
        if self._previous is not None:
            signal(SIGINT, self._previous)
            if self._noted:
                self._noted = False
                self._previous(SIGINT, self._frame)
