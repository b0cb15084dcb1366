"""Replicas against the states themselves: owners, kills, crashes, rewinds, restored copies, cuts.

There are no sockets here: what the owner's side makes is encoded, maybe lost, decoded, and taken.
Whatever happens, a replica shows the state of one promised LSN; and when everything has arrived,
that of the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cairndb.chain import Position
from cairndb.replicas_engine import Copy, StreamError
from cairndb.replicas_watch import CopyHub
from cairndb.service_tail import Tail
from cairndb.transaction import View
from cairndb.watch_items import Start
from cairndb.watch_start import Wish, watch_own
from cairndb.wire_tail import decode_item, encode_item
from effort import examples
from owners_model import CHANGES, KIND, Owners
from simulated import World
from survivors import sampled
from test_watch_model import PATTERNS, expected

if TYPE_CHECKING:
    from cairndb.watch import Watch
    from simulated import Image

WHICH = st.integers(0, 99)


@dataclass
class Watching:
    """A watch on a replica, and what it must give."""

    watch: Watch
    pattern: str
    begin: Position
    replacements: int
    seen: list[tuple[int, Any]] = field(default_factory=list)


class Follower:
    """One replica, and its stream, if there is one."""

    def __init__(self, *, remembers: bool) -> None:
        # Without patience: a view may look after every single entry.
        self.copy = Copy(KIND, "simulated", hold_seconds=0.0)
        self.remembers = remembers
        """Whether there is memory for all who watch and lag."""
        self.hub = CopyHub(self.copy, 1 << 20 if remembers else 300)
        self.tail: Tail | None = None
        self.watching: list[Watching] = []
        self.beyond_repair = False
        """Whether it was sent what can't be applied: more than what was lost was wrong."""

    def connect(self, owner: Owners) -> None:
        """Begin a stream where this replica is."""
        self.cut()
        start = Start(*self.copy.position) if self.copy.ready else None
        self.tail = Tail(owner.hub, start, self.copy.database)

    def cut(self) -> None:
        """The stream ends, for whatever reason."""
        if self.tail is not None:
            self.tail.close()
            self.copy.interrupted()
            self.tail = None

    def pull(self, *, lose: bool = False) -> bool:
        """Let one item come; returns whether there may be more."""
        assert self.tail is not None
        item, behind = self.tail.step()
        if item is not None and not lose:
            try:
                self.copy.take(decode_item(encode_item(item)))
            except StreamError as error:
                self.beyond_repair |= error.afresh
                self.cut()
                return False
        return behind

    def state(self) -> bytes:
        """What a view shows."""
        with View[Any](self.copy, None, durable=True) as root:
            return KIND.encode(root)

    def close(self) -> None:
        self.cut()
        for each in self.watching:
            each.watch.close()
        self.copy.close()


class Replicas(Owners):
    """Those who follow in other processes, too."""

    def __init__(self) -> None:
        self.known: dict[Position, bytes] = {}
        """The state at each position, in all histories there have been."""
        self.before: dict[Position, Position] = {}
        self.last = Position(0, 0)
        self.followers = [Follower(remembers=True), Follower(remembers=False)]
        self.saved: Image | None = None
        super().__init__()

    def open(self) -> None:
        super().open()
        self.note()

    def note(self) -> None:
        """Keep what the state of the last LSN is, in this history."""
        position = self.engine.position
        if position not in self.known:
            self.before[position] = self.last
        self.known[position] = KIND.encode(self.engine.tree.root)
        self.last = position

    def leave(self, *, beside: bool = False) -> None:
        del beside
        for each in self.followers:
            each.cut()

    @rule(durable=st.booleans(), several=st.lists(CHANGES, min_size=1, max_size=6))
    def update(self, several: list[list[tuple[int, str, int]]], *, durable: bool) -> None:
        for changes in several:
            self.make(changes, durable=durable)
            self.note()

    @rule(several=st.lists(CHANGES, min_size=1, max_size=4), which=WHICH)
    def update_and_drain(self, several: list[list[tuple[int, str, int]]], which: int) -> None:
        """What happens most of the time."""
        self.update(several, durable=True)
        self.drain(which)

    @rule()
    def save(self) -> None:
        """Somebody copies the disk."""
        self.saved_lsn = self.engine.applied_lsn
        self.saved = self.random.choice(list(sampled(self.world.moment(), self.random, 4)))

    @precondition(lambda self: self.saved and self.engine.applied_lsn > self.saved_lsn + 1)
    @rule()
    def restore(self) -> None:
        """Back to the copy, as if nothing had happened since: positions get lost."""
        assert self.saved is not None
        self.leave()
        self.engine.directory.close()
        self.world = World(self.saved)
        self.open()

    @rule(which=WHICH, count=st.integers(0, 8), lose=st.booleans())
    def pull(self, which: int, count: int, *, lose: bool) -> None:
        """A stream begins, maybe in the place of another; a few items come, one may get lost."""
        follower = self.of(which)
        follower.connect(self)
        for number in range(count):
            if follower.tail is not None:
                follower.pull(lose=lose and number == 0)
                self.check(follower)

    @rule(which=WHICH)
    def drain(self, which: int) -> None:
        """Everything comes."""
        follower = self.of(which)
        if follower.tail is None:
            follower.connect(self)
        while follower.tail is not None and follower.pull():
            self.check(follower)
        if follower.tail is not None and follower.copy.owner_lsn == follower.copy.applied_lsn:
            assert follower.copy.applied_lsn == self.hub.promised_lsn()

    @rule(which=WHICH, pattern=st.sampled_from(PATTERNS))
    def watch(self, which: int, pattern: str) -> None:
        """Somebody watches a replica."""
        follower = self.of(which)
        if follower.copy.ready:
            watch = watch_own(follower.hub, Wish(pattern))
            begin = follower.copy.position
            follower.watching.append(Watching(watch, pattern, begin, follower.hub.replacements))

    @rule(which=WHICH)
    def look(self, which: int) -> None:
        """A watch gives what one on the owner would have given, or jumps over some of it."""
        follower = self.of(which)
        for each in follower.watching:
            behind = True
            while behind:
                item, behind = each.watch.step()
                if item is not None:
                    each.seen.append((item.lsn, sorted(item.changes, key=repr)))
            if follower.remembers and each.replacements == follower.hub.replacements:
                assert each.seen == self.wanted(each, follower.copy.position)
            self.check_end(each, follower)
            each.watch.close()
        follower.watching.clear()

    def check_end(self, each: Watching, follower: Follower) -> None:
        """A watch that has given everything stands where one would begin that begins now."""
        anew = watch_own(follower.hub, Wish(each.pattern))
        assert each.watch._scope is not None
        assert anew._scope is not None
        assert each.watch._reached == anew._reached
        assert each.watch._scope.fold.encode() == anew._scope.fold.encode()
        anew.close()

    def wanted(self, each: Watching, end: Position) -> list[tuple[int, Any]]:
        """What a watch has to give, from where it began to where its replica is."""
        found: list[tuple[int, Any]] = []
        while end != each.begin:
            before = self.before[end]
            changes = expected(self.known[before], self.known[end], each.pattern)
            found = [(end.lsn, changes), *found] if changes else found
            end = before
        return found

    def of(self, which: int) -> Follower:
        return self.followers[which % len(self.followers)]

    def check(self, follower: Follower) -> None:
        """What is shown is the state of some LSN that was promised."""
        if follower.copy.ready:
            assert follower.state() == self.known[follower.copy.position]

    def teardown(self) -> None:
        self.engine.sync()
        for which, follower in enumerate(self.followers):
            for _ in range(3):
                self.drain(which)
            assert follower.copy.position == self.engine.position
            assert not follower.beyond_repair
            self.look(which)
            follower.close()
        assert self.hub.watched() == 0
        self.engine.close()


class TestReplicas(Replicas.TestCase):  # type: ignore[misc,valid-type]  # made at run time
    """A replica shows the state of a promised LSN, always, and in the end the last."""

    settings = settings(
        max_examples=examples(25), stateful_step_count=40, deadline=None, phases=[Phase.generate]
    )


TestReplicas.runTest = pytest.mark.slow(TestReplicas.runTest)
