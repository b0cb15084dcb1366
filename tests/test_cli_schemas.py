"""`cairn schema`: what is stored, how it differs, and trying and doing a migration."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from commands import Cairn

cairn = cairn_fixture
OLD = """
import cairndb

class Item(cairndb.Record):
    cents: int = 0

class Root(cairndb.Record):
    items: dict[str, Item] = {}
"""
NEW = """
import cairndb

class Item(cairndb.Record):
    amount: float = 0.0

class Root(cairndb.Record):
    items: dict[str, Item] = {}
    name: str = "none"

def halve(item):
    item["amount"] = item.pop("cents") / 100

MIGRATIONS = {1: {"Item": halve}}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of the old schema at LSN 2, and both programs beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old_program.py").write_text(OLD, encoding="utf-8")
    (tmp_path / "new_program.py").write_text(NEW, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("old_program", "new_program"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    program: Any = importlib.import_module("old_program")
    path = tmp_path / "x.cairn"
    with cairndb.open(path, program.Root) as db, db.update() as root:
        root.items["a"] = program.Item(250)
    return path


def test_the_stored_schema_is_shown(cairn: Cairn, path: Path) -> None:
    """As JSON, without the program."""
    assert cairn.json("schema", "show", path)["types"]["Item"] == {"record": {"cents": "int"}}


def test_differences_are_told_with_what_to_write(cairn: Cairn, path: Path) -> None:
    """All by path; the code says whether something has to be done."""
    assert cairn("schema", "diff", path, "--root", "old_program:Root") == ""
    told = cairn("schema", "diff", path, "--root", "new_program:Root", code=1)
    assert (
        'Root.items[*].cents: the field is gone: write a migration, or drop=["Item.cents"]' in told
    )
    assert "Root.name: a new field, str\n" in told
    found = cairn.json("schema", "diff", path, "--root", "new_program:Root", "--json", code=1)
    assert {each["path"] for each in found} >= {"Root.name", "Root.items[*].amount"}


def test_a_migration_is_tried_and_done(cairn: Cairn, path: Path) -> None:
    """Trying shows what would change and changes nothing; doing takes an LSN."""
    given = ("--root", "new_program:Root", "--version", 2, "--migrations", "new_program:MIGRATIONS")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    told = cairn("schema", "migrate", path, *given, "--dry-run")
    assert "+ /items/a/amount = 2.5" in told
    assert "3 paths would change" in told
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert cairn.json("schema", "migrate", path, *given, "--json") == {"from": 2, "lsn": 3}
    assert cairn.json("get", path) == {"items": {"a": {"amount": 2.5}}, "name": "none"}
    assert "nothing had to be done" in cairn("schema", "migrate", path, *given)
    assert json.loads(cairn("schema", "show", path))["version"] == 2


def test_what_is_missing_is_told(cairn: Cairn, path: Path) -> None:
    """Without the migration, or with a name that isn't there."""
    cairn("schema", "migrate", path, "--root", "new_program:Root", code=2)
    assert "the field is gone" in cairn.error
    cairn("schema", "migrate", path, "--root", "new_program:Root", "--migrations", "x", code=2)
    assert "--migrations is module:Name" in cairn.error
