"""Rescue: what can still be read of a database, into a new one beside it. Never in place.

The state is the fold of a route (see `salvage_routes`), up to its end, to an LSN that was asked
for, or to the entry that can't be applied. What is readable behind that, and can't be applied since
something before it is missing, is counted, and given out on request: for a person to do it again.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID  # noqa: TC003  msgspec resolves it at run time
from zlib import crc32

import msgspec

from cairndb import codec
from cairndb.chain import Files, Position
from cairndb.checkpoint import Checkpoint
from cairndb.errors import CairnError, CorruptError, UsageError
from cairndb.files import path_in
from cairndb.fold import Fold
from cairndb.frame import FrameReader
from cairndb.log import running_checksum
from cairndb.patch import Entry, decode_entries, decode_operations
from cairndb.rebuilding import Content, rebuilding
from cairndb.survey_frames import Run, SegmentFile, patient_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cairndb.salvage_routes import Route, Step
    from cairndb.survey import Survey

Range = tuple[int, int]
"""The first and the last of some LSNs."""


class Lost(NamedTuple):
    """A readable entry that couldn't be kept."""

    lsn: int
    file: str
    entry: Entry | None
    """None if it can't be decoded, though its checksum is right."""


class Salvaged(msgspec.Struct):
    """What was kept and what wasn't."""

    destination: str
    database: UUID
    """The identity of the new database."""
    source: UUID | None
    lsn: int
    """Everything up to it was kept."""
    base: str | None
    """The checkpoint that it was made from."""
    files: list[str]
    """The segments that it was made from."""
    unchecked_lsn: int | None
    """From this LSN on no running checksum could be compared."""
    problem: str
    """Why it ends before what was read, if it does."""
    lost: list[Range]
    lost_readable: list[Range]
    """Of those, what is readable and doesn't connect."""
    notes: list[str]
    """What else is to be known of what it was made from."""
    ignored: list[dict[str, str]]
    """Files that nothing was taken from because of their condition."""


class Folded(NamedTuple):
    """A state, and why it isn't what was asked for."""

    fold: Fold
    position: Position
    problem: str


def choose(routes: Iterable[Route], lsn: int | None) -> Route:
    """The route to a state; the furthest if none is asked for.

    Args:
        routes: as `Routes.find` gives them.
        lsn: of the state.

    Raises:
        CairnError: nothing leads there.
    """
    found = list(routes)
    if not found:
        raise CairnError("nothing can be saved: no checkpoint is whole, and the log has no LSN 1")
    if lsn is None:
        return found[0]
    exact = [route for route in found if route.position.lsn == lsn]
    through = [route for route in found if route.base_lsn <= lsn <= route.position.lsn]
    for route in (*exact, *through):
        if lsn > 0:
            return route
    spans = {(max(route.base_lsn, 1), route.position.lsn) for route in found}
    shown = ", ".join(f"{first} to {last}" for first, last in sorted(spans))
    raise UsageError(f"the state at LSN {lsn} can't be had; these can: LSN {shown}")


def fold_route(files: Files, route: Route, lsn: int | None, proceed: Callable[[], None]) -> Folded:
    """Fold what a route leads through.

    Args:
        files: where.
        route: through them.
        lsn: where to end; None goes as far as the route.
        proceed: called between pieces of the work; may raise to end it.

    Raises:
        CorruptError: the base can't be folded, or files have changed.
    """
    folded = Folded(Fold(), Position(0, 0), "")
    if route.base is not None and route.base.header is not None:
        folded = _fold_base(files, route)
        proceed()
    last_lsn = route.position.lsn if lsn is None else lsn
    for step in route.steps:
        file = files.open(step.segment.name)
        assert step.segment.nonce is not None
        reader = FrameReader(
            patient_reader(file), step.segment.nonce, step.offset, step.end, step.first_lsn
        )
        for frame in reader:
            if folded.position.lsn >= last_lsn or folded.problem:
                return folded
            folded = _replay(folded, frame.payload, frame.entries, last_lsn)
            proceed()
        files.done(step.segment.name)
        if reader.offset != step.end:
            path = path_in(files.directory, step.segment.name)
            raise CorruptError(path, reader.offset, f"{reader.reason}; a moment ago it was good")
    return folded


def _fold_base(files: Files, route: Route) -> Folded:
    assert route.base is not None
    assert route.base.header is not None
    name, header, fold = route.base.name, route.base.header, Fold()
    try:
        checkpoint = Checkpoint(files.directory, name, files.open(name), any_name=True)
        for count, payload in checkpoint.frames():
            for operation in decode_operations(payload, count):
                fold.apply([operation])
    except ValueError as error:
        path = path_in(files.directory, name)
        raise CorruptError(path, 0, f"the checkpoint can't be folded: {error}") from error
    files.done(name)
    return Folded(fold, Position(header.lsn, header.running), "")


def _replay(before: Folded, payload: bytes, count: int, last_lsn: int) -> Folded:
    """Apply the entries of a frame up to an LSN, or up to the first that can't be applied."""
    fold, (lsn, running), _ = before
    if not count:
        return before
    try:
        entries = decode_entries(payload, count)
        parts = [payload] if count == 1 else codec.open_list(codec.as_array(payload, count))
        for entry, part in zip(entries, parts, strict=True):
            if lsn == last_lsn:
                break
            fold.apply(entry.operations)
            lsn, running = lsn + 1, running_checksum(bytes(part), running)
    except ValueError as error:
        problem = f"LSN {lsn + 1} can't be applied, though its checksum is right: {error}"
        return Folded(fold, Position(lsn, running), problem)
    return Folded(fold, Position(lsn, running), "")


def salvage(
    survey: Survey,
    routes: list[Route],
    destination: str,
    *,
    lsn: int | None = None,
    keep_lost: Callable[[Iterator[Lost]], None] | None = None,
    proceed: Callable[[], None] = lambda: None,
) -> Salvaged:
    """Make a new database of what is there.

    Args:
        survey: of the directory.
        routes: through it.
        destination: of the new one: nothing, or an empty directory.
        lsn: of the state to have; None for the furthest.
        keep_lost: is handed the readable entries that are lost, before the database appears.
        proceed: called between pieces of the work; may raise to end it.

    Raises:
        UsageError: there is something at the destination, or no such state.
        CairnError: nothing can be saved.
        DiskFull: there is no room.
        OSError: the system failed.
    """
    source = survey.files.directory
    if Path(destination).resolve().is_relative_to(Path(source.path).resolve()):
        raise UsageError(f"{destination} lies in {source.path}, which is left as it is")
    remaining = list(routes)
    choose(remaining, lsn)
    with closing(Files(source, keep=True)) as files, rebuilding(destination) as build:
        while True:
            route = choose(remaining, lsn)
            try:
                folded = fold_route(files, route, lsn, proceed)
                break
            except CorruptError:
                remaining.remove(route)
        if keep_lost is not None:
            keep_lost(lost_entries(files, survey, folded.position.lsn))
        schema, fingerprint = schema_of(survey, route.steps, route)
        content = Content(folded.fold, folded.position, schema, fingerprint)
        database = build(content, proceed)
    return Salvaged(
        destination=destination,
        database=database,
        source=survey.database,
        lsn=folded.position.lsn,
        base=route.base.name if route.base else None,
        files=list(dict.fromkeys(step.segment.name for step in route.steps)),
        unchecked_lsn=route.unchecked_lsn,
        problem=folded.problem,
        lost=lost_after(survey, folded.position.lsn),
        lost_readable=readable_after(survey, folded.position.lsn),
        notes=route.notes,
        ignored=[],
    )


def schema_of(survey: Survey, steps: list[Step], route: Route) -> tuple[str, str]:
    """The schema of a state, and its fingerprint: of the last entry in it, as far as is known."""
    headers = [step.segment.header for step in reversed(steps)]
    headers += [segment.header for segment in survey.segments if survey.is_ours(segment)]
    for header in (*headers[:1], route.base.header if route.base else None, *headers[1:]):
        if header is not None:
            return header.schema, header.fingerprint
    raise CairnError("nothing can be saved: no file says what the schema is")


def known_lsn(survey: Survey) -> int:
    """The highest LSN that any file speaks of."""
    found = [run.last_lsn for segment in survey.segments for run in segment.runs]
    found += [s.first_lsn - 1 for s in survey.segments if survey.is_ours(s) or not s.database]
    if survey.proof is not None:
        found.append(survey.proof.lsn)
    return max(found, default=0)


def lost_after(survey: Survey, lsn: int) -> list[Range]:
    """The LSNs that there were, and that come after this one."""
    known = known_lsn(survey)
    return [(lsn + 1, known)] if known > lsn else []


def _runs_after(survey: Survey, lsn: int) -> list[tuple[Run, SegmentFile]]:
    found = [
        (run, segment)
        for segment in survey.segments
        for run in segment.runs
        if run.last_lsn > lsn and run.last_frame >= 0
    ]
    return sorted(found, key=lambda pair: pair[0].first_lsn)


def readable_after(survey: Survey, lsn: int) -> list[Range]:
    """The LSNs of readable entries after this one."""
    found: list[Range] = []
    for run, _ in _runs_after(survey, lsn):
        first, last = max(run.first_lsn, lsn + 1), run.last_lsn
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def lost_entries(files: Files, survey: Survey, lsn: int) -> Iterator[Lost]:
    """The readable entries after an LSN, each once.

    Args:
        files: to read from.
        survey: of them.
        lsn: the last that was kept.
    """
    seen: set[tuple[int, int]] = set()
    for run, segment in _runs_after(survey, lsn):
        assert segment.nonce is not None
        read = patient_reader(files.open(segment.name))
        for frame in FrameReader(read, segment.nonce, run.offset, run.end, run.first_lsn):
            if frame.first_lsn + frame.entries - 1 <= lsn:
                continue
            for number, (entry, part) in enumerate(_decoded(frame.payload, frame.entries)):
                key = (frame.first_lsn + number, crc32(part))
                if key[0] > lsn and key not in seen:
                    seen.add(key)
                    yield Lost(key[0], segment.name, entry)
        files.done(segment.name)


def _decoded(payload: bytes, count: int) -> list[tuple[Entry | None, bytes]]:
    try:
        parts = codec.open_list(codec.as_array(payload, count))
        entries = decode_entries(payload, count)
    except ValueError:
        return [(None, b"")] * count
    return [(entry, bytes(part)) for entry, part in zip(entries, parts, strict=True)]
