"""Threads for tests: run a function aside, wait for a state instead of for a time."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
LIMIT_SECONDS = 30.0


def wait_until(condition: Callable[[], object]) -> None:
    """Return once the condition holds; a test that waits for ever fails instead."""
    until = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < until, "the state waited for never came"
        time.sleep(0)


class Aside(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as error:  # noqa: BLE001  raised again by result
            self._error = error

    @property
    def thread_id(self) -> int | None:
        """Of the thread, as `threading.get_ident` gives it."""
        return self._thread.ident

    def done(self) -> bool:
        """Whether it has returned or raised."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What it returned; raises what it raised."""
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive(), "the call never returned"
        if self._error is not None:
            raise self._error
        return self._result[0]


def interrupt_main_thread_when(condition: Callable[[], object]) -> None:
    """Send this process SIGINT from another thread once the condition holds."""

    def send() -> None:
        wait_until(condition)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()
