"""The benchmarks run, and measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
BENCH = BENCHMARKS / "first.py"


@pytest.mark.process
def test_every_contender_is_measured(tmp_path: Path) -> None:
    """Each figure has cairndb, all that can have them the others, and the machine is named."""
    arguments = ["--short", "--json", "--rounds", "1", "--accounts", "1000"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "first.py"), *arguments, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    medians = report["medians"]
    assert all("cairndb" in by for by in medians.values())
    alone = {figure for figure, by in medians.items() if "sqlite3" not in by}
    assert alone == {"replay of the log", 'updates of 1,000 tasks, "commit"'}
    assert medians['update, "commit"']["raw device"] > 0
    assert report["machine"]["python"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_indexes_are_measured(tmp_path: Path) -> None:
    """With none, one and three, as far as there is something to find."""
    arguments = ["--json", "--rounds", "1", "--accounts", "500", "--updates", "50"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "indexes.py"), *arguments, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    medians = json.loads(done.stdout)["medians"]
    assert len(medians) == 6
    assert set(medians["update of a key"]) == {"none", "one", "three"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_openings_after_kills_are_measured(tmp_path: Path) -> None:
    """A database that is killed again and again is opened as often, with every figure."""
    arguments = ["--seconds", "1", "--records", "100", "--levels", "process", "--threads", "2"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "restart.py"), str(tmp_path), "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (setting,) = report["settings"]
    assert len(setting["predicted and actual"]) == setting["figures"]["openings"] >= 2
    assert setting["figures"]["updates a second"] > 0
    assert setting["figures"]["opening, longest, s"] > 0
    assert report["machine"]["python"]
    assert list(tmp_path.iterdir()) == []
