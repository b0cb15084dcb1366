"""The benchmark runs, and measures what it says."""

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
        [sys.executable, str(BENCH), *arguments, str(tmp_path)],
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
