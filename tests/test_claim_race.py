"""Processes that race for jobs, and are killed: each is done once, but where a kill explains it.

The rounds run in a program of their own, `claim_racing`, which says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from claim_racing import check
from effort import examples
from test_kill import folder, run

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["folder"]

FULL = (20, 16, 10_000, 500, 1)
"""Rounds, workers, files, kills, seed."""


@pytest.mark.process
def test_the_naive_protocol_does_a_job_twice(folder: Path) -> None:
    """Nobody is killed, and yet within seconds two processes have done the same job."""
    assert run("claim_racing.py", folder, 1000, 4, 300, "naive")["twice"] > 0


@pytest.mark.process
@pytest.mark.slow
def test_claims_are_completed_once(folder: Path) -> None:
    """Never two at a job, and none done again but for a worker that was killed before its end."""
    counts = run("claim_racing.py", folder, examples(4), 6, 600, 25, 1)
    assert counts["kills"] > 20
    assert counts["completed again"] + counts["begun again"] <= counts["kills"]


@pytest.mark.process
@pytest.mark.nightly
def test_claims_are_completed_once_at_length(tmp_path: Path) -> None:
    """The same with sixteen workers, ten thousand files and twenty rounds, on disk."""
    counts = run("claim_racing.py", tmp_path, *FULL)
    assert counts["jobs"] == 200_000
    assert counts["kills"] > 5000
    assert counts["completed again"] > 0


@pytest.mark.parametrize(
    ("log", "killed", "wrong"),
    [
        ("+ a 1,- a 1,+ b 2,- b 2", "", None),
        ("+ a 1,+ b 2,- a 1,+ a 3,- a 3,- b 2", "1", None),
        ("+ a 1,+ a 2,- a 2,+ b 2,- b 2", "1", None),
        ("+ a 1,- a 1,+ b 2,- b 2,+ a 2,- a 2", "", "1 had it"),
        ("+ a 1,+ a 2,- a 2,- a 1,+ b 2,- b 2", "1", "1 went on"),
        ("+ a 1,- a 1,+ b 1,- b 1,+ a 2,- a 2", "1", "1 went on"),
        ("+ a 1,- a 1", "", "nobody"),
        ("+ a 1,- a 1,+ b 2", "2", "never completed"),
        ("+ a 1,- a 2,+ b 2,- b 2", "", "done by 1 and 2"),
    ],
)
def test_the_check_of_the_log(log: str, killed: str, wrong: str | None) -> None:
    """It accepts what a kill explains, and nothing else."""
    if wrong is None:
        counts = check(log.split(","), "ab", set(killed))
        assert counts.total() == len(killed)
        return
    with pytest.raises(AssertionError, match=wrong):
        check(log.split(","), "ab", set(killed))


@pytest.mark.process
@pytest.mark.slow
def test_killed_at_every_call(folder: Path) -> None:
    """Whoever puts, does, fails, buries or sweeps is killed before each call: no job is lost."""
    counts = run("claim_points.py", folder)
    assert min(counts.values()) > 10, counts
