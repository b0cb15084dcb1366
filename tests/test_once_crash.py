"""Clients that ask again after a loss of power at every moment of an owner's work."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

import cairndb
from cairndb.appender_parts import StoreOptions
from cairndb.errors import UsageError
from cairndb.opening import own
from cairndb.requests import RequestId
from cairndb.schema import compile_root
from cairndb.service import Request, Service
from cairndb.service_access import EVERYTHING
from crashing import Nonces, digest_of
from lives import Folding, without_lock
from serving import value
from simulated import Image, Moment, SimulatedDirectory, World
from survivors import sampled

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 9
SESSION = (1, 1)


class Total(cairndb.Record):
    """What shows how often something was done."""

    total: int = 0

    @cairndb.update
    def add(self) -> int:
        """One more."""
        self.total += 1
        return self.total


KIND = compile_root(Total, guard=True)


class Owner:
    """Somebody who has the database open, and is asked.

    Args:
        world: where it is.
        seed: of the nonces.
        create: whether to make it.
    """

    def __init__(self, world: World, seed: str, *, create: bool = False) -> None:
        options = StoreOptions(4096 + 300, 4096 + 400, Nonces(seed))
        self.world = world
        directory = SimulatedDirectory(world)
        self.engine = own(directory, KIND, create=create, options=options).engine
        self.service = Service(cairndb.Database(self.engine, None, "simulated", audit=False), Total)

    def ask(self, sequence: int) -> int:
        """The answer to a request, as soon as it may be told."""
        once = RequestId(*SESSION, sequence, max(0, sequence - 3))
        request = Request("run", "add", "msgpack", once=once, grant=EVERYTHING)
        answer = self.service.handle(request)
        assert answer.position is not None
        self.engine.wait(answer.position.lsn)
        found = value(answer)
        return int(found if isinstance(found, int) else msgspec.msgpack.decode(found))

    def abandon(self) -> None:
        """Nobody closes it."""
        self.engine.directory.close()
        self.engine.forked()


class Point(NamedTuple):
    """A moment to crash at, and how many requests had been answered by then."""

    moment: Moment
    answered: int
    call: str


def moments() -> Iterator[Point]:
    """An owner that is asked, makes a checkpoint, is killed; and the next one."""
    world, points, answered = World(), list[Point](), 0
    world.observe = lambda call: points.append(Point(without_lock(world.moment()), answered, call))
    for life, sequences in enumerate((range(4), range(4, COUNT))):
        owner = Owner(world, str(life), create=not life)
        for sequence in sequences:
            assert owner.ask(sequence) == sequence + 1
            answered += 1
            if sequence in {2, 6}:
                Folding(owner.engine, world, "commit").checkpoint()
        owner.abandon()
    return iter(points)


def check(image: Image, answered: int) -> None:
    """Whoever has no answer asks again, and so does somebody who has: each is done once."""
    world = World(image)
    try:
        owner = Owner(world, "after")
    except UsageError:  # there is no database yet
        assert not answered
        owner = Owner(World(), "after", create=True)
        world = owner.world
    if answered:
        assert owner.engine.tree.root.total >= answered
        assert owner.ask(answered - 1) == answered
    # The second owner is asked for what the client can't say that it has.
    for first in (answered, max(answered, COUNT - 4)):
        for sequence in range(first, COUNT):
            assert owner.ask(sequence) == sequence + 1
        assert owner.engine.tree.root.total == COUNT
        owner.abandon()
        owner = Owner(world, "again")
    owner.abandon()


@pytest.mark.slow
def test_a_crash_at_every_moment() -> None:
    """Every request is there once, and its answer is what the first one was."""
    random, seen, found = Random(1), set[tuple[bytes, int]](), 0  # noqa: S311  no secret
    for point in moments():
        for image in sampled(point.moment, random, 4):
            key = digest_of(image), point.answered
            if key not in seen:
                seen.add(key)
                check(image, point.answered)
                found += point.answered > 0
    assert found > 100
