"""`cairn doctor --salvage`: a new database with the furthest state that can be had, or nothing."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from contextlib import closing, suppress
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import cairndb
from bank import Account, Bank
from cairndb import files
from cairndb import salvage as salvaging
from cairndb.chain import Files
from cairndb.diagnosis import examine
from cairndb.errors import CairnError, UsageError
from cairndb.files import RealDirectory
from cairndb.frame import encode_frame
from cairndb.identity import read_identity
from cairndb.log import read_segment
from cairndb.patch import encode_entry
from cairndb.recovery import verify
from doctoring import KIND, Oracle, changed, flips, lived, without, world_of
from effort import examples
from simulated import SimulatedDirectory, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.salvage import Lost, Salvaged
    from simulated import Image


def salvage(source: Path, destination: Path, lsn: int | None = None) -> tuple[Salvaged, list[Lost]]:
    """Salvage a real directory; the report, and what was readable and lost."""
    lost: list[Lost] = []
    with closing(RealDirectory(str(source))) as directory:
        examined = examine(directory)
        report = salvaging.salvage(
            examined.survey, examined.routes, str(destination), lsn=lsn, keep_lost=lost.extend
        )
    return report, lost


def contents(path: Path) -> dict[str, bytes]:
    """The files of a directory."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


def damage(path: Path, offset: int) -> None:
    """Change a byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def source(bank: Path, tmp_path: Path) -> Path:
    """A bank whose balance is 100 + LSN, from LSN 2 on to 12; a checkpoint at 5."""
    return Path(shutil.copytree(bank, tmp_path / "bank.cairn"))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `source` is a copy of."""
    path = tmp_path_factory.mktemp("bank") / "bank.cairn"
    with cairndb.open(path, Bank) as db:
        for number in range(2, 13):
            with db.update() as bank:
                bank.accounts["alice"] = Account("Alice", 100 + number)
            if number == 5:
                db.checkpoint()
    return path


def frame_offset(path: Path, lsn: int) -> int:
    """Where the frame of an LSN begins in the newest segment."""
    image = tuple(contents(path).items())
    (offset,) = [f.offset for f in Oracle(image).frames if f.first_lsn == lsn]
    return offset


def newest(path: Path) -> Path:
    """The segment published last."""
    return max(path.glob("log-*"))


def test_what_comes_before_the_damage_is_kept(source: Path, tmp_path: Path) -> None:
    """The state before the gap; LSNs go on, the identity is new, the source is as it was."""
    damage(newest(source), frame_offset(source, 9) + 30)
    before = contents(source)
    report, lost = salvage(source, tmp_path / "saved")

    assert (report.lsn, report.lost, report.lost_readable) == (8, [(9, 12)], [(10, 12)])
    assert report.base == "checkpoint-00000000000000000005.ckpt"
    assert [each.lsn for each in lost] == [10, 11, 12]
    assert contents(source) == before
    with cairndb.open(tmp_path / "saved", Bank) as db:
        assert db.lsn == 8
        with db.update() as bank:
            assert bank.accounts["alice"].balance == 108
            bank.name = "goes on"
        assert db.lsn == 9
        db.checkpoint()
    with cairndb.open(tmp_path / "saved", Bank) as db, db.view() as bank:
        assert (bank.name, bank.accounts["alice"].balance) == ("goes on", 108)
    for path in (source, tmp_path / "saved"):
        with closing(RealDirectory(str(path))) as directory:
            assert (read_identity(directory).database == report.database) == (path != source)


def test_a_salvaged_database_is_whole(source: Path, tmp_path: Path) -> None:
    """`verify` finds nothing, its running checksum goes on, and it can be salvaged itself."""
    report, _ = salvage(source, tmp_path / "saved")
    assert (report.lsn, report.lost) == (12, [])
    with closing(RealDirectory(str(tmp_path / "saved"))) as directory:
        assert list(verify(directory)) == []
        found = examine(directory)
        assert found.diagnosis.healthy
        assert found.routes[0].position.lsn == 12
    with closing(RealDirectory(str(source))) as directory:
        assert examine(directory).routes[0].position == found.routes[0].position
    again, _ = salvage(tmp_path / "saved", tmp_path / "again")
    assert again.lsn == 12


def test_an_earlier_state_is_had_on_request(source: Path, tmp_path: Path) -> None:
    """Any LSN between a base and the end, also in the middle of a shared frame."""
    for lsn in (1, 3, 5, 7, 12):
        report, _ = salvage(source, tmp_path / f"at {lsn}", lsn)
        assert report.lsn == lsn
        with cairndb.open(tmp_path / f"at {lsn}", Bank) as db, db.view() as bank:
            assert db.lsn == lsn
            assert lsn == 1 or bank.accounts["alice"].balance == 100 + lsn
    with pytest.raises(UsageError, match="LSN 13 can't be had"):
        salvage(source, tmp_path / "never", 13)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("what", ["DATABASE", "checkpoint", "both"])
def test_identity_and_checkpoint_can_be_lost(source: Path, tmp_path: Path, what: str) -> None:
    """Without DATABASE the others say who they are; without checkpoints it begins at LSN 1."""
    (checkpoint,) = source.glob("checkpoint-*")
    if what != "checkpoint":
        (source / "DATABASE").unlink()
    if what != "DATABASE":
        damage(checkpoint, 4096 + 40)
    report, _ = salvage(source, tmp_path / "saved")
    assert (report.lsn, report.lost, report.unchecked_lsn) == (12, [], None)
    assert (report.base is None) == (what != "DATABASE")


def test_a_damaged_header_costs_nothing_if_its_nonce_is_known(source: Path, tmp_path: Path) -> None:
    """The newest segment says its nonce itself; that LSNs follow is all that connects it."""
    damage(newest(source), 16 + 4)
    report, _ = salvage(source, tmp_path / "saved")
    assert (report.lsn, report.unchecked_lsn) == (12, 6)
    newest(source).write_bytes(bytes(8192) + newest(source).read_bytes()[8192:])
    report, _ = salvage(source, tmp_path / "less")
    assert (report.lsn, report.lost) == (5, [])


def test_a_missing_segment_is_a_gap(tmp_path: Path) -> None:
    """What comes after it isn't taken; without a checkpoint before it nothing can be saved."""
    image = lived().image()
    names = sorted(name for name, _ in image if name.startswith("log-"))
    path = on_disk(without(image, names[2]), tmp_path / "gap.cairn")
    report, lost = salvage(path, tmp_path / "saved")
    assert (report.lsn, report.lost, report.lost_readable) == (10, [(11, 23)], [(14, 23)])
    assert [each.lsn for each in lost] == [*range(14, 24)]
    bare = [name for name, _ in image if name.startswith("checkpoint-")]
    path = on_disk(without(image, *bare), tmp_path / "bare.cairn")
    with pytest.raises(CairnError, match="nothing can be saved"):
        salvage(path, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_gap_before_the_checkpoint_does_not_matter(tmp_path: Path) -> None:
    """Damage in entries that the checkpoint holds: opening refuses, and all can be saved."""
    image = lived().image()
    path = on_disk(image, tmp_path / "before.cairn")
    names = sorted(name for name, _ in image if name.startswith("log-"))
    for name in names[:2]:
        (path / name).unlink()
    assert salvage(path, tmp_path / "saved")[0].lsn == 23


def test_a_foreign_checkpoint_is_ignored(tmp_path: Path) -> None:
    """A higher one of another database isn't taken for a base."""
    image, other = lived().image(), dict(lived(seed="other").image())
    name = "checkpoint-00000000000000000010.ckpt"
    path = on_disk(changed(image, name, other[name]), tmp_path / "mixed.cairn")
    report, _ = salvage(path, tmp_path / "saved")
    assert (report.lsn, report.base) == (23, "checkpoint-00000000000000000004.ckpt")


def test_base_and_log_that_do_not_fit_are_not_joined(tmp_path: Path) -> None:
    """A checkpoint of another history of the same database: its log isn't put onto it."""
    path = tmp_path / "fork.cairn"
    with cairndb.open(path) as db, db.update() as root:
        root["x"] = 0
    image = tuple(contents(path).items())
    twin = on_disk(image, tmp_path / "twin.cairn")
    for each, value in ((path, 1), (twin, 2)):
        with cairndb.open(each) as db:
            with db.update() as root:
                root["x"] = value
            db.checkpoint()
            with db.update() as root:
                root["y"] = value
    (checkpoint,) = path.glob("checkpoint-*")
    checkpoint.write_bytes((twin / checkpoint.name).read_bytes())
    with closing(RealDirectory(str(path))) as directory:
        routes = examine(directory).routes
    assert [(route.base_lsn, route.position.lsn) for route in routes] == [(0, 4), (3, 3)]
    assert "another history" in routes[1].notes[0]
    salvage(path, tmp_path / "saved")
    with cairndb.open(tmp_path / "saved") as db, db.view() as root:
        assert root == {"x": 1, "y": 1}


def on_disk(image: Image, path: Path) -> Path:
    """An image as a real directory."""
    path.mkdir()
    for name, content in image:
        (path / name).write_bytes(content)
    return path


def test_an_entry_that_cannot_be_applied_is_the_end(source: Path, tmp_path: Path) -> None:
    """Checksums are right and the content isn't: what comes before is kept, and it is said."""
    name = newest(source).name
    with closing(RealDirectory(str(source))) as directory, closing(directory.open(name)) as file:
        segment = read_segment(directory, name, file)
    offset = frame_offset(source, 12)
    entry = encode_entry(1, [(0, ["nowhere", "at", "all"], 5)])
    frame = encode_frame(segment.header.nonce, offset, 12, 1, entry, 11)
    data = newest(source).read_bytes()
    newest(source).write_bytes(data[:offset] + frame + bytes(len(data) - offset - len(frame)))
    report, lost = salvage(source, tmp_path / "saved")
    assert report.lsn == 11
    assert report.problem.startswith("LSN 12 can't be applied")
    assert [each.lsn for each in lost] == [12]


@pytest.mark.parametrize("place", ["full", "file", "inside", "itself", "link", "no parent"])
def test_where_it_must_not_go(source: Path, tmp_path: Path, place: str) -> None:
    """Into something that is there, or into the source: refused, and nothing has changed."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    destination = {
        "inside": source / "saved",
        "itself": source,
        "no parent": tmp_path / "no" / "where",
    }.get(place, tmp_path / place)
    before = contents(source), sorted(tmp_path.rglob("*"))
    with pytest.raises((UsageError, OSError)):
        salvage(source, destination)
    assert (contents(source), sorted(tmp_path.rglob("*"))) == before


def test_an_empty_directory_will_do(source: Path, tmp_path: Path) -> None:
    """Then it becomes the database."""
    (tmp_path / "empty").mkdir()
    assert salvage(source, tmp_path / "empty")[0].lsn == 12
    with cairndb.open(tmp_path / "empty", Bank) as db:
        assert db.lsn == 12


def failing_at(number: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A call that fails the so-manieth time."""
    calls = count(1)

    def failing(*arguments: Any) -> Any:
        if next(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")
        return real(*arguments)

    return failing


@pytest.mark.parametrize("call", ["write", "sync", "rename"])
def test_it_appears_whole_or_not_at_all(
    source: Path, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call fails: nothing is at the destination, and nothing is left beside it."""
    owner = files.RealDirectory if call == "rename" else files.RealFile
    real, number, done = getattr(owner, call), 0, False
    while not done:
        number += 1
        with monkeypatch.context() as patch:
            patch.setattr(owner, call, failing_at(number, real))
            with suppress(OSError):
                salvage(source, tmp_path / "saved")
                done = True
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == ["bank.cairn"] + ["saved"] * done
    assert number > 2
    assert (tmp_path / "saved" / "DATABASE").exists()


def test_types_and_schema_are_carried_over(source: Path, tmp_path: Path) -> None:
    """The root class still fits, and another one is still refused."""
    salvage(source, tmp_path / "saved")
    with pytest.raises(cairndb.SchemaError):
        cairndb.open(tmp_path / "saved", Account)


class BadSector(SimulatedDirectory):
    """A directory with a file of which some bytes can't be read."""

    def __init__(self, world: World, name: str, offset: int) -> None:
        super().__init__(world)
        self.bad = name
        self.offset = offset

    def open(self, name: str, *, write: bool = False) -> Any:
        """A file, bad or not."""
        file = super().open(name, write=write)
        if name == self.bad:
            read = file.read

            def failing(offset: int, length: int) -> bytes:
                if offset + length > self.offset and offset < self.offset + 512:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), file.path)
                return read(offset, length)

            file.read = failing  # type: ignore[method-assign]
        return file


@pytest.mark.parametrize(("offset", "lsn"), [(0, 23), (4096, 10)])
def test_an_unreadable_sector_is_a_gap(offset: int, lsn: int) -> None:
    """EIO costs what lies there, and of a header nothing; opening is refused as foretold."""
    image = lived().image()
    names = sorted(name for name, _ in image if name.startswith("log-"))
    examined = examine(BadSector(world_of(image), names[2], offset))
    assert examined.diagnosis.opening.outcome == "refuses"
    assert "can't be used: Input/output error" in examined.diagnosis.opening.error
    assert examined.routes[0].position.lsn == lsn
    assert examined.diagnosis.log.known_lsn == 23


@pytest.mark.slow
def test_every_salvage_opens_with_a_state_that_there_was(
    tmp_path: Path, evidence: Callable[[str, int], None]
) -> None:
    """Of many kinds of damage: it opens, the state is that of its LSN, and none is further."""
    history = lived()
    image = history.image()
    oracle, seed = Oracle(image), random.Random(5)  # noqa: S311  reproducible, not secret
    cases = [case for _, _, case in flips(image, 397)]
    cases += [without(image, name) for name, _ in image]
    cases += [changed(image, n, c[: seed.randrange(len(c))]) for n, c in image for _ in range(3)]
    seed.shuffle(cases)
    made = 0
    for case in cases[: examples(90)]:
        source = SimulatedDirectory(world_of(case))
        examined = examine(source)
        if not examined.routes:
            continue
        destination = tmp_path / f"saved {made}"
        report = salvaging.salvage(examined.survey, examined.routes, str(destination))
        with cairndb.open(destination, dict[str, str]) as db, db.view() as root:
            assert db.lsn == report.lsn >= oracle.reach(case)
            assert KIND.encode(root) == history.states[report.lsn]
        made += 1
    assert made > 50
    evidence("salvages", made)


def test_lost_entries_come_once_and_in_order() -> None:
    """Copies of the same update in two segments are one update."""
    image = lived().image()
    examined = examine(SimulatedDirectory(world_of(image)))
    with closing(Files(examined.survey.files.directory, keep=False)) as opened:
        found: Iterator[Lost] = salvaging.lost_entries(opened, examined.survey, 12)
        lsns = [each.lsn for each in islice(found, 100)]
    assert lsns == [*range(13, 24)]


def test_reports_can_be_written_as_json(source: Path, tmp_path: Path) -> None:
    """All that a diagnosis and a salvage say is plain data."""
    report, _ = salvage(source, tmp_path / "saved")
    assert json.loads(msgspec.json.encode(report))["lsn"] == 12
