"""A copy of a database in memory, kept up by the stream of entries: what its views show.

It is an engine without a store, which nobody can update but the stream (`take`). Rules:

1. What is shown is the state of one LSN, which the owner has promised: entries are applied whole,
   with no view open, and a checkpoint takes the place of everything at once, when it is whole.
2. What arrives is checked before any of it is applied: it must be what follows the position that
   this has, by its running checksum.
3. Views are held back for a few milliseconds at most, however much arrives together.
4. Whatever makes it doubtful that memory is the state of an LSN ends this object; a stream that
   breaks off, or can't be read, only ends the stream: the last state is shown on.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from zlib import crc32

from cairndb import codec, collector, locks
from cairndb.appender_parts import Batch
from cairndb.chain import Position
from cairndb.engine import Engine, now_microseconds
from cairndb.errors import DatabaseFailed, ReadOnlyError, SchemaError, UsageError, ValidationError
from cairndb.patch import SET, Tree, decode_entries
from cairndb.replicas_loading import Loading
from cairndb.replicas_waiting import Arrivals
from cairndb.rules import rules_of
from cairndb.rules_following import Following
from cairndb.schema_change import Evolution, change_from
from cairndb.schema_text import parse_schema
from cairndb.wire_tail import Begin, Entries, Heartbeat, Loaded, Owner, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from cairndb.errors import CairnError
    from cairndb.files import Directory
    from cairndb.kinds import Kind
    from cairndb.patch import Entry, Operation
    from cairndb.wire_tail import Item

HOLD_SECONDS: Final = 0.002
"""How long views are held back at a time, while more entries are there to be applied."""


class StreamError(Exception):
    """What arrived isn't what follows: begin the stream anew.

    Args:
        reason: for the log.
        afresh: whether to begin with a checkpoint, since the position can't be gone on from.
    """

    def __init__(self, reason: str, *, afresh: bool = False) -> None:
        super().__init__(reason)
        self.afresh = afresh


class Elsewhere:
    """Stands where an engine has its directory, which is the owner's.

    Args:
        path: where the stream comes from, for messages.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def close(self) -> None:
        """There is nothing to give up."""


class Copy(Engine):
    """The state of a replica, and what its views and watches share with each other.

    Args:
        kind: of the root.
        path: where the stream comes from, for messages.
        hold_seconds: how long views are held back at a time.
    """

    def __init__(self, kind: Kind, path: str, *, hold_seconds: float = HOLD_SECONDS) -> None:
        super().__init__(
            Tree(kind),
            None,
            cast("Directory", Elsewhere(path)),
            applied_lsn=0,
            time=0,
            sync_at_commit=True,
            clock=now_microseconds,
            rules=rules_of(kind),
        )
        # Set once:
        self.path = path
        self.arrivals = Arrivals()
        self._hold_seconds = hold_seconds
        # Told that all that was there has been replaced. Set once, by who hands out watches.
        self.on_replace: Callable[[Position], None] | None = None
        # Written under exclusive, read under any mode:
        self._position = Position(0, 0)
        # Written by the thread that calls `take`:
        self.database: UUID | None = None
        self.owner_lsn = 0
        """What the owner has said last that it has promised."""
        self.greeted_lsn = 0
        """The same, at the beginning of the stream."""
        self.heard_at = time.monotonic()
        self.resyncs = 0
        self._loading: Loading | None = None

    @property
    def position(self) -> Position:
        """Where the log of the owner is after what was applied last."""
        return self._position

    @property
    def ready(self) -> bool:
        """Whether there is a state to show."""
        return self.applied_lsn > 0

    @property
    def loading(self) -> tuple[int, int] | None:
        """Of a checkpoint that is arriving, how many bytes are there, and how many will be."""
        loading = self._loading
        return None if loading is None else (loading.bytes_read, loading.total_bytes)

    def check_writable(self) -> None:
        """Raise: nobody writes here."""
        raise ReadOnlyError(
            "a replica is a copy to read: run an update with replica.run(Root.method, ...), which "
            "has the owner make it"
        )

    # The stream.

    def take(self, item: Item) -> None:
        """Take the next item of a stream; one thread at a time.

        Raises:
            StreamError: it isn't what follows; nothing of it is shown.
            SchemaError: the declared types can't read it; nothing of it is shown.
            DatabaseFailed: memory may not be the state of an LSN any more; this object is dead.
        """
        self.heard_at = time.monotonic()
        match item:
            case Entries():
                self.owner_lsn = max(item.promised_lsn, item.before_lsn + item.count)
                self._follow(item)
            case Heartbeat():
                self.owner_lsn = item.promised_lsn
            case Owner():
                self._greet(item)
            case Begin():
                self._begin(item)
            case Piece() | Loaded():
                self._load(item)

    def interrupted(self) -> None:
        """The stream has broken off: what has come of a checkpoint is of no use."""
        self._loading = None

    def _greet(self, owner: Owner) -> None:
        self._loading = None
        self._check_schema(owner.schema)
        self.owner_lsn = self.greeted_lsn = owner.promised_lsn
        self.database = owner.database

    def _check_schema(self, text: str) -> None:
        """Raise SchemaError unless values of a stored schema read as they are."""
        try:
            version = parse_schema(text).version
            rewrites = change_from(text, self.tree.kind, Evolution(version), self.path).rewrites
        except (SchemaError, ValueError) as error:
            raise self._schema_error(error) from error
        if rewrites:
            raise self._schema_error("fields are new, gone, or in another order")

    def _schema_error(self, reason: object) -> SchemaError:
        return SchemaError(
            f"the owner's data is of other types than this replica's, which can't follow: start "
            f"this process again with the owner's classes. {reason}"
        )

    def _begin(self, begin: Begin) -> None:
        if begin.schema:
            self._check_schema(begin.schema)
        self._loading = Loading(self.tree.kind, begin)

    def _load(self, item: Piece | Loaded) -> None:
        loading = self._loading
        if loading is None:
            raise StreamError("a piece of a checkpoint that hasn't begun")
        with self._judging():
            if isinstance(item, Piece):
                loading.add(item)
                return
            loading.finish(item)
        if loading.tree.root is not None:  # else it comes with the first update
            self._loaded(loading)

    def _loaded(self, loading: Loading) -> None:
        self._loading = None
        with collector.settling(loading.bytes_read):
            self._replace(loading.tree, loading.position)

    # Changing what is shown.

    def _replace(self, tree: Tree, position: Position) -> None:
        """Show another state, whole; views don't wait for its indexes either."""
        rules, left = rules_of(self.tree.kind), self.rules
        if rules is not None:
            try:
                rules.build(tree.root, strict=False)
            except Exception as error:
                raise self._schema_error(error) from error
        with self._exclusive():
            # What is left is freed when views may go on.
            before, self.tree.root = self.tree.root, tree.root
            self.tree.requests = tree.requests
            self.rules = rules
            self._show(position)
        if before is not None:
            self.resyncs += 1
        if left is not None:
            left.close()
        if self.on_replace is not None:
            self.on_replace(position)
        # Who waits for an LSN that was lost would else wait for ever; they all look again.
        self.arrivals.end()

    def _follow(self, item: Entries) -> None:
        loading = self._loading
        lsn, running = self._position if loading is None else loading.position
        if (item.before_lsn, item.running_before) != (lsn, running):
            raise StreamError(f"entries after LSN {item.before_lsn}, at LSN {lsn}")
        if crc32(item.payload, running) != item.running:
            raise StreamError(f"entries after LSN {lsn} aren't what was sent")
        try:
            encoded = codec.open_list(codec.as_array(item.payload, item.count))
            entries = decode_entries(item.payload, item.count)
        except ValueError as error:
            raise StreamError(f"entries after LSN {lsn} can't be read: {error}") from error
        if loading is not None:
            with self._judging():
                loading.follow(entries, item.running)
            self._loaded(loading)
            return
        done = 0
        while done < len(entries):
            done += self._apply_some(encoded[done:], entries[done:])

    def _apply_some(self, encoded: list[Any], entries: list[Entry]) -> int:
        """Apply entries for as long as views may be held back, or one; how many that were."""
        before = self._position
        with self._exclusive():
            until = time.perf_counter() + self._hold_seconds
            done = 0
            try:
                for entry in entries:
                    self._apply(entry)
                    done += 1
                    if time.perf_counter() >= until:
                        break
            finally:
                if done:
                    running = crc32(b"".join(encoded[:done]), before.running)
                    self.time = entries[done - 1].time
                    self._show(Position(before.lsn + done, running))
        if self.on_promise is not None:
            shown = list(map(bytes, encoded[:done]))
            self.on_promise(Batch(before.lsn + 1, shown, 0, self._position, 0))
        self.arrivals.reached(self.applied_lsn)
        return done

    def _apply(self, entry: Entry) -> None:
        operations, tree, rules = entry.operations, self.tree, self.rules
        following: Following | None = None
        with self._judging():
            prepared = tree.resolve(operations)
        try:
            if rules is not None and not _sets_root(operations):
                following = Following(rules, tree.root, operations)
            tree.apply(prepared)
            if following is not None:
                following.enter(tree.root)
            elif rules is not None:
                rules.build(tree.root, strict=False)
        except BaseException as error:
            raise self._die(error) from error

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """Say what an error means that comes from what arrived; nothing has been changed."""
        try:
            yield
        except ValidationError as error:
            raise self._schema_error(error) from error
        except ValueError as error:
            raise StreamError(f"what can't be applied: {error}", afresh=True) from error

    def _show(self, position: Position) -> None:
        """Under exclusive: the state is that of this position."""
        # What views compare: nothing that is shown here is waited for.
        self.flusher.promised_lsn = position.lsn
        self.applied_lsn = position.lsn
        self._position = position

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        holder = locks.current_holder()
        self.lock.acquire_update()
        try:
            self.lock.upgrade()
            self.check_usable()
            yield
        finally:
            self.lock.release_update(holder)

    # Ending.

    def _die(self, cause: BaseException) -> CairnError:
        """Refuse everything, and say why: memory may not be the state of an LSN."""

        def refusal() -> CairnError:
            error = DatabaseFailed(
                f"this replica couldn't apply an update ({type(cause).__name__}: {cause}), and "
                "what it has in memory may be half of it: make a new replica"
            )
            error.__cause__ = cause
            return error

        if self.refusal is None:
            self.refusal = refusal
        self._end()
        self.arrivals.end()
        return refusal()

    def _give_up(self) -> None:
        super()._give_up()
        self.arrivals.end()

    def forked(self) -> None:
        """In a forked child: refuse everything."""
        self.closed = True
        self.refusal = _forked


def _sets_root(operations: Sequence[Operation]) -> bool:
    return any(each.code == SET and not each.path for each in operations)


def _forked() -> UsageError:
    return UsageError(
        "this replica was made before fork(), and follows in the parent process alone: make one in "
        "the child"
    )
