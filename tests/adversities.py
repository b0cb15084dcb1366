"""What can befall an owner, each played through in a process of its own.

python adversities.py NAME FOLDER
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cairndb

if TYPE_CHECKING:
    from collections.abc import Callable

Database = cairndb.Database[dict[str, str]]
NOBODY: Final = 65534
LARGE: Final = 300_000
"""Bytes of an update: a few of them fill a segment."""


def opened(path: Path) -> Database:
    """A database that makes no checkpoint by itself."""
    return cairndb.open(path, dict[str, str], restart_target=None)


def put(db: Database, key: str, size: int) -> None:
    """One update."""
    with db.update() as root:
        root[key] = "x" * size


def sizes(db: Database) -> dict[str, int]:
    """The state, as far as it matters here."""
    with db.view() as root:
        return {key: len(value) for key, value in root.items()}


def refusal(db: Database, use: Callable[[], object], text: str) -> cairndb.CairnError:
    """The error that a call ends with, which says this; nothing has happened, reading goes on."""
    before = sizes(db)
    try:
        use()
    except cairndb.CairnError as error:
        assert sizes(db) == before
        assert text in str(error), error  # noqa: PT017  no pytest in this program
        return error
    raise AssertionError("nothing was refused")


def fill(db: Database, name: str, size: int) -> cairndb.CairnError:
    """Update until that fails."""
    for number in range(100):
        try:
            put(db, f"{name} {number}", size)
        except cairndb.CairnError as error:
            return error
    raise AssertionError("nothing was refused")


def check_dead(db: Database) -> None:
    """Every call says so."""
    for use in (lambda: put(db, "x", 1), lambda: sizes(db), db.sync, db.checkpoint, db.stats):
        try:
            use()
        except cairndb.DatabaseFailed as error:
            assert "open the database again" in str(error)  # noqa: PT017
        else:
            raise AssertionError("neither usable nor dead")
    with suppress(cairndb.DatabaseFailed):
        db.close()


def check_kept(path: Path, expected: dict[str, int]) -> None:
    """Opened again it holds that, and goes on."""
    with opened(path) as db:
        assert sizes(db) == expected
        put(db, "later", LARGE)
    with opened(path) as db:
        assert sizes(db) == expected | {"later": LARGE}


def limit_file_size(folder: Path) -> None:
    """Files may not grow over a limit: writes are short, then fail."""
    path = folder / "x.cairn"
    db = opened(path)
    put(db, "before", 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    error = refusal(db, lambda: put(db, "larger than the limit", 5 * LARGE), str(path))
    assert isinstance(error, cairndb.DiskFull), error
    for number in range(8):
        put(db, str(number), LARGE)  # over several segments, each smaller than it would be
    error = refusal(db, db.checkpoint, "File too large")
    assert not isinstance(error, cairndb.DatabaseFailed)
    put(db, "after", 10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    put(db, "larger than the limit", 5 * LARGE)
    assert db.checkpoint() == db.lsn
    expected = sizes(db)
    db.close()
    check_kept(path, expected)


def forbid_writing(folder: Path) -> None:
    """The directory loses its write permission, for a process without privileges."""
    path = folder / "x.cairn"
    drop_privileges(folder)
    db = opened(path)
    put(db, "before", LARGE)
    path.chmod(0o555)
    error = fill(db, "large", LARGE)
    assert isinstance(error, cairndb.ReadOnlyError), error
    assert str(path) in str(error)
    put(db, "small", 10)  # there is room in the segment
    expected = sizes(db)
    db.close()
    with cairndb.open(path, dict[str, str], read_only=True) as reader:
        assert sizes(reader) == expected
    with opened(path) as db:
        error = refusal(db, lambda: put(db, "more", 10), "can't be written to")
        path.chmod(0o755)
        put(db, "more", 10)
    check_kept(path, expected | {"more": 10})


def drop_privileges(folder: Path) -> None:
    """Go on as nobody: root may write everywhere."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def rename_away(folder: Path) -> None:
    """The directory gets another name, and another database its place."""
    path, moved = folder / "x.cairn", folder / "y.cairn"
    db = opened(path)
    put(db, "mine", 10)
    path.rename(moved)
    other = opened(path)
    put(other, "other's", 10)
    for number in range(8):
        put(db, str(number), LARGE)
    error = refusal(db, db.checkpoint, "checkpoint")
    assert not isinstance(error, cairndb.DatabaseFailed)
    expected = sizes(db)
    db.close()
    put(other, "more", 10)
    other.close()
    check_kept(moved, expected)
    check_kept(path, {"other's": 10, "more": 10})


def remove_all(folder: Path) -> None:
    """The directory is removed, and made again."""
    path = folder / "x.cairn"
    db = opened(path)
    put(db, "mine", 10)
    shutil.rmtree(path)
    error = fill(db, "large", LARGE)
    assert isinstance(error, cairndb.DatabaseFailed), error
    assert str(path) in str(error)
    check_dead(db)
    check_kept(path, {})


def use_up_descriptors(folder: Path) -> None:
    """There are no file descriptors left."""
    path = folder / "x.cairn"
    db = opened(path)
    put(db, "before", 10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken = take_descriptors()
    error = fill(db, "large", LARGE)
    assert isinstance(error, cairndb.DatabaseFailed), error
    assert str(path) in str(error)
    check_dead(db)
    taken += take_descriptors()
    try:
        opened(path)
    except cairndb.CairnError as refused:
        assert "Too many open files" in str(refused)  # noqa: PT017
    else:
        raise AssertionError("it was opened without a descriptor")
    for descriptor in taken:
        os.close(descriptor)
    with opened(path) as db:
        found = sizes(db)
    assert found.items() >= {"before": 10, "large 0": LARGE}.items()
    check_kept(path, found)


def take_descriptors() -> list[int]:
    """All that there are."""
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.dup(2))
    return taken


def fill_up(folder: Path) -> None:
    """The file system is full, and gets room again; FOLDER is all of it, and small."""
    path, ballast = folder / "x.cairn", folder / "ballast"
    db = opened(path)
    put(db, "before", 10)
    for _ in range(3):
        fill_with_zeros(ballast)
        error = fill(db, "large", LARGE)
        assert isinstance(error, cairndb.DiskFull), error
        assert str(path) in str(error)
        reached = sizes(db)
        refusal(db, db.checkpoint, "room on disk")
        assert sizes(db) == reached
        ballast.unlink()
        put(db, "with room", LARGE)
        db.checkpoint()
        with db.update() as root:
            root.clear()
        db.checkpoint()
        put(db, "before", 10)
        db.checkpoint()  # the log before the last two checkpoints has gone
    fill_with_zeros(ballast)
    fill(db, "large", LARGE)
    expected = sizes(db)
    db.close()
    with opened(path) as db:
        assert sizes(db) == expected
        error = fill(db, "large", LARGE)
        assert isinstance(error, cairndb.DiskFull), error
    ballast.unlink()
    check_kept(path, expected)


def fill_with_zeros(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017


ADVERSITIES: Final[dict[str, Callable[[Path], None]]] = {
    adversity.__name__: adversity
    for adversity in (
        limit_file_size,
        forbid_writing,
        rename_away,
        remove_all,
        use_up_descriptors,
        fill_up,
    )
}

if __name__ == "__main__":
    ADVERSITIES[sys.argv[1]](Path(sys.argv[2]))
