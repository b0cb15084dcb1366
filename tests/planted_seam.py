"""Bugs at the seam: what a disk does wrong, or a careless call to it, under every simulated file.

A `Seam` is a file that hands every call through, but for what it overrides.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from simulated import SimulatedDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from cairndb.files import Directory, File

    Plant = Callable[[pytest.MonkeyPatch], None]


SECTOR = 512


class Seam:
    """A file that hands every call through; see `cairndb.files.File`."""

    def __init__(self, directory: Directory, inner: File) -> None:
        self.directory = directory
        self.inner = inner

    @property
    def path(self) -> str:
        return self.inner.path

    @path.setter
    def path(self, path: str) -> None:
        self.inner.path = path

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def temporary(self) -> bool:
        return ".tmp-" in self.name

    def read(self, offset: int, length: int) -> bytes:
        return self.inner.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self.inner.write(offset, data)

    def sync(self) -> None:
        self.inner.sync()

    def allocate(self, length: int) -> None:
        self.inner.allocate(length)

    def truncate(self, length: int) -> None:
        self.inner.truncate(length)

    def size(self) -> int:
        return self.inner.size()

    def hold(self, *, exclusive: bool) -> bool:
        return self.inner.hold(exclusive=exclusive)

    def close(self) -> None:
        self.inner.close()


def plant_files(
    monkeypatch: pytest.MonkeyPatch, wrap: Callable[[SimulatedDirectory, File], File]
) -> None:
    """Have every file of every simulated directory go through `wrap`."""
    opened: Callable[..., File] = SimulatedDirectory.open
    created: Callable[..., File] = SimulatedDirectory.create

    def open_(self: SimulatedDirectory, name: str, *, write: bool = False) -> File:
        return wrap(self, opened(self, name, write=write))

    def create(self: SimulatedDirectory, name: str) -> File:
        return wrap(self, created(self, name))

    monkeypatch.setattr(SimulatedDirectory, "open", open_)
    monkeypatch.setattr(SimulatedDirectory, "create", create)


def lying_sync(begins: str, *, temporary: bool | None = None) -> Plant:
    """Syncs of files of a name do nothing; of those under a temporary name, or of the others."""

    class Unsynced(Seam):
        def sync(self) -> None:
            if not self.name.startswith(begins) or temporary not in {None, self.temporary}:
                self.inner.sync()

    return lambda monkeypatch: plant_files(monkeypatch, Unsynced)


def lying_directory_sync(begins: str) -> Plant:
    """The sync of the directory does nothing after a renaming to a name."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        rename, sync = SimulatedDirectory.rename, SimulatedDirectory.sync
        last = [""]

        def renamed(self: SimulatedDirectory, old: str, new: str) -> None:
            last[0] = new
            rename(self, old, new)

        def synced(self: SimulatedDirectory) -> None:
            if not last[0].startswith(begins):
                sync(self)

        monkeypatch.setattr(SimulatedDirectory, "rename", renamed)
        monkeypatch.setattr(SimulatedDirectory, "sync", synced)

    return plant


def at_seam(wrapper: type[Seam]) -> Plant:
    """Every file is one of these."""
    return lambda monkeypatch: plant_files(monkeypatch, wrapper)


class Retried(Seam):
    """A sync that fails is tried again."""

    def sync(self) -> None:
        try:
            self.inner.sync()
        except OSError:
            self.inner.sync()


class Ignored(Seam):
    """A sync that fails is taken for one that didn't."""

    def sync(self) -> None:
        with suppress(OSError):
            self.inner.sync()


class Short(Seam):
    """A write stops at the end of a sector, and nobody looks how much was written."""

    def write(self, offset: int, data: bytes) -> None:
        self.inner.write(offset, data[: max(SECTOR - offset % SECTOR, 24)])


class Holed(Seam):
    """A write that fails leaves a hole, and the next one goes behind it."""

    def write(self, offset: int, data: bytes) -> None:
        with suppress(OSError):
            self.inner.write(offset, data)


class Late(Seam):
    """What is written to a segment waits in a buffer that is handed over after the sync."""

    waiting: tuple[tuple[int, bytes], ...] = ()

    def write(self, offset: int, data: bytes) -> None:
        if self.temporary:
            self.inner.write(offset, data)
        else:
            self.waiting += ((offset, data),)

    def sync(self) -> None:
        self.inner.sync()
        while self.waiting:
            (first, *rest) = self.waiting
            self.waiting = tuple(rest)
            self.inner.write(*first)


class Misdirected(Seam):
    """A disk that puts frames one word further than it was told."""

    def write(self, offset: int, data: bytes) -> None:
        further = 8 if offset >= 4096 and self.name.startswith("log-") else 0
        self.inner.write(offset + further, data)


class Grown(Seam):
    """No room is allocated in segments: they grow with what is written."""

    def allocate(self, length: int) -> None:
        if not self.name.startswith("log-"):
            self.inner.allocate(length)


def ignored_directory_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync of the directory that fails is taken for one that didn't."""
    sync = SimulatedDirectory.sync

    def synced(self: SimulatedDirectory) -> None:
        with suppress(OSError):
            sync(self)

    monkeypatch.setattr(SimulatedDirectory, "sync", synced)
