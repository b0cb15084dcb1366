"""How long a call goes on, and how long it pauses before it tries again.

The pauses are random between nothing and a bound that doubles, "full jitter" (Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015): a thousand clients whose server has restarted
don't all come back in the same moment. But the calls of one client learn from each other: as soon
as one is answered, those that pause go on.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from cairndb.cancellation import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_SECONDS: Final = 0.05
MOST_SECONDS: Final = 1.0


class OutOfTime(Exception):  # noqa: N818  never seen outside of the client
    """The time of a call is over."""


class Wait:
    """Until when a call goes on, and what ends it sooner.

    Args:
        timeout: seconds from now; None for no end.
        cancel: set to end it; None if nobody does.
        clock: seconds that never go back.
    """

    __slots__ = ("_clock", "_deadline", "cancel", "timeout")

    def __init__(
        self,
        timeout: float | None,
        cancel: CancelToken | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout = timeout
        self.cancel = cancel
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout

    def left(self) -> float | None:
        """The seconds that are left; None for no end.

        Raises:
            OutOfTime: none are.
        """
        if self._deadline is None:
            return None
        left = self._deadline - self._clock()
        if left <= 0:
            raise OutOfTime
        return left

    def check(self) -> None:
        """Raise `Cancelled` or `OutOfTime` if that is so."""
        if self.cancel is not None:
            self.cancel.check()
        self.left()

    def sleep(self, seconds: float, waking: CancelToken | None = None) -> None:
        """Let time pass; raises `Cancelled` or `OutOfTime` as soon as that is so.

        Args:
            seconds: how much.
            waking: ends the sleep when it is cancelled, and nothing else.
        """
        left = self.left()
        short = seconds if left is None else min(seconds, left)
        if short > 0:
            parents = [token for token in (self.cancel, waking) if token is not None]
            CancelToken(parents=parents).wait(short)
        self.check()


class Pauses:
    """The pauses between the tries of one call.

    Args:
        uniform: a random number between two others.
    """

    __slots__ = ("_bound", "_uniform")

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._bound = FIRST_SECONDS

    def next(self) -> float:
        """Seconds until the next try."""
        bound = self._bound
        self._bound = min(2 * bound, MOST_SECONDS)
        return self._uniform(0.0, bound)
