"""What tests of locks on files share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cairndb.locking import FileLock

if TYPE_CHECKING:
    from pathlib import Path


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
