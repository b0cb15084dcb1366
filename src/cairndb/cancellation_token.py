"""What an operation can be ended by: a token, shared by any number of operations and threads.

1. Cancelling sets the flag, then rings the bell if there is one. An operation that is about to
   sleep makes the bell if there is none, then looks at the flag, then polls. So one of the two
   sees the other, and no wake-up is lost.
2. There is no mutex. A signal handler may cancel while the thread that it interrupts is anywhere in
   here, so each step is one that Python doesn't divide: `list.append`, `dict.setdefault`.
3. A token knows its parents, and polls their bells beside its own; a parent doesn't know its
   children. To cancel is one write, however many there are; a child that is dropped has nothing to
   sign off from; and nothing is gone through that another thread, or the handler, may be changing.
   The price is a descriptor more to poll for each generation.
4. A deadline is a moment, which whoever waits wakes up at by himself: no thread, no signal.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from cairndb.cancellation_bell import Bell
from cairndb.cancellation_poll import earliest, has_come, moment_after, poll
from cairndb.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterable

_EXPIRED: Final = "its deadline has passed"


class CancelToken:
    """Ends operations and waits; `is_set` and `wait` are as a `threading.Event` has them.

    Args:
        timeout: seconds from now until it is cancelled by itself; None for no deadline.
        parents: it is cancelled with any of these.

    Raises:
        UsageError: the timeout isn't a number.
    """

    __slots__ = ("__weakref__", "_ancestors", "_bells", "_reasons", "deadline")

    def __init__(
        self, *, timeout: float | None = None, parents: Iterable[CancelToken] = ()
    ) -> None:
        # Its ancestors, each once, the nearest first. Itself isn't among them: a cycle would leave
        # its descriptor open until Python's collector comes by.
        lines = [each.line() for each in parents]
        self._ancestors: Final[tuple[CancelToken, ...]] = tuple(dict.fromkeys(chain(*lines)))
        self.deadline: Final[float | None] = earliest(
            moment_after(timeout), *(each.deadline for each in self._ancestors)
        )
        """When it is cancelled by itself: a moment of `time.monotonic`, or None."""
        # Why it was cancelled; the first counts. Filled by whoever cancels.
        self._reasons: Final[list[str]] = []
        # Its bell, if it was waited for. Filled by whoever waits.
        self._bells: Final[dict[None, Bell]] = {}

    def cancel(self, reason: str = "") -> None:
        """Cancel it, and wake whatever waits: from any thread and any signal handler.

        Cancelling again changes nothing. If Ctrl-C comes in between, cancel again.

        Args:
            reason: for whoever is told.
        """
        if not self._reasons:
            self._reasons.append(reason)
        bell = self._bells.get(None)
        if bell is not None:
            bell.ring()

    @property
    def reason(self) -> str | None:
        """Why it is cancelled, empty if no reason was given; None while it isn't."""
        for each in self.line():
            if each._reasons:  # noqa: SLF001  its own class
                return each._reasons[0]  # noqa: SLF001
        return _EXPIRED if has_come(self.deadline) else None

    def line(self) -> tuple[CancelToken, ...]:
        """It and its ancestors: it is cancelled when one of them is."""
        return (self, *self._ancestors)

    def is_set(self) -> bool:
        """Whether it is cancelled."""
        if self._reasons:
            return True
        for each in self._ancestors:
            if each._reasons:  # noqa: SLF001  its own class
                return True
        return self.deadline is not None and has_come(self.deadline)

    def check(self) -> None:
        """Raise `Cancelled` if it is cancelled."""
        reason = self.reason
        if reason is not None:
            raise Cancelled(f"cancelled: {reason}" if reason else "cancelled", reason=reason)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is cancelled.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Returns:
            Whether it is cancelled.
        """
        until = moment_after(timeout)
        bells = self.descriptors()
        while not self.is_set():
            if has_come(until):
                return False
            poll(bells, {}, earliest(until, self.deadline))
        return True

    def descriptors(self) -> tuple[int, ...]:
        """What becomes readable when it is cancelled by hand, for a selector of your own.

        One for itself and one for each ancestor, made by the first call, open as long as the token
        lives, and not to be read from. After this call, look whether it is set; then select, not
        beyond its `deadline`.
        """
        return tuple([each._bell().number for each in self.line()])  # noqa: SLF001  its own class

    def _bell(self) -> Bell:
        bell = self._bells.get(None)
        if bell is None:
            # Of two threads that both make one, one has its own closed again.
            bell = self._bells.setdefault(None, Bell())
        return bell

    def __repr__(self) -> str:
        reason = self.reason
        state = "not cancelled" if reason is None else f"cancelled: {reason or 'no reason given'}"
        return f"<CancelToken, {state}>"
