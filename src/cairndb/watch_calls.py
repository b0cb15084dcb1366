"""Functions that are called with what is committed: for state that is derived from the database.

Each has a thread of its own, and gets the items of a watch in order, after they are promised. A
function that raises has had its item: that is logged, counted, and the next one comes. One that is
slow lags, and delays nobody; if it lags so far that the log is gone, it gets no more, which is
logged too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from cairndb import locks
from cairndb.flusher import Background
from cairndb.locks_gates import closed_gate, deadline_after, open_gate, wait_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.locks_gates import Gate
    from cairndb.watch import Watch
    from cairndb.watch_items import Change

logger = logging.getLogger("cairndb")

CLOSE_SECONDS: Final = 5.0


class Subscription:
    """A function that is called with each item of a watch; made by `Database.on_commit`.

    Args:
        watch: whose items; closed when this ends.
        function: called with each.
        name: of the database, for the log.

    Attributes:
        failures: how often the function has raised.
        error: why it gets no more items, if so.
    """

    def __init__(self, watch: Watch, function: Callable[[Change], object], name: str) -> None:
        self.failures = 0
        self.error: Exception | None = None
        self._watch = watch
        self._function = function
        self._name = name
        self._background = Background("cairndb on_commit", self._work)
        # Written by its thread:
        self._delivered_lsn = watch.reached_lsn
        self._holder: object = None
        # Opened when an item has been delivered, or none will be.
        self._gate: Gate | None = None
        self._stopped = False
        self._background.poke()

    @property
    def delivered_lsn(self) -> int:
        """Up to which LSN everything that matched has been delivered."""
        return self._delivered_lsn

    @property
    def is_over(self) -> bool:
        """Whether it gets no more items."""
        return self._stopped or self.error is not None

    def stop(self) -> None:
        """Deliver nothing more; waits for the call under way, but not for one that stops itself."""
        self._stop(None)

    def _stop(self, seconds: float | None) -> None:
        self._stopped = True
        self._watch.close()
        self._open()
        self._background.stop(seconds)

    def finish(self, lsn: int) -> None:
        """Stop when everything up to an LSN has been delivered, or that takes too long.

        Args:
            lsn: promised.
        """
        until = deadline_after(CLOSE_SECONDS)
        in_time = True
        while in_time and not self.is_over and self._delivered_lsn < lsn:
            if self._holder == locks.current_holder():
                break
            gate = self._gate = closed_gate()
            if self._delivered_lsn < lsn and not self.is_over:
                in_time = wait_at(gate, until)
        if not in_time:
            logger.warning(
                "%s: an on_commit function has got to LSN %d of %d and was stopped at close",
                self._name,
                self._delivered_lsn,
                lsn,
            )
        self._stop(CLOSE_SECONDS if in_time else 0.0)

    def _work(self) -> float | None:
        """Deliver what there is; see `Background`."""
        self._holder = locks.current_holder()
        try:
            seconds = self._watch.listen(self._background.poke)
            behind = True
            while behind and not self._stopped:
                item, behind = self._watch.step()
                if item is not None:
                    self._deliver(item)
                self._delivered_lsn = max(self._delivered_lsn, self._watch.reached_lsn)
                self._open()
        except Exception as error:
            if not self._stopped:
                self.error = error
                logger.exception("%s: an on_commit function gets no more", self._name)
            self._open()
            return None
        return None if self._stopped else seconds

    def _deliver(self, item: Change) -> None:
        try:
            self._function(item)
        except Exception:
            self.failures += 1
            logger.exception("%s: on_commit failed at LSN %d", self._name, item.lsn)

    def _open(self) -> None:
        gate = self._gate
        if gate is not None:
            open_gate(gate)


class Subscriptions:
    """All functions of one database."""

    def __init__(self) -> None:
        self._all: list[Subscription] = []

    def add(self, subscription: Subscription) -> Subscription:
        """Keep one, until it is over."""
        self._all = [*(each for each in self._all if not each.is_over), subscription]
        return subscription

    def __len__(self) -> int:
        return len(self._all)

    def finish(self, lsn: int) -> None:
        """See `Subscription.finish`."""
        for each in self._all:
            each.finish(lsn)

    def stats(self, promised_lsn: int) -> dict[str, Any]:
        """How they do."""
        alive = [each for each in self._all if not each.is_over]
        return {
            "callbacks": len(alive),
            "callback_failures": sum(each.failures for each in self._all),
            "callback_lag": max((promised_lsn - each.delivered_lsn for each in alive), default=0),
        }
