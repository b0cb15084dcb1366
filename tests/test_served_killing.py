"""Owners that are killed and links that are cut while clients go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import served_cutting
import served_killing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.process
@pytest.mark.slow
def test_every_acknowledged_update_is_there_exactly_once(tmp_path: Path) -> None:
    """The owner is killed under load, three times; clients just take longer, and lose nothing."""
    result = served_killing.run(tmp_path, kills=3, threads=8, seed=1)
    assert result.wrong == []
    assert result.kills == 3
    assert result.acknowledged > 3
    assert result.unknown == 0


@pytest.mark.nightly
def test_a_hundred_kills(tmp_path: Path) -> None:
    """The same, a hundred times."""
    result = served_killing.run(tmp_path, kills=100, threads=16, seed=2)
    assert result.wrong == []
    assert result.unknown == 0


@pytest.mark.nightly
@pytest.mark.skipif(served_cutting.why_not() is not None, reason=f"{served_cutting.why_not()}")
def test_a_link_that_is_cut(tmp_path: Path) -> None:
    """Two hosts, the link cut for less and for more than the kernel's patience: all is answered."""
    result, back = served_cutting.run(tmp_path, [0.5, 3.0, 15.0])
    assert result.wrong == []
    assert result.unknown == 0
    assert max(back) < served_killing.LIMIT_SECONDS
