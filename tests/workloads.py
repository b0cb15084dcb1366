"""What owners do in the crash tests: a fixed workload with everything in it, and random ones."""

import errno
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import NamedTuple

from crashing import CrashPoint, Ledger, Session, crash_points, taken_over
from simulated import World
from survivors import sampled

Workload = Callable[[World, Ledger], None]
HABITS = ("commit", "process", "interval")


def workload(world: World, ledger: Ledger) -> None:
    """Four owners, of which the first three are killed: everything that a store does."""
    first = Session(world, ledger, "a")
    first.commit(20)
    first.commit(5, 1, 30)  # group commit
    first.store.mark()
    first.commit(700)  # larger than a segment
    first.commit(600)  # torn over sectors
    first.try_checkpoint()
    first.commit(9)
    first.append(40)
    first.write()
    first.append(41)
    first.write()  # two frames that nobody synced
    second = taken_over(world, ledger, "b")
    second.commit(30)
    second.try_checkpoint()
    second.commit(11)
    second.store.mark()
    second.append(12)
    second.write()
    third = taken_over(world, ledger, "c")
    third.store.mark()
    fourth = taken_over(world, ledger, "d")
    fourth.commit(50)
    fourth.try_checkpoint()
    fourth.commit(7)
    fourth.store.mark()
    fourth.store.sync()


def creation(world: World, ledger: Ledger) -> None:
    """The first open, an entry that makes the empty segment grow, and a full disk again and again.

    To be run on a world without the directory.
    """
    world.full = True
    session = Session(world, ledger, "a") if world.there else _created(world, ledger)
    world.full = True
    session.commit(400)  # the segment has room for less, and can't grow: room is made
    session.commit(3)
    world.full = True
    session.try_checkpoint()
    world.full = True
    session.commit(300)
    session.append(40)
    session.write()
    world.full = True
    session = taken_over(world, ledger, "b")  # no room for what nobody proved
    session.commit(20)
    session.try_checkpoint()
    session.commit(800)
    session.store.mark()
    session.store.sync()


def _created(world: World, ledger: Ledger) -> Session:
    """A session in a directory that can't be made until there is room."""
    try:
        return Session(world, ledger, "a")
    except OSError as error:
        if error.errno != errno.ENOSPC or not world.full:
            raise
    world.full = False
    return Session(world, ledger, "a")


class Step(NamedTuple):
    """One thing that an owner does, with the sizes of entries."""

    action: str
    sizes: tuple[int, ...] = ()


ACTIONS = {
    "commit": {
        "commit": 7,
        "overtaken": 1,
        "write": 1,
        "mark": 1,
        "checkpoint": 1,
        "kill": 1,
        "full": 1,
    },
    "process": {"write": 8, "sync": 1, "mark": 1, "checkpoint": 1, "kill": 1, "full": 1},
    "interval": {"commit": 3, "write": 4, "append": 2, "sync": 1, "mark": 2, "checkpoint": 1}
    | {"kill": 2, "full": 1, "overtaken": 1},
}
"""How often each is picked, by habit."""


def random_steps(random: Random, habit: str) -> list[Step]:
    """A short workload.

    Args:
        random: picks.
        habit: one of HABITS: sync each commit, only write, or both.
    """
    weights = ACTIONS[habit]
    picked = random.choices(list(weights), list(weights.values()), k=random.randint(2, 7))
    return [Step(action, _sizes(random)) for action in picked]


def _sizes(random: Random) -> tuple[int, ...]:
    """Those of one frame: mostly one small entry, some of up to three sectors."""
    largest = random.choice((8, 60, 60, 300, 1536))
    return tuple(random.randint(1, largest) for _ in range(random.choice((1, 1, 1, 2, 3))))


def run(steps: list[Step], name: str, world: World, ledger: Ledger) -> None:
    """Do those steps, as an owner who finds what the last one left.

    Args:
        steps: what to do.
        name: of the owner, in all that it writes.
        world: where.
        ledger: what was submitted and promised by then.
    """
    session = taken_over(world, ledger, name)
    for number, (action, sizes) in enumerate(steps):
        if action == "kill":
            session = taken_over(world, ledger, f"{name}{number}")
        elif action == "full":
            world.full = True
        elif action == "mark":
            session.store.mark()
        elif action == "sync":
            session.flush()
        elif action == "checkpoint":
            session.flush()
            if session.store.checkpoint_lsn < session.store.written_lsn:
                session.try_checkpoint()
        else:
            _update(session, action, sizes)


def _update(session: Session, action: str, sizes: tuple[int, ...]) -> None:
    session.append(*sizes)
    if action == "write":
        session.write()
    elif action == "commit":
        session.flush()
    elif action == "overtaken":
        session.world.meanwhile = partial(_overtake, session, written=sizes[0] % 2 == 0)
        session.flush()


def _overtake(session: Session, *, written: bool) -> None:
    """Another thread's update, while a sync runs: the sync doesn't cover it."""
    if session.store.reserve(9):
        session.append(9)
        if written:
            session.write()


def lives(random: Random, name: str) -> Iterator[list[CrashPoint]]:
    """Random owners of one database, from before its creation, each ended by a power cut.

    The cut is at any operation of the owner's, also within its recovery; the next one finds any of
    the images.

    Args:
        random: picks.
        name: of the first owner; the next ones have longer names.

    Yields:
        All crash points of one owner.
    """
    habit = random.choice(HABITS)
    world, ledger = World(directory=False), Ledger()
    for number in range(random.randint(1, 4)):
        steps = random_steps(random, habit) if random.random() < 0.8 else []
        points = crash_points(partial(run, steps, f"{name}{number}"), world, ledger)
        yield points
        point = random.choice(points)
        image = random.choice(list(sampled(point.moment, random, 12)))
        world = World(image, directory=point.moment.rooted or bool(image))
        ledger = Ledger(list(point.history[: point.submitted]), point.acknowledged)
