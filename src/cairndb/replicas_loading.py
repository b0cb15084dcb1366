"""A state that arrives as a checkpoint, piece by piece, beside the one that is shown meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cairndb import collector
from cairndb.chain import Position
from cairndb.errors import ValidationError
from cairndb.fold import Fold
from cairndb.patch import Tree, decode_operations
from cairndb.wire_tail import checksum_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cairndb.kinds import Kind
    from cairndb.patch import Entry, Operation
    from cairndb.wire_tail import Begin, Loaded, Piece


class Loading:
    """What has arrived of a checkpoint.

    It is loaded as it arrives, so that it isn't in memory twice; see `patch.Tree.load`.

    Args:
        kind: of the root.
        begin: what the stream says of it.

    Attributes:
        tree: what has been loaded.
        position: that it is as of, once `finish` was called.
    """

    def __init__(self, kind: Kind, begin: Begin) -> None:
        self.position = Position(begin.lsn, begin.running)
        self.schema = begin.schema
        self.total_bytes = begin.total_bytes
        self.bytes_read = 0
        self._checksum = checksum_of(begin)
        self.tree = Tree(kind)
        self._begun = False
        # For a state that can only be judged as a whole.
        self._fold: Fold | None = None

    def add(self, piece: Piece) -> None:
        """Load a piece.

        Raises:
            ValidationError: it isn't of the declared types.
            ValueError: no correct writer made this.
        """
        self.bytes_read += len(piece.payload)
        self._checksum = checksum_of(piece, self._checksum)
        with collector.paused():
            self._load(decode_operations(piece.payload, piece.count))

    def _load(self, operations: Sequence[Operation]) -> None:
        tree = self.tree
        for each in operations:
            if self._fold is None:
                try:
                    tree.apply(tree.resolve((each,)))
                except ValidationError:
                    if self._begun:
                        raise
                    self._fold = Fold()
            if self._fold is not None:
                self._fold.apply((each,))
            self._begun = True

    def finish(self, loaded: Loaded) -> None:
        """Everything has arrived: `tree` is the state, if there is one yet.

        Raises:
            ValidationError, ValueError: as `add`; or it isn't what was sent.
        """
        if loaded.checksum != self._checksum:
            raise ValueError("a checkpoint isn't what was sent")
        if self._fold is not None:
            self.tree.root = self.tree.kind.decode(self._fold.encode())
            self.tree.requests = self._fold.requests

    def follow(self, entries: Iterable[Entry], running: int) -> None:
        """Go on by updates, of which the first brings the state that there wasn't yet.

        Args:
            entries: these.
            running: the running checksum of the log after them.

        Raises:
            ValidationError, ValueError: as `add`.
        """
        lsn = self.position.lsn
        for entry in entries:
            self.tree.apply(self.tree.resolve(entry.operations))
            lsn += 1
        self.position = Position(lsn, running)
