"""What tests of locks on files share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cairndb.locking import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A directory that other users may read: pytest's own are for one."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file that isn't there yet."""
    return tmp_path / "a.lock"


def is_free(path: Path) -> bool:
    """Whether another could have it."""
    other = FileLock(path)
    if other.try_acquire():
        other.release()
        return True
    return False
