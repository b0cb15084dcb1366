"""The first entry of a new database, and the last ones of an old one that there was no room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from cairndb import locks
from cairndb.flusher_async import in_thread
from cairndb.kinds import RecordKind
from cairndb.locks_interrupts import deferred_interrupts
from cairndb.patch import SET, decode_entries, decode_entry, encode_entry, operation

if TYPE_CHECKING:
    from cairndb.engine import Engine


def create(engine: Engine) -> None:
    """Write LSN 1, the root with its defaults; only then is a new database there."""
    kind = engine.tree.kind
    empty = kind.cls() if isinstance(kind, RecordKind) else {}
    encoded = kind.encode(kind.copy(empty, 0))
    entry = encode_entry(engine.clock(), [operation(SET, (), Raw(encoded))])
    prepared = engine.tree.resolve(decode_entry(entry).operations)
    work = engine.work_for_room(len(entry))
    if work is not None:
        engine.flusher.run(work)
    engine.applied_lsn = engine.store.append(entry)
    engine.tree.apply(prepared)
    engine.derive(strict=True)
    engine.sync()


def bring_tail(engine: Engine, deadline: float | None) -> None:
    """Apply the updates that there was no room to write again when the database was opened.

    Raises:
        DiskFull: there is still no room.
    """
    store = engine.store
    if store.tail_missing is None:
        return
    engine.lock.upgrade(deadline)
    with deferred_interrupts:
        engine.flusher.run(store.start)
        if store.tail_missing is not None:
            raise store.tail_missing
        try:
            for first_lsn, count, payload in store.tail_frames():
                for entry in decode_entries(payload, count):
                    engine.tree.apply(engine.tree.resolve(entry.operations))
                    engine.time = entry.time
                engine.applied_lsn = first_lsn + count - 1
            engine.derive(strict=False)
            engine.flusher.promised_lsn = engine.applied_lsn
            engine.tail_missing = False
        except BaseException as error:
            engine.refusal = engine.dead
            engine.flusher.fail(error)
            raise
    engine.lock.downgrade()


async def bring_tail_async(engine: Engine, deadline: float | None) -> None:
    """As `bring_tail`, before the update lock is taken: in a thread that holds it meanwhile.

    The task must not hold it: its thread's views would be let in beside what is applied.
    """
    if engine.store.tail_missing is not None:
        await in_thread("cairndb tail", lambda: _bring_tail_alone(engine, deadline))


def _bring_tail_alone(engine: Engine, deadline: float | None) -> None:
    holder = locks.current_holder()
    try:
        engine.lock.acquire_update(deadline)
        engine.check_usable()
        bring_tail(engine, deadline)
    finally:
        engine.lock.release_update(holder)
