"""What opening a directory would do, found out without doing it: with recovery's own steps.

Nothing is written. Whether the entries can be applied isn't tried, which would take the memory of
the whole state; that they can be decoded is.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cairndb.chain import Files
from cairndb.errors import CairnError, CorruptError
from cairndb.identity import NAME, check_interrupted_creation, read_identity
from cairndb.patch import decode_entries, decode_operations
from cairndb.recovery import Recovered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.chain import Newest
    from cairndb.files import Directory


@dataclass
class Prediction:
    """What `cairndb.open` would do, as an owner."""

    error: CairnError | None = None
    """What it would raise."""
    creates: bool = False
    """There is no database yet, or an interrupted creation: it would make one."""
    lsn: int = 0
    proven_lsn: int = 0
    """What is above it would be written again first."""
    base: str | None = None
    base_lsn: int = 0
    chain: list[str] = field(default_factory=list)
    newest: Newest | None = None
    warnings: list[str] = field(default_factory=list)


def predict(directory: Directory, names: Sequence[str]) -> Prediction:
    """Find out what opening would do.

    Args:
        directory: not locked.
        names: what is in it.

    Raises:
        FileNotFoundError: a file was removed meanwhile.
    """
    try:
        if NAME not in names:
            check_interrupted_creation(directory, names)
            return Prediction(creates=True)
        with closing(Files(directory, keep=False)) as files:
            return _opened(Recovered(files, names, read_identity(directory)))
    except FileNotFoundError:
        raise
    except CairnError as error:
        return Prediction(error)
    except OSError as error:
        where = error.filename or directory.path
        return Prediction(CairnError(f"{where} can't be used: {error.strerror}"))


def _opened(recovered: Recovered) -> Prediction:
    """Read what would be replayed; raises what is wrong with it."""
    chain, checkpoint = recovered.chain, recovered.checkpoint
    trusted, good = chain.newest.trusted.position.lsn, chain.newest.good.position.lsn
    try:
        for count, payload in recovered.checkpoint_frames():
            decode_operations(payload, count)
        for piece in chain.pieces(trusted):
            decode_entries(piece.payload, piece.count)
        for piece in chain.tail():
            decode_entries(piece.payload, piece.count)
    except ValueError as error:
        path = recovered.files.directory.path
        reason = f"the checksums are right, and an operation can't be applied: {error}"
        raise CorruptError(path, 0, reason) from error
    return Prediction(
        creates=checkpoint is None and good == 0,
        lsn=good,
        proven_lsn=max(trusted, chain.base.lsn),
        base=checkpoint.name if checkpoint else None,
        base_lsn=chain.base.lsn,
        chain=[segment.name for segment in chain.segments],
        newest=chain.newest,
        warnings=recovered.warnings,
    )
