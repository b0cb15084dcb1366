"""`cairn import --from` of stores that hold pickles: shelves, sqlitedict, diskcache."""

from __future__ import annotations

import dbm.dumb
import json
import pickle
import shelve
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

import cairndb.cli
from foreign_files import (
    EXECUTED,
    VALUES,
    Exploit,
    content,
    diskcache_folder,
    dumb_shelf,
    refused,
    sqlite_shelf,
    sqlitedict_file,
)
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from commands import Cairn

cairn = cairn_fixture
TRUST = "--trust-pickles"
MODULE = "cairndb.cli.unpickling"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where imports go."""
    return tmp_path / "copy.cairn"


@pytest.mark.parametrize("make", [dumb_shelf, sqlite_shelf])
def test_a_shelf_is_unpickled_only_if_trusted(
    cairn: Cairn, copy: Path, tmp_path: Path, make: Any
) -> None:
    """Without the flag nothing of it runs, and the message says why; with it values come."""
    file = make(tmp_path / "shelf", VALUES)
    reason = refused(cairn, copy, file, "--from", "shelve")
    assert "loading a pickle runs whatever its writer put in it" in reason
    assert "'a'" in reason
    cairn("import", copy, file, "--from", "shelve", TRUST)
    assert content(copy) == VALUES


def test_any_shelf_of_this_python(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Whatever dbm it uses, by the name that shelve.open was given or that of the file."""
    with shelve.open(str(tmp_path / "shelf")) as shelf:  # noqa: S301  our own
        shelf["key"] = [1, 2]
    (file, *_) = sorted(tmp_path.glob("shelf*"))
    cairn("import", copy, tmp_path / "shelf", "--from", "shelve", TRUST)
    cairn("import", tmp_path / "other.cairn", file, "--from", "shelve", TRUST)
    assert content(copy) == content(tmp_path / "other.cairn") == {"key": [1, 2]}


def test_a_pickle_runs_only_with_the_flag(
    cairn: Cairn, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, what could load one isn't even imported."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.delattr(cairndb.cli, "unpickling", raising=False)
    file = dumb_shelf(tmp_path / "shelf", {"k": Exploit()})
    refused(cairn, copy, file)
    assert MODULE not in sys.modules
    cairn("import", copy, file, TRUST)
    assert MODULE in sys.modules
    assert EXECUTED == ["loaded"]
    assert content(copy) == {"k": "loaded"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"x": (1, 2)}, "'k': at /x: tuple isn't kept under Any"),
        (datetime(2025, 1, 1), "'k': a naive datetime isn't kept"),  # noqa: DTZ001  that's it
        (2**64, "'k': an int must be"),
        ({None: 1}, "'k': key None: NoneType isn't a key"),
    ],
)
def test_a_value_that_cant_be_kept_is_named(
    cairn: Cairn, copy: Path, tmp_path: Path, value: Any, reason: str
) -> None:
    """By its key, the place in it and the reason; nothing of the file is imported."""
    file = dumb_shelf(tmp_path / "shelf", {"first": 1, "k": value})
    assert reason in refused(cairn, copy, file, TRUST)


def test_a_damaged_pickle_is_named(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Trusted or not, what can't be loaded is an error with its key."""
    with dbm.dumb.open(str(tmp_path / "shelf"), "c") as shelf:
        shelf[b"k"] = b"\x80\x05garbage"
    assert "'k': it can't be unpickled" in refused(cairn, copy, tmp_path / "shelf", TRUST)


def test_sqlitedict_is_unpickled_only_if_trusted(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Its tables are dicts; a file that may be another's must be named."""
    file = sqlitedict_file(tmp_path / "x.sqlite", VALUES | {"exploit": Exploit()})
    assert "may be sqlitedict's, a shelf, or just tables: say which" in refused(cairn, copy, file)
    assert "--trust-pickles" in refused(cairn, copy, file, "--from", "sqlitedict")
    cairn("import", copy, file, "--from", "sqlitedict", TRUST)
    assert content(copy) == {"unnamed": VALUES | {"exploit": "loaded"}}


def test_a_file_of_sqlitedict(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """What sqlitedict itself has written, with an encoder of one's own too."""
    sqlitedict = pytest.importorskip("sqlitedict", reason="install sqlitedict")
    file = tmp_path / "x.sqlite"
    with sqlitedict.SqliteDict(file, tablename="one", autocommit=True) as one:
        one.update(VALUES)
    options = {"encode": json.dumps, "decode": json.loads}
    with sqlitedict.SqliteDict(file, tablename="two", autocommit=True, **options) as two:
        two["k"] = [1]
    cairn("import", copy, file, "--from", "sqlitedict", TRUST)
    assert content(copy) == {"one": VALUES, "two": {"k": "[1]"}}
    cairn("import", tmp_path / "two.cairn", file, "--from", "sqlitedict", "--table", "two")


def test_a_cache_comes_without_pickles(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """Raw values and those in files of their own need no trust; what has expired is gone."""
    later, now = time.time() + 1000, time.time()
    folder = diskcache_folder(
        tmp_path / "cache",
        [
            ("text", 1, None, 1, None, "x"),
            (17, 1, later, 1, None, b"\x00"),
            (b"\xff", 1, None, 1, None, 1.5),
            ("old", 1, now - 1, 1, None, "x"),
            ("file", 1, None, 2, "00/11/a.val", None),
            ("long", 1, None, 3, "00/11/b.val", None),
        ],
    )
    (folder / "00" / "11").mkdir(parents=True)
    (folder / "00" / "11" / "a.val").write_bytes(b"\x01" * 9)
    (folder / "00" / "11" / "b.val").write_text("ž\r\n", encoding="utf-8", newline="")
    cairn("import", copy, folder)
    assert content(copy) == {
        "Cache": {"text": "x", 17: b"\x00", b"\xff": 1.5, "file": b"\x01" * 9, "long": "ž\r\n"}
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("k", 1, None, 4, None, pickle.dumps(Exploit())), "'k': it is pickled"),
        ((pickle.dumps(Exploit()), 0, None, 1, None, 1), "it is pickled"),
        (("k", 1, None, 2, "../secret", None), "'k': its file ../secret is outside of the cache"),
        (("k", 1, None, 9, None, b""), "'k': diskcache has no mode 9"),
    ],
)
def test_a_cache_cant_do_more_than_hold_values(
    cairn: Cairn, copy: Path, tmp_path: Path, row: tuple[Any, ...], reason: str
) -> None:
    """Pickled keys and values, and files from elsewhere, are refused."""
    (tmp_path / "secret").write_text("x")
    folder = diskcache_folder(tmp_path / "cache", [row])
    assert reason in refused(cairn, copy, folder)


def test_a_cache_of_diskcache(cairn: Cairn, copy: Path, tmp_path: Path) -> None:
    """What diskcache itself has written, large and small, pickled and not."""
    diskcache = pytest.importorskip("diskcache", reason="install diskcache")
    values = {"s": "x", "S": "y" * 50_000, 5: b"z", "B": b"z" * 50_000, 1.5: 2.5}
    pickled = {"p": [1, None], "P": ["long"] * 20_000}
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        for key, value in values.items():
            cache[key] = value
    cairn("import", copy, tmp_path / "cache")
    assert content(copy) == {"Cache": values}
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        for key, value in pickled.items():
            cache[key] = value
    cairn("import", tmp_path / "all.cairn", tmp_path / "cache" / "cache.db", TRUST)
    assert content(tmp_path / "all.cairn") == {"Cache": values | pickled}
