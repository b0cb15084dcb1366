"""Waiting for descriptors, until a moment: the one place where this family sleeps.

`select.poll`, since it takes descriptors above 1023, and none of its own, as epoll would. A moment
is one of `time.monotonic`; None is never.
"""

from __future__ import annotations

import math
import select
import time
from typing import TYPE_CHECKING, Final

from cairndb.cancellation_signals import may_be_interrupted, poll_noticing_signals
from cairndb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

READABLE: Final = select.POLLIN
WRITABLE: Final = select.POLLOUT

# The system counts milliseconds in 32 bits; whoever waits for longer looks once a day.
_LONGEST_MILLISECONDS: Final = 86_400_000.0


def moment_after(seconds: float | None) -> float | None:
    """The moment in some seconds; None for never.

    Raises:
        UsageError: it isn't a number.
    """
    if seconds is None or seconds == math.inf:
        return None
    if math.isnan(seconds):
        raise UsageError("a timeout is a number of seconds, or None for none; this is NaN")
    return time.monotonic() + seconds


def earliest(*moments: float | None) -> float | None:
    """The first of some moments."""
    return min((moment for moment in moments if moment is not None), default=None)


def has_come(moment: float | None) -> bool:
    """Whether a moment is past."""
    return moment is not None and time.monotonic() >= moment


def poll(bells: Iterable[int], wanted: Mapping[int, int], until: float | None) -> dict[int, int]:
    """Sleep until a bell is rung, a descriptor is ready or a moment has come, or a little less.

    Args:
        bells: their numbers.
        wanted: by descriptor, for what.
        until: the moment.

    Returns:
        Of what is wanted that which is ready, or has failed, and for what. Nothing when a bell was
        rung, the moment has come, or a signal.
    """
    poller = select.poll()
    for number in bells:
        poller.register(number, READABLE)
    for number, events in wanted.items():
        poller.register(number, events)
    milliseconds = _LONGEST_MILLISECONDS
    if until is not None:
        # Rounded up by Python: who polls again until the moment has come does so once.
        milliseconds = min(milliseconds, max(0.0, (until - time.monotonic()) * 1000))
    if may_be_interrupted():
        ready = poll_noticing_signals(poller, milliseconds)
    else:
        ready = poller.poll(milliseconds)
    return {number: events for number, events in ready if number in wanted}
