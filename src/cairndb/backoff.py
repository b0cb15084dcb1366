"""When to try again what has failed: after a second, then twice as long each time, up to minutes.

The pause is also at least as long as the try itself took, so that no more than half of the time
goes into what doesn't work. A success begins anew.
"""

from __future__ import annotations

import re
from typing import Final

FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 300.0
# What differs from try to try in the same message: numbers, and names that have random bytes.
_VARYING: Final = re.compile(r"[0-9a-f]*\d[0-9a-f]*")


class Backoff:
    """The failures of one thing in a row.

    Times are seconds on a clock of the caller's that never goes back.
    """

    __slots__ = ("failed_at", "failures", "next_at", "problem", "since")

    def __init__(self) -> None:
        self.succeeded()

    def succeeded(self) -> None:
        """It works: nothing is waited for."""
        self.problem: str | None = None
        """What went wrong at the last try."""
        self.failures = 0
        """In a row."""
        self.since = self.failed_at = self.next_at = 0.0

    def failed(self, problem: str, began: float, now: float) -> bool:
        """A try has failed.

        Args:
            problem: what to tell.
            began: when the try did.
            now: when it failed.

        Returns:
            Whether that is another problem than at the last try.
        """
        new = self.problem is None or _VARYING.sub("", problem) != _VARYING.sub("", self.problem)
        if self.failures == 0:
            self.since = now
        wait = min(FIRST_SECONDS * 2.0 ** min(self.failures, 20), MOST_SECONDS)
        self.problem, self.failed_at = problem, now
        self.failures += 1
        self.next_at = now + max(wait, now - began)
        return new

    def waits(self, now: float) -> bool:
        """Whether it isn't time yet to try again."""
        return now < self.next_at

    def describe(self, now: float) -> str:
        """One plain sentence."""
        times = f" ({self.failures} in a row)" if self.failures > 1 else ""
        return (
            f"the last try failed {now - self.failed_at:.0f} s ago{times}: {self.problem}; "
            f"next in {max(self.next_at - now, 0.0):.0f} s"
        )
