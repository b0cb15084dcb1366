"""Watches on a replica: what arrives is laid down in memory for who watches, and nowhere else.

So a watch begins with what is there now; the past is the owner's, and what came after a position is
asked for there. A watch that lags further than there is memory for it, or whose replica has begun
anew with a checkpoint, can't have each update: it jumps to what is there by then, and one item says
all that differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from cairndb.errors import Compacted
from cairndb.watch_follower import Jump
from cairndb.watch_hub import Hub, OwnSource

if TYPE_CHECKING:
    from cairndb.appender_parts import Batch
    from cairndb.chain import Position
    from cairndb.replicas_engine import Copy
    from cairndb.watch_follower import Run
    from cairndb.watch_items import Start

HISTORY_BYTES_MAX: Final = 16 << 20
"""How much is kept for those who watch, and lag."""


class CopyHub(Hub):
    """Where what has been applied meets those who watch; see `watch_hub.Hub`.

    Args:
        copy: the replica's.
        buffer_bytes_max: how much is kept in memory.
    """

    def __init__(self, copy: Copy, buffer_bytes_max: int = HISTORY_BYTES_MAX) -> None:
        super().__init__(copy, buffer_bytes_max)
        copy.on_replace = self.replaced
        # Written by the thread that the stream arrives in:
        self.published_lsn = 0
        self.replacements = 0
        """How often the state has been replaced."""

    def publish(self, batch: Batch) -> None:
        """Take what has just been applied."""
        super().publish(batch)
        self.published_lsn = batch.position.lsn

    def replaced(self, position: Position) -> None:
        """All that was there has been replaced by the state as of a position."""
        self.replacements += 1
        self.forget_runs()
        self.published_lsn = self._promised_lsn = position.lsn
        self.wake()

    def source(self) -> CopySource:
        """For a watch."""
        return CopySource(self)


class CopySource(OwnSource):
    """What a replica applies, from now on.

    Args:
        hub: of the replica.
    """

    def __init__(self, hub: CopyHub) -> None:
        super().__init__(hub)
        self._copies = hub
        self._known = hub.replacements

    def begin(self, start: Start) -> NoReturn:
        """Nothing of the past is here.

        Raises:
            Compacted: always.
        """
        lsn = self._copies.engine.applied_lsn
        raise Compacted(
            f"a replica has no past, and LSN {start.lsn} was asked for, at LSN {lsn}: begin with "
            "initial=True, or ask the owner for what came after a position",
            lsn,
        )

    def read(self, position: Position) -> Run | Jump | None:
        """As `OwnSource.read`."""
        copies = self._copies
        replacements = copies.replacements
        if replacements == self._known:
            if position.lsn >= copies.published_lsn:
                return None
            run = copies.run_after(position.lsn)
            if run is not None:
                return run
        # Before the state is captured: what is replaced after that is seen the next time.
        self._known = replacements
        assert self.capture is not None
        return Jump(*self.capture())
