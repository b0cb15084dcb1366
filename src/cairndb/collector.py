"""Python's collector of cycles, while very much is made of which nothing is garbage.

A state is a tree: what leaves it is freed by its reference counts, and there is nothing in it for
the collector to find. Yet it looks at all of it, again and again while it grows, and at every full
collection from then on, in the middle of whichever update it strikes.

Rules. While much is made, collections wait (`paused`). What was loaded when a database is opened
is then set aside (`settling`), as `gc.freeze` does it: it costs no collection anything, and is
freed as before when it leaves the state. What else there is in the process by then is set aside
with it, and isn't looked for cycles any more; so that this can't grow with each opening, what is
garbage by then is collected first. Who has turned the collector off finds it as it was.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MUCH_BYTES: Final = 1 << 16
"""What is decoded from less isn't worth a pause."""
SETTLING_BYTES: Final = 1 << 20
"""What is loaded from less isn't worth setting aside all there is."""


@contextmanager
def paused() -> Iterator[None]:
    """Begin no collection within this block. What is made in it is looked at after it, once."""
    collecting = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def settling(size: int) -> Iterator[None]:
    """As `paused`; what there is at the end of the block is never looked at again.

    Args:
        size: how much is loaded, in bytes. For little this is `paused`.
    """
    settles = size >= SETTLING_BYTES and gc.isenabled()
    if settles and gc.get_freeze_count():
        gc.collect()
    with paused():
        yield
        if settles:
            gc.freeze()
