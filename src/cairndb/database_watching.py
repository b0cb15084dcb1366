"""The part of an open database that watches, and calls functions with what is committed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from cairndb.errors import DatabaseFailed, UsageError
from cairndb.locks_holders import would_block
from cairndb.watch_calls import Subscription, Subscriptions
from cairndb.watch_hub import Hub
from cairndb.watch_start import Wish, watch_beside, watch_own
from cairndb.watch_tasks import AsyncWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine
    from cairndb.watch import Watch
    from cairndb.watch_items import Change


class Watching:
    """What `Database` has of watches.

    Args:
        engine: of the database.
        path: of its directory.
        hub: where what is promised meets those who watch; None for the usual one.
    """

    __slots__ = ("_engine", "_hub", "_subscriptions", "path")

    def __init__(self, engine: Engine, path: str, hub: Hub | None = None) -> None:
        self._engine = engine
        self._hub = hub or Hub(engine)
        self._subscriptions = Subscriptions()
        self.path = path

    def watch(
        self,
        pattern: str = "/**",
        *,
        since: str | int | None = None,
        initial: bool = False,
        timeout: float | None = None,
        bookmarks: float | None = None,
    ) -> Watch:
        """The changes under a pattern, as they become durable: `for change in db.watch(...)`.

        Each update that changed something there is one item, in order, without a gap, once. A
        database opened for reading follows its owner.

        Args:
            pattern: of paths: exact steps, `*` for any one, `**` for any number.
            since: the `position` of an item to go on after, or an LSN; None begins now.
            initial: whether the first item is all that is there now.
            timeout: seconds without an item that end the iteration; 0 ends it with what is there
                by now, None waits for ever.
            bookmarks: seconds after which an item without changes says how far the watch has got,
                where there are updates and none that matches.

        Raises:
            Compacted: the log doesn't go back to `since` any more.
            UnknownPosition: `since` isn't in this history.
            UsageError: no declared type has a path that the pattern could mean.
        """
        self._engine.check_usable()
        return self._watch(Wish(pattern, since, initial, timeout, bookmarks))

    def _watch(self, wish: Wish) -> Watch:
        if self._engine.reads_only:
            return watch_beside(self._engine, wish)
        return watch_own(self._hub, wish)

    def watch_async(
        self,
        pattern: str = "/**",
        *,
        since: str | int | None = None,
        initial: bool = False,
        timeout: float | None = None,
        bookmarks: float | None = None,
    ) -> AsyncWatch:
        """As `watch`, for a task of asyncio or trio: `async for change in db.watch_async(...)`.

        It begins when the first item is asked for, or with `async with db.watch_async(...) as
        watch:`, which ends it too. A cancelled wait loses no item.

        Args:
            pattern: as for `watch`; so are the others.
            since: where to go on.
            initial: whether the first item is all that is there.
            timeout: seconds without an item that end the iteration.
            bookmarks: seconds after which an item says how far the watch has got.

        Raises:
            UsageError: inside a block of this database.
        """
        self._engine.check_usable()
        if self._engine.lock.holds():
            raise inside_block("watch_async")
        wish = Wish(pattern, since, initial, None, bookmarks)
        wish.check()
        return AsyncWatch(lambda: self._watch(wish), timeout)

    def on_commit(
        self,
        pattern: str,
        function: Callable[[Change], object],
        *,
        since: str | int | None = None,
        initial: bool = False,
    ) -> Subscription:
        """Call a function with each item of a watch, in order, on a thread of its own.

        It is called after an update is durable, may lag, and may update the database itself. What
        it raises is logged and counted. `close` delivers what is durable by then, within seconds.

        Args:
            pattern: of paths, as for `watch`.
            function: called with one item at a time.
            since: as for `watch`.
            initial: as for `watch`.

        Returns:
            What stops it: `subscription.stop()`.

        Raises:
            Compacted, UnknownPosition: as `watch`.
        """
        watch = self.watch(pattern, since=since, initial=initial)
        return self._subscriptions.add(Subscription(watch, function, self.path))

    def _finish_calls(self) -> None:
        """Let the functions of `on_commit` have what is durable by now."""
        if not self._subscriptions:
            return
        if self._engine.refusal is None and not self._engine.reads_only:
            with contextlib.suppress(DatabaseFailed):  # which the close itself tells
                self._engine.sync()
        self._subscriptions.finish(self._hub.promised_lsn())

    def _watch_stats(self) -> dict[str, Any]:
        promised_lsn = self._hub.promised_lsn()
        return {"watches": self._hub.watched()} | self._subscriptions.stats(promised_lsn)

    def _check_outside(self, name: str) -> None:
        if self._engine.lock.holds():
            raise inside_block(name)
        if self._engine.lock.concerns_thread():
            raise would_block()


def inside_block(name: str) -> UsageError:
    """The error of a call that would wait for the block it is made in."""
    return UsageError(f"{name}() inside a block of this database: end the block first")
