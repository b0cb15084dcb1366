"""The power fails below a real file system: what was acknowledged is there afterwards.

`power_cut` says how: a disk that records every write and flush gives back any of its moments.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effort import examples
from test_kill import folder

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["folder"]

TESTS = Path(__file__).parent
SKIPPED = 77
# Of its own, so that nothing stays mounted, and nobody stays behind, however the program ends.
NAMESPACE = ("/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child")


def missing() -> str:
    """Why the power can't be cut here, if so."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a file system of its own needs root on Linux"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.access(device, os.R_OK | os.W_OK):
            return f"there is no {device} here: load the module fuse or loop"
    try:
        subprocess.run([*NAMESPACE, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "a mount namespace of its own is refused here (unshare, of util-linux)"
    return ""


pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

BY_DEFAULT = {
    ("ext4", "commit"): 40,
    ("ext4-writeback", "process"): 20,
    ("xfs", "commit"): 10,
    ("btrfs", "interval"): 20,
}
SYSTEMS = {"ext4": "e2fsprogs", "ext4-writeback": "e2fsprogs"} | {
    "xfs": "xfsprogs",
    "btrfs": "btrfs-progs",
}


@pytest.mark.parametrize(
    ("system", "level"),
    [
        pytest.param(
            system, level, marks=[] if (system, level) in BY_DEFAULT else pytest.mark.nightly
        )
        for system in SYSTEMS
        for level in ("commit", "interval", "process")
    ],
)
def test_power_cuts(
    folder: Path, system: str, level: str, evidence: Callable[[str, int], None]
) -> None:
    """At random moments, with what wasn't flushed lost in whole or in part."""
    if shutil.which(f"mkfs.{system.partition('-')[0]}") is None:
        pytest.skip(f"install {SYSTEMS[system]} for {system}")
    path = os.pathsep.join(map(str, (TESTS.parent / "src", TESTS)))
    arguments = (folder, system, level, examples(BY_DEFAULT.get((system, level), 10)), 20261124)
    done = subprocess.run(
        [*NAMESPACE, sys.executable, TESTS / "power_cut.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    assert counts["cuts after something was acknowledged"] > 0
    evidence("power cuts", counts["cuts"])
