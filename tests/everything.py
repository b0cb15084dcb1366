"""A root with every kind of type."""

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cairndb import Record


class Colour(enum.Enum):
    """An Enum."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    """A value with parts."""

    x: int
    y: float = 0.0


class Leaf(Record, tag="leaf"):
    """One of a union."""

    number: Annotated[int, Meta(ge=0, le=1000)] = 0


class Branch(Record, tag="branch"):
    """The other, which contains itself."""

    parts: list["Leaf | Branch"] = []
    names: dict[str, "Branch"] = {}


class Everything(Record):
    """A root with every kind of type."""

    anything: Any = None
    branch: Leaf | Branch = msgspec.field(default_factory=Leaf)
    records: dict[str, Leaf] = {}
    numbers: list[int] = []
    floats: dict[float, int] = {}
    words: set[str] = set()
    mixed: set[int | float | bool] = set()
    pairs: dict[tuple[int, str], list[str]] = {}
    points: list[Point] = []
    fixed: frozenset[bytes] = frozenset()
    colours: dict[Colour, Literal["a", 1]] = {}
    moments: list[dt.datetime | None] = []
    days: set[dt.date] = set()
    spans: list[dt.timedelta] = []
    times: dict[dt.time, int] = {}
    ids: dict[uuid.UUID, Decimal] = {}
    short: Annotated[list[int], Meta(max_length=3)] = []
    text: Annotated[str, Meta(max_length=20)] = ""
    data: bytes = b""
    ratio: float | None = None
