"""The argument of a MERGE: new values of many keys of one dict, as the bytes of one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.draft_base import written_step
from cairndb.patch import MERGE, SET, operation

if TYPE_CHECKING:
    from cairndb.kinds import DictKind
    from cairndb.patch import Operation


class MergeArgument:
    """The new values of several keys: what is replaced, then what is new."""

    __slots__ = ("_count", "_key", "_kind", "_parts", "_whole", "size")

    def __init__(self, kind: DictKind) -> None:
        self._kind = kind
        self._count = 0
        self._key: Any = None
        self._parts: list[bytes | memoryview] = []
        self._whole = b""  # all of it, while there is but what `add` brought
        self.size = 0  # bytes

    def _append(self, key: Any, count: int, data: bytes | memoryview) -> None:
        self._whole = b""
        self._key = key
        self._count += count
        self._parts.append(data)
        self.size += len(data)

    def put(self, key: Any, encoded: bytes) -> None:
        """One key with its value's bytes."""
        self._append(key, 1, self._kind.key.encode(key) + encoded)

    def add(self, items: dict[Any, Any]) -> None:
        """Many at once: the kind encodes the dict of them without a step of Python for each."""
        if items:
            encoded = self._kind.encode(items)
            is_all = not self._parts
            header = map_header(len(items))
            # A window, and no copy: a bulk load is large.
            self._append(next(iter(items)), len(items), memoryview(encoded)[len(header) :])
            if is_all:
                self._whole = encoded

    def emit(self, path: list[Any], operations: list[Operation]) -> None:
        """Append the operation, if there is anything to say."""
        if self._count == 1:
            value = bytes(self._parts[0][len(self._kind.key.encode(self._key)) :])
            step = written_step(self._kind.key, self._key)
            operations.append(operation(SET, [*path, step], value))
        elif self._count:
            argument = self._whole or b"".join((map_header(self._count), *self._parts))
            operations.append(operation(MERGE, path, argument))


def map_header(count: int) -> bytes:
    """The head of a MessagePack map of so many keys."""
    if count < 16:
        return bytes([0x80 | count])
    if count < 1 << 16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")
