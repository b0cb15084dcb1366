"""A crash at every operation of a fixed workload, in every form that the assumptions allow."""

from collections.abc import Callable
from random import Random

import pytest

from crashing import (
    CrashPoint,
    Ledger,
    Oracle,
    complete,
    crash_points,
    taken_over,
)
from effort import examples
from simulated import Image, World, images
from survivors import sampled
from workloads import workload


@pytest.mark.slow
def test_no_crash_loses_what_was_acknowledged(evidence: Callable[[str, int], None]) -> None:
    """At every operation, whatever of the unsynced survives, recovery gives a right history."""
    oracle = Oracle(complete(workload))

    points = crash_points(workload)
    oracle.check(points)

    evidence("images", oracle.images)
    assert len(points) > 100
    assert oracle.images > 10_000


@pytest.mark.slow
def test_a_missing_file_is_noticed_after_every_crash() -> None:
    """Take any one file away: refused, or all is there; damage the last checkpoint: all is there.

    A fifth of the points by default, all of them in `make nightly`.
    """
    points = crash_points(workload)[:: 5 if examples(1) == 1 else 1]
    Oracle(complete(workload), lose_files=True).check(points, limit=1)


def recover(world: World, ledger: Ledger) -> None:
    """Open, and show what was found."""
    taken_over(world, ledger, "again").store.close()


def crash_again(oracle: Oracle, start: CrashPoint, image: Image, random: Random) -> None:
    """Recover from an image, crash at every operation of that; from one of these, go on so."""
    for _ in range(3):
        ledger = Ledger(list(start.history[: start.submitted]), start.acknowledged)
        points = crash_points(recover, World(image), ledger)
        oracle.check(points, limit=60)
        start = random.choice(points)
        image = random.choice(list(sampled(start.moment, random, 12)))


@pytest.mark.slow
def test_crashes_during_recovery_lose_nothing(evidence: Callable[[str, int], None]) -> None:
    """Crash, crash again at every operation of the recovery, and again: all the same."""
    random = Random(7)  # noqa: S311  reproducible, not secret
    oracle = Oracle()
    starts = 0
    for point in crash_points(workload):
        found = [image for image in images(point.moment, limit=1) if dict(image).get("DATABASE")]
        for image in random.sample(found, min(len(found), examples(1))):
            crash_again(oracle, point, image, random)
            starts += 1
    # The images that it began with are others' evidence.
    evidence("images", oracle.images - starts)
    assert oracle.images > 1000
