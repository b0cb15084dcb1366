"""What a migration or a rewind leaves behind is told for what it is, and never offered as more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cairndb.checkpoint import checkpoint_name
from cairndb.diagnosis import examine
from simulated import SimulatedDirectory
from test_forgetting import Life

if TYPE_CHECKING:
    from cairndb.diagnosis import Diagnosis
    from cairndb.diagnosis_files import FileReport


def diagnosed(life: Life) -> Diagnosis:
    """What `cairn doctor` says, with nobody at work."""
    life.kill()
    return examine(SimulatedDirectory(life.world)).diagnosis


def report_of(found: Diagnosis, lsn: int) -> FileReport:
    """What it says of a checkpoint, also under a temporary name."""
    (report,) = [file for file in found.files if file.name.startswith(checkpoint_name(lsn))]
    return report


@pytest.mark.parametrize("after_its_renaming", [False, True])
def test_an_interrupted_rewind_is_told_and_harmless(*, after_its_renaming: bool) -> None:
    """Both checkpoints by what they are; the state that never took effect is no state to save."""
    life = Life()
    life.put(3)
    life.rewind(2, renames=3, at_sync=after_its_renaming, reopen=False)
    found = diagnosed(life)
    assert found.healthy
    assert found.notes == []
    assert (found.log.end_lsn, found.log.known_lsn, found.log.proven_lsn) == (4, 4, 4)
    assert [(choice.do, choice.lsn, choice.loses) for choice in found.choices] == [("open", 4, [])]
    old, new = report_of(found, 4), report_of(found, 5)
    assert new.name.endswith(".ckpt") == after_its_renaming
    assert (new.condition, "harmless. The next opening removes it" in new.reason) == (
        "unfinished",
        True,
    )
    assert old.condition == "whole"
    assert "interrupted; harmless. 'cairn forget simulated.cairn 4' lets it go" in old.reason
    life.reopen()
    assert [file.name for file in diagnosed(life).files if file.condition == "unfinished"] == []


def test_what_is_kept_as_the_way_back_is_told() -> None:
    """With the LSN that it is the way back over, as long as the log has that."""
    life = Life()
    life.put(3)
    life.rewind(2)
    found = diagnosed(life)
    assert found.healthy
    assert "the way back over LSN 5" in report_of(found, 4).reason
    assert report_of(found, 5).reason == ""
    life.reopen()
    for _ in range(2):
        life.put()
        life.checkpoint()
    assert report_of(diagnosed(life), 4).reason.startswith("kept by a migration or a rewind")


def test_a_state_that_took_effect_can_be_saved_if_its_segment_is_lost() -> None:
    """The seal of the segment before says that there was one, which may have been the barrier's."""
    life = Life()
    life.put(3)
    life.rewind(2)
    life.kill()
    del life.world.names[max(name for name in life.world.names if name.startswith("log-"))]
    found = diagnosed(life)
    assert not found.healthy
    assert report_of(found, 5).condition == "whole"
    assert max(choice.lsn for choice in found.choices) == 5
