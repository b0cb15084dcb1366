"""Watches across a change of the types, and across a rewind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb.errors import Compacted, SchemaError
from cairndb.files import RealDirectory
from cairndb.rewinding import rewind
from cairndb.watch_start import Wish, watch_untyped

if TYPE_CHECKING:
    from pathlib import Path


class Before(cairndb.Record):
    n: int = 0


class Wider(cairndb.Record):
    n: int | None = 0


class After(cairndb.Record):
    n: int = 0
    new: str = "new"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database whose n became 1, 2 and 3 at LSN 2, 3 and 4."""
    path = tmp_path / "x.cairn"
    with cairndb.open(path, Before, restart_target=None) as db:
        for number in (1, 2, 3):
            with db.update() as root:
                root.n = number
    return path


def values(watch: cairndb.Watch) -> list[tuple[int, object]]:
    """The LSN and the first new value of each item that there is by now."""
    return [(item.lsn, item.changes[0].after) for item in iter(watch.poll, None)]


def test_history_of_other_types_cant_be_shown(path: Path) -> None:
    """It is told where that of these types begins; untyped all of it is there."""
    reader = cairndb.open(path, Before, read_only=True)
    beside = reader.watch("/n")
    with cairndb.open(path, After, restart_target=None) as db:
        with pytest.raises(Compacted, match="other types, until LSN 5") as caught:
            db.watch(since=2)
        assert caught.value.oldest_lsn == 5
        watch = db.watch(since=5)
        with db.update() as root:
            root.n = 4
        assert values(watch) == [(6, 4)]
    with pytest.raises(SchemaError, match="LSN 5 changed the types"):
        beside.poll(30)
    with pytest.raises(SchemaError, match="other types since"):
        reader.watch()
    reader.close()
    directory = RealDirectory(str(path))
    with watch_untyped(directory, Wish("/*", since=3)) as untyped:
        assert values(untyped) == [(4, 3), (5, "new"), (6, 4)]
    directory.close()


def test_history_that_reads_the_same_is_shown(path: Path) -> None:
    """A wider type rewrites nothing."""
    with cairndb.open(path, Wider, restart_target=None) as db:
        with db.update() as root:
            root.n = None
        assert values(db.watch("/n", since=2)) == [(3, 2), (4, 3), (5, None)]


def test_a_rewind_is_an_item(path: Path) -> None:
    """With all that differs, here and beside."""
    with cairndb.open(path, Before, read_only=True) as reader:
        beside = reader.watch("/n")
        directory = RealDirectory(str(path))
        try:
            assert rewind(directory, 2, lambda _: None) == (2, 5)
        finally:
            directory.close()
        item = beside.poll(30)
        assert item is not None
        assert (item.lsn, item.call, item.changes[0].after) == (5, "rewind", 1)
    with cairndb.open(path, Before) as db:
        assert values(db.watch(since=3)) == [(4, 3), (5, 1)]


def test_only_what_a_pattern_leads_to_is_kept(tmp_path: Path) -> None:
    """As far as its steps are exact."""
    with cairndb.open(tmp_path / "x.cairn") as db:
        with db.update() as root:
            root["a"] = {"small": {"n": 1}, "large": bytes(1 << 16)}
        watch = db.watch("/a/small/**")
        assert watch._scope is not None
        with db.update() as root:
            root["a"]["large"] = bytes(1 << 17)
            root["b"] = bytes(1 << 16)
            root["a"]["small"]["n"] = 2
        assert values(watch) == [(3, 2)]
        assert len(watch._scope.fold.encode()) < 100
