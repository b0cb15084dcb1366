"""How a store is to be kept: what its opener may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cairndb.files import random_nonce
from cairndb.retention import NOTHING, Retention

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class StoreOptions:
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
