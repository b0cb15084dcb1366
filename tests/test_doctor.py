"""`cairn doctor`, its diagnosis: what each file is, what opening would do, and never a change."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from cairndb.diagnosis import examine
from cairndb.errors import CorruptError, UsageError
from cairndb.salvage import choose
from cairndb.store import Store
from crashing import FINGERPRINT, SCHEMA
from doctoring import (
    History,
    Oracle,
    changed,
    image_of,
    lived,
    options,
    without,
    world_of,
)
from simulated import Image, SimulatedDirectory, SimulatedFile, World

if TYPE_CHECKING:
    from cairndb.diagnosis import Diagnosis
    from cairndb.diagnosis_files import FileReport

NEWEST = -1


@pytest.fixture(scope="module")
def history() -> History:
    """A database that nobody changes any more."""
    return lived()


def diagnosis_of(image: Image) -> Diagnosis:
    """What is said of an image."""
    return examine(SimulatedDirectory(world_of(image))).diagnosis


def report_of(image: Image, name: str) -> FileReport:
    """What is said of one of its files."""
    (report,) = [file for file in diagnosis_of(image).files if file.name == name]
    return report


def segments_of(image: Image) -> list[str]:
    """The names of the segments, by first LSN and epoch."""
    return sorted(name for name, _ in image if name.startswith("log-"))


def checkpoints_of(image: Image) -> list[str]:
    """The names of the checkpoints, by LSN."""
    return sorted(name for name, _ in image if name.startswith("checkpoint-"))


def damaged(image: Image, name: str, offset: int) -> Image:
    """An image with a changed byte."""
    content = dict(image)[name]
    byte = bytes([content[offset] ^ 0xFF])
    return changed(image, name, content[:offset] + byte + content[offset + 1 :])


def simple(*, mark: bool = True) -> History:
    """LSN 1 to 4, in one segment."""
    history = History()
    for size in (4, 5, 6):
        history.put(size)
    store = history.engine.store
    assert store is not None
    if mark:
        store.mark()
    return history


def frames_of(image: Image, name: str) -> list[int]:
    """Where each frame of a segment begins."""
    return [frame.offset for frame in Oracle(image).frames if frame.file == name]


def test_a_whole_database(history: History) -> None:
    """Every file is named for what it is; the newest tail is unproven, one segment superseded."""
    found = diagnosis_of(history.image())

    assert found.healthy
    assert "is whole: opening gives the state at LSN 23, of which the last 2" in found.verdict
    kinds = [(file.kind, file.condition) for file in found.files]
    assert kinds.count(("segment", "whole")) == 7
    assert kinds.count(("segment", "superseded")) == 1
    assert kinds.count(("checkpoint", "whole")) == 2
    assert ("identity", "whole") in kinds
    assert ("lock", "whole") in kinds
    assert (found.log.end_lsn, found.log.proven_lsn, found.log.unproven) == (23, 21, [(22, 23)])
    assert (found.opening.lsn, found.opening.rewritten, found.opening.replayed) == (23, 2, 13)
    assert found.log.last_time is not None
    assert [choice.do for choice in found.choices] == ["open"]


def test_segments_say_what_is_in_them(history: History) -> None:
    """Epoch, LSNs, frames, updates, marks, the seal, the trusted end, and who says so."""
    image = history.image()
    first, second = segments_of(image)[:2]
    report = report_of(image, first)

    assert (report.epoch, report.first_lsn, report.sealed) == (1, 5, True)
    assert report.trusted_by == second
    assert report.entries == 4
    assert report.frames is not None
    assert report.marks is not None
    assert report.frames >= report.entries + report.marks
    assert report.trusted_end is not None
    assert report.trusted_end < report.size


def test_damage_that_is_proven_is_named_as_opening_names_it() -> None:
    """The offset and reason are those of the error, and what is readable behind it is listed."""
    image = simple().image()
    (name,) = segments_of(image)
    image = damaged(image, name, frames_of(image, name)[1] + 30)
    found, report = diagnosis_of(image), report_of(image, name)

    assert report.condition == "damaged"
    assert (report.offset, report.reason) == (found.opening.offset, found.opening.reason)
    assert report.behind == [(3, 4)]
    assert (found.log.missing, found.log.readable) == ([(2, 2)], [(3, 4)])
    assert found.log.next_time is not None
    assert found.verdict.endswith("opening refuses it; the state at LSN 1 of 4 can be saved")
    (choice,) = found.choices
    assert (choice.do, choice.lsn, choice.loses) == ("cut", 1, [(2, 4)])
    assert choice.command == "cairn doctor simulated.cairn --salvage simulated-salvaged.cairn"


def test_the_undecidable_is_called_that() -> None:
    """A bad last frame that nothing proves is no damage, and may be one: both are said."""
    image = simple(mark=False).image()
    (name,) = segments_of(image)
    image = damaged(image, name, frames_of(image, name)[3] + 30)
    found = diagnosis_of(image)

    assert found.healthy
    assert found.log.undecidable
    assert report_of(image, name).condition == "torn tail"
    assert "looks like a torn write" in found.verdict
    assert any("nothing here proves which" in note for note in found.notes)
    proven = damaged(simple().image(), name, frames_of(simple().image(), name)[3] + 30)
    assert not diagnosis_of(proven).healthy


def test_a_damaged_checkpoint_can_be_done_without(history: History) -> None:
    """Opening warns and gives the same; the directory isn't healthy."""
    image = history.image()
    name = checkpoints_of(image)[-1]
    image = damaged(image, name, 4096 + 30)
    found = diagnosis_of(image)

    assert not found.healthy
    assert found.opening.outcome == "opens"
    assert (found.opening.base, found.opening.lsn) == (checkpoints_of(image)[0], 23)
    assert name in found.opening.warnings[0]
    assert report_of(image, name).condition == "damaged"
    assert "opening can do without" in found.verdict


def test_the_previous_checkpoint_is_a_choice_where_it_leads_elsewhere(history: History) -> None:
    """The log is damaged before and behind the last checkpoint: two states can be had."""
    image = history.image()
    names = segments_of(image)
    image = damaged(image, names[1], frames_of(image, names[1])[1] + 30)
    image = damaged(image, names[2], 4096 + 30)
    found = diagnosis_of(image)

    assert [(choice.do, choice.lsn) for choice in found.choices] == [("checkpoint", 10), ("cut", 8)]
    assert found.choices[1].command.endswith("--at 8")


def test_an_empty_directory_and_one_with_other_files() -> None:
    """There is no database, which isn't healthy; opening would make one, or refuse."""
    found = diagnosis_of(())
    assert (found.healthy, found.opening.outcome) == (False, "creates")
    found = diagnosis_of((("thesis.txt", b"mine"),))
    assert (found.healthy, found.opening.outcome) == (False, "refuses")
    assert "other files" in found.opening.error
    (file,) = found.files
    assert (file.kind, file.condition) == ("foreign", "unknown")


def test_a_directory_without_its_identity(history: History) -> None:
    """DATABASE is lost: opening refuses, and which database it is can still be told."""
    image = without(history.image(), "DATABASE")
    examined = examine(SimulatedDirectory(world_of(image)))

    assert isinstance(examined.prediction.error, CorruptError)
    store = history.engine.store
    assert store is not None
    assert examined.diagnosis.database == store.identity.database
    assert any("DATABASE is lost" in note for note in examined.diagnosis.notes)
    assert examined.diagnosis.choices[0].lsn == 23


def test_an_identity_of_another_database(history: History) -> None:
    """DATABASE is that of another: the many win, and it is said."""
    other = dict(lived(seed="other").image())["DATABASE"]
    image = changed(history.image(), "DATABASE", other)
    found = diagnosis_of(image)

    assert report_of(image, "DATABASE").condition == "other database"
    assert (found.opening.outcome, found.choices[0].lsn) == ("refuses", 23)


def test_a_file_of_another_database(history: History) -> None:
    """It is named, and ignored."""
    name = checkpoints_of(history.image())[-1]
    image = changed(history.image(), name, dict(lived(seed="other").image())[name])
    found = diagnosis_of(image)

    assert report_of(image, name).condition == "other database"
    assert (found.healthy, found.opening.lsn) == (False, 23)


def test_files_under_wrong_names(history: History) -> None:
    """What a file is by its content is said, under a name of nobody and under another file's."""
    image = history.image()
    first, second = segments_of(image)[:2]
    contents = dict(image)
    contents[first], contents[second] = contents[second], contents[first]
    contents["DATABASE.bak"] = contents.pop("DATABASE")
    contents["copy"] = contents[checkpoints_of(image)[0]]
    image = tuple(contents.items())

    assert second in report_of(image, first).reason
    assert report_of(image, "DATABASE.bak").reason == "by its content it is DATABASE"
    assert checkpoints_of(image)[0] in report_of(image, "copy").reason
    assert diagnosis_of(image).choices[0].lsn == 23


def test_a_missing_newest_segment(history: History) -> None:
    """The seal of the one before it tells; what it held is known from nobody."""
    image = without(history.image(), segments_of(history.image())[NEWEST])
    found = diagnosis_of(image)
    assert "the one that follows it is missing" in (found.opening.reason or "")
    assert found.choices[0].lsn == 20


def test_an_interrupted_creation() -> None:
    """Before anything was in it, at every step: no damage, and opening makes a database."""
    world, found = World(), []
    world.observe = lambda _: found.append(image_of(world))
    History(world)
    outcomes = [diagnosis_of(image) for image in found]
    assert all(found.opening.outcome in {"creates", "opens"} for found in outcomes)
    assert sum("interrupted in creation" in found.verdict for found in outcomes) > 5


def test_a_later_format_version_is_no_damage(history: History) -> None:
    """What this version can't read is unknown, and the error is the one that open raises."""
    (name, content) = next(iter(history.image()))
    assert name == "DATABASE"
    length = 16 + int.from_bytes(content[12:16], "little")
    newer = content[:8] + b"\2" + content[9:length]
    newer += crc32(newer).to_bytes(4, "little") + content[length + 4 :]
    found = diagnosis_of(changed(history.image(), name, newer))
    assert "format version 2" in found.opening.error
    assert report_of(changed(history.image(), name, newer), name).condition == "unknown"


def test_the_prediction_is_what_the_store_says(history: History) -> None:
    """LSN, what is proven, the base and the warnings are those of a store that was opened."""
    image = damaged(history.image(), checkpoints_of(history.image())[-1], 4200)
    prediction = examine(SimulatedDirectory(world_of(image))).prediction
    store = Store.open(
        SimulatedDirectory(world_of(image)),
        schema=SCHEMA,
        fingerprint=FINGERPRINT,
        create=False,
        options=options("store"),
        clock=lambda: 0,
    )
    assert (prediction.proven_lsn, prediction.base_lsn) == (store.durable_lsn, store.checkpoint_lsn)
    assert prediction.warnings == store.warnings
    store.start()
    assert prediction.lsn == store.applied_lsn


class Busy(SimulatedDirectory):
    """A directory whose owner goes on whenever the names are read."""

    def __init__(self, history: History, times: int, *, checkpoints: bool) -> None:
        super().__init__(history.world)
        self.history = history
        self.times = times
        self.checkpoints = checkpoints

    def names(self) -> list[str]:
        """The names as they were just before the owner went on."""
        names = super().names()
        if self.times:
            self.times -= 1
            for size in (60, 90, 60):
                self.history.put(size)
            if self.checkpoints:
                self.history.checkpoint()
        return names


@pytest.mark.parametrize("checkpoints", [True, False])
def test_an_owner_at_work_is_no_damage(*, checkpoints: bool) -> None:
    """Files that vanish, and segments that are sealed meanwhile, are looked at again."""
    history = lived()
    found = examine(Busy(history, 6, checkpoints=checkpoints)).diagnosis
    assert found.healthy
    assert found.opening.lsn == len(history.states) - 1


class Vanishing(SimulatedDirectory):
    """A directory in which a file is removed when any has been opened so often."""

    def __init__(self, world: World, name: str, opened: int) -> None:
        super().__init__(world)
        self.name = name
        self.left = opened

    def open(self, name: str, *, write: bool = False) -> SimulatedFile:
        """A file, if it is still there."""
        self.left -= 1
        if not self.left:
            self.world.names.pop(self.name)
        return super().open(name, write=write)


def test_a_file_that_is_removed_meanwhile_is_no_damage(history: History) -> None:
    """One that an owner doesn't need any more, at every moment of the reading."""
    image = history.image()
    for unneeded in (checkpoints_of(image)[0], segments_of(image)[0]):
        for opened in count(1):
            directory = Vanishing(World(image), unneeded, opened)
            found = examine(directory).diagnosis
            assert found.healthy, (unneeded, opened, found.verdict)
            if directory.left > 0:
                break
        assert opened > 30


def test_any_byte_of_a_header_but_its_nonce_can_go(history: History) -> None:
    """Nothing is lost with it: the nonce is found by what stands before it, or after it."""
    image = history.image()
    name = segments_of(image)[NEWEST]
    content = dict(image)[name]
    start = content.index(b"\xa5nonce") + 8
    end = 20 + int.from_bytes(content[12:16], "little")
    for place in {*range(end)} - {*range(start, start + 16)}:
        routes = examine(SimulatedDirectory(World(damaged(image, name, place)))).routes
        assert routes[0].position.lsn == 23, place


def test_asking_for_a_state_that_is_not_there_is_refused(history: History) -> None:
    """The message says which there are."""
    routes = examine(SimulatedDirectory(world_of(history.image()))).routes
    assert choose(routes, None).position.lsn == 23
    assert choose(routes, 7).base_lsn == 4
    with pytest.raises(UsageError, match="can't be had; these can: LSN 4 to 23, 10 to 23"):
        choose(routes, 3)
