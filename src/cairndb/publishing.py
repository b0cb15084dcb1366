"""How a file appears under its name: complete and durable, or not at all; and its directory.

Written under a temporary name, synced, renamed; then the directory is synced. So a bad header under
a final name is damage, not a crash, and whoever lists the directory sees whole files only. What a
crash leaves under a temporary name is removed at the next open.
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from cairndb.errors import DiskFull, ReadOnlyError
from cairndb.files import NO_ROOM, RealDirectory, path_in, random_nonce, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.files import Directory, File, Parent


_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def publish(
    directory: Directory,
    name: str,
    fill: Callable[[File], None],
    *,
    nonce: bytes,
    bytes_needed: int,
) -> File:
    """Make a file appear under its name complete and durable, or not at all.

    Written under a temporary name, synced, renamed; then the directory is synced. An error of the
    last step leaves the outcome open and comes out as it is; before it nothing has happened.

    Args:
        directory: where.
        name: the file's own.
        fill: writes the content.
        nonce: random bytes, for the temporary name.
        bytes_needed: what the file takes, for the message.

    Returns:
        The file, open for writing.

    Raises:
        DiskFull: there is no room; the temporary file has been removed.
        ReadOnlyError: this process may not write there.
        OSError: a step failed.
    """
    temporary = temporary_name(name, nonce)
    file: File | None = None
    try:
        file = directory.create(temporary)
        fill(file)
        file.sync()
        directory.rename(temporary, name)
    except BaseException as error:
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            directory.remove(temporary)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise disk_full(directory, name, bytes_needed, error) from error
        if isinstance(error, OSError) and error.errno in _NOT_ALLOWED:
            raise ReadOnlyError(
                f"{directory.path} can't be written to ({error.strerror}): nothing has happened. "
                "Change its permissions, or open the database with read_only=True"
            ) from error
        raise
    file.path = path_in(directory, name)
    try:
        directory.sync()
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise
    return file


def disk_full(directory: Directory, name: str, bytes_needed: int, error: OSError) -> DiskFull:
    """The error for a file that there is no room for.

    Args:
        directory: where the file was to be.
        name: the file's own.
        bytes_needed: what it takes.
        error: what the system said.
    """
    try:
        free = f", and {directory.free_bytes()} are free"
    except OSError:
        free = ""
    return DiskFull(
        f"{path_in(directory, name)}: no room on disk ({error.strerror}): "
        f"{bytes_needed} bytes are needed{free}. "
        "Nothing has happened; make room and try again."
    )


def create_directory(path: str) -> None:
    """Make a directory, if it isn't there yet, and make its name durable.

    Args:
        path: where; its parent exists.
    """
    place = Path(path).absolute()
    parent = RealDirectory(str(place.parent))
    try:
        # The root of the file system has no name of its own.
        create_within(parent, place.name or ".")
    finally:
        parent.close()


def create_within(parent: Parent, name: str) -> None:
    """Make a directory in a parent, if it isn't there yet, and make its name durable.

    The parent is synced in any case: whoever made the directory may have crashed before doing it.
    If that fails, what was made here is taken back: a later sync would prove nothing of a name that
    is in the cache already, and whoever tries again is to make it anew.

    Args:
        parent: where.
        name: of the directory.
    """
    made = parent.make_directory(name)
    try:
        parent.sync()
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                parent.remove_directory(name)
        raise


@contextlib.contextmanager
def new_directory(path: str) -> Iterator[RealDirectory]:
    """Make a directory appear with all that the block puts into it, or not at all.

    It is made beside its place under a temporary name; synced and renamed when the block has ended.

    Args:
        path: where nothing is, or an empty directory.
    """
    check_vacant(path)
    target = Path(path).absolute()
    built = target.with_name(temporary_name(target.name, random_nonce()))
    create_directory(str(built))
    try:
        with contextlib.closing(RealDirectory(str(built))) as directory:
            yield directory
            directory.sync()
        built.rename(target)
    except BaseException:
        _remove_tree(built)
        raise
    create_directory(path)


def check_vacant(path: str) -> None:
    """Raise OSError if there is something at a path, other than an empty directory."""
    target = Path(path).absolute()
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise OSError(errno.ENOTEMPTY, "there is something already: name a new directory", path)


@contextlib.contextmanager
def scratch_directory(path: str) -> Iterator[RealDirectory]:
    """A directory for the time of the block, under a temporary name beside a path.

    Args:
        path: of what is made of its content.
    """
    target = Path(path).absolute()
    scratch = target.with_name(temporary_name(target.name, random_nonce()))
    create_directory(str(scratch))
    try:
        with contextlib.closing(RealDirectory(str(scratch))) as directory:
            yield directory
    finally:
        _remove_tree(scratch)


def _remove_tree(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
