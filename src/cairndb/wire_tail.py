"""What a replica is sent: the items of the stream of entries, each a MessagePack array.

    stream     = Owner (checkpoint | Entries | Heartbeat)*
    checkpoint = Begin Piece* Loaded

A replica says which position it is at, and goes on from there with the entries that follow. Where
that position isn't in the log (any more), and for a replica that has nothing, a checkpoint takes
the place of all that it has. What is sent is promised: see `service_tail`.

Positions come with every item of entries, so that a replica can tell that what it gets is what
follows, and is whole, before it shows any of it.
"""

from __future__ import annotations

from typing import Final, TypeAlias
from uuid import UUID  # noqa: TC003  msgspec resolves it at run time
from zlib import crc32

import msgspec
from msgspec import Struct


class Owner(Struct, array_like=True, frozen=True, tag="owner"):
    """Comes first: what this is a stream of.

    Args:
        database: its UUID.
        schema: of what follows, as it is stored; a checkpoint has its own.
        promised_lsn: up to where there is something to send.
    """

    database: UUID
    schema: str
    promised_lsn: int


class Begin(Struct, array_like=True, frozen=True, tag="begin"):
    """A checkpoint follows: the state as of an LSN, in the place of what there is.

    Args:
        lsn: of the state; 0 if there is none, and all of it comes as entries.
        running: the running checksum of the log there.
        schema: that it was written with; empty at LSN 0.
        total_bytes: about how much follows.
    """

    lsn: int
    running: int
    schema: str
    total_bytes: int


class Piece(Struct, array_like=True, frozen=True, tag="piece"):
    """Operations of a checkpoint: that many, one after the other."""

    count: int
    payload: bytes


class Loaded(Struct, array_like=True, frozen=True, tag="loaded"):
    """The checkpoint is whole.

    Args:
        checksum: of its beginning and its pieces, see `checksum_of`.
    """

    checksum: int


class Entries(Struct, array_like=True, frozen=True, tag="entries"):
    """Updates that follow each other.

    Args:
        before_lsn: of the update before the first of them.
        running_before: the running checksum of the log there.
        running: the same after the last of them.
        count: how many.
        payload: the entries as they are in the log, one after the other.
        promised_lsn: up to where there is something to send.
    """

    before_lsn: int
    running_before: int
    running: int
    count: int
    payload: bytes
    promised_lsn: int


class Heartbeat(Struct, array_like=True, frozen=True, tag="heartbeat"):
    """Nothing new; the owner is there.

    Args:
        promised_lsn: up to where there is something to send.
    """

    promised_lsn: int


Item: TypeAlias = Owner | Begin | Piece | Loaded | Entries | Heartbeat

HEARTBEAT_SECONDS: Final = 1.0
"""How long there is silence at most, while both sides are well."""

_DECODER: Final = msgspec.msgpack.Decoder(Item)

encode_item = msgspec.msgpack.Encoder().encode


def checksum_of(item: Begin | Piece, before: int = 0) -> int:
    """The checksum of a checkpoint by an item of it, which follows what had a checksum `before`.

    On disk each of its frames has one; on the way here nothing else might notice a changed bit.
    """
    return crc32(encode_item(item) if isinstance(item, Begin) else item.payload, before)


def decode_item(data: bytes) -> Item:
    """An item; raises ValueError for what isn't one."""
    item: Item = _DECODER.decode(data)
    return item
