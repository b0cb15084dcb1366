"""`log DATABASE PATH`: the updates that changed what a pattern means, with the values.

The log says what each update did, not what was there before. So the state is folded along with it,
from the oldest checkpoint that the log leads on from, or from the last one before `--since`.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Raw

from cairndb import codec, touched
from cairndb.checkpoint import checkpoint_name, parse_checkpoint_name
from cairndb.cli import output, source
from cairndb.codec import BARRIER
from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.fold import Fold
from cairndb.history import Still
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.difference import Difference
    from cairndb.files import Directory
    from cairndb.patch import Entry
    from cairndb.pattern import Pattern


class Changed(NamedTuple):
    """An update that changed something under the pattern."""

    lsn: int
    entry: Entry
    changes: list[Difference]


class PathHistory:
    """Goes along the log with the state, as far as the log has got, and again when there is more.

    Args:
        directory: of the database.
        pattern: what is asked for.
        since: the first LSN to tell of; None for the oldest that is kept.

    Raises:
        CorruptError: a file is damaged.
    """

    def __init__(self, directory: Directory, pattern: Pattern, since: int | None) -> None:
        self._directory = directory
        self._pattern = pattern
        self._since = since or 1
        with output.progress("reading") as progress:
            self._fold, self._lsn = _first_state(directory, since, progress)

    def updates(self) -> Iterator[Changed]:
        """Each update since the last one told that changed something; a bar if it takes long.

        Raises:
            CorruptError: a file is damaged, or an update doesn't fit the state.
        """
        with closing(read_chain(self._directory)) as reading:
            begin, end = self._lsn, reading.lsn
        entries = source.entries(self._directory, self._lsn + 1)
        found: Changed | None = None
        while True:
            # Closed before anything is shown: results go to where the bar is drawn.
            with output.progress("reading") as progress:
                found = None
                for lsn, entry in entries:
                    if lsn > self._lsn + 1:  # an owner has removed what comes between
                        self._fold, self._lsn = _first_state(self._directory, lsn, progress)
                        entries = source.entries(self._directory, self._lsn + 1)
                        break
                    found = self._changed(lsn, entry)
                    progress(lsn - begin, end - begin)
                    if found is not None:
                        break
                else:
                    return
            if found is not None:
                yield found

    def _changed(self, lsn: int, entry: Entry) -> Changed | None:
        """Go on by an update; what is to be told of it."""
        changes = self._applied(lsn, entry)
        self._lsn = lsn
        return Changed(lsn, entry, changes) if changes and lsn >= self._since else None

    def _applied(self, lsn: int, entry: Entry) -> list[Difference]:
        if any(each.code == BARRIER for each in entry.operations):
            return self._replaced(lsn)
        try:
            return touched.apply(self._fold, entry.operations, self._pattern)
        except ValueError as error:
            reason = f"LSN {lsn} can't be folded: {error}"
            raise CorruptError(self._directory.path, 0, reason) from error

    def _replaced(self, lsn: int) -> list[Difference]:
        """Go over a barrier: the state is that of its checkpoint."""
        before, name = Raw(self._fold.encode()), checkpoint_name(lsn)
        try:
            self._fold = _loaded(self._directory, name)
        except FileNotFoundError:
            path = path_in(self._directory, name)
            raise CorruptError(path, 0, str(codec.barrier_error())) from None
        return touched.compare(before, Raw(self._fold.encode()), self._pattern)


def _first_state(
    directory: Directory, since: int | None, progress: source.Progress
) -> tuple[Fold, int]:
    """The state that the log is told from, and its LSN."""
    with closing(read_chain(directory)) as reading:
        segments, base = reading.recovered.chain.segments, reading.base_lsn
        first = segments[0].header.first_lsn
        unreached = set(reading.recovered.unreached)
        names = [name for name in directory.names() if name not in unreached]
        lsns = {*filter(None, map(parse_checkpoint_name, names)), *([0] if first == 1 else [])}
        kept = sorted(lsn for lsn in {*lsns, base} if first - 1 <= lsn <= base)
        before = [lsn for lsn in kept if since is not None and lsn < since]
        for lsn in before[::-1] or kept:
            if lsn == 0:
                return Fold(), 0
            try:
                return _loaded(directory, checkpoint_name(lsn), progress), lsn
            except (CorruptError, FileNotFoundError):
                if lsn == base:
                    raise
        fold, _ = source.loaded(directory, reading.checkpoint_frames(), progress, 0)
        return fold, base


def _loaded(
    directory: Directory, name: str, progress: source.Progress = lambda _done, _total: None
) -> Fold:
    with closing(Still(directory, name)) as still:
        frames = still.checkpoint_frames()
        return source.loaded(directory, frames, progress, still.total_bytes)[0]
