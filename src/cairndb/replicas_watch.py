"""Watches on a replica: what arrives is laid down in memory for who watches, and nowhere else.

So a watch begins with what is there now, and one that lags further than the memory that there is
for it, or sees the replica begin anew with a checkpoint, is told that what it would have to see
isn't kept. The past is the owner's: what a watch is to go on from is asked for there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from cairndb.errors import Compacted
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
        self._began = hub.replacements

    def check(self) -> None:
        """Raise why there will be no more, if so."""
        super().check()
        if self._copies.replacements != self._began:
            raise self._gone("this replica has begun anew with a checkpoint")

    def begin(self, start: Start) -> NoReturn:
        """Nothing of the past is here.

        Raises:
            Compacted: always.
        """
        raise self._gone(f"a replica has no past, and LSN {start.lsn} was asked for")

    def read(self, position: Position) -> Run | None:
        """As `OwnSource.read`.

        Raises:
            Compacted: it isn't in memory any more.
        """
        if position.lsn >= self._copies.published_lsn:
            return None
        run = self._copies.run_after(position.lsn)
        if run is None:
            raise self._gone(f"this watch lags too far behind, at LSN {position.lsn}")
        return run

    def _gone(self, reason: str) -> Compacted:
        lsn = self._copies.engine.applied_lsn
        return Compacted(
            f"{reason}: begin anew with initial=True, or ask the owner for what came after a "
            "position",
            lsn,
        )
