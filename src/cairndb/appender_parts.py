"""What an appender is given, and what it gives: options, a schema, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from cairndb.files import random_nonce
from cairndb.retention import NOTHING, Retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.chain import Position


# What waits to be written, when updates don't wait for it, is bounded: past this the next one
# writes it.
BUFFER_BYTES_MAX: Final = 4 << 20


class StoreOptions(Struct, frozen=True):
    """How large segments are, and where random bytes come from.

    Args:
        segment_bytes_min: what the first segment of an owner is allocated.
        segment_bytes_max: each next one is twice as large, up to this; more if an entry needs it.
        nonce: 16 random bytes per call; tests and golden files use fixed ones.
        retention: what of the past to keep.
        held_bytes_max: how much log is kept at most for those who still have to read it.
    """

    segment_bytes_min: int = 1 << 20
    segment_bytes_max: int = 1 << 26
    nonce: Callable[[], bytes] = random_nonce
    retention: Retention = NOTHING
    held_bytes_max: int = 1 << 30


class Batch(Struct, frozen=True, gc=False):
    """What `Appender.take` took: the entries of one frame, and where it goes.

    A Struct, because that is made by one call of C.
    """

    first_lsn: int
    entries: list[bytes]
    offset: int
    position: Position
    """The log's after it."""
    said_lsn: int
    """What the frame says is durable, or `UNSAID`."""


class Schema(NamedTuple):
    """What the entries of a segment were encoded with."""

    text: str
    fingerprint: str
