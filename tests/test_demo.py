"""The main job, reduced: a few thousand characters, three kills."""

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent / "examples" / "unicode_names.py"


@pytest.mark.process
@pytest.mark.parametrize("seed", [1, 2])
def test_the_demo_survives_its_kills(tmp_path: Path, seed: int) -> None:
    """It is killed, finds everything again, and leaves a database that `cairn` can read."""
    pytest.importorskip("rich")
    path = tmp_path / "demo.cairn"
    arguments = f"--limit 6000 --batch 50 --kills 3 --seed {seed} --database".split()
    done = subprocess.run(
        [sys.executable, str(DEMO), *arguments, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills survived" in done.stdout
    assert "left no trace" in done.stdout
    for command in ("verify", "tree", "log", "stats"):
        cairn = [sys.executable, "-m", "cairndb", command, str(path)]
        looked = subprocess.run(cairn, capture_output=True, text=True, check=False)
        assert (looked.returncode, looked.stderr) == (0, "")
        assert looked.stdout
