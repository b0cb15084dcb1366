"""The helper process that makes checkpoints, where it can't, or where Python talks besides."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

import cairndb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process


@pytest.fixture
def db(tmp_path: Path) -> Iterator[cairndb.Database[dict[str, str]]]:
    """A database with something in it."""
    with cairndb.open(tmp_path / "x.cairn", dict[str, str]) as db:
        with db.update() as root:
            root["x"] = "y"
        yield db


@pytest.mark.parametrize(
    "variable", ["PYTHONDEVMODE", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME", "PYTHONWARNINGS"]
)
def test_what_python_says_besides_does_no_harm(
    variable: str, db: cairndb.Database[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings and traces in the helper's output don't hide its report."""
    monkeypatch.setenv(variable, "always" if variable == "PYTHONWARNINGS" else "1")

    assert db.checkpoint() == db.lsn


@pytest.mark.parametrize(
    ("program", "reason"),
    [("/no/such/python", "No such file"), ("false", "status 1"), ("true", "didn't report")],
)
def test_a_helper_that_can_not_be_started_is_told(
    program: str,
    reason: str,
    db: cairndb.Database[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No checkpoint is made and the error says why; updates go on, and later one is made."""
    monkeypatch.setattr(sys, "executable", shutil.which(program) or program)
    with pytest.raises(cairndb.CairnError, match=reason) as caught:
        db.checkpoint()
    assert not isinstance(caught.value, cairndb.DatabaseFailed)
    with db.update() as root:
        root["x"] = "z"
    monkeypatch.undo()

    assert db.checkpoint() == db.lsn
