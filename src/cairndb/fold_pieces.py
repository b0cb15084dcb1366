"""An untyped state cut into the operations of a checkpoint, none much larger than a piece."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec
from cairndb.codec import ADD, MERGE, SET, SPLICE
from cairndb.fold_nodes import OpenList, OpenMap, OpenSet, encode_node

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pieces:
    """One pass over the state that cuts it into operations."""

    def __init__(self, piece_bytes: int) -> None:
        self.piece_bytes = piece_bytes
        # Containers whose first piece has gone out, and how many elements were in it.
        self.waiting: deque[tuple[tuple[Any, ...], Any, int]] = deque()

    def operations(self, root: Any) -> Iterator[bytes]:
        """The whole state: the root's first piece, then whatever is still waiting."""
        yield encode_node((SET, (), self._first(root, ())[0]))
        while self.waiting:
            path, node, done = self.waiting.popleft()
            parts = islice(_parts(node), done, None)
            while taken := self._take(parts, path)[0]:
                yield encode_node((_FILLS[type(node)], path, _filling(node, taken, done)))
                done += len(taken)

    def _first(self, value: Any, path: tuple[Any, ...]) -> tuple[Any, int]:
        """What stands for a value in the operation that brings it, and its size in bytes."""
        if type(value) is Raw:
            return value, len(memoryview(value))
        if type(value) is OpenMap and not value.is_dict:
            taken, size = self._take(_parts(value), path, whole=True)
        else:
            taken, size = self._take(_parts(value), path)
            if len(taken) < len(value):
                self.waiting.append((path, value, len(taken)))
        return _shape(value, taken), size

    def _take(
        self, parts: Iterator[tuple[Any, Any]], path: tuple[Any, ...], *, whole: bool = False
    ) -> tuple[list[tuple[Any, Any]], int]:
        """The next parts, until they fill a piece; at least one, so that it ends."""
        taken: list[tuple[Any, Any]] = []
        size = 0
        while whole or size < self.piece_bytes:
            step, value = next(parts, (None, None))
            if value is None:
                break
            part, part_size = self._first(value, (*path, step))
            taken.append((step, part))
            size += part_size + (0 if type(step) is int else len(codec.encode(step)))
        return taken, size


_FILLS = {OpenMap: MERGE, OpenList: SPLICE, OpenSet: ADD}


def _parts(node: Any) -> Iterator[tuple[Any, Any]]:
    """Step and value of each part of an open node, in the order of its bytes."""
    if type(node) is OpenMap:
        return iter(node.items())
    return enumerate(node if type(node) is OpenList else node.sorted())


def _shape(node: Any, taken: list[tuple[Any, Any]]) -> Any:
    """Parts as the map or array that they are part of."""
    return dict(taken) if type(node) is OpenMap else [part for _, part in taken]


def _filling(node: Any, taken: list[tuple[Any, Any]], done: int) -> Any:
    """The argument of the operation that brings more parts."""
    shape = _shape(node, taken)
    return [done, 0, shape] if type(node) is OpenList else shape
