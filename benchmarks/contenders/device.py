"""The raw device: what a log can't beat, a write and a sync of as many bytes, one after the other.

The file is preallocated, as the segments of cairndb are, and holds nothing else.
"""

import os
from typing import ClassVar

from contenders.work import DURABLE, UPDATE, Contender, Level

FILE_BYTES = 64 << 20


class Device(Contender):
    """A preallocated file."""

    figures = frozenset({UPDATE, DURABLE})
    settings: ClassVar[dict[Level, str]] = {
        "commit": "pwrite and fdatasync into a preallocated file, "
        "of as many bytes as cairndb logs for an update",
        "process": "the same without fdatasync",
    }
    # Set by whoever knows how many bytes cairndb logs.
    size = 64

    def open(self, level: Level) -> None:
        """See Contender."""
        self.level = level
        self.at = 0
        self.file = os.open(self.folder / "raw", os.O_RDWR | os.O_CREAT)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.file, 0, FILE_BYTES)
        os.fsync(self.file)

    def close(self) -> None:
        """See Contender."""
        os.close(self.file)

    def update(self, keys: list[str]) -> None:
        """See Contender."""
        file, at, size = self.file, self.at, self.size
        contents = bytes(range(1, size + 1)) if size < 256 else b"x" * size
        write = os.pwrite
        # On macOS this is what `F_FULLFSYNC` would have to be; the table is made on Linux.
        sync = getattr(os, "fdatasync", os.fsync) if self.level == "commit" else None
        for _ in keys:
            write(file, contents, at)
            if sync:
                sync(file)
            at = (at + size) % (FILE_BYTES - size)
        self.at = at
