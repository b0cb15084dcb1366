"""Barriers: another state in the place of the one that the log leads to, under an LSN of its own.

A change of the schema makes one, and so does a rewind. The old state becomes a checkpoint that is
kept: the way back. The new one is published as a checkpoint too, which means nothing yet; then, by
one renaming, a segment whose first entry is the BARRIER that names it. A crash before that leaves
the old state, and a checkpoint that the next one replaces or removes.

No fold leads over a barrier: the log before it and the log after it have only the LSNs in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from cairndb import codec
from cairndb.appender_parts import Schema
from cairndb.chain import Position
from cairndb.checkpoint import CheckpointHeader, publish_checkpoint
from cairndb.patch import BARRIER, encode_entry, operation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cairndb.patch import Call
    from cairndb.store import Store


def put_barrier(
    store: Store, time: int, call: Call, *, before: Iterable[bytes], after: Iterable[bytes]
) -> None:
    """Replace the state; for the owner at open, when everything has been read.

    Args:
        store: with no tail missing.
        time: of the entry.
        call: what makes it.
        before: the operations of the whole old state.
        after: the same of the new one, of the schema that the store was opened with.

    Raises:
        DiskFull: there is no room; nothing has happened.
        OSError: a step failed.
    """
    store.sync()
    nonce = store.options.nonce()
    entry = encode_entry(time, [operation(BARRIER, (), codec.encode(nonce))], call)
    position = Position(store.applied.lsn + 1, crc32(entry, store.applied.running))
    stored = Schema(store.stored_schema, store.stored_fingerprint)
    old = _header(store, store.options.nonce(), store.applied, stored, pinned=True)
    new = _header(store, nonce, position, store.schema, barrier=True)
    publish_checkpoint(store.directory, old, ((1, each) for each in before))
    size = publish_checkpoint(store.directory, new, ((1, each) for each in after))
    store.begin_anew(entry, nonce, size)


def _header(
    store: Store, nonce: bytes, at: Position, schema: Schema, **flags: bool
) -> CheckpointHeader:
    return CheckpointHeader(
        database=store.identity.database,
        nonce=nonce,
        lsn=at.lsn,
        running=at.running,
        fingerprint=schema.fingerprint,
        schema=schema.text,
        created=store.clock(),
        **flags,
    )
