"""The page cache shows what the disk hasn't got: owners killed or failing, and then no power.

Each owner finds the cache as the one before it left it, shows that to views, and acknowledges more.
Only after the last one the power fails, at each of its calls, and all that was never synced, or
whose sync failed, may be there or not.
"""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest

from cairndb import checkpointer, opening
from cairndb.errors import CairnError
from crashing import Nonces
from effort import examples
from lives import LEVELS, Judge, Lives, Trouble
from planted_engine import show_what_the_cache_has

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS = ("kill", "fail")


@pytest.fixture(autouse=True)
def _always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images in every run: entries say when they were made, checkpoints are random."""
    monkeypatch.setattr(opening, "now_microseconds", lambda: 0)
    monkeypatch.setattr(checkpointer, "now_microseconds", lambda: 0)
    monkeypatch.setattr(checkpointer, "random_nonce", Nonces("checkpoint"))


def after(level: str, *troubles: Trouble, checkpoints: bool = False) -> Lives:
    """A disk on which owners had these troubles, one each.

    Args:
        level: of durability.
        troubles: what happens to each.
        checkpoints: whether each makes a checkpoint.
    """
    lives = Lives(level, checkpoints=checkpoints)
    for trouble in troubles:
        lives.live(trouble)
    return lives


def calls_of(level: str, *troubles: Trouble, checkpoints: bool = False) -> int:
    """How many calls the next owner makes."""
    lives = after(level, *troubles, checkpoints=checkpoints)
    lives.live()
    return lives.calls


class Hunt:
    """A judge, and how many of the moments it is shown.

    Args:
        step: one moment in so many.
        most: images of each, at the most.
    """

    def __init__(self, step: int, most: int) -> None:
        self.judge = Judge()
        self._step, self._most = step, most
        self._begin = 0

    def to_the_end(self, lives: Lives) -> None:
        """One more owner, without trouble, and the power fails at some moment of it, or after."""
        lives.recording = True
        lives.live()
        self._begin = (self._begin + 1) % self._step  # others each time
        self.judge.check(lives.points[self._begin :: self._step], limit=6, most=self._most)
        self.judge.check(lives.points[-1:], limit=6, most=self._most)


def hunt_after_one_trouble(
    level: str, *, checkpoints: bool, step: int, kinds: Sequence[str] = KINDS
) -> int:
    """See the test of that name; how many different images there were."""
    hunt = Hunt(max(1, step // examples(1)), examples(12))
    killed = Trouble("kill", calls_of(level, checkpoints=checkpoints))
    for kind, before in product(kinds, ([], [killed])):
        for number in range(1, calls_of(level, *before, checkpoints=checkpoints) + 1):
            hunt.to_the_end(after(level, *before, Trouble(kind, number), checkpoints=checkpoints))
    return hunt.judge.images


each_level = pytest.mark.parametrize("level", LEVELS)


@pytest.mark.slow
@each_level
def test_after_one_trouble(level: str, evidence: Callable[[str, int], None]) -> None:
    """The first owner, or the second, is killed or fails at any call; the next goes on."""
    images = hunt_after_one_trouble(level, checkpoints=False, step=4)
    evidence("images", images)
    assert images > 500


@pytest.mark.slow
@each_level
def test_after_one_trouble_with_checkpoints(
    level: str, evidence: Callable[[str, int], None]
) -> None:
    """The same when each owner makes a checkpoint, and removes what it replaces."""
    images = hunt_after_one_trouble(level, checkpoints=True, step=32)
    evidence("images", images)
    assert images > 500


@pytest.mark.slow
@pytest.mark.parametrize("checkpoints", [False, True], ids=["log", "checkpoints"])
@each_level
def test_after_several_troubles(
    level: str, *, checkpoints: bool, evidence: Callable[[str, int], None]
) -> None:
    """Two or three owners in a row, each killed or failing at any call; the next goes on."""
    hunt = Hunt(8 if checkpoints else 4, min(25, examples(12)))
    random = Random(f"{level} {checkpoints}")  # noqa: S311  reproducible, not secret
    for length in (2, 3):
        for _ in range(examples(20)):
            chain: list[Trouble] = []
            for _ in range(length):
                calls = calls_of(level, *chain, checkpoints=checkpoints)
                chain.append(Trouble(random.choice(KINDS), random.randint(1, calls)))
            hunt.to_the_end(after(level, *chain, checkpoints=checkpoints))
    evidence("images", hunt.judge.images)


@pytest.mark.nightly
@each_level
def test_after_every_two_troubles(level: str, evidence: Callable[[str, int], None]) -> None:
    """Two owners in a row, and every pair of calls that they are killed or fail at."""
    hunt = Hunt(1, 12)
    for kind, again in product(KINDS, KINDS):
        for number in range(1, calls_of(level) + 1):
            first = Trouble(kind, number)
            for later in range(1, calls_of(level, first) + 1):
                hunt.to_the_end(after(level, first, Trouble(again, later)))
    evidence("images", hunt.judge.images)


@pytest.mark.parametrize("sync", [False, True], ids=["unsynced", "synced in place"])
def test_a_tail_that_is_shown_and_not_written_again_is_caught(
    *, sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an owner finds unproven and trusts where it is, if only by syncing it, gets lost."""
    show_what_the_cache_has(monkeypatch, sync=sync)
    with pytest.raises((AssertionError, CairnError)):
        hunt_after_one_trouble("process", checkpoints=False, step=1, kinds=["fail"])
