"""Python's collector of cycles waits while a state is loaded, and leaves it alone afterwards."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.collector import SETTLING_BYTES, paused, settling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _nothing_set_aside() -> Iterator[None]:
    """Each test begins and ends with nothing set aside, and with the collector on."""
    gc.unfreeze()
    gc.enable()
    yield
    gc.unfreeze()
    gc.enable()


def is_looked_at(value: object) -> bool:
    """Whether a full collection looks at an object."""
    return any(each is value for each in gc.get_objects())


def test_collections_wait_and_go_on() -> None:
    """They are off within the block, and on again after it, even if it raises."""
    with paused():
        assert not gc.isenabled()
    assert gc.isenabled()

    with pytest.raises(ZeroDivisionError), paused():
        _ = 1 / 0
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off() -> None:
    """An application that does without the collector isn't given one, and nothing is set aside."""
    gc.disable()
    with settling(SETTLING_BYTES):
        made: list[Any] = []

    assert not gc.isenabled()
    assert is_looked_at(made)


@pytest.mark.parametrize("size", [SETTLING_BYTES - 1, SETTLING_BYTES])
def test_what_is_loaded_from_much_is_set_aside(size: int) -> None:
    """Collections don't look at it, and its reference count frees it as before."""
    with settling(size):
        made = Knot()
    assert is_looked_at(made) == (size < SETTLING_BYTES)

    watched = weakref.ref(made)
    del made.itself, made
    assert watched() is None


def test_setting_aside_again_and_again_keeps_no_garbage() -> None:
    """What is garbage when a second database is opened is collected, and not set aside."""
    with settling(SETTLING_BYTES):
        pass
    watched = weakref.ref(Knot())
    with settling(SETTLING_BYTES):
        pass

    assert watched() is None


def test_an_opened_state_is_left_alone(tmp_path: Path) -> None:
    """The nodes of a large database aren't looked at after it was opened; those of a small are."""
    for size in (1, SETTLING_BYTES):
        path = tmp_path / f"{size}.cairn"
        with cairndb.open(path) as db, db.update() as root:
            root["list"] = [b"x" * size]
        for read_only in (False, True):
            gc.unfreeze()
            with cairndb.open(path, read_only=read_only) as db, db.view() as root:
                assert is_looked_at(root["list"]) == (size < SETTLING_BYTES)
