"""How much of the past a database keeps: nothing beyond what safety needs, a time, a size, or all.

What safety needs is never given up: the last two checkpoints, and the log after the older of them.
Beyond it the log is kept back to a checkpoint, since nothing leads to a state without one; and of
the checkpoints in between so many that they take no more room than the log they stand in. Fewer
would make the past slow to reach, more would cost disk for nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cairndb.errors import UsageError

_UNITS = {
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_TEXT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")


class Retention(NamedTuple):
    """What to keep beyond what safety needs: of these, the one that isn't None; else nothing."""

    microseconds: int | None = None
    """Every state that was the current one at any time from so long ago on."""
    bytes: int | None = None
    """As much as fits into so many bytes of log and checkpoints."""

    def text(self) -> str | None:
        """As `parse_retention` reads it; None if nothing is to be kept beyond what safety needs."""
        if self == ALL:
            return "all"
        for unit in ("d", "h", "m", "s"):
            count, rest = divmod(self.microseconds or 0, int(_UNITS[unit] * 1_000_000))
            if count and not rest:
                return f"{count}{unit}"
        if self.microseconds is not None:
            return f"{self.microseconds / 1e6:g}s"
        if self.bytes is None:
            return None
        return next(
            f"{self.bytes // _UNITS[unit]:.0f}{unit}"
            for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "kB", "KiB", "B")
            if not self.bytes % _UNITS[unit]
        )


ALL = Retention(microseconds=1 << 62)
NOTHING = Retention()


class Base(NamedTuple):
    """A checkpoint as a place that history can begin at."""

    lsn: int
    created: int
    """Microseconds since the epoch of Unix time; not before the time of its last entry."""
    size: int
    """In bytes."""
    log_bytes: int
    """Of the log from it to the next one."""


def parse_retention(text: str | None) -> Retention:
    """Read `"7d"`, `"12h"`, `"10GiB"`, `"all"`, or None.

    Raises:
        UsageError: it is none of these.
    """
    if text is None:
        return NOTHING
    if text == "all":
        return ALL
    match = _TEXT.fullmatch(text)
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        raise UsageError(
            f'retain={text!r} isn\'t understood: give a time like "7d" or "12h" (s, m, h, d, w), a '
            'size like "10GiB" or "500MB", "all", or None'
        )
    amount = float(match[1]) * unit
    if isinstance(unit, float):
        return Retention(microseconds=int(amount * 1_000_000))
    return Retention(bytes=int(amount))


def oldest_to_keep(retention: Retention, bases: list[Base], now: int) -> int:
    """The LSN that history is to begin at; 0 for its very beginning.

    Args:
        retention: what is asked for.
        bases: the checkpoints that there are, oldest first, and first one of LSN 0 if the log
            goes back to LSN 1.
        now: microseconds since the epoch.
    """
    found = bases[-2:][0].lsn if bases else 0
    if retention.microseconds is not None:
        since = now - retention.microseconds
        older = [base.lsn for base in bases if base.created <= since]
        found = min(found, older[-1] if older else bases[0].lsn)
    if retention.bytes is not None:
        total = 0
        for base in reversed(bases):
            total += base.size + base.log_bytes
            if total > retention.bytes:
                break
            found = min(found, base.lsn)
    return found


def spare(bases: list[Base]) -> set[int]:
    """The LSNs of checkpoints in the past that are more than the log's own room is worth.

    Args:
        bases: those to be kept, oldest first; the first and the last two always stay.
    """
    gone: set[int] = set()
    log_bytes = 0
    for base, before in zip(bases[1:-2], bases[:-3], strict=False):
        log_bytes += before.log_bytes
        if base.size > log_bytes:
            gone.add(base.lsn)
        else:
            log_bytes = 0
    return gone
