"""What a directory holds, what is wrong with it, what opening would do, and what can be done.

Facts come from the `survey`, what opening would do from recovery's own code (`prediction`), the
states that can be had from `salvage_routes`; here they are put together for people and scripts.
Nothing is changed, and no lock is taken. Beside a running owner files change while they are read:
what looks wrong is looked at again, until it looks the same twice.
"""

from __future__ import annotations

import shlex
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003  msgspec resolves it at run time

import msgspec

from cairndb.chain import Files
from cairndb.diagnosis_files import FileReport, Judge
from cairndb.errors import CairnError, CorruptError
from cairndb.frame_search import frame_at
from cairndb.patch import decode_entries
from cairndb.prediction import Prediction, predict
from cairndb.salvage import Range, known_lsn, lost_after, readable_after
from cairndb.salvage_routes import Route, Routes
from cairndb.survey import Survey
from cairndb.survey_frames import patient_reader

if TYPE_CHECKING:
    from cairndb.files import Directory
    from cairndb.survey_frames import Run, SegmentFile

ATTEMPTS = 20
BROKEN = frozenset({"damaged", "other database"})
"""The conditions of files that something has happened to."""


class LogReport(msgspec.Struct):
    """The log as a whole."""

    chain: list[str]
    """The segments that follow each other, oldest first."""
    end_lsn: int
    """The last LSN that connects to a whole checkpoint or to LSN 1."""
    known_lsn: int
    """The highest LSN that any file speaks of."""
    proven_lsn: int
    """Everything up to it is known to have been synced."""
    proven_by: str | None
    proven_at: int | None
    """The offset in that file; 0 is its header."""
    unproven: list[Range]
    """What opening would show, and write again first."""
    missing: list[Range]
    """LSNs that are neither in the log nor in a whole checkpoint."""
    readable: list[Range]
    """LSNs after `end_lsn` that are readable and don't connect."""
    undecidable: bool
    """Whether the end of the log may be a torn write or a damaged one: nothing tells."""
    last_time: str | None
    """Of the update with `end_lsn`."""
    next_time: str | None
    """Of the first readable update after what is missing there."""


class Opening(msgspec.Struct):
    """What `cairndb.open` would do."""

    outcome: str
    """opens, creates or refuses."""
    lsn: int | None = None
    base: str | None = None
    """The checkpoint it would begin with."""
    replayed: int = 0
    """How many updates it would replay on that."""
    rewritten: int = 0
    """How many of these it would write again, as nothing proves them durable."""
    warnings: list[str] = []
    error: str = ""
    file: str | None = None
    offset: int | None = None
    reason: str | None = None


class Choice(msgspec.Struct):
    """Something that can be done."""

    do: str
    """open, cut (end the log early) or checkpoint (take one without the log after it)."""
    lsn: int
    loses: list[Range]
    text: str
    command: str
    """Empty if there is nothing to do."""
    unchecked_lsn: int | None = None


class Diagnosis(msgspec.Struct):
    """Everything, for people and scripts."""

    directory: str
    verdict: str
    healthy: bool
    database: UUID | None
    files: list[FileReport]
    log: LogReport
    opening: Opening
    choices: list[Choice]
    notes: list[str]


@dataclass
class Examined:
    """A diagnosis and what it was made from."""

    diagnosis: Diagnosis
    survey: Survey
    prediction: Prediction
    routes: list[Route]


def examine(directory: Directory) -> Examined:
    """Look at everything in a directory.

    Args:
        directory: not locked; nothing is changed.

    Raises:
        CairnError: an owner changes it all the time.
        OSError: the directory itself can't be read.
    """
    before = None
    for _ in range(ATTEMPTS):
        try:
            examined = _once(directory)
        except FileNotFoundError:
            continue
        found = examined.diagnosis
        seen = (
            found.opening.error,
            [(file.name, file.condition, file.offset) for file in found.files],
        )
        calm = found.healthy and not found.log.undecidable and not examined.survey.vanished
        if calm or seen == before:
            return examined
        before = seen
    raise CairnError(f"{directory.path}: its files change faster than they can be read; try again")


def _once(directory: Directory) -> Examined:
    names = directory.names()
    prediction = predict(directory, names)
    with closing(Files(directory, keep=False)) as files:
        survey = Survey(files, names)
        routes = Routes(survey).find()
        reports = Judge(survey, prediction).reports()
        log = _log(survey, prediction, routes, reports)
    broken = [file for file in reports if file.condition in BROKEN]
    temporary = any(file.kind == "temporary" for file in survey.others)
    exists = bool(survey.segments or survey.checkpoints or survey.identity or temporary)
    healthy = prediction.error is None and not broken and exists
    notes = _notes(survey, prediction, routes, log)
    diagnosis = Diagnosis(
        directory=directory.path,
        verdict=_verdict(directory.path, prediction, log, broken, exists=exists),
        healthy=healthy,
        database=survey.database,
        files=reports,
        log=log,
        opening=_opening(prediction),
        choices=_choices(directory.path, survey, prediction, routes),
        notes=notes,
    )
    return Examined(diagnosis, survey, prediction, routes)


def _log(
    survey: Survey, prediction: Prediction, routes: list[Route], reports: list[FileReport]
) -> LogReport:
    end_lsn = routes[0].position.lsn if routes else 0
    if prediction.error is None:
        end_lsn = prediction.lsn
    proof = survey.proof
    unproven = prediction.proven_lsn + 1, prediction.lsn
    return LogReport(
        chain=prediction.chain or [s.name for s in Judge(survey, prediction).chain],
        end_lsn=end_lsn,
        known_lsn=max(known_lsn(survey), end_lsn),
        proven_lsn=proof.lsn if proof else 0,
        proven_by=proof.file if proof else None,
        proven_at=proof.offset if proof else None,
        unproven=[unproven] if unproven[0] <= unproven[1] else [],
        missing=_missing(survey),
        readable=readable_after(survey, end_lsn),
        undecidable=any(file.condition == "torn tail" for file in reports),
        last_time=_last_time(survey, end_lsn),
        next_time=_next_time(survey, end_lsn),
    )


def _missing(survey: Survey) -> list[Range]:
    """The LSNs that nothing holds any more, of those there were."""
    whole = [c.header.lsn for c in survey.checkpoints if c.whole and c.header and survey.is_ours(c)]
    covered, missing = max(whole, default=0), []
    for first, last in readable_after(survey, covered):
        if first > covered + 1:
            missing.append((covered + 1, first - 1))
        covered = max(covered, last)
    return missing + lost_after(survey, covered)


def _time_of(survey: Survey, segment: SegmentFile, offset: int, index: int) -> str | None:
    """When an entry of the frame at that place was committed."""
    assert segment.nonce is not None
    try:
        read = patient_reader(survey.files.open(segment.name))
        lsns = range(segment.first_lsn, segment.first_lsn + segment.size + 1)
        frame = frame_at(read, segment.nonce, offset, segment.size, lsns)
        if frame is None:
            return None
        entry = decode_entries(frame.payload, frame.count)[index]
        return datetime.fromtimestamp(entry.time / 1e6, UTC).isoformat()
    except (OSError, ValueError, IndexError, OverflowError):
        return None
    finally:
        survey.files.done(segment.name)


def _last_time(survey: Survey, lsn: int) -> str | None:
    for segment, run in _runs(survey):
        if run.last_lsn == lsn and run.last_frame >= 0:
            return _time_of(survey, segment, run.last_frame, -1)
    return None


def _next_time(survey: Survey, lsn: int) -> str | None:
    later = [(run.first_lsn, segment, run) for segment, run in _runs(survey)]
    later = [found for found in later if found[0] > lsn and found[2].last_frame >= 0]
    if not later:
        return None
    _, segment, run = min(later, key=lambda found: found[0])
    return _time_of(survey, segment, run.first_frame, 0)


def _runs(survey: Survey) -> list[tuple[SegmentFile, Run]]:
    return [(segment, run) for segment in survey.segments for run in segment.runs]


def _opening(prediction: Prediction) -> Opening:
    error = prediction.error
    if error is not None:
        opening = Opening("refuses", error=str(error))
        if isinstance(error, CorruptError):
            opening.file, opening.offset, opening.reason = error.file, error.offset, error.reason
        return opening
    return Opening(
        "creates" if prediction.creates else "opens",
        lsn=prediction.lsn,
        base=prediction.base,
        replayed=prediction.lsn - prediction.base_lsn,
        rewritten=prediction.lsn - prediction.proven_lsn,
        warnings=prediction.warnings,
    )


def _choices(
    path: str, survey: Survey, prediction: Prediction, routes: list[Route]
) -> list[Choice]:
    choices = []
    reached = 0
    if prediction.error is None and not prediction.creates:
        reached = prediction.lsn
        text = f"nothing: opening gives the state at LSN {reached}"
        choices.append(Choice("open", reached, lost_after(survey, reached), text, ""))
    ends = set()
    for number, route in enumerate(routes):
        lsn = route.position.lsn
        if lsn <= reached or route.position in ends:
            continue
        ends.add(route.position)
        command = f"cairn doctor {shlex.quote(path)} --salvage {shlex.quote(destination_for(path))}"
        if number:
            command += f" --at {lsn}"
        choices.append(
            Choice(
                "cut" if route.steps else "checkpoint",
                lsn,
                lost_after(survey, lsn),
                f"save the state at LSN {lsn}: {_way(route)}",
                command,
                route.unchecked_lsn,
            )
        )
    return sorted(choices, key=lambda choice: -choice.lsn)


def destination_for(path: str) -> str:
    """A name for the new database beside the old one."""
    stem, dot, suffix = path.rstrip("/").rpartition(".")
    if dot and stem and "/" not in suffix and not stem.endswith("/"):
        return f"{stem}-salvaged.{suffix}"
    return f"{path.rstrip('/')}-salvaged"


def _way(route: Route) -> str:
    """How a route goes, in words."""
    if route.base is None:
        return f"the log from its beginning up to {_end(route)}"
    if not route.steps:
        return f"{route.base.name} without the log after it"
    return f"{route.base.name} and the log after it up to {_end(route)}"


def _end(route: Route) -> str:
    last = route.steps[-1]
    return f"byte {last.end} of {last.segment.name}"


def _notes(
    survey: Survey, prediction: Prediction, routes: list[Route], log: LogReport
) -> list[str]:
    """What a person should know besides."""
    notes = []
    if survey.identity is None and survey.database is not None:
        notes.append(f"DATABASE is lost or damaged; the other files say {survey.database}")
    if log.undecidable and prediction.error is None:
        notes.append(
            f"what follows LSN {prediction.lsn} is a write that a crash has torn, or the last "
            "update, damaged later: nothing here proves which. A torn write was never acknowledged"
        )
    if prediction.error is None and routes and routes[0].position.lsn > prediction.lsn:
        notes.append(
            f"opening ends at LSN {prediction.lsn}, since nothing proves what follows; "
            f"saved can be what is readable up to LSN {routes[0].position.lsn}"
        )
    if routes and routes[0].unchecked_lsn is not None:
        notes.append(
            f"from LSN {routes[0].unchecked_lsn} on the log connects by its numbers only: the "
            "running checksum can't be compared, since what comes before is damaged"
        )
    notes += [text for route in routes[:1] for text in route.notes]
    return notes


def _verdict(
    path: str,
    prediction: Prediction,
    log: LogReport,
    broken: list[FileReport],
    *,
    exists: bool,
) -> str:
    """All of it in a sentence."""
    if not exists:
        why = prediction.error or "there is no file of one in it"
        return f"{path} holds no database: {why}"
    if prediction.error is not None:
        of = f" of {log.known_lsn}" if log.known_lsn > log.end_lsn else ""
        saved = f"the state at LSN {log.end_lsn}{of}" if log.end_lsn else "nothing"
        return f"{path} is damaged: opening refuses it; {saved} can be saved"
    if prediction.creates:
        return f"{path} was interrupted in creation: nothing was in it yet, and opening goes on"
    condition = "is whole"
    if broken:
        names = ", ".join(file.name for file in broken)
        condition = f"opens, and has damage that opening can do without ({names})"
    elif log.undecidable:
        condition = "is whole but for what looks like a torn write at its end"
    again = prediction.lsn - prediction.proven_lsn
    rewritten = f", of which the last {again} will be written again" if again else ""
    return f"{path} {condition}: opening gives the state at LSN {prediction.lsn}{rewritten}"
