"""Whole engines, one after the other, on one simulated disk; each may be killed or fail at a call.

What is promised, as docs/GUARANTEES.md says, is kept in two numbers. Up to `handed` everything
survives the death of the process: an update that has returned, at every level. Up to `durable` it
survives the death of the machine: what `durable_lsn` says, which at the level "commit" is every
update that has returned, at "interval" every one before a look of the housekeeper, and at every
level what the next owner found, since its views have shown it.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from cairndb.appender_parts import StoreOptions
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import CairnError, UsageError
from cairndb.housekeeper import Housekeeper, Report
from cairndb.opening import own
from cairndb.ownership import LOCK_NAME
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from crashing import Nonces, digest_of
from simulated import Image, Moment, SimulatedDirectory, World, images

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cairndb.engine import Engine

KIND = compile_root(dict[str, int], guard=True)
LEVELS: Final = ("commit", "interval", "process")

State = dict[str, int] | None
"""What a database shows; None if there is no LSN 1 yet."""


class Killed(BaseException):
    """This life is over; nothing that it still tries changes anything."""


class Trouble(NamedTuple):
    """What happens to a life: at the call of that number it is killed, or the call fails."""

    kind: str
    number: int


class Point(NamedTuple):
    """A moment to lose power at, and what was promised by then."""

    moment: Moment
    states: Sequence[State]
    submitted: int
    durable: int
    call: str


def open_engine(
    world: World, seed: str, *, level: str = "commit", create: bool = True, room: int = 280
) -> Engine:
    """An engine with segments that hold two updates or so, if not given more room."""
    return own(
        SimulatedDirectory(world),
        KIND,
        create=create,
        sync_at_commit=level == "commit",
        options=StoreOptions(4096 + room, 4096 + room + 80, Nonces(seed)),
    ).engine


def shown(engine: Engine) -> dict[str, int]:
    """What a view shows, once it has ended."""
    with View[dict[str, int]](engine, None, durable=True) as root:
        return dict(root)


def put(engine: Engine, key: str, value: int, *, durable: bool = True) -> None:
    """One update."""
    with Update[dict[str, int]](engine, None, durable=durable) as root:
        root[key] = value


class Folding(Housekeeper):
    """The housekeeper of an owner, with no threads, and with the helper's work done in its place.

    Args:
        engine: the owner's.
        world: where.
        level: of durability.
    """

    def __init__(self, engine: Engine, world: World, level: str) -> None:
        super().__init__(
            engine,
            "simulated",
            sync_interval=1.0,
            sync_soon=level != "process",
            restart_target=None,
            load_rate=None,
        )
        self._world = world

    def _run_helper(self, lsn: int) -> Report:
        try:
            return make_checkpoint(SimulatedDirectory(self._world), lsn, lambda: None)
        except OSError as error:
            raise CairnError("the checkpoint helper ended with status 1") from error


class Lives:
    """One disk, and the owners of one database on it, one after the other.

    Args:
        level: of durability.
        checkpoints: whether each makes one.
    """

    def __init__(self, level: str, *, checkpoints: bool = False) -> None:
        self.level = level
        self.checkpoints = checkpoints
        self.world = World()
        self.world.observe = self._observe
        self.states: list[State] = [None, {}]
        """By LSN: what was submitted. A new list when some of it is gone for good."""
        self.handed = self.durable = 0
        self.points: list[Point] = []
        self.recording = False
        self.calls = 0
        """Of the life under way."""
        self._lives = self._values = 0
        self._trouble: Trouble | None = None
        self._dead = False

    def _observe(self, call: str) -> None:
        self.calls += 1
        if self._dead:
            raise Killed
        if self._trouble is not None and self.calls == self._trouble.number:
            if self._trouble.kind == "kill":
                self._dead = True
                raise Killed
            raise OSError(errno.EIO, os.strerror(errno.EIO), call)
        self.note(call)

    def note(self, call: str) -> None:
        """Take down this moment, if it is wanted."""
        if self.recording:
            submitted = len(self.states) - 1
            moment = without_lock(self.world.moment())
            self.points.append(Point(moment, self.states, submitted, self.durable, call))

    def live(self, trouble: Trouble | None = None) -> None:
        """One owner: opens, shows, updates, has the housekeeper look, closes.

        Args:
            trouble: what happens to it, if anything.
        """
        self._trouble, self._dead, self.calls = trouble, False, 0
        self._lives += 1
        try:
            self._live()
        except (Killed, CairnError, OSError):
            if trouble is None or self.calls < trouble.number:
                raise
        self._dead = False
        for directory in self.world.locks[:]:
            directory.close()

    def _live(self) -> None:
        engine = open_engine(self.world, f"{self.level}{self._lives}", level=self.level)
        housekeeper = Folding(engine, self.world, self.level)
        try:
            self._take_over(engine)
            self._update(engine, durable=False)
            self._update(engine)
            self._look(engine, housekeeper)
            if self.checkpoints:
                self._checkpoint(engine, housekeeper)
            self._update(engine)
            engine.close()
            self.durable = len(self.states) - 1
            self.note("closed")
        except CairnError:
            assert engine.refusal is not None, "an error, and it isn't dead"
            calls = self.calls
            with suppress(CairnError):
                engine.close()
            assert self.calls == calls, "a dead object has still changed something"
            raise

    def _take_over(self, engine: Engine) -> None:
        found = shown(engine)
        lsn = engine.applied_lsn
        assert self.handed <= lsn < len(self.states), (self.handed, lsn, len(self.states))
        assert found == self.states[lsn]
        assert engine.durable_lsn == lsn, "shown, and not durable"
        # What is not there now never comes back; points noted before have the old list.
        self.states = self.states[: lsn + 1]
        self.handed = self.durable = lsn
        self.note("shown")

    def _update(self, engine: Engine, *, durable: bool = True) -> None:
        """One update; one that nobody waits for is acknowledged when a view has shown it."""
        self._values += 1
        before = self.states[-1]
        assert before is not None
        key = f"k{self._values % 4}"
        self.states.append(before | {key: self._values})
        put(engine, key, self._values, durable=durable)
        if not durable:
            self.note("not acknowledged")
            assert shown(engine) == self.states[-1]
        assert engine.applied_lsn == len(self.states) - 1
        self._acknowledge(engine, synced=self.level == "commit")

    def _look(self, engine: Engine, housekeeper: Housekeeper) -> None:
        housekeeper._look()
        engine.check_usable()
        self._acknowledge(engine, synced=self.level != "process")

    def _checkpoint(self, engine: Engine, housekeeper: Housekeeper) -> None:
        try:
            housekeeper.checkpoint()
        except CairnError:
            if engine.refusal is not None:
                raise
        else:
            self._acknowledge(engine, synced=True)

    def _acknowledge(self, engine: Engine, *, synced: bool) -> None:
        """What has been submitted is handed to the system, and what is durable, is for good."""
        self.handed = len(self.states) - 1
        assert engine.durable_lsn >= (self.handed if synced else self.durable)
        self.durable = engine.durable_lsn
        self.note("acknowledged")


def without_lock(moment: Moment) -> Moment:
    """A moment without the file LOCK, which means nothing, and would only multiply the images."""
    namings = (found for found in moment.namings if LOCK_NAME not in {found.old, found.new})
    names = {name: inode for name, inode in moment.names.items() if name != LOCK_NAME}
    return moment._replace(namings=tuple(namings), names=names)


class Judge:
    """Opens every image that a loss of power can leave; equal ones once."""

    def __init__(self) -> None:
        self._outcomes: dict[bytes, tuple[int, State]] = {}
        self._random = Random(3)  # noqa: S311  reproducible, not secret

    @property
    def images(self) -> int:
        """How many different ones there were."""
        return len(self._outcomes)

    def check(self, points: Iterable[Point], *, limit: int, most: int) -> None:
        """Every image shows what was durable, or more of what was submitted, and is gone on with.

        Args:
            points: where.
            limit: of combinations, see `simulated.images`.
            most: images of each point; of more as many are picked at random.
        """
        for point in points:
            found = list(images(point.moment, limit=limit))
            for image in found if len(found) <= most else self._random.sample(found, most):
                key = digest_of(image)
                if key not in self._outcomes:
                    self._outcomes[key] = go_on(image)
                lsn, state = self._outcomes[key]
                assert point.durable <= lsn <= point.submitted, point.call
                assert state == point.states[lsn], point.call


def go_on(image: Image) -> tuple[int, State]:
    """Open, update, lose power, open again: both are shown.

    Returns:
        The LSN that was found, and the state.
    """
    world = World(image)
    try:
        engine = open_engine(world, "r", create=False)
    except UsageError:
        world = World(image)
        engine = open_engine(world, "r")
    found = shown(engine)
    lsn, state = (0, None) if engine.store.created else (engine.applied_lsn, found)
    put(engine, "after", 1)
    engine = open_engine(World(next(iter(images(without_lock(world.moment()))))), "s", create=False)
    assert shown(engine) == found | {"after": 1}
    return lsn, state
