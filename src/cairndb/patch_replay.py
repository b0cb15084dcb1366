"""Recovery's way through the log: entries resolved and applied, one after the other.

What `Tree.resolve` and `Tree.apply` would do with each entry, and in the same order. Where all
entries of a piece set one and the same field of the records in one dict, as those of a busy program
mostly do, they are decoded by a decoder made for just that, which takes half of the time. It is
tried where the piece before began with such an entry, and more and more seldom where it is of no
use. The lane changes the state only after the whole piece was found to be such entries, and an
entry whose record isn't there is left to the general way, as is all that comes after it.
"""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import force_setattr

from cairndb import codec
from cairndb.codec import SET
from cairndb.patch import decode_entries
from cairndb.patch_lanes import batch_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cairndb.codec import Operation
    from cairndb.patch import Tree

_PAUSE_MAX = 64


class _Batch(NamedTuple):
    """One field of a lane, with what decodes entries that set it."""

    lane: str
    """The root's attribute."""
    field: str
    """The records' attribute."""
    decode: Callable[[bytes], list[Any]]


class Replay:
    """Replays pieces of the log.

    Args:
        tree: to be changed.

    Attributes:
        done: how many entries of the piece that was begun last have been applied.
        time: of the last entry of the last piece that was done; 0 if there was none.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.done = 0
        self.time = 0
        self._batches: dict[tuple[str, str], _Batch | None] = {}
        self._batch: _Batch | None = None
        # For how many pieces no batch is tried, and for how many after the next failure.
        self._pause, self._next_pause = 0, 1

    def run(self, payload: bytes, count: int, limit: int | None = None) -> None:
        """Apply the entries of a piece.

        Args:
            payload: the entries, one after the other.
            count: how many.
            limit: how many of them to apply; None for all.

        Raises:
            ValidationError, ValueError: as `Tree.resolve`, of the entry after those `done`.
        """
        self.done = 0
        if self._batch is not None and self._run_batch(self._batch, payload, count, limit):
            return
        entries = decode_entries(payload, count)[:limit]
        resolve, apply = self.tree.resolve, self.tree.apply
        waiting = iter(entries[self.done :])
        try:
            for entry in waiting:
                apply(resolve(entry.operations))
        except BaseException:  # where it got to, without counting on the way
            self.done = len(entries) - length_hint(waiting) - 1
            raise
        self.done = len(entries)
        self.time = entries[-1].time if entries else self.time
        self._pause -= 1
        if entries and self._pause <= 0:
            self._batch = self._batch_for(entries[0].operations)

    def _run_batch(self, batch: _Batch, payload: bytes, count: int, limit: int | None) -> bool:
        """Apply the piece in the quick way; False if some, or all, are left to be `done`."""
        try:
            entries = batch.decode(codec.as_array(payload, count))[:limit]
            records = getattr(self.tree.root, batch.lane)
        except (ValueError, AttributeError, RecursionError):
            self._batch = None
            self._pause, self._next_pause = self._next_pause, min(2 * self._next_pause, _PAUSE_MAX)
            return False
        waiting, field, set_field = iter(entries), batch.field, force_setattr
        try:
            for entry in waiting:
                (each,) = entry.operations
                set_field(records[each.path.key], field, each.argument)
        except KeyError:
            self.done = len(entries) - length_hint(waiting) - 1
            return False
        self.done = len(entries)
        self.time = entries[-1].time if entries else self.time
        self._next_pause = 1
        return True

    def _batch_for(self, operations: Sequence[Operation]) -> _Batch | None:
        """What may do for the pieces that follow, by an entry of this one."""
        if len(operations) != 1 or operations[0].code != SET or len(operations[0].path) != 3:
            return None
        first, _, last = operations[0].path
        lane = self.tree.lanes.get(first) if type(first) is str else None
        field = lane.fields.get(last) if lane is not None and type(last) is str else None
        if lane is None or field is None:
            return None
        if (first, last) not in self._batches:
            decode = batch_decoder(first, lane, last)
            self._batches[first, last] = _Batch(lane.name, field.name, decode)
        return self._batches[first, last]
