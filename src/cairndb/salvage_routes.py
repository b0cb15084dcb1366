"""Which states a directory still holds: from a whole checkpoint, or from nothing, through the log.

A *route* begins at a base and takes the entries that follow it, from whichever segment has them, as
long as there are any: never over a gap. What connects is decided by positions, an LSN and the
running checksum of everything before it:

1. At a stop whose running checksum is known it must be the route's. Else base and log are of
   different histories, and don't fit together.
2. Of several segments that have the next entry the one published last is right. What the others
   have was written again into it.
3. Behind a bad place the running checksum isn't known. Entries there connect by their LSN; if a
   header names the position at their end, that must come out, and if a segment published later
   begins at or before them, there must be such a header. Where there is none, the route says from
   which LSN on it is unchecked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cairndb.chain import Position
from cairndb.frame import FrameReader
from cairndb.log import running_checksum
from cairndb.survey_frames import Run, SegmentFile, Stop, patient_reader

if TYPE_CHECKING:
    from cairndb.survey import CheckpointFile, Survey

ORIGIN = Position(0, 0)


class Step(NamedTuple):
    """Entries that follow each other in one segment."""

    segment: SegmentFile
    offset: int
    end: int
    first_lsn: int
    last_lsn: int
    copied: bool
    """Whether a segment published later should have them."""


@dataclass
class Route:
    """A state that can be had, and how."""

    base: CheckpointFile | None
    """None: the log from LSN 1 on."""
    position: Position
    """Where it ends."""
    steps: list[Step] = field(default_factory=list)
    unchecked_lsn: int | None = None
    """From this LSN on no running checksum could be compared."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of it: what doesn't fit, what was taken from elsewhere."""

    @property
    def base_lsn(self) -> int:
        """The LSN of the checkpoint; 0 without."""
        return self.base.header.lsn if self.base is not None and self.base.header else 0


def _goes_on(route: Route, step: Step) -> bool:
    """Whether a step goes on in a run that the route has come through, and that was checked."""
    if not route.steps or route.unchecked_lsn is not None:
        return False
    last = route.steps[-1]
    return last.segment is step.segment and last.end == step.offset


class _Way(NamedTuple):
    segment: SegmentFile
    run: Run
    stop: Stop


class Routes:
    """Finds all routes of a directory.

    Args:
        survey: of the directory.
    """

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._ways: dict[int, list[_Way]] = {}
        """What goes on from an LSN, the segment published last first."""
        for segment in survey.segments:
            for run in segment.runs:
                run.stops = dict(sorted(run.stops.items()))
                for lsn, stop in run.stops.items():
                    if lsn < run.last_lsn:
                        self._ways.setdefault(lsn, []).append(_Way(segment, run, stop))
        self._known: dict[int, set[int]] = {}
        """The running checksums that headers name."""
        for segment in survey.segments:
            if segment.header is not None and survey.is_ours(segment):
                self._know(Position(segment.header.first_lsn - 1, segment.header.running))
        for checkpoint in survey.checkpoints:
            if checkpoint.header is not None and survey.is_ours(checkpoint):
                self._know(Position(checkpoint.header.lsn, checkpoint.header.running))

    def _know(self, position: Position) -> None:
        self._known.setdefault(position.lsn, set()).add(position.running)

    def find(self) -> list[Route]:
        """The furthest route from each base: that to the highest LSN first, then the shortest."""
        bases = [c for c in self._survey.checkpoints if c.whole and self._survey.is_ours(c)]
        routes = [self._extended(base) for base in (*bases, None)]
        routes.sort(key=lambda route: (route.position.lsn, route.base_lsn), reverse=True)
        return [route for route in routes if route.position != ORIGIN]

    def _extended(self, base: CheckpointFile | None) -> Route:
        """The route from a base as far as it goes."""
        start = ORIGIN
        if base is not None and base.header is not None:
            start = Position(base.header.lsn, base.header.running)
        route = Route(base, start)
        while self._go_on(route):
            pass
        return route

    def _go_on(self, route: Route) -> bool:
        """Take one more step, if there is one."""
        lsn = route.position.lsn
        ways = self._ways.get(lsn, [])
        return any(
            self._take(route, way) for way in sorted(ways, key=lambda way: way.stop.running is None)
        )

    def _take(self, route: Route, way: _Way) -> bool:
        """Go on to the next stop of a run, if that fits."""
        (lsn, running), name = route.position, way.segment.name
        if way.stop.running not in {None, running}:
            route.notes.append(f"{name} has LSN {lsn + 1}, and another history before it")
            return False
        last_lsn = next(stop for stop in way.run.stops if stop > lsn)
        end, copied = way.run.stops[last_lsn], self._is_superseded(way.segment, lsn + 1)
        step = Step(way.segment, way.stop.offset, end.offset, lsn + 1, last_lsn, copied)
        known = way.stop.running is not None or _goes_on(route, step)
        running = self._running_after(step, running) if end.running is None else end.running
        confirmed = running in self._known.get(last_lsn, ())
        if not known and not confirmed:
            if last_lsn in self._known:
                route.notes.append(
                    f"LSN {lsn + 1} to {last_lsn} in {name} aren't those that follow here: the "
                    "running checksum doesn't match"
                )
                return False
            if copied:
                return False
        if copied and not (route.steps and route.steps[-1].copied):
            route.notes.append(
                f"LSN {lsn + 1}, and what follows it there, comes from {name}: a later segment "
                "should have it, and is damaged"
            )
        route.steps.append(step)
        route.position = Position(last_lsn, running)
        if known or confirmed:
            route.unchecked_lsn = None
        elif route.unchecked_lsn is None:
            route.unchecked_lsn = lsn + 1
        return True

    def _is_superseded(self, segment: SegmentFile, lsn: int) -> bool:
        return any(
            other.publication > segment.publication and other.first_lsn <= lsn
            for other in self._survey.segments
            if other.kind == "segment" and (other.database is None or self._survey.is_ours(other))
        )

    def _running_after(self, step: Step, running: int) -> int:
        """The running checksum after a step; the entries are read for it."""
        files = self._survey.files
        nonce = step.segment.nonce
        assert nonce is not None
        file = files.open(step.segment.name)
        read = patient_reader(file)
        for frame in FrameReader(read, nonce, step.offset, step.end, step.first_lsn):
            running = running_checksum(frame.payload, running)
        files.done(step.segment.name)
        return running
