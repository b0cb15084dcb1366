"""Random lives of a database and its clients: no request is executed twice, whatever happens.

Clients ask, lose answers, ask again in any order, late tries of theirs arrive; the owner is closed
or killed, the machine loses power, the state is rewound, checkpoints are made. A request has an
effect where the log has got an entry by it; a crash may take that back as long as nobody had the
answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec import Raw

import cairndb
from cairndb import requests, rewinding
from cairndb.appender_parts import StoreOptions
from cairndb.errors import OutcomeUnknown, SessionExpired, UsageError
from cairndb.opening import own
from cairndb.requests import RequestId
from cairndb.schema import compile_root
from cairndb.service import Request, Service
from cairndb.service_access import EVERYTHING
from cairndb.transaction import Update
from crashing import Nonces
from effort import examples
from lives import Folding
from simulated import SimulatedDirectory, World
from survivors import sampled

TIGHT = {"SESSIONS_MAX": 3, "RESULTS_MAX": 2, "RESULT_BYTES_MAX": 100}
TIGHT |= {"SESSION_BYTES_MAX": 600, "TABLE_BYTES_MAX": 1500}
METHODS = ["add", "add_if_open", "add_or_raise"]
EVENTS = ["turn", "turn", "checkpoint", "reopen", "kill", "crash", "rewind"]
TRIES = st.tuples(
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(0, 4)),
    st.sampled_from(METHODS),
    st.booleans(),
)
"""Which client, which of its requests from the last one back (None for a new one), what it calls
if it is new, and whether the answer arrives."""


class Shut(Exception):  # noqa: N818  an application's own
    """It isn't open."""


class Root(cairndb.Record):
    """What requests change."""

    total: int = 0
    open: bool = False

    @cairndb.update
    def add(self) -> int:
        """Always have an effect."""
        self.total += 1
        return self.total

    @cairndb.update
    def add_if_open(self) -> str:
        """Have none while it isn't open; return something of some length."""
        self.total += self.open
        return f"{self.open}" * (self.total % 5 * 10)

    @cairndb.update
    def add_or_raise(self) -> int:
        """Raise while it isn't open."""
        self.total += 1
        if not self.open:
            raise Shut(self.total)
        return self.total


KIND = compile_root(Root, guard=True)


@dataclass
class Asked:
    """A request, and what is known of it."""

    identity: RequestId
    method: str
    effects: list[int] = field(default_factory=list)
    """The LSNs that it made."""
    answer: Any = None
    """The first one that came of what still stands."""
    life: int = 0
    """In which it was given; of what had no effect no other one knows."""
    acknowledged: bool = False


@dataclass
class Client:
    """A session, and what has been asked in it."""

    session: tuple[int, int]
    asked: list[Asked] = field(default_factory=list)

    @property
    def first_incomplete(self) -> int:
        """The lowest sequence whose answer hasn't come."""
        waiting = (a.identity.sequence for a in self.asked if not a.acknowledged)
        return min(waiting, default=len(self.asked))


class Retries(RuleBasedStateMachine):
    """One disk, its owners, and the clients."""

    def __init__(self) -> None:
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        self.world = World()
        self.random = Random(0)  # noqa: S311  no secret
        self.clients: list[Client] = []
        self.lives = 0
        self.tight = False
        self.open()

    @initialize(tight=st.booleans())
    def bound(self, *, tight: bool) -> None:
        """Whether requests are forgotten."""
        self.tight = tight
        for name, value in TIGHT.items() if tight else ():
            self.patched.setattr(requests, name, value)

    def open(self) -> None:
        """The next owner."""
        self.lives += 1
        options = StoreOptions(4096 + 600, 4096 + 1200, Nonces(str(self.lives)))
        directory = SimulatedDirectory(self.world)
        self.engine = own(directory, KIND, create=True, options=options).engine
        database = cairndb.Database[Root](self.engine, None, "simulated", audit=False)
        self.service = Service(database, Root)

    @rule(tries=st.lists(TRIES, max_size=8))
    def talk(self, tries: list[tuple[int, int | None, str, bool]]) -> None:
        """Clients ask, for the first time or again."""
        for which, sequence, method, arrives in tries:
            if which >= len(self.clients):
                # As `Service.session`, but the same in every run.
                session = self.engine.applied_lsn, len(self.clients)
                self.clients.append(Client(session))
            client = self.clients[which % len(self.clients)]
            if sequence is None or not client.asked:
                identity = RequestId(*client.session, len(client.asked), client.first_incomplete)
                client.asked.append(Asked(identity, method))
            asked = client.asked[-1 - (sequence or 0) % len(client.asked)]
            late = asked.acknowledged and not asked.effects and asked.life != self.lives
            if not late:  # its connection has ended with the process
                self.send(client, asked, arrives=arrives)

    @rule(what=st.sampled_from(EVENTS))
    def happens(self, what: str) -> None:
        """Something else goes on."""
        getattr(self, what)()

    def send(self, client: Client, asked: Asked, *, arrives: bool) -> None:
        """One try, and what may come of it."""
        identity, before = asked.identity, self.engine.applied_lsn
        request = Request("run", asked.method, "msgpack", once=identity, grant=EVERYTHING)
        answer = self.service.handle(request)
        found: Any = answer.error or answer.value
        if isinstance(found, Raw):
            found = msgspec.msgpack.decode(found)
        lsn = self.engine.applied_lsn
        if lsn > before:
            assert not asked.effects, "executed twice"
            asked.effects.append(lsn)
        if isinstance(found, OutcomeUnknown | SessionExpired | cairndb.ResultLost):
            self.check_refused(client, asked, found)
            return
        known = asked.effects or asked.life == self.lives
        if known and lsn == before:
            assert repr(found) == repr(asked.answer), "another answer"
        elif asked.acknowledged:
            raise AssertionError("executed when it was answered")
        asked.answer, asked.life = found, self.lives
        if arrives:
            assert answer.position is not None
            self.engine.wait(answer.position.lsn)
            asked.acknowledged = True

    def check_refused(self, client: Client, asked: Asked, error: Exception) -> None:
        """Only what was forgotten is refused, and only what was too much is forgotten."""
        ahead = asked.identity.born > self.engine.applied_lsn
        if isinstance(error, SessionExpired):
            assert self.tight or ahead
        elif isinstance(error, cairndb.ResultLost):
            assert self.tight
        else:
            assert self.tight or asked.identity.sequence < client.first_incomplete

    def turn(self) -> None:
        """Somebody else changes what requests depend on."""
        with Update[Root](self.engine, None, durable=False) as root:
            root.open = not root.open

    def checkpoint(self) -> None:
        """A checkpoint, with which old files go."""
        Folding(self.engine, self.world, "commit").checkpoint()

    def reopen(self) -> None:
        """An orderly end, and the next owner; it knows what the one before knew."""
        self.engine.close()
        before = list(self.engine.tree.requests.operations())
        self.open()
        assert list(self.engine.tree.requests.operations()) == before

    def kill(self) -> None:
        """The process ends at once; the cache stays."""
        self.abandon()
        self.open()
        self.lose()

    def crash(self) -> None:
        """The machine ends at once."""
        self.abandon()
        self.world = World(self.random.choice(list(sampled(self.world.moment(), self.random, 8))))
        self.open()
        self.lose()

    def abandon(self) -> None:
        """Nobody closes this owner."""
        self.engine.directory.close()
        self.engine.forked()

    def lose(self) -> None:
        """What is gone has no effects; whoever was told something has lost nothing."""
        lsn = self.engine.applied_lsn
        for asked in (asked for client in self.clients for asked in client.asked):
            if any(each > lsn for each in asked.effects):
                assert not asked.acknowledged
                asked.effects = []

    def rewind(self) -> None:
        """Back to a state of the past, as an update."""
        self.engine.close()
        lsn = max(1, self.engine.applied_lsn - self.random.randrange(1, 5))
        directory = SimulatedDirectory(self.world)
        try:
            rewinding.rewind(directory, lsn, lambda _: None)
        except UsageError:
            pass  # it isn't kept
        finally:
            directory.close()
        self.open()

    def teardown(self) -> None:
        """Everything that was asked for and never answered is asked for once more."""
        for client in self.clients:
            for asked in client.asked:
                if not asked.acknowledged:
                    self.send(client, asked, arrives=True)
        self.engine.close()
        self.patched.undo()


class TestRetries(Retries.TestCase):  # type: ignore[misc,valid-type]  # made at run time
    """Requests are executed at most once, and once if they were answered."""

    settings = settings(max_examples=examples(20), stateful_step_count=20, deadline=None)


@pytest.mark.nightly
class TestRetriesLonger(Retries.TestCase):  # type: ignore[misc,valid-type]  # as above
    """The same, for hours."""

    settings = settings(max_examples=examples(3000), stateful_step_count=80, deadline=None)
