"""`cairn import --from`: SQLite, TinyDB, and how a file is told from others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb import cli
from cairndb.cli.foreign import Origin, detect
from foreign_files import (
    content,
    diskcache_folder,
    dumb_shelf,
    refused,
    run_sql,
)
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from commands import Cairn

cairn = cairn_fixture


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where imports go."""
    return tmp_path / "copy.cairn"


def test_a_table_is_a_dict_by_primary_key(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Rows are dicts by column with SQLite's own types; without a key the rowid is one."""
    file = tmp_path / "shop.db"
    run_sql(
        file,
        """
        CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, photo BLOB);
        INSERT INTO item VALUES (7, 'Žluť', 1.0, x'00ff'), (9223372036854775807, NULL, 9e999, 5);
        CREATE TABLE loose (rowid, x);
        INSERT INTO loose VALUES ('mine', 1);
        CREATE TABLE word (text TEXT PRIMARY KEY, n INT) WITHOUT ROWID;
        INSERT INTO word VALUES ('a', 1);
        CREATE TABLE pair (a INT, b TEXT, PRIMARY KEY (b, a));
        INSERT INTO pair VALUES (1, 'x');
        CREATE TABLE "odd ""name" (c);
        CREATE VIEW seen AS SELECT * FROM item;
        """,
    )
    cairn("import", copy, file)
    assert content(copy) == {
        "item": {
            7: {"id": 7, "name": "Žluť", "price": 1.0, "photo": b"\x00\xff"},
            2**63 - 1: {"id": 2**63 - 1, "name": None, "price": float("inf"), "photo": 5},
        },
        "loose": {1: {"rowid": "mine", "x": 1}},
        "word": {"a": {"text": "a", "n": 1}},
        "pair": {'["x",1]': {"a": 1, "b": "x"}},
        'odd "name': {},
    }
    assert type(content(copy)["item"][7]["price"]) is float


def test_a_table_can_go_into_a_database(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """At one place of what is there already."""
    file = tmp_path / "x.db"
    run_sql(file, "CREATE TABLE a (x); INSERT INTO a VALUES (1);")
    cairndb.open(copy).close()
    cairn("import", copy, file, "--into", "/old")
    assert content(copy) == {"old": {"a": {1: {"x": 1}}}}


def test_only_the_tables_that_are_named(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """`--table` picks, also several; a name that isn't there is told from those that are."""
    file = tmp_path / "x.db"
    run_sql(file, "CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x);")
    assert "has no table d; there are: a, b, c" in refused(cairn, copy, file, "--table", "d")
    cairn("import", copy, file, "--table", "c", "--table", "a")
    assert content(copy) == {"a": {}, "c": {}}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("CREATE TABLE t (k TEXT PRIMARY KEY); INSERT INTO t VALUES (NULL);", "NULL in its pri"),
        ("CREATE TABLE t (x); INSERT INTO t VALUES (CAST(x'ff' AS TEXT));", "UTF-8"),
        ("CREATE TABLE t (k REAL PRIMARY KEY); INSERT INTO t VALUES (9e999);", "t inf: a key must"),
        ("CREATE TABLE t (rowid, oid, _rowid_);", "columns hide the rowid"),
    ],
)
def test_a_row_that_cant_be_kept_is_named(
    cairn: Cairn, copy: Path, tmp_path: Path, script: str, reason: str
) -> None:
    """With its table and key, and nothing is imported."""
    run_sql(tmp_path / "x.db", script)
    assert reason in refused(cairn, copy, tmp_path / "x.db")


def test_a_virtual_table_is_left_out(
    capsys: pytest.CaptureFixture[str], copy: Path, tmp_path: Path
) -> None:
    """It is code; what its data is kept in isn't anybody's. The user is told."""
    file = tmp_path / "x.db"
    try:
        run_sql(file, "CREATE VIRTUAL TABLE t USING fts4(x); CREATE TABLE t_own (x);")
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no fts4")
    with closing(sqlite3.connect(file)) as connection:
        if not connection.execute("PRAGMA table_list").fetchall():
            pytest.skip("this SQLite can't tell virtual tables: 3.37 does")
    assert cli.run(["import", str(copy), str(file)]) == 0
    assert capsys.readouterr().err == "cairn: warning: t is a virtual table, and left out\n"
    assert content(copy) == {"t_own": {}}


def test_tinydb_files_are_json(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Tables become dicts, by number of the document; nothing else is known of them."""
    file = tmp_path / "db.json"
    file.write_text('{"_default": {"1": {"a": [1, 2.0]}, "12": {}}, "other": {"x": {"y": null}}}')
    cairn("import", copy, file)
    assert content(copy) == {
        "_default": {1: {"a": [1, 2.0]}, 12: {}},
        "other": {"x": {"y": None}},
    }


def test_a_file_of_tinydb(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """What TinyDB itself has written comes with the numbers that it gave."""
    tinydb = pytest.importorskip("tinydb", reason="install tinydb")
    with tinydb.TinyDB(tmp_path / "db.json") as db:
        number = db.insert({"name": "a"})
        db.table("other").insert({"tags": ["x"]})
    cairn("import", copy, tmp_path / "db.json")
    assert content(copy) == {"_default": {number: {"name": "a"}}, "other": {1: {"tags": ["x"]}}}


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", ""])
def test_what_isnt_tinydb_is_refused(cairn: Cairn, copy: Path, tmp_path: Path, text: str) -> None:
    """Some other JSON, or none."""
    (tmp_path / "x.json").write_text(text)
    assert "isn't a file of TinyDB" in refused(cairn, copy, tmp_path / "x.json", "--from", "tinydb")


def test_a_file_tells_what_wrote_it(tmp_path: Path) -> None:
    """As far as it can be told for sure; an export, and what isn't there, are nobody's."""
    run_sql(tmp_path / "x.db", "CREATE TABLE a (x)")
    (tmp_path / "t.json").write_text('{"_default": {"1": {}}}')
    (tmp_path / "e.json").write_text('{"cairndb": "export"}')
    found = {
        "x.db": Origin.SQLITE3,
        "t.json": Origin.TINYDB,
        "e.json": None,
        "nowhere": None,
        dumb_shelf(tmp_path / "shelf", {}).name: Origin.SHELVE,
        diskcache_folder(tmp_path / "cache", []).name: Origin.DISKCACHE,
    }
    assert {name: detect(tmp_path / name) for name in found} == found


def test_the_wrong_file_is_refused(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Whatever a file is said to be, what it is instead is an error that names it."""
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk" * 1000)
    assert "isn't an export of cairn: name what wrote it" in refused(cairn, copy, junk)
    for origin in Origin:
        assert str(junk) in refused(cairn, copy, junk, "--from", origin.value)
    cairn("import", copy, tmp_path / "nowhere", "--from", "sqlite3", code=3)
    assert "reads a file" in refused(cairn, copy, "-", "--from", "shelve")
    assert "go with --from" in refused(cairn, copy, tmp_path / "nowhere", "--trust-pickles")
    assert "a directory without" in refused(cairn, copy, tmp_path)
    shelf = dumb_shelf(tmp_path / "shelf", {})
    assert "no tables" in refused(cairn, copy, shelf, "--table", "x")
    assert not copy.exists()
