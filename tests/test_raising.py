"""Application code that raises where the library calls it: nothing has happened, all goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

import cairndb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

armed: list[BaseException] = []


def explode() -> None:
    """Raise what is armed, once."""
    if armed:
        raise armed.pop()


class Point(msgspec.Struct, frozen=True):
    """A value that checks itself."""

    x: int = 0

    def __post_init__(self) -> None:
        explode()


class Key(str):
    """Text that is asked often, as a key; enums and structs that run code are refused as such."""

    __slots__ = ()

    def __hash__(self) -> int:
        explode()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        explode()
        return super().__eq__(other)


class Name(str):
    """Text with a will of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        explode()
        return super().__str__()

    def __len__(self) -> int:
        explode()
        return super().__len__()


class Root(cairndb.Record):
    """All of these."""

    n: int = 0
    point: Point = Point()
    spots: dict[str, int] = {}
    name: str = ""

    @property
    def doubled(self) -> int:
        """A property that raises."""
        explode()
        return 2 * self.n

    @cairndb.update
    def change(self) -> None:
        """A method that raises after its change."""
        self.n = 5
        explode()

    @cairndb.query
    def shown(self) -> int:
        """A query that raises."""
        return self.doubled


@pytest.fixture
def db(tmp_path: Path) -> Iterator[cairndb.Database[Root]]:
    """A database with something in it."""
    armed.clear()
    with cairndb.open(tmp_path / "raising.cairn", Root) as database:
        with database.update() as root:
            root.n = 1
            root.spots["one"] = 1
        yield database
        armed.clear()


def _value(root: Root) -> None:
    root.point = Point(7)


def _key(root: Root) -> None:
    root.spots[Key("two")] = 2
    root.spots.pop(Key("one"))


def _property(root: Root) -> None:
    root.name = str(root.doubled)


def _text(root: Root) -> None:
    root.name = Name("name")
    explode()


ACTS: dict[str, Callable[[Root], None]] = {
    act.__name__.strip("_"): act for act in (_value, _key, _property, _text)
}
ERRORS = [ValueError, RuntimeError, MemoryError, SystemExit, GeneratorExit, KeyboardInterrupt]


def check(database: cairndb.Database[Root]) -> None:
    """As before, and usable."""
    with database.view() as root:
        assert (root.n, root.name, root.point.x, len(root.spots)) == (1, "", 0, 1)
    lsn = database.lsn
    with database.update() as root:
        root.n = 2
    assert database.lsn == database.durable_lsn == lsn + 1
    with database.update() as root:
        root.n = 1


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ACTS)
def test_what_raises_in_the_block_undoes_it(
    db: cairndb.Database[Root], name: str, error: type[BaseException]
) -> None:
    """Value types, keys, properties and text that raise anything: no trace is left."""

    def act() -> None:
        with db.update() as root:
            root.n = 9
            armed.append(error("from the application"))
            ACTS[name](root)

    with pytest.raises((error, cairndb.CairnError, ValueError)):
        act()
    armed.clear()
    check(db)


@pytest.mark.parametrize("error", ERRORS)
def test_what_raises_at_the_end_of_the_block_undoes_it(
    db: cairndb.Database[Root], error: type[BaseException]
) -> None:
    """Code that the commit itself runs, on what it decodes, leaves no trace either."""

    def act() -> None:
        with db.update() as root:
            root.n = 9
            root.point = Point(7)
            armed.append(error("from the application"))

    with pytest.raises((error, cairndb.CairnError)):
        act()
    assert not armed
    check(db)


@pytest.mark.parametrize("error", ERRORS)
def test_methods_that_raise(db: cairndb.Database[Root], error: type[BaseException]) -> None:
    """The body of a method of `run` raises: its update is dropped, its query changes nothing."""
    for method in (Root.change, Root.shown):
        armed.append(error("from the application"))
        with pytest.raises(error):
            db.run(method)
    check(db)


def test_a_block_in_a_generator_that_is_dropped(db: cairndb.Database[Root]) -> None:
    """A generator that is closed inside its block leaves neither an update nor a lock."""

    def changing() -> Iterator[int]:
        with db.update() as root:
            root.n = 9
            yield root.n

    steps = changing()
    assert next(steps) == 9
    steps.close()  # type: ignore[attr-defined]
    check(db)

    def looking() -> Iterator[int]:
        with db.view() as root:
            yield root.n

    views = looking()
    next(views)
    with pytest.raises(cairndb.UsageError, match="view"), db.update():
        raise AssertionError
    del views
    check(db)
