"""Going back: a state of the past in the place of the present one, as an update of its own.

Nothing is taken away. The LSNs go on; the state that was left becomes a checkpoint that is kept, so
that a rewind can itself be undone by one to the LSN that it was made at.

What requests were answered isn't gone back on: they were, and whoever asks again, since the answer
got lost, is told what it was. What they did is undone, as by any later update.
"""

from __future__ import annotations

import contextlib
from contextlib import closing
from typing import TYPE_CHECKING

from cairndb import ownership
from cairndb.barrier import put_barrier
from cairndb.engine import now_microseconds
from cairndb.history import At, folded, read_at
from cairndb.patch import Call
from cairndb.recovery import read_chain
from cairndb.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.files import Directory


def rewind(directory: Directory, to: At, step: Callable[[int], None]) -> tuple[int, int]:
    """Go back to a state of the past, and to the schema that it had.

    Args:
        directory: of a database that nobody has open.
        to: an LSN, or an aware time.
        step: told how many bytes have been folded since it was told last.

    Returns:
        The LSN that was gone back to, and that of the update that did it.

    Raises:
        DatabaseLocked: somebody has it open.
        UsageError: that moment isn't kept, or is yet to come.
        CorruptError: a file is damaged.
        DiskFull: there is no room; nothing has happened.
    """
    ownership.acquire(directory, None)
    with closing(read_at(directory, to)) as reading:
        past = folded(reading, directory.path, step).fold
        schema, fingerprint, lsn = reading.schema, reading.fingerprint, reading.lsn
    with closing(read_chain(directory)) as reading:
        present = folded(reading, directory.path, step)
    store = Store.open(
        directory, schema=schema, fingerprint=fingerprint, create=False, clock=now_microseconds
    )
    try:
        store.start()
        if store.tail_missing is not None:
            raise store.tail_missing
        put_barrier(
            store,
            max(now_microseconds(), present.time),
            Call("rewind", [], {"to": lsn}),
            before=present.fold.operations(),
            after=[*past.pieces(), *present.fold.requests.operations()],
        )
        return lsn, store.applied_lsn
    finally:
        with contextlib.suppress(OSError):
            store.close()
