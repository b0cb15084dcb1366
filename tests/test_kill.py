"""Owners of a database killed with SIGKILL: at every call, and at random moments.

The rounds run in programs of their own, `kill_points` and `killing`, which say how.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import PROFILE
from effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).parent
MEMORY = Path("/dev/shm")  # noqa: S108  used through tempfile
LEVELS = ("commit", "interval", "process")
pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where to: in memory if possible, for what kill -9 leaves doesn't depend on the disk."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="cairndb-", dir=MEMORY))
    yield path
    shutil.rmtree(path)


def run(program: str, *arguments: object) -> dict[str, int]:
    """Run one of the programs, and return its counts."""
    path = os.pathsep.join(map(str, (TESTS.parent / "src", TESTS)))
    done = subprocess.run(
        [sys.executable, str(TESTS / program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


@pytest.mark.parametrize("level", ["commit", "process"])
def test_killed_at_every_call(folder: Path, level: str, evidence: Callable[..., None]) -> None:
    """At whichever call an owner is killed, and the next one while it recovers, all is there."""
    recoveries = 0 if PROFILE == "nightly" else 1
    counts = run("kill_points.py", folder, level, recoveries, 20261124)
    for call in ("create", "rename", "remove", "lock", "directory sync"):
        assert counts[f"at {call}"] > 0
    for call in ("allocate", "write", "sync", "truncate", "hold"):
        assert counts[f"at {call}"] > 0
    evidence("kills", counts["rounds"])


@pytest.mark.parametrize("level", LEVELS)
def test_killed_at_random_moments(folder: Path, level: str, evidence: Callable[..., None]) -> None:
    """Several threads and a checkpoint, killed again and again: all acknowledged stays."""
    counts = run("killing.py", folder, level, "inside", examples(120), 20261124)
    # What the machine's speed makes rare, closing for one, is killed at every call above.
    for what in ("opening", "counting", "checkpoint"):
        assert counts[f"during {what}"] > 0
    evidence("kills", counts["rounds"])


@pytest.mark.parametrize("level", LEVELS)
def test_killed_with_its_helper(tmp_path: Path, level: str, evidence: Callable[..., None]) -> None:
    """The process that makes checkpoints is killed alone, with its owner, or left behind."""
    counts = run("killing.py", tmp_path, level, "process", examples(12), 20261124)
    assert counts.get("helper killed alone", 0) + counts.get("helper left behind", 0) > 0
    evidence("kills", counts["rounds"])
