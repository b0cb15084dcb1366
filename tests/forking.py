"""Children for tests: forked processes that do something, and say what came of it."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


def in_child(body: Callable[[], bool]) -> bool:
    """Whether something is so in a forked child, which ends then, whatever it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have threads
        child = os.fork()
    if child == 0:
        result = 1
        try:
            result = 0 if body() else 1
        except BaseException:  # noqa: BLE001  shown, and the parent is told that it isn't so
            traceback.print_exc()
        finally:
            os._exit(result)
    return os.waitpid(child, 0)[1] == 0


class Child:
    """A child that has done something, and stays until it is ended.

    Args:
        function: what it does; what it returns is in `said`. What it has opened stays open.
        waits: that it may never return; nothing is said then, and `said` is empty.
    """

    def __init__(self, function: Callable[[], bytes], *, waits: bool = False) -> None:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have threads
            self.pid = os.fork()
        if self.pid == 0:
            try:
                if waits:
                    os.write(writing, b"\n")
                os.write(writing, function() + b"\n")
                while True:
                    signal.pause()
            except BaseException:  # noqa: BLE001  shown, and the parent is told nothing
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            self.said = pipe.readline()[:-1]
        self._ended = False

    def kill(self) -> None:
        """Kill it, and leave it a zombie, which it soon is."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, and have it gone."""
        if not self._ended:
            self._ended = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()
