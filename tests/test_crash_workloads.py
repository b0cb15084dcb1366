"""Short random workloads of several owners, with power cuts between them, stopped at every call."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from crashing import Oracle
from effort import examples
from workloads import HABITS, lives, random_steps

PARTS = 8


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_random_workloads_lose_nothing(part: int, evidence: Callable[[str, int], None]) -> None:
    """Whatever owners did, wherever it stopped, whatever survived: a right history comes back."""
    oracle = Oracle()
    for number in range(examples(11)):
        seed = f"{part} {number}"
        try:
            for points in lives(Random(seed), f"{part}"):  # noqa: S311  reproducible, not secret
                oracle.check(points, limit=min(400, examples(30)))
        except BaseException as error:
            error.add_note(f"the seed was {seed!r}")
            raise
    evidence("images", oracle.images)
    assert oracle.images > 2000


@pytest.mark.slow
def test_a_missing_file_is_noticed_after_random_workloads() -> None:
    """Take any file away, or damage the last checkpoint, also where a crash left a dead branch."""
    oracle = Oracle(lose_files=True)
    for number in range(examples(20)):
        for points in lives(Random(number), "a"):  # noqa: S311  reproducible, not secret
            oracle.check(points[::-40], limit=1)
    assert oracle.images > 500


def test_random_workloads_do_everything() -> None:
    """Every action comes up, and every call; also a crash before there is a directory."""
    calls: Counter[str] = Counter()
    recovered = gone = 0
    for number in range(60):
        for points in lives(Random(f"all {number}"), "a"):  # noqa: S311  reproducible, not secret
            calls.update(point.call for point in points)
            gone += not points[0].moment.rooted
            recovered += points[0].acknowledged > 0
    assert calls.keys() >= {"make directory", "sync parent", "create", "write", "sync", "rename"}
    assert calls.keys() >= {"sync directory", "allocate", "truncate", "remove", "end"}
    assert recovered > 20
    assert gone >= 60
    random = Random(1)  # noqa: S311  reproducible, not secret
    for habit in HABITS:
        actions = {step.action for _ in range(90) for step in random_steps(random, habit)}
        assert {"checkpoint", "kill", "full", "mark"} <= actions
        assert "overtaken" in actions or habit == "process"
