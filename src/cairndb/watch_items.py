"""What a watch gives: items, the changes in them, and positions to go on from.

A *position* is an LSN and the running checksum of the log there, written `4711-1b2e9ab0`. An LSN
alone can be used again after a lost tail; with its checksum it says which history it belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cairndb.errors import UsageError
from cairndb.notation import path_text

if TYPE_CHECKING:
    from datetime import datetime

    from cairndb.chain import Position

_TEXT = re.compile(r"(\d{1,19})(?:-([0-9a-f]{8}))?", re.ASCII)


class Start(NamedTuple):
    """Where to go on after, as it was given."""

    lsn: int
    running: int | None
    """None: an LSN alone was given, and whatever history it is in is taken."""


def position_text(position: Position) -> str:
    """A position as items carry it, and as `since` takes it."""
    return f"{position.lsn}-{position.running:08x}"


def parse_position(given: str | int) -> Start:
    """Read a position, or an LSN alone.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(given, int) and given >= 0:
        return Start(given, None)
    match = _TEXT.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise UsageError(
            f"{given!r} isn't a position: give an LSN, or the `position` of an item, as "
            "'4711-1b2e9ab0'"
        )
    return Start(int(match[1]), int(match[2], 16) if match[2] else None)


@dataclass(frozen=True, slots=True)
class ValueChange:
    """One path whose value an update changed.

    Args:
        path: the steps from the root: names of fields as they are stored, keys, positions.
        before: the value before; None also where there was none, see `kind`.
        after: the value after; None also where it is gone.
        kind: whether the path is new, has another value, or is gone.
    """

    path: tuple[Any, ...]
    before: Any
    after: Any
    kind: Literal["added", "changed", "removed"]

    @property
    def pointer(self) -> str:
        """The path as text, as patterns and the command take it: `/accounts/alice/balance`."""
        return path_text(self.path)


@dataclass(frozen=True, slots=True)
class Change:
    """One item of a watch: what one update changed under the pattern, all of it.

    Args:
        kind: `update`; `initial`: all there is, as of `lsn`; `bookmark`: nothing, up to `lsn`.
        lsn: the number of the update.
        position: to go on from, as `since`.
        time: of the update, in UTC; None for `initial`, and for a `bookmark` at which it isn't
            known.
        call: the name of what was run, if the database keeps that (`audit=True`); `rewind` and
            `change schema` for what replaced the whole state.
        changes: each path whose value differs; none for a `bookmark`.
    """

    kind: Literal["update", "initial", "bookmark"]
    lsn: int
    position: str
    time: datetime | None
    call: str | None
    changes: tuple[ValueChange, ...]
