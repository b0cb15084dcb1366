from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any

import pytest
from msgspec import Meta, Raw

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.kinds import DictKind, stored_key
from strategies import (
    Color,
    kind_of,
)

NAN = float("nan")
NAIVE = dt.datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001  naive is what is tested

KEYS: list[tuple[Any, Any]] = [
    (str, "a"),
    (int, 5),
    (Annotated[str, Meta(max_length=3)], "abc"),
    (uuid.UUID, uuid.UUID(int=7)),
    (tuple[int, tuple[str, ...]], (1, ("x",))),
    (Color, Color.RED),
    (dt.datetime, NAIVE.replace(tzinfo=dt.UTC)),
    (dt.datetime, NAIVE),
    (dt.timedelta, dt.timedelta(1)),
    (float, -0.0),
    (Any, True),
    (Any, "x"),
    (bytes, b"x"),
]


@pytest.mark.parametrize(("annotation", "key"), KEYS)
def test_keys_are_found_by_their_step(annotation: Any, key: Any) -> None:
    """A path step, decoded without declarations, gives the typed key; encoded bytes do, too."""
    declared: Any = dict
    kind = kind_of(declared[annotation, int])
    assert isinstance(kind, DictKind)
    data = kind.key.encode(key)

    for step in (codec.decode(data), Raw(data)):
        found = kind.key.key_of(step)
        assert found == key
        assert type(found) is type(key)
        assert kind.key.encode(found) == data


@pytest.mark.parametrize(
    ("annotation", "step"),
    [
        (str, 1),
        (int, True),
        (int, 1.0),
        (float, 1),
        (float, NAN),
        (uuid.UUID, "ABCDEF00-0000-0000-0000-000000000000"),
        (uuid.UUID, "abcdef00000000000000000000000000"),
        (Annotated[str, Meta(max_length=3)], "abcd"),
        (dt.time, "01:00:00Z"),
        (Any, None),
        (tuple[int, int], [1]),
    ],
)
def test_steps_that_name_no_key(annotation: Any, step: Any) -> None:
    """A step that isn't a key, or isn't written as one, is refused."""
    declared: Any = dict
    kind = kind_of(declared[annotation, int])
    assert isinstance(kind, DictKind)

    with pytest.raises(ValidationError):
        kind.key.key_of(step)


def test_stored_key_finds_the_very_object() -> None:
    """A lookup by an equal key gives what is stored."""
    assert repr(stored_key({-0.0: 1}, 0.0)) == "-0.0"
    assert stored_key({1: "a"}, True) is not True
    assert stored_key({(1, 2.0)}, (1.0, 2)) == (1, 2.0)
    assert stored_key({1}, 2, "nothing") == "nothing"
