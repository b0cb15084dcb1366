"""How much memory is left, and that no update takes the last of it.

A process that needs more memory than there is gets killed by the kernel, in the middle of whatever
it does. Nothing acknowledged is lost by that, but nobody is told why, and it happens again as soon
as the database has been opened again. So above a watermark updates are refused, with an error that
says so, while reading goes on.

What there is: what somebody says; else the lowest limit of the control groups that this process is
in (version 2, or 1), against what they use, but for what the kernel keeps of files and can drop;
else the machine's, by `MemAvailable`. What can't be read counts as no limit.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cairndb.errors import MemoryWatermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_SECONDS: Final = 0.1
_UNLIMITED: Final = 1 << 60  # version 1 says about 2**63 where there is no limit
_PROC: Final = Path("/proc")
_GROUPS: Final = Path("/sys/fs/cgroup")


class Reading(NamedTuple):
    """What is used of how much, in bytes."""

    used: int
    limit: int
    what: str
    """Whose limit it is, for people."""


class Watermark:
    """Refuses when too much memory is used.

    Args:
        fraction: of the limit; 0 never refuses.
        limit_bytes: what there is for this process; 0: what the system says.
        read: another source of readings.
        clock: seconds.
    """

    def __init__(
        self,
        fraction: float,
        limit_bytes: int = 0,
        read: Callable[[], Reading | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fraction = fraction
        self._limit_bytes = limit_bytes
        self._read = read or self._own_reading
        self._clock = clock
        # Any thread may write these; that two of them look at the same time harms nothing.
        self._looked_at = -LOOK_SECONDS
        self._refusal: str | None = None
        self.reading: Reading | None = None
        """The last one."""
        self.refused = 0
        """How many updates."""

    def check(self) -> None:
        """Look, unless somebody has within `LOOK_SECONDS`.

        Raises:
            MemoryWatermark: there is too little left.
        """
        if not self._fraction:
            return
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._refusal = self._judge()
        if self._refusal is not None:
            self.refused += 1
            raise MemoryWatermark(self._refusal)

    def _judge(self) -> str | None:
        reading = self.reading = self._read()
        if reading is None or reading.used <= self._fraction * reading.limit:
            return None
        return (
            f"{reading.used >> 20} of {reading.limit >> 20} MiB of memory are used ({reading.what})"
            f", and above {self._fraction:.0%} updates are refused; nothing has happened. The "
            "operator can give it more memory, or a higher --memory-watermark"
        )

    def _own_reading(self) -> Reading | None:
        if self._limit_bytes:
            return Reading(resident_bytes(), self._limit_bytes, "--memory-bytes")
        return system_reading(_PROC, _GROUPS)


def resident_bytes(proc: Path = _PROC) -> int:
    """What this process has in memory."""
    with suppress(OSError, ValueError, IndexError):
        for line in _lines(proc / "self/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    return 0


def system_reading(proc: Path, groups: Path) -> Reading | None:
    """The tightest of what the system says; None if it says nothing.

    Args:
        proc: where /proc is.
        groups: where the control groups are.
    """
    found = list(_of_groups(proc, groups))
    if not found:
        found = list(_of_machine(proc))
    return max(found, key=lambda each: each.used / each.limit, default=None)


def _of_groups(proc: Path, groups: Path) -> Iterator[Reading]:
    """Of each control group around this process that has a limit."""
    for line in _lines(proc / "self/cgroup"):
        _, controllers, name = line.rstrip("\n").split(":", 2)
        if not controllers:
            yield from _upwards(
                groups, name, "memory.max", "memory.current", "", "the control group"
            )
        elif "memory" in controllers.split(","):
            yield from _upwards(
                groups / "memory",
                name,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_",
                "the control group",
            )


def _upwards(  # noqa: PLR0917  names of files, in one place
    root: Path, name: str, limit: str, used: str, prefix: str, what: str
) -> Iterator[Reading]:
    group = root / name.lstrip("/")
    if not group.is_dir():
        group = root  # seen from inside of a container, whose own group is the root
    while True:
        with suppress(OSError, ValueError):
            most = int((group / limit).read_text())  # "max" is no number: no limit
            if 0 < most < _UNLIMITED:
                taken = int((group / used).read_text())
                # What the kernel keeps of files it drops before it kills anybody.
                for kept in ("inactive_file", "active_file"):
                    taken -= _entry(group / "memory.stat", prefix + kept)
                yield Reading(max(taken, 0), most, what)
        if group in {root, group.parent}:
            return
        group = group.parent


def _of_machine(proc: Path) -> Iterator[Reading]:
    total = _entry(proc / "meminfo", "MemTotal:") << 10
    available = _entry(proc / "meminfo", "MemAvailable:") << 10
    if total and available:
        yield Reading(total - available, total, "the machine")


def _entry(path: Path, key: str) -> int:
    for line in _lines(path):
        words = line.split()
        if words and words[0] == key:
            return int(words[1])
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
