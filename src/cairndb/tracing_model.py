"""From calls to lines with marks: what each process had open and locked, and what went wrong.

No files, no clocks, no processes: the same calls give the same lines. Four things are anomalies:

1. a lock obtained on a file that isn't the one of that name any more, by a process that goes on;
2. two holders of one name;
3. an unlink that fails because another process was first;
4. a file that gets a name by rename or link while what was written to it hasn't been synced.

What isn't certain by the order of the trace (`tracing_events`) isn't marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cairndb.tracing_anomalies import (
    EARLY_RENAME,
    LATE_UNLINK,
    NAMELESS,
    TWO_HOLDERS,
    Anomaly,
    Judged,
    Line,
)
from cairndb.tracing_events import Call, in_order
from cairndb.tracing_files import File, Names
from cairndb.tracing_holds import Hold, met
from cairndb.tracing_paths import asked_for, resolved
from cairndb.tracing_tables import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.tracing_events import Trace

_SHOWN: Final = frozenset({"open", "close", "lock", "unlock", "sync", "unlink", "rename", "link"})


class _Open:
    """An open file, which several descriptors of several processes may lead to."""

    def __init__(self, file: File, call: Call) -> None:
        self.file = file
        self.call = call
        self.path = call.path
        self.references = 1
        self.hold: Hold | None = None


def judge(
    trace: Trace, patterns: Sequence[str] | None = None, *, everything: bool = False
) -> Judged:
    """Follow a trace, and find what went wrong in it.

    Args:
        trace: as it was read.
        patterns: absolute paths, see `tracing_paths.asked_for`; None: those of the recording.
        everything: have lines for reads, writes, looks, forks, execs and exits too.

    Returns:
        The lines and holds of the paths that were asked for.
    """
    calls = resolved(in_order(list(trace.calls)), trace.heading.directory)
    model = _Model(calls, trace)
    for call in calls:
        model.follow(call)
    model.finish()
    test = asked_for(trace.heading.patterns if patterns is None else patterns)
    shown = _SHOWN if not everything else None

    def wanted(line: Line) -> bool:
        if shown is not None and line.call not in shown:
            return False
        return test(line.path) or test(line.other) or (not line.path and shown is None)

    return Judged(
        lines=[line for line in model.lines if wanted(line)],
        holds=[hold for hold in model.holds if test(hold.path)],
        begun=model.begun,
        ended=max((call.finished for call in calls), default=model.begun) - model.begun,
        calls=len(calls),
    )


class _Model:
    def __init__(self, calls: Sequence[Call], trace: Trace) -> None:
        self._names = Names(calls, trace.heading.known)
        self._tables: Tables[_Open] = Tables()
        self._opened: dict[int, dict[str, Call]] = {}
        self._seen: dict[int, Call] = {}
        self._records: dict[int, list[Hold]] = {}
        self._shown: dict[int, Line] = {}
        self.begun = min((call.started for call in calls), default=0.0)
        self.lines: list[Line] = []
        self.holds: list[Hold] = []

    def follow(self, call: Call) -> None:
        """Take the next call."""
        one = self._tables.get(call.process, call.descriptor)
        self._line(call, one)
        match call.name:
            case "open" if not call.error:
                self._open(call)
            case "lock" if not call.error and one is not None:
                self._lock(call, one)
            case "unlock" if not call.error and one is not None:
                self._unlock(call, one)
            case "look":
                self._look(call, one)
            case "read" | "write" | "sync" if not call.error and one is not None:
                self._use(call, one)
            case "syncall":
                self._names.synced(call)
            case "unlink":
                self._unlink(call)
            case "rename" | "link" if not call.error:
                self._rename(call, one)
            case _:
                pass
        self._descriptors(call)
        if "killed" not in call.words:
            self._seen[call.process] = call

    def _line(self, call: Call, one: _Open | None) -> None:
        file = one.file if one is not None and call.name != "open" else None
        line = Line(
            time=call.time - self.begun,
            process=call.process,
            thread=call.thread,
            call=call.name,
            path=call.path or (one.path if one is not None else ""),
            other=call.other,
            descriptor=call.descriptor,
            result=call.error or "ok",
            words=sorted(call.words),
            device=call.device,
            inode=call.inode,
            links=call.links,
            inferred=False,
            anomalies=[],
        )
        self.lines.append(line)
        self._infer(line, file)

    @staticmethod
    def _infer(line: Line, file: File | None) -> None:
        if file is not None and not line.inode and file.inode:
            line.device, line.inode, line.links = file.device, file.inode, file.links
            line.inferred = True

    def _mark(self, number: int, kind: str, path: str, processes: list[int], text: str) -> None:
        self.lines[number].anomalies.append(Anomaly(kind, path, processes, text))

    def _open(self, call: Call) -> None:
        one = _Open(self._names.opened(call), call)
        if not call.inode:
            self._infer(self.lines[-1], one.file)
        ends = "close on exec" in call.words
        before = self._tables.put(call.process, call.descriptor, one, close_on_exec=ends)
        if before is not None:  # its close wasn't seen
            self._dropped(call, before)
        self._opened.setdefault(call.process, {})[call.path] = call
        if "lock" in call.words or "lock shared" in call.words:
            words = {"flock"} | ({"shared"} if "lock shared" in call.words else set())
            self._lock(msgspec.structs.replace(call, words=call.words | words), one)

    def _lock(self, call: Call, one: _Open) -> None:
        one.file.learn(call)
        doubtful = call.links < 0 and not self._names.steady(one.call, call.ended)
        stale = self._stale(call, one)
        hold = Hold(call, len(self.lines) - 1, one.path, one.file, stale, doubtful=doubtful)
        if hold.kind == "record":
            mine = self._records.setdefault(call.process, [])
            for before in [each for each in mine if each.file is one.file and _meet(each, hold)]:
                before.end(call.begun, call.started, "")
                mine.remove(before)
            mine.append(hold)
        else:
            if one.hold is not None:
                # Locked another way: the system lets go first.
                one.hold.end(call.begun, call.started, "" if not one.hold.stale else "locked again")
            one.hold = hold
        self.holds.append(hold)

    def _stale(self, call: Call, one: _Open) -> str:
        """Why this isn't the file of its name any more; empty if it is, or may be."""
        if "unnamed" in one.call.words:
            return ""
        removal = self._names.removals.get(one.path)
        known = removal is not None and removal.between(one.call.ended, call.ended)
        if known and removal is not None and removal.call.thread == call.thread:
            return ""  # what it did to the name it knows
        if known or call.named is False or call.links == 0:
            return f"{one.path} was {removal}" if known else f"{one.path} was removed"
        return ""

    def _unlock(self, call: Call, one: _Open) -> None:
        if "record" not in call.words:
            if one.hold is not None:
                one.hold.end(call.begun, call.started, "unlocked it")
                one.hold = None
            return
        mine = self._records.get(call.process, [])
        for hold in [each for each in mine if each.file is one.file]:
            if hold.call.span[0] < call.span[1] and call.span[0] < hold.call.span[1]:
                hold.end(call.begun, call.started, "unlocked it")
                mine.remove(hold)

    def _holds_of(self, process: int, path: str = "", one: _Open | None = None) -> list[Hold]:
        """What a process holds, by a name or through an open file.

        What one thread does to a name says nothing of what another knows of it: `_by_name`.
        """
        found = [
            hold for hold in self._records.get(process, []) if hold.path == path or _on(hold, one)
        ]
        opens = {value for value, _ in self._tables.of(process).values()}
        return found + [
            each.hold
            for each in opens
            if each.hold is not None and (each is one or each.path == path)
        ]

    def _look(self, call: Call, one: _Open | None) -> None:
        file = self._names.looked(call, None if one is None else one.file)
        if one is not None and file is not None:
            one.file = file
        for hold in self._holds_of(call.process, call.path, one):
            if file is not None and one is not None:
                hold.file = file
            if one is not None or _by_name(hold, call):
                hold.look(call)

    def _use(self, call: Call, one: _Open) -> None:
        if call.name == "write" and "synchronous" not in one.call.words:
            self._names.written(call, one.file)
        if call.name == "sync":
            self._names.synced(call, one.file)
        verb = {"read": "read it", "write": "wrote to it", "sync": "synced it"}[call.name]
        for hold in self._holds_of(call.process, one=one):
            hold.use(verb)

    def _unlink(self, call: Call) -> None:
        for hold in self._holds_of(call.process, call.path):
            if _by_name(hold, call):
                hold.use("removed the name" if not call.error else "tried to remove the name")
            if not call.error:
                hold.given_up = min(hold.given_up, call.begun)
        if not call.error:
            self._infer(self.lines[-1], self._names.unlinked(call))
        elif call.error == "ENOENT":
            self._late(call)

    def _late(self, call: Call) -> None:
        """An unlink found no such name."""
        opened = self._opened.get(call.process, {}).get(call.path)
        removal = self._names.removals.get(call.path)
        if opened is None or removal is None or removal.call.ended <= opened.begun:
            return
        other = removal.call.process
        if removal.call.thread != call.thread:
            text = f"{call.path} was {removal} first"
            self._mark(len(self.lines) - 1, LATE_UNLINK, call.path, [other, call.process], text)

    def _rename(self, call: Call, one: _Open | None) -> None:
        for path in (call.path, call.other) if call.name == "rename" else ():
            for hold in self._holds_of(call.process, path):
                if _by_name(hold, call):
                    hold.use("renamed it" if path == call.path else "replaced it")
                hold.given_up = min(hold.given_up, call.begun)
        if call.name == "link":
            file = self._names.linked(call, None if one is None else one.file)
        else:
            file = self._names.renamed(call)
        self._infer(self.lines[-1], file)
        if file is not None and file.unsynced is not None and file.unsynced.ended <= call.begun:
            writer = file.unsynced.process
            by = "" if writer == call.process else f" (by {writer})"
            text = f"what was written to {call.path}{by} hasn't been synced"
            self._mark(len(self.lines) - 1, EARLY_RENAME, call.other, [call.process], text)

    def _descriptors(self, call: Call) -> None:
        if call.name == "fork":
            for one, _ in list(self._tables.of(call.process).values()):
                one.references += "thread" not in call.words
            self._opened[call.target] = dict(self._opened.get(call.process, {}))
        elif call.name == "dup" and not call.error and call.target != call.descriptor:
            copied = self._tables.get(call.process, call.descriptor)
            if copied is not None:
                copied.references += 1
        for one in self._tables.follow(call):
            self._dropped(call, one)
        if call.name == "exit":
            for hold in self._records.pop(call.process, []):
                self._end(call, hold)

    def _dropped(self, call: Call, one: _Open) -> None:
        """A descriptor is gone, and with the last one what was held through it."""
        one.references -= 1
        mine = self._records.get(call.process, [])
        # Whichever descriptor of a file is closed, all its record locks of the process go.
        for hold in [each for each in mine if each.file is one.file]:
            mine.remove(hold)
            self._end(call, hold)
        if one.references <= 0 and one.hold is not None:
            self._end(call, one.hold)
            one.hold = None

    def _end(self, call: Call, hold: Hold) -> None:
        if "killed" in call.words:
            # The report may be late: until when it was there is what is known.
            seen = self._seen.get(call.process, hold.call)
            hold.end(seen.begun, seen.started, "")
            return
        words = {"exit": "ended", "exec": "ran another program"}
        hold.end(call.begun, call.started, words.get(call.name, "closed it"))

    def finish(self) -> None:
        """The trace has ended: mark what needed all of it."""
        for hold in self.holds:
            hold.settle()
            if hold.stale and hold.went_on:
                text = f"{hold.stale}, and {hold.call.process} {hold.went_on}"
                self._mark(hold.line, NAMELESS, hold.path, [hold.call.process], text)
            elif hold.stale:
                hold.dismissed = True
        for first, second in met(self.holds):
            who = [first.call.process, second.call.process]
            text = f"{first.call.process} has {first.path} locked too"
            self._mark(second.line, TWO_HOLDERS, second.path, who, text)


def _meet(one: Hold, other: Hold) -> bool:
    return one.call.span[0] < other.call.span[1] and other.call.span[0] < one.call.span[1]


def _by_name(hold: Hold, call: Call) -> bool:
    """Whether a call on the name of a hold is by who has it."""
    return hold.call.thread == call.thread or hold.call.process != call.process


def _on(hold: Hold, one: _Open | None) -> bool:
    return one is not None and hold.file is one.file
