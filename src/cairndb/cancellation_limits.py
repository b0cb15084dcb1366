"""What may end one operation, and what it has to tell then.

The order, for an operation that has got nowhere: if the token is cancelled, nothing is begun, not
even if it could have been done at once. Then it is tried. Only then is `timeout` looked at, so that
a timeout of 0 means: what can be had now. An operation that is done is never said to be cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cairndb.cancellation_poll import earliest, has_come, moment_after, poll
from cairndb.errors import Cancelled, Timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cairndb.cancellation_token import CancelToken

_CLOSE_IT = "; the connection has stopped half way through something and can't go on: close it"


class Limits:
    """The limits of one operation, in one thread.

    Args:
        doing: what it does, for messages: "receiving".
        cancel: cancels it; None for nothing that does.
        timeout: seconds from now that it may take; None for as long as it takes.
        closing: cancelled when its socket is closed.
    """

    __slots__ = ("_closing", "_timeout", "_tokens", "_until", "doing", "transferred", "usable")

    def __init__(
        self,
        doing: str,
        cancel: CancelToken | None,
        timeout: float | None,
        closing: CancelToken | None = None,
    ) -> None:
        # Set once:
        self.doing = doing
        self._timeout = timeout
        self._until = None if timeout is None else moment_after(timeout)
        self._closing = closing
        self._tokens: tuple[CancelToken, ...]
        if closing is None:
            self._tokens = () if cancel is None else (cancel,)
        else:
            self._tokens = (closing,) if cancel is None else (cancel, closing)
        # Written by the operation:
        self.transferred = 0
        self.usable = True

    def check_tokens(self) -> None:
        """Raise `Cancelled` if it was cancelled."""
        for token in self._tokens:
            if token.is_set():
                reason = token.reason or ""
                why = f" was cancelled: {reason}" if reason else " was cancelled"
                raise Cancelled(
                    self._told(why, closed=token is self._closing),
                    reason=reason,
                    transferred=self.transferred,
                    usable=self.usable and token is not self._closing,
                )

    def check(self) -> None:
        """Raise `Cancelled` if it was cancelled, `Timeout` if it has taken too long."""
        self.check_tokens()
        if has_come(self._until):
            why = f" wasn't done in {self._timeout} s"
            raise Timeout(
                self._told(why),
                reason=f"{self._timeout} s have passed",
                transferred=self.transferred,
                usable=self.usable,
            )

    def _told(self, why: str, *, closed: bool = False) -> str:
        so_far = f" ({self.transferred} bytes were sent)" if self.transferred else ""
        return f"{self.doing}{why}{so_far}{'' if self.usable or closed else _CLOSE_IT}"

    def wait(self, wanted: Mapping[int, int], until: float | None = None) -> dict[int, int]:
        """Sleep until a descriptor is ready.

        Args:
            wanted: by descriptor, for what.
            until: return at this moment at the latest.

        Returns:
            Those that are ready; none if the moment has come.

        Raises:
            Cancelled: it was cancelled.
            Timeout: it has taken too long.
        """
        bells = [number for token in self._tokens for number in token.descriptors()]
        moment = earliest(until, self._until, *[token.deadline for token in self._tokens])
        while True:
            # After the bells were made, before they are polled: see `cancellation_token`.
            self.check()
            ready = poll(bells, wanted, moment)
            if ready or has_come(until):
                return ready
