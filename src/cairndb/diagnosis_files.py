"""What each file of a directory is, and its condition.

whole           good, as far as it is to be trusted
torn tail       good, and behind it something that a crash can leave: nothing proves that it was
                ever synced
damaged         not what was written
superseded      off the chain: what it holds was written again elsewhere
other database  it says so
unfinished      under a temporary name, or of a barrier that never took effect
unknown         not a database's, or nothing tells
"""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from cairndb.errors import CorruptError
from cairndb.linking import follow
from cairndb.log import Segment

if TYPE_CHECKING:
    from cairndb.prediction import Prediction
    from cairndb.survey import CheckpointFile, Survey
    from cairndb.survey_frames import Run, SegmentFile, Surveyed


class FileReport(msgspec.Struct):
    """One file. What doesn't apply to its kind is null."""

    name: str
    kind: str
    """identity, segment, checkpoint, lock, temporary or foreign."""
    size: int
    condition: str
    offset: int | None = None
    """Where it stops being good, if it does."""
    reason: str = ""
    database: str | None = None
    epoch: int | None = None
    first_lsn: int | None = None
    last_lsn: int | None = None
    """Of a segment the last of the good frames from the header on; of a checkpoint its own."""
    frames: int | None = None
    entries: int | None = None
    marks: int | None = None
    sealed: bool | None = None
    trusted_end: int | None = None
    """Up to where it must be good."""
    trusted_by: str | None = None
    """Who says so."""
    behind: list[tuple[int, int]] | None = None
    """LSNs of good frames behind a bad place."""
    operations: int | None = None


class Judge:
    """Says of every file what it is.

    Args:
        survey: of the directory.
        prediction: of what opening it would do.
    """

    def __init__(self, survey: Survey, prediction: Prediction) -> None:
        self._survey = survey
        self._prediction = prediction
        self._named = [s for s in survey.segments if s.kind == "segment"]
        self.chain = self._chain()
        """Oldest first, as far as it can be followed back from the newest good header."""
        chain = self.chain
        self._successors = {before.name: after for before, after in pairwise(chain)}

    def _chain(self) -> list[Segment]:
        good = {
            s.header.nonce: Segment(s.name, s.header, s.begin)
            for s in reversed(self._named)
            if s.header is not None and s.error is None
        }
        return follow(good, list(good.values())[-1]) if good else []

    def reports(self) -> list[FileReport]:
        """One for each file, by name."""
        survey = self._survey
        found = [self._report(file) for file in survey.others]
        found += [self._segment(file) for file in survey.segments]
        found += [self._checkpoint(file) for file in survey.checkpoints]
        found += [self._interrupted(file) for file in survey.interrupted]
        return sorted(found, key=lambda report: report.name)

    def _report(self, file: Surveyed) -> FileReport:
        """What is said of every file."""
        report = FileReport(file.name, file.kind, file.size, "whole")
        report.database = str(file.database) if file.database else None
        survey = self._survey
        if file.kind in {"foreign", "temporary"}:
            report.condition = "unfinished" if file.kind == "temporary" else "unknown"
            if file.content:
                report.reason = f"by its content it is {file.content}"
            elif file.error is not None:
                report.reason = getattr(file.error, "reason", str(file.error))
        elif file.error is not None:
            _blame(report, file)
            if file.database and not survey.is_ours(file):
                report.condition = "other database"
        return report

    def _checkpoint(self, file: CheckpointFile) -> FileReport:
        report = self._report(file)
        report.operations = file.operations
        report.last_lsn = file.header.lsn if file.header else None
        if file.header is not None and file.header.pinned and report.condition == "whole":
            report.reason = self._why_pinned(file.header.lsn)
        return report

    def _why_pinned(self, lsn: int) -> str:
        """What keeps a checkpoint that is kept for its own sake."""
        after = [s for s in self._named if s.header is None or s.header.first_lsn <= lsn + 1]
        path = shlex.quote(self._survey.files.directory.path)
        if not after:
            what = "kept by a migration or a rewind, as the way back"
        elif any(s.header and s.header.barrier and s.first_lsn == lsn + 1 for s in after):
            what = f"kept as the way back over LSN {lsn + 1}, which replaced the state"
        else:
            what = "left by a migration or a rewind that was interrupted; harmless"
        return f"{what}. 'cairn forget {path} {lsn}' lets it go"

    def _interrupted(self, file: CheckpointFile) -> FileReport:
        report = self._checkpoint(file)
        if report.condition in {"whole", "unfinished"}:
            report.condition = "unfinished"
            report.reason = (
                "the new state of a migration or a rewind that was interrupted before it took "
                "effect; harmless. The next opening removes it"
            )
        return report

    def _segment(self, file: SegmentFile) -> FileReport:
        report = self._report(file)
        self._count(report, file)
        if report.condition == "whole":
            self._judge(report, file)
        return report

    @staticmethod
    def _count(report: FileReport, file: SegmentFile) -> None:
        report.epoch, report.first_lsn = file.publication[0], file.first_lsn
        report.frames = sum(run.frames for run in file.runs)
        report.marks = sum(run.marks for run in file.runs)
        report.entries = sum(run.last_lsn - run.first_lsn + 1 for run in file.runs)
        report.sealed = file.sealed
        runs = list(file.runs)
        if file.header is not None and runs:
            report.last_lsn = runs.pop(0).last_lsn
        report.behind = _ranges(runs)

    def _judge(self, report: FileReport, file: SegmentFile) -> None:
        """Of a segment with a good header: is it on the chain, and good as far as it must be."""
        if not file.runs:
            report.condition, report.reason = "unknown", "it was removed while it was looked at"
            return
        on_chain = file.name in {segment.name for segment in self.chain}
        successor = self._successors.get(file.name)
        if not on_chain:
            self._judge_off_chain(report, file)
        elif successor is not None:
            header = successor.header
            report.trusted_end, report.trusted_by = header.predecessor_end, successor.name
            stop = file.runs[0].stops.get(header.first_lsn - 1)
            if file.bad_offset < header.predecessor_end:
                _damage(report, file.bad_offset, file.reason)
            elif stop is None or stop.running != header.running:
                reason = f"it should end with LSN {header.first_lsn - 1}, and doesn't"
                _damage(report, header.predecessor_end, f"{reason}, or with other entries")
        else:
            self._judge_newest(report, file)

    def _judge_off_chain(self, report: FileReport, file: SegmentFile) -> None:
        by = [
            segment.name
            for segment in self.chain
            if (segment.header.epoch, segment.header.first_lsn) > file.publication
            and segment.header.first_lsn <= file.first_lsn
        ]
        later = [other for other in self._named if other.publication > file.publication]
        if by:
            report.condition, report.reason = "superseded", f"by {by[-1]}"
        elif later:
            report.reason = "what follows it is missing or damaged"

    def _judge_newest(self, report: FileReport, file: SegmentFile) -> None:
        newest = file is self._named[0]
        last_lsn = file.runs[0].last_lsn
        proof = self._survey.proof
        proven = proof.lsn if proof is not None else 0
        prediction = self._prediction
        if newest and prediction.newest is not None:
            report.trusted_end = prediction.newest.trusted.offset
            report.trusted_by = proof.file if proof else None
        error = prediction.error
        blamed = isinstance(error, CorruptError) and error.file.endswith(f"/{file.name}")
        if newest and isinstance(error, CorruptError) and blamed:
            _damage(report, error.offset, error.reason)
        elif newest and proven > last_lsn and error is not None:
            reason = f"{file.reason or 'the file ends'}, and everything up to LSN {proven} is"
            _damage(report, file.bad_offset, f"{reason} known to have been synced")
        elif file.used_end > file.bad_offset:
            report.condition = "torn tail"
            report.offset, report.reason = file.bad_offset, file.reason


def _blame(report: FileReport, file: Surveyed) -> None:
    report.condition = "damaged"
    if isinstance(file.error, CorruptError):
        _damage(report, file.error.offset, file.error.reason)
    else:  # a later format version
        report.condition, report.reason = "unknown", str(file.error)


def _damage(report: FileReport, offset: int, reason: str) -> None:
    report.condition, report.offset, report.reason = "damaged", offset, reason


def _ranges(runs: list[Run]) -> list[tuple[int, int]]:
    return [(run.first_lsn, run.last_lsn) for run in runs if run.last_lsn >= run.first_lsn]
