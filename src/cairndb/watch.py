"""Watching: what each update changed under a pattern, in order, without a gap, each once.

A watch reads the entries of the log after a position, keeps the fold of what its pattern means, and
tells what each of them changes in it. All of that is its own work, in the thread that asks for the
next item; an update does nothing for it but lay its entry down when it is promised (`watch_hub`).
What is shown is what is promised, so nothing that was shown can be taken back by a crash.

A watch belongs to one thread at a time; `close` may come from any.
"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self
from zlib import crc32

from msgspec import Raw

from cairndb.chain import Position
from cairndb.checkpoint import checkpoint_name
from cairndb.codec import BARRIER
from cairndb.errors import CairnError, SchemaError
from cairndb.history import Still, compacted, folded
from cairndb.locks_gates import Mutex, closed_gate, deadline_after, open_gate, wait_at
from cairndb.watch_follower import Jump
from cairndb.watch_items import Change, position_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Literal

    from cairndb.difference import Difference
    from cairndb.files import Directory
    from cairndb.locks_gates import Gate
    from cairndb.patch import Entry
    from cairndb.watch_follower import Run
    from cairndb.watch_scope import Scope
    from cairndb.watch_types import Reading


class Source(Protocol):
    """Where entries come from; see `watch_hub`."""

    directory: Directory
    look_seconds: float | None

    def check(self) -> None:
        """Raise why there will be no more, if so."""
        ...

    def read(self, position: Position) -> Run | Jump | None:
        """The entries after a position, perhaps with some before it; None if there are none yet."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called once when there may be more."""
        ...

    def forget(self, listener: Callable[[], None]) -> None:
        """Don't."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Watch:
    """The changes under a pattern: an iterator of `Change`; made by `Database.watch`.

    Args:
        source: of entries.
        scope: what is there at `position`.
        reading: what values become.
        position: where it begins.
        initial: whether the first item is all that is there.
        timeout: seconds without an item that end the iteration; None waits for ever.
        bookmarks: seconds after which an item says how far it has got; None for no such items.
        reads: whether a schema is one whose values `reading` can read.
    """

    def __init__(
        self,
        source: Source,
        scope: Scope,
        reading: Reading,
        position: Position,
        *,
        initial: bool,
        timeout: float | None,
        bookmarks: float | None,
        reads: Callable[[str], bool],
    ) -> None:
        # Set once:
        self._source = source
        self._reading = reading
        self._timeout = timeout
        self._bookmarks = bookmarks
        self._reads = reads
        # Guards what follows:
        self._mutex = Mutex()
        self._scope: Scope | None = scope
        self._initial = initial
        self._run: Run | None = None
        self._reached = position
        self._time: datetime | None = None
        # Of the item returned last:
        self._told = position
        self._told_at = time.monotonic()
        # Written by whoever closes:
        self._closed = False
        self._gate: Gate | None = None

    @property
    def position(self) -> str:
        """After the last item, to go on from as `since`."""
        return position_text(self._told)

    @property
    def reached_lsn(self) -> int:
        """Up to which LSN updates have been looked at."""
        return self._reached.lsn

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        item = self.poll(self._timeout)
        if item is None:
            self.close()
            raise StopIteration
        return item

    def poll(self, timeout: float | None = 0.0) -> Change | None:
        """The next item, or None if none comes in time, or the watch is closed.

        Args:
            timeout: seconds to wait; 0 doesn't, None waits for ever.

        Raises:
            Compacted: the updates that follow have been removed from the log.
            UnknownPosition: the log has lost what this watch has seen.
            SchemaError: the types have changed, and these can't read what follows.
            CairnError: a file can't be read.
            DatabaseFailed, UsageError: the database has failed, or was closed.
        """
        until = deadline_after(timeout)
        while True:
            item, behind = self.step()
            if item is not None or self._closed:
                return item
            if not behind:
                item, behind = self._wait(until)
                if item is not None:
                    return item
            if not behind and until is not None and time.monotonic() >= until:
                return None

    def step(self) -> tuple[Change | None, bool]:
        """For whoever mustn't wait: look at the next few entries.

        Returns:
            The item, if they have one; and whether there may be more to look at.

        Raises:
            CairnError: as `poll`.
        """
        if self._closed:
            return None, False
        try:
            self._source.check()
            with self._mutex:
                return (None, False) if self._closed else self._advance()
        except OSError as error:
            self._closed = True
            raise CairnError(f"{error.filename} can't be read: {error.strerror}") from error
        except BaseException:
            # Half way through an entry, perhaps: what is next can't be told from here, but by a new
            # watch, from `position`.
            self._closed = True
            raise
        finally:
            if self._closed:
                self._let_go()

    def listen(self, listener: Callable[[], None]) -> float | None:
        """For whoever mustn't wait: have a function called, once, when there may be an item.

        Listen, then `step` until there is nothing more, then wait for the call.

        Args:
            listener: called from any thread; it must neither raise nor wait.

        Returns:
            After how many seconds to look again though nothing was called; None for never.
        """
        self._source.listen(listener)
        return self._source.look_seconds

    def forget(self, listener: Callable[[], None]) -> None:
        """Don't call a function that was given to `listen`."""
        self._source.forget(listener)

    def _wait(self, until: float | None) -> tuple[Change | None, bool]:
        """Look once more, then wait until there may be more, or it is time to look again."""
        gate = self._gate = closed_gate()
        opening = partial(open_gate, gate)
        self._source.listen(opening)
        try:
            found = self.step()
            if found == (None, False) and not self._closed:
                wait_at(gate, self._look_at(until))
            return found
        finally:
            self._gate = None
            self._source.forget(opening)

    def _look_at(self, until: float | None) -> float | None:
        moments = [until, deadline_after(self._source.look_seconds)]
        if self._bookmarks is not None and self._reached != self._told:
            moments.append(self._told_at + self._bookmarks)
        return min((moment for moment in moments if moment is not None), default=None)

    def _advance(self) -> tuple[Change | None, bool]:
        assert self._scope is not None
        if self._initial:
            self._initial = False
            self._time = None
            return self._item("initial", self._scope.everything()), True
        run = self._run
        if run is None or self._reached.lsn >= run.last_lsn:
            found = self._source.read(self._reached)
            if isinstance(found, Jump):
                return self._jump(self._scope, found), True
            self._run = run = found
        if run is None:
            return self._bookmark(), False
        while self._reached.lsn < run.last_lsn:
            encoded, entry = run.entry(self._reached.lsn + 1)
            after = Position(self._reached.lsn + 1, crc32(encoded, self._reached.running))
            differences = self._apply(self._scope, entry, after)
            self._reached = after
            self._time = _moment(entry)
            if differences:
                return self._item("update", differences, entry), True
        return self._bookmark(), True

    def _jump(self, scope: Scope, jump: Jump) -> Change | None:
        """Go on at another state; what differs there is one item."""
        self._run = None
        self._reading.begin(scope.fold)
        differences = scope.replace(jump.state)
        self._reached = jump.position
        self._time = None
        return self._item("update", differences) if differences else None

    def _apply(self, scope: Scope, entry: Entry, after: Position) -> list[Difference]:
        self._reading.begin(scope.fold)
        if any(each.code == BARRIER for each in entry.operations):
            return scope.replace(self._behind(after))
        return scope.apply(entry.operations)

    def _behind(self, barrier: Position) -> Raw:
        """The whole state that a barrier put in the place of what was there."""
        directory = self._source.directory
        try:
            still = Still(directory, checkpoint_name(barrier.lsn))
        except FileNotFoundError:
            raise compacted(directory, barrier.lsn - 1) from None
        with closing(still):
            # By its position, not by its nonce: another barrier that follows replaces the file.
            if still.base != barrier:
                raise compacted(directory, barrier.lsn - 1)
            if not self._reads(still.schema):
                raise SchemaError(
                    f"{directory.path}: LSN {barrier.lsn} changed the types, and those given to "
                    "open can't read what follows: open it with the new ones"
                )
            return Raw(folded(still, directory.path, lambda _: None).fold.encode())

    def _bookmark(self) -> Change | None:
        due = self._bookmarks is not None and self._reached != self._told
        if due and time.monotonic() - self._told_at >= (self._bookmarks or 0.0):
            return self._item("bookmark", [])
        return None

    def _item(
        self,
        kind: Literal["update", "initial", "bookmark"],
        differences: list[Difference],
        entry: Entry | None = None,
    ) -> Change:
        assert self._scope is not None
        self._reading.begin(self._scope.fold)
        call = entry.call.name if entry is not None and entry.call is not None else None
        changes = tuple(self._reading.change(each) for each in differences)
        text = position_text(self._reached)
        item = Change(kind, self._reached.lsn, text, self._time, call, changes)
        self._told = self._reached
        self._told_at = time.monotonic()
        return item

    def close(self) -> None:
        """End the watch, and any wait for its next item; closing twice is harmless."""
        self._closed = True
        gate = self._gate
        if gate is not None:
            open_gate(gate)
        self._let_go()

    def _let_go(self) -> None:
        # Whoever is at work in another thread lets go when that is done: it isn't waited for.
        if self._mutex.acquire(blocking=False):
            try:
                if self._scope is not None:
                    self._scope = self._run = None
                    self._source.close()
            finally:
                self._mutex.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_gate"):
            self.close()


def _moment(entry: Entry) -> datetime:
    return datetime.fromtimestamp(entry.time / 1e6, UTC)
