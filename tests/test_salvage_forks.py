"""Two histories of one database, as a copy that was restored leaves them: never mixed."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb.diagnosis import examine
from cairndb.files import RealDirectory
from cairndb.salvage import salvage
from doctoring import Oracle

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.salvage_routes import Route


def put(db: cairndb.Database[dict[str, object]], history: str, count: int) -> None:
    """Some updates: the state says of each LSN which history it is of."""
    for _ in range(count):
        with db.update() as root:
            root[str(db.lsn + 1)] = history


def routes_of(path: Path) -> list[Route]:
    """The states that can be had of a directory."""
    with closing(RealDirectory(str(path))) as directory:
        return examine(directory).routes


def saved(path: Path, destination: Path) -> dict[str, object]:
    """The furthest of them."""
    with closing(RealDirectory(str(path))) as directory:
        examined = examine(directory)
        salvage(examined.survey, examined.routes, str(destination))
    with cairndb.open(destination) as db, db.view() as root:
        return dict(root)


def damage(path: Path, lsn: int) -> None:
    """Break an update in the one segment that has it."""
    image = ((path.name, path.read_bytes()),)
    (offset,) = [frame.offset for frame in Oracle(image).frames if frame.first_lsn == lsn]
    content = bytearray(path.read_bytes())
    content[offset + 30] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def fork(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories with the same LSN 1 to 5: in the first one that segment goes on to 10."""
    one, two = tmp_path / "one.cairn", tmp_path / "two.cairn"
    with cairndb.open(one) as db:
        put(db, "both", 4)
        db.sync()
        shutil.copytree(one, two)
        put(db, "one", 5)
    with cairndb.open(two) as db:
        put(db, "two", 4)
    return one, two


def segments_of(path: Path) -> list[Path]:
    """As they were published."""
    return sorted(path.glob("log-*"), key=lambda segment: segment.name[::-1])


def test_the_history_of_the_newest_segment_is_followed(
    fork: tuple[Path, Path], tmp_path: Path
) -> None:
    """A longer one in a segment that was restored is left where the newer segment begins."""
    one, two = fork
    (stale,) = one.glob("log-*")
    shutil.copy(stale, two / stale.name)
    (route,) = routes_of(two)
    assert route.position.lsn == 9
    assert saved(two, tmp_path / "saved")["9"] == "two"


def test_entries_behind_damage_are_not_taken_from_another_history(
    fork: tuple[Path, Path], tmp_path: Path
) -> None:
    """Their LSNs would follow: but a later segment begins before them."""
    one, two = fork
    (stale,) = one.glob("log-*")
    shutil.copy(stale, two / stale.name)
    damage(two / stale.name, 6)
    (newest,) = [path for path in two.glob("log-*") if path.name != stale.name]
    damage(newest, 7)
    (route,) = routes_of(two)
    assert route.position.lsn == 6
    assert saved(two, tmp_path / "saved")["6"] == "two"


def test_superseded_entries_are_named_where_they_are_taken(fork: tuple[Path, Path]) -> None:
    """If the later segment has lost its own, nothing tells whether they are the same."""
    one, two = fork
    (stale,) = one.glob("log-*")
    shutil.copy(stale, two / stale.name)
    (newest,) = [path for path in two.glob("log-*") if path.name != stale.name]
    damage(newest, 6)
    (route,) = routes_of(two)
    assert route.position.lsn == 10
    assert route.notes[0].startswith("LSN 6, and what follows it there, comes from log-")


def test_a_checkpoint_of_another_history_gets_no_entries(tmp_path: Path) -> None:
    """Where its running checksum is hidden by damage, that at the end of the segment tells."""
    one, two = tmp_path / "one.cairn", tmp_path / "two.cairn"
    with cairndb.open(one) as db:
        put(db, "both", 2)
        db.sync()
        shutil.copytree(one, two)
        put(db, "one", 7)
        db.checkpoint()
        put(db, "one", 1)
    with cairndb.open(two) as db:
        put(db, "two", 2)
        db.checkpoint()
    (own,) = one.glob("checkpoint-*")
    own.unlink()
    (other,) = two.glob("checkpoint-*")
    shutil.copy(other, one / other.name)
    damage(min(one.glob("log-*")), 5)
    found = [(route.base_lsn, route.position.lsn) for route in routes_of(one)]
    assert found == [(5, 5), (0, 4)]
    assert "the running checksum doesn't match" in routes_of(one)[0].notes[0]
