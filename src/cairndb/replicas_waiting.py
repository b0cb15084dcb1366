"""Those who wait until a replica has got to some LSN: threads and tasks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cairndb.locks_gates import Mutex, open_gate

if TYPE_CHECKING:
    from cairndb.locks_gates import Gate


class Arrivals:
    """Gates that are opened when an LSN has arrived, or when none will any more."""

    def __init__(self) -> None:
        self._mutex = Mutex()
        # Guarded by the mutex:
        self._gates: list[tuple[int, Gate]] = []

    def add(self, lsn: int, gate: Gate) -> None:
        """Have a gate opened; whoever adds one looks once more before it waits there."""
        with self._mutex:
            self._gates.append((lsn, gate))

    def forget(self, gate: Gate) -> None:
        """Don't."""
        with self._mutex:
            self._gates[:] = [each for each in self._gates if each[1] is not gate]

    def reached(self, lsn: int) -> None:
        """Open the gates of those who wait for no more than this."""
        if self._gates:
            self._open(lsn)

    def end(self) -> None:
        """Open all: there is something else to see."""
        self._open(None)

    def _open(self, lsn: int | None) -> None:
        with self._mutex:
            ready = [each for each in self._gates if lsn is None or each[0] <= lsn]
            self._gates[:] = [each for each in self._gates if each not in ready]
        for _, gate in ready:
            with contextlib.suppress(MemoryError):
                open_gate(gate)
