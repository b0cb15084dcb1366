"""Real limits and accidents: no room, no permission, no descriptors, no directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adversities import ADVERSITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).parent
pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="errors and limits are Linux's"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may get to, unlike pytest's own."""
    shared = Path("/dev/shm")  # noqa: S108  made safely by tempfile
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        yield path


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    # S607: found on the path, wherever the system has them.
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting isn't permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def play(name: str, folder: Path) -> None:
    """Play one through; it judges itself."""
    paths = os.pathsep.join(map(str, (TESTS.parent / "src", TESTS)))
    result = subprocess.run(
        [sys.executable, str(TESTS / "adversities.py"), name, str(folder)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(ADVERSITIES.keys() - {"fill_up"}))
def test_an_owner_in_adversity_is_usable_or_dead_and_loses_nothing(
    name: str, folder: Path, evidence: Callable[[str, int], None]
) -> None:
    """Each accident is told by name; afterwards all that was acknowledged is there."""
    play(name, folder)
    evidence("faults", 1)


def test_a_full_disk_refuses_updates_until_there_is_room(
    small_disk: Path, evidence: Callable[[str, int], None]
) -> None:
    """Again and again: DiskFull, reading goes on, and with room so do updates and checkpoints."""
    play("fill_up", small_disk)
    evidence("faults", 1)
