"""`make bench-check` finds what has become slower, and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from check_figures import Figure  # noqa: E402  found by the line above
from check_measure import Tree  # noqa: E402
from check_profile import by_function  # noqa: E402
from check_verdict import chance_of, judge  # noqa: E402

# Appended to a module: each view costs about three times as much.
SLOWER = """

_view = Database.view
def _slow_view(self, **options):
    sum(range(100))
    return _view(self, **options)
Database.view = _slow_view
"""
# Samples of some ten milliseconds: what is looked for is far above noise.
BRIEFLY = ("--json", "--time", "--rounds", "1", "--pairs", "8", "--figure", "empty view")


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    command = [sys.executable, str(ROOT / "benchmarks" / "check.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def checked(status: int, *arguments: str) -> dict[str, str]:
    """The verdicts on all figures, from a check that ends with this status."""
    done = check(*BRIEFLY, *arguments)
    assert done.returncode == status, done.stderr
    return {line["figure"]: line["verdict"] for line in json.loads(done.stdout)["figures"]}


def git(folder: Path, *arguments: str) -> None:
    """Do something with a repository of the test's own."""
    name = (
        "-c",
        "user.name=Test",
        "-c",
        "user.email=test@example.org",
        "-c",
        "commit.gpgsign=false",
    )
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)  # noqa: S607


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with the package, and with a change that isn't committed: views are slower."""
    folder = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Begin")
    with (folder / "src" / "cairndb" / "database.py").open("a", encoding="utf-8") as module:
        module.write(SLOWER)
    return folder


@pytest.mark.process
def test_a_regression_is_found(project: Path) -> None:
    """A slower package fails against the last commit, and leaves other figures as they were."""
    found = checked(1, "--tree", str(project), "--figure", "log of one update")
    assert found == {"empty view": "REGRESSION", "log of one update": "same"}


@pytest.mark.process
def test_a_declared_cost_is_accepted(project: Path) -> None:
    """A commit that says what becomes slower passes against the one before."""
    git(project, "commit", "--quiet", "--all", "--message", "Look twice\n\nCosts: empty view")
    assert checked(0, "--tree", str(project)) == {"empty view": "more, as declared"}


@pytest.mark.process
def test_equal_trees_pass() -> None:
    """A tree is as fast as itself."""
    verdicts = checked(0, str(ROOT), "--figure", "log of one update")
    assert "REGRESSION" not in verdicts.values()
    assert verdicts["log of one update"] == "same"


@pytest.mark.process
@pytest.mark.parametrize(("form", "status"), [("--short", 0), ("--json", 2)])
def test_only_the_long_form_needs_a_history(tmp_path: Path, form: str, status: int) -> None:
    """Where there is nothing to compare with, the short form says so, and goes on."""
    done = check("--tree", str(tmp_path), form)
    assert done.returncode == status
    assert "not a git repository" in done.stderr


def test_what_the_tree_alone_cannot_do_fails() -> None:
    """A figure that the earlier tree hasn't got is left out; one that the tree has lost fails."""
    figure = Figure("empty view", "view", 1, 1)
    there = Tree("one", ROOT, ROOT, {figure.name: [1.0]})
    gone = Tree("other", ROOT, ROOT, notes={figure.name: "it has no views"})
    assert judge(figure, there, gone, counting=True).broken
    new = judge(figure, gone, there, counting=True)
    assert not new.broken
    assert new.verdict == "left out: it has no views"


def test_ratios_on_both_sides_are_chance() -> None:
    """The sign test: ten of ten on one side are no chance, six of ten are."""
    assert chance_of([1.2] * 10) == pytest.approx(2 / 1024)
    assert chance_of([0.9] * 10) == pytest.approx(2 / 1024)
    assert chance_of([1.2] * 6 + [0.9] * 4) > 0.5


def test_instructions_are_added_up_by_function() -> None:
    """Own lines count, also from other files; what a call has cost inside doesn't count twice."""
    written = """events: Ir

fn=(1) outer
10 100
+2 5
cfn=(2) inner
calls=3 20
+1 9000
* 7
fi=(4) header.h
-3 8

fn=(2)
20 3000

totals: 3120
"""
    found: Any = by_function(written)
    assert found == {"outer": 120, "inner": 3000}
