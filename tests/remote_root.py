"""What clients call in tests: each update counts how often it was applied."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cairndb
from cairndb.client import Client, connect
from cairndb.client_waiting import Pauses
from remote import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Refusal(Exception):  # noqa: N818  as an application might call it
    """The application's own error."""


class Tally(cairndb.Record):
    """The root: how often each name was counted."""

    counts: dict[str, int] = {}
    queue: list[str] = []

    @cairndb.update
    def count(self, name: str) -> int:
        """Count a name once more."""
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]

    @cairndb.update
    def refuse(self, name: str) -> None:
        """Change something, and raise."""
        self.counts[name] = 1
        raise Refusal(name)

    @cairndb.update
    def count_long(self, name: str, length: int) -> str:
        """Count a name, and return something long."""
        self.counts[name] = self.counts.get(name, 0) + 1
        return "x" * length

    @cairndb.query
    def counted(self, name: str) -> int:
        """How often a name was counted."""
        return self.counts.get(name, 0)


class Unpaused(Pauses):
    """Pauses of no length."""

    def __init__(self) -> None:
        super().__init__(lambda _least, _most: 0.0)


@contextmanager
def served(directory: Path, **options: Any) -> Iterator[Served]:
    """A tally that is served."""
    with (
        cairndb.open(directory / "tally.cairn", Tally, durability="process") as db,
        Served(db, Tally, **options) as server,
    ):
        yield server


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[Client[Tally]]:
    """A client that doesn't pause between its tries."""
    with connect(url, Tally, **options) as client:
        client._target.link.pauses = Unpaused
        yield client


def count_of(server: Served, name: str) -> int:
    """How often a name was counted, as the owner has it."""
    with server.service.database.view() as tally:
        found: int = tally.counts.get(name, 0)
        return found
