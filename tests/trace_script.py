"""Calls written down one after the other, for tests of what a trace is judged to be."""

from __future__ import annotations

from typing import Any

from cairndb.tracing import Judged, judge
from cairndb.tracing_events import Call, Heading, Trace


class Script:
    """A trace that is being written: each call ends before the next begins."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._place = 0

    def __call__(
        self,
        process: int,
        name: str,
        path: str = "",
        descriptor: int = -1,
        *words: str,
        **more: Any,
    ) -> Script:
        """One call more, which takes the places 1 and 2, the next one 3 and 4, or those given."""
        begun, self._place = self._place + 1, self._place + 2
        usual: dict[str, Any] = {
            "name": name,
            "begun": begun,
            "ended": self._place,
            "started": begun / 1000,
            "finished": self._place / 1000,
            "process": process,
            "thread": process,
            "path": path,
            "descriptor": descriptor,
            "words": frozenset(words),
        }
        call = Call(**usual | more)
        self.calls.append(call)
        return self

    def judged(self, **options: Any) -> Judged:
        """What the model makes of it."""
        heading = Heading(
            cairn_trace=1, tracer="test", system="linux", directory="/d", patterns=["/d"]
        )
        return judge(Trace(heading, self.calls), **options)

    def anomalies(self) -> list[tuple[str, int]]:
        """Their kinds, with the process whose line is marked."""
        return anomalies(self.judged())


def anomalies(judged: Judged) -> list[tuple[str, int]]:
    """The kinds of anomalies, with the process whose line is marked, in order."""
    return [(each.kind, line.process) for line in judged.lines for each in line.anomalies]
