"""An open directory: its names are used relative to its descriptor, wherever it is moved."""

from __future__ import annotations

import os
import stat

from cairndb.descriptors import Descriptor


class OpenDirectory(Descriptor):
    """A directory of the operating system, which may be renamed while it is open.

    Args:
        path: of an existing directory.
        dir_fd: the descriptor of the directory that the path is relative to; None: the current.
    """

    def __init__(self, path: str, *, dir_fd: int | None = None) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        super().__init__(os.open(path, flags, dir_fd=dir_fd), os.fspath(path))

    def names(self) -> list[str]:
        """The names in it, sorted; for any number of threads at the same time."""
        with self.named() as descriptor:
            # By a descriptor of its own: where a listing has got to is kept with the open file, so
            # that of two who list by the same one each would miss what the other has had.
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            own = os.open(".", flags, dir_fd=descriptor)
            try:
                return sorted(os.listdir(own))  # noqa: PTH208  pathlib knows no descriptors
            finally:
                os.close(own)

    def rename(self, old: str, new: str) -> None:
        """Give a file a new name, replacing what had it."""
        with self.named(old) as descriptor:
            os.rename(old, new, src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def remove(self, name: str) -> None:
        """Remove a name."""
        with self.named(name) as descriptor:
            os.unlink(name, dir_fd=descriptor)

    def make_directory(self, name: str) -> bool:
        """Make a directory in it; False if there is one, FileExistsError if it is a file."""
        with self.named(name) as descriptor:
            try:
                os.mkdir(name, dir_fd=descriptor)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=descriptor).st_mode):
                    raise
                return False
        return True

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        with self.named(name) as descriptor:
            os.rmdir(name, dir_fd=descriptor)
