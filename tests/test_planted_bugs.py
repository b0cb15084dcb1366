"""The test of the tests: each classic bug, planted, is caught, and without it nothing is."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from cairndb.errors import CairnError
from crashing import Ledger, Session
from planted import HARNESSES, CaughtError, folding, reopening, rotating
from planted_bugs import BUGS, Bug
from simulated import World

each_bug = pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
SHOWS = {
    "the buffer is handed over after the sync",
    "the result of a short write is ignored",
    "writes are misdirected",
    "a torn tail is called damage",
}
"""What a program that is killed is enough for; of the last, its files, which have no room left."""


@pytest.mark.parametrize("name", HARNESSES)
def test_without_a_bug_every_harness_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the harnesses catch is the bugs, and not the engine as it is."""
    HARNESSES[name](monkeypatch)


@each_bug
def test_a_planted_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its harness finds what must come of it, or, where a bug is harmless, nothing."""
    bug.plant(monkeypatch)

    with pytest.raises(CaughtError) if bug.kind else nullcontext() as caught:
        HARNESSES[bug.harness](monkeypatch)

    assert caught is None or caught.value.kind == bug.kind


@each_bug
def test_without_a_crash_a_bug_is_not_noticed(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all of them pass every test that only writes, is killed, and reads again."""
    bug.plant(monkeypatch)
    noticed = False
    for work in (rotating, folding, reopening):
        world, ledger = World(), Ledger()
        try:
            work(world, ledger)
            found = Session(world, Ledger(), "z").recovered
        except (AssertionError, CairnError, OSError):
            noticed = True
        else:
            noticed = noticed or found != b"".join(ledger.submitted)
    assert noticed == (bug.name in SHOWS)
