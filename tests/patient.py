"""A database that is served, whose methods take as long as a test wants them to."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cairndb

if TYPE_CHECKING:
    from cairndb.service import Answer, Handler, Request


class Patient(cairndb.Record):
    """The root."""

    done: list[str] = []
    counts: dict[str, int] = {}

    @cairndb.update
    def count(self, name: str) -> int:
        """Count up."""
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]

    @cairndb.update
    def fill(self, name: str, size: int) -> int:
        """Take up room."""
        self.done.append(name * size)
        return size

    @cairndb.update
    def wait_for_file(self, path: str) -> str:
        """Begin, say so by a file, and go on when there is another."""
        Path(f"{path}.begun").touch()
        while not Path(path).exists():
            time.sleep(0.005)  # until the next look
        self.done.append(path)
        return "done"

    @cairndb.update
    def sabotage(self) -> None:
        """Have the next write of the log fail."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  of this process
            with contextlib.suppress(OSError):
                if Path(f"/proc/self/fd/{number}").readlink().suffix == ".seg":
                    os.dup2(nothing, number)
        self.done.append("sabotage")

    @cairndb.query
    def total(self) -> int:
        """How often anything was counted."""
        return sum(self.counts.values())


def polite(handler: Handler) -> Handler:
    """As an application wraps what is done for others."""

    def handle(request: Request) -> Answer:
        if request.target == "count" and request.data == [b"rude"]:
            raise ValueError("say please")
        return handler(request)

    return handle


def open_patient(path: str) -> cairndb.Database[Patient]:
    """As an application opens it that has options of its own."""
    return cairndb.open(path, Patient, durability="interval")


def open_nothing(path: str) -> str:
    """As one that is mistaken."""
    return path


NUMBER = 5
