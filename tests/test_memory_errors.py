"""Memory that runs out at any allocation: nothing or the whole update, and nobody hangs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cairndb
from conftest import PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
# Of the places at which the interpreter, or msgspec's C, didn't survive: so few that the rest says
# something.
FATAL_SHARE = 0.1
SCENES = ("update", "write", "rotate", "refuse", "view", "sync", "close", "recover", "indexed")


def run(scene: str, first: int, width: int, last: int) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    source = Path(cairndb.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{HERE}"}
    numbers = [str(number) for number in (first, width, last)]
    command = [sys.executable, str(HERE / "starving.py"), scene, *numbers]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def starved(scene: str, width: int, last: int) -> tuple[int, int]:
    """Run the program until it is through, or past `last`: allocations that failed, fatal ones.

    An interpreter can also survive damaged, which shows in any later place (a function that takes
    other arguments than it says): so what goes wrong has to go wrong in a new one as well.
    """
    first, fatal = 1, 0
    while first <= last:
        done = run(scene, first, width, last)
        lines = done.stdout.splitlines()
        assert lines, done.stderr
        if done.returncode == 0:
            return int(lines[-1].removeprefix("end ")), fatal
        number = int(lines[-1])
        if done.returncode > 0:
            again = run(scene, number, width, number)
            assert again.returncode <= 0, f"at {number}: {again.stderr}"
        fatal += 1
        first = number + 1
    return last, fatal


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this Python has no _testcapi: use one from python.org or pyenv",
)
@pytest.mark.parametrize("width", [1, 20])
@pytest.mark.parametrize("scene", SCENES)
def test_any_allocation_may_fail(
    scene: str, width: int, evidence: Callable[[str, int], None]
) -> None:
    """Whichever fails, alone or with those after it: memory is the log's, or the object is dead."""
    tried, fatal = starved(scene, width, 5000 if PROFILE == "nightly" else 500)
    assert tried > 20
    assert fatal <= 5 + FATAL_SHARE * tried
    evidence("memory errors", tried - fatal)
