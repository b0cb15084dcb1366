"""The answered requests of a database: operations of its log, and of its checkpoints.

    REQUEST  [born, nonce, sequence, first_incomplete, result]     the last of its entry
    SESSION  [born, nonce, floor, [[sequence, result], ...]]       in checkpoints, oldest use first
    EXPIRED  floor_born                                            in checkpoints, before those

All at the empty path. A result is binary, what the update returned as MessagePack, or nil if that
is too long to be kept. A REQUEST is refused if the table doesn't take it for new: so no log has the
effects of one request twice, whoever wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from cairndb import codec
from cairndb.codec import EXPIRED, REQUEST, SESSION, Operation
from cairndb.requests import (
    NONCE_MAX,
    NUMBER_MAX,
    RESULT_BYTES_MAX,
    Fate,
    Once,
    RequestId,
    Requests,
    Session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Nonce = Annotated[int, Meta(ge=0, le=NONCE_MAX)]


class _Answered(Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """The argument of a REQUEST."""

    born: Number
    nonce: Nonce
    sequence: Number
    first_incomplete: Number
    result: bytes | None


class _Kept(Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """The argument of a SESSION."""

    born: Number
    nonce: Nonce
    floor: Annotated[int, Meta(ge=0, le=NUMBER_MAX + 1)]
    results: list[tuple[Number, bytes | None]]


_ANSWERED = msgspec.msgpack.Decoder(_Answered)
_KEPT = msgspec.msgpack.Decoder(_Kept)
_LSN = msgspec.msgpack.Decoder(Number)


def request_operation(once: Once) -> Operation:
    """The operation that keeps the answer of a request; notes that it is made."""
    request, result = once.request, once.result
    once.written = True
    kept = result if len(result) <= RESULT_BYTES_MAX else None
    return Operation(REQUEST, [], Raw(codec.encode((*msgspec.structs.astuple(request), kept))))


def answered(operation: Operation) -> tuple[RequestId, bytes | None]:
    """The request of a REQUEST, and its answer.

    Raises:
        ValueError: no correct writer made this.
    """
    found = _ANSWERED.decode(operation.argument)
    if found.first_incomplete > found.sequence:
        raise ValueError("a REQUEST whose answer its client has already")
    request = RequestId(found.born, found.nonce, found.sequence, found.first_incomplete)
    return request, found.result


class StoredRequests(Requests[bytes]):
    """The table, as a part of the state."""

    def __init__(self) -> None:
        super().__init__(len)

    def change(self, each: Operation) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function that applies a REQUEST, SESSION or EXPIRED, and its arguments.

        Args:
            each: the last operation of its entry; nothing is changed yet.

        Raises:
            ValueError: no correct writer made this.
        """
        if each.path:
            raise ValueError(f"operation {each.code} is at the empty path")
        if each.code == REQUEST:
            request, result = answered(each)
            fate = self.fate(request)
            if fate is not Fate.NEW:
                raise ValueError(f"a REQUEST that is {fate.name.lower()}")
            return self.add, (request, result)
        if each.code == SESSION:
            kept = _KEPT.decode(each.argument)
            if (kept.born, kept.nonce) in self.sessions:
                raise ValueError("a SESSION twice")
            sequences = [sequence for sequence, _ in kept.results]
            if (
                sequences != sorted(set(sequences))
                or min(sequences, default=kept.floor) < kept.floor
            ):
                raise ValueError("the results of a SESSION aren't in order from its floor on")
            return self._restore, (kept,)
        if each.code == EXPIRED:
            return setattr, (self, "floor_born", _LSN.decode(each.argument))
        raise ValueError(f"there is no operation {each.code}")

    def _restore(self, kept: _Kept) -> None:
        session = self.sessions[kept.born, kept.nonce] = Session[bytes](len, kept.floor)
        for sequence, result in kept.results:
            session.put(sequence, result)
        self.size += session.size

    def operations(self) -> Iterator[bytes]:
        """The table as encoded operations for a checkpoint, to be applied one at a time."""
        if self.floor_born:
            yield codec.encode((EXPIRED, (), self.floor_born))
        for (born, nonce), session in self.sessions.items():
            kept = _Kept(born, nonce, session.floor, sorted(session.results.items()))
            yield codec.encode((SESSION, (), kept))
