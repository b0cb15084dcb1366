"""Owners that are killed, and links that are cut, while processes with replicas go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import replica_cutting
import replica_killing
import served_cutting

if TYPE_CHECKING:
    from pathlib import Path


def check(result: replica_killing.Result) -> None:
    """Nothing was wrong, and every process did something."""
    assert result.wrong == []
    assert all(each.moves for each in result.seen)
    assert all(each.unknown == each.behind == 0 for each in result.seen)


@pytest.mark.process
@pytest.mark.slow
def test_replicas_are_right_whatever_becomes_of_the_owner(tmp_path: Path) -> None:
    """A kill under load: every view has all the money, and what its process was told of."""
    check(replica_killing.run(tmp_path, kills=1, processes=2, seed=1))


@pytest.mark.nightly
def test_ten_processes_and_many_kills(tmp_path: Path) -> None:
    """The same, with as many as a web service has."""
    check(replica_killing.run(tmp_path, kills=30, processes=10, seed=2))


@pytest.mark.nightly
def test_a_link_that_is_cut_between_two_hosts(tmp_path: Path) -> None:
    """Replicas go on when the link is back, after a short and after a long time."""
    missing = served_cutting.why_not()
    if missing is not None:
        pytest.skip(missing)
    result, _ = replica_cutting.run(tmp_path, [0.5, 3.0, 12.0])
    check(result)
