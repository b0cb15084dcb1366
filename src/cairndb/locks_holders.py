"""Who holds a lock: a thread, or a task."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

from cairndb.errors import UsageError

# Who holds: a thread, by its number; where tasks use a database, a thread's number and what stands
# for its task.
Holder: TypeAlias = int | tuple[int, object]
# What stands for one view that holds: an object, or its id where that lives as long as the hold.
# One for each, and not a count: a view that is let go of twice, the second time by a collection
# while another view of its thread is open, must not let go of that one's.
ViewHold: TypeAlias = Hashable
# What stands for one update that holds, for the same reason: [its holder].
Hold: TypeAlias = list[Any]


class WouldBlock(UsageError):  # noqa: N818  names the state of the thread
    """A call would wait for a task that can't go on while its thread waits."""


def would_block() -> WouldBlock:
    """The error of a call that would wait for a task which can't go on while its thread waits."""
    return WouldBlock(
        "another task of this thread is in a view or an update of this database, or waits for "
        "one, and can't go on while this call waits: await instead, as in "
        "`async with db.update_async()`"
    )


def thread_of(holder: Holder) -> int:
    """The thread that holds, or that runs the task that does."""
    return holder if isinstance(holder, int) else holder[0]
