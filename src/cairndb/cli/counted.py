"""A database's directory that tells how much of its files has been read, for a bar."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cairndb.cli import output
from cairndb.files import RealDirectory, RealFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class CountedDirectory(RealDirectory):
    """Like its base, and `telling` shows how far the reading is.

    Args:
        path: of an existing directory.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._tell: Callable[[int], None] | None = None

    def open(self, name: str, *, write: bool = False) -> RealFile:
        """See `Directory.open`."""
        file = super().open(name, write=write)
        if self._tell is not None:
            _count(file, self._tell)
        return file

    @contextmanager
    def telling(self, what: str, total: int) -> Iterator[None]:
        """Show a bar for what is read in the block, of files opened in it.

        Args:
            what: a word or two for the bar.
            total: how many bytes will be read, at most.
        """
        read = 0
        with output.progress(what) as progress:

            def tell(length: int) -> None:
                nonlocal read
                read += length
                progress(min(read, total), total)

            self._tell = tell
            try:
                yield
            finally:
                self._tell = None


def _count(file: RealFile, tell: Callable[[int], None]) -> None:
    read = file.read

    def counted(offset: int, length: int) -> bytes:
        data = read(offset, length)
        tell(len(data))
        return data

    # On the one object: a wrapper would have to have every method of a file.
    file.read = counted  # type: ignore[method-assign]
