"""The table of all peers: all do the same work, and the table says what came of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from contenders import CAIRN, DEVICE, PLACES, PLAIN, UNGUARDED, contender
from contenders.work import AT_ONCE, LOAD, UPDATE, Level, key_of
from figures import FIGURES, TARGETS
from plot import svg
from report import markdown, summary
from rounds import Pass, Plan
from worker import size_of

BENCH = Path(__file__).parent.parent / "benchmarks" / "bench.py"
FEW = 40


@pytest.mark.parametrize("level", get_args(Level))
@pytest.mark.parametrize("name", [name for name in PLACES if name not in (PLAIN, DEVICE, "Redis")])
def test_a_contender_keeps_its_updates(tmp_path: Path, name: str, level: Level) -> None:
    """Loaded, updated, closed and opened again it has the sum that all others have."""
    keys = [key_of(number) for number in (0, 7, 7, FEW - 1)]
    assert kept(name, tmp_path, keys, level) == 100 * FEW + len(keys)


@pytest.mark.process
def test_redis_keeps_its_updates(tmp_path: Path) -> None:
    """So does the one that is a process of its own."""
    keys = [key_of(0), key_of(FEW - 1)]
    assert kept("Redis", tmp_path, keys, "commit") == 100 * FEW + len(keys)


def kept(name: str, folder: Path, keys: list[str], level: Level) -> int:
    """The sum of all balances after some updates and another opening."""
    try:
        subject = contender(name)(folder)
    except ImportError as error:
        pytest.skip(f"{name} isn't there: {error}")
    subject.open(level)
    subject.load(FEW)
    subject.update(keys[:-1])
    if AT_ONCE in subject.figures:
        subject.update_at_once(keys[-1:])
    else:
        subject.update(keys[-1:])
    subject.read(keys)
    subject.settle()
    subject.close()
    subject.open(level)
    total = subject.iterate()
    subject.close()
    return total


@pytest.mark.slow
@pytest.mark.process
def test_peers_are_measured(tmp_path: Path) -> None:
    """Each figure has cairndb, each target a verdict, and the data is gone afterwards."""
    data, output = tmp_path / "data", tmp_path / "output"
    data.mkdir()
    small = ["--short", "--seconds", "0.001", "--accounts", "600", "--few", "100", "--turns", "1"]
    names = [CAIRN, PLAIN, DEVICE]
    done = subprocess.run(
        [sys.executable, BENCH, data, "--output", output, *small, "--contenders", *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert list(data.iterdir()) == []
    report = json.loads((output / "results.json").read_text(encoding="utf-8"))
    (only,) = report["passes"]
    assert set(only["figures"]) == set(FIGURES)
    assert all("cairndb" in str(figure["by"]) for figure in only["figures"].values())
    assert set(only["figures"][UPDATE]["by"]) == {CAIRN, PLAIN, DEVICE}
    assert {row["figure"] for row in report["targets"]} > {"iterate", "log replay"}
    assert report["machine"]["python"]
    assert (output / "results.md").read_text(encoding="utf-8") == done.stdout
    assert (output / "results.svg").read_text(encoding="utf-8").startswith("<svg")


def report_of(samples: dict[str, dict[str, list[float]]]) -> Any:
    """What is reported of one pass."""
    plan = Plan(rounds=3, turns=1, seconds=0.1, durable=True, few=0)
    done = Pass(Path("nowhere"), 1000, [CAIRN, "sqlite3"], plan, samples)
    return summary([done], {"machine": {}, "settings": {}, "notes": []})


def test_targets_are_ratios_of_the_same_round() -> None:
    """Rounds in which the whole machine was slow don't change a verdict; missed is said so."""
    samples = {LOAD: {CAIRN: [1.5, 30.0, 3.0], "sqlite3": [1.0, 20.0, 2.0]}}
    report = report_of(samples)
    (row,) = (row for row in report["targets"] if row["measured"])
    assert row["measured"] == {"1000": {"value": 1.5, "met": False}}
    assert "1.5, **not met**" in markdown(report)


def test_the_best_is_first() -> None:
    """Of times the least, of rates the most; the table and the plot agree."""
    report = report_of(
        {
            LOAD: {CAIRN: [3.0], "sqlite3": [2.0]},
            "open": {CAIRN: [3.0], UNGUARDED: [2.0]},
        }
    )
    for text in (markdown(report), svg(report)):
        load, opening = (text.index(FIGURES[figure].title) for figure in (LOAD, "open"))
        assert load < text.index("sqlite3", load) < text.rindex("cairndb", load, opening)
        rows = text[opening:].splitlines()
        ours = [row for row in rows if row.startswith(("| cairndb", "<text")) and "cairndb" in row]
        assert "guard=False" not in ours[0]
        assert "guard=False" in ours[1]


def test_targets_that_were_not_measured_are_left_out() -> None:
    """Nothing is claimed of what is missing."""
    assert len(TARGETS) > 20
    assert all(not row["measured"] for row in report_of({})["targets"])


def test_objects_are_counted_once() -> None:
    """The size of a thing has what it refers to, each object once, and no classes."""
    text = "text" * 10
    assert size_of([text, text]) - size_of([text]) <= 16
    assert size_of([text, text + "!"]) - size_of([text]) > sys.getsizeof(text)
    assert size_of([text, str]) == size_of([text, text])
