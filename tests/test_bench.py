"""The benchmarks run, and measure what they say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def report_of(name: str, folder: Path, *arguments: str) -> Any:
    """What a benchmark reports as JSON; it leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), str(folder), "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout)


@pytest.mark.process
def test_indexes_are_measured(tmp_path: Path) -> None:
    """With none, one and three, as far as there is something to find."""
    small = ("--rounds", "1", "--accounts", "500", "--updates", "50")
    medians = report_of("indexes.py", tmp_path, *small)["medians"]
    assert len(medians) == 6
    assert set(medians["update of a key"]) == {"none", "one", "three"}


@pytest.mark.process
def test_openings_after_kills_are_measured(tmp_path: Path) -> None:
    """A database that is killed again and again is opened as often, with every figure."""
    small = ("--seconds", "1", "--records", "100", "--levels", "process", "--threads", "2")
    report = report_of("restart.py", tmp_path, *small)
    (setting,) = report["settings"]
    assert len(setting["predicted and actual"]) == setting["figures"]["openings"] >= 2
    assert setting["figures"]["updates a second"] > 0
    assert setting["figures"]["opening, longest, s"] > 0
    assert report["machine"]["python"]


@pytest.mark.process
def test_steps_are_measured(tmp_path: Path) -> None:
    """Each step of a view, an update and a load has its time."""
    steps = report_of("steps.py", tmp_path, "--rounds", "1", "--count", "20")["steps"]
    assert {each["group"] for each in steps} >= {"view", "update", "drafts", "entry", "load"}
    assert all(each["least"] <= each["median"] for each in steps)
