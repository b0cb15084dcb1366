"""The open nodes of an untyped state: what `fold` makes of encoded ones that a path goes through.

They are builtins to msgspec, but for sets, so that a state encodes in one call however much of it
is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from cairndb import codec

if TYPE_CHECKING:
    from collections.abc import Iterable


class OpenMap(dict[Any, Any]):
    """An open record or dict."""

    __slots__ = ("is_dict",)

    def __init__(self, items: dict[Any, Raw]) -> None:
        super().__init__(items)
        self.is_dict = False


class OpenList(list[Any]):
    """An open list."""

    __slots__ = ()


class OpenSet:
    """An open set: the bytes of its elements."""

    __slots__ = ("elements",)

    def __init__(self, elements: Iterable[Raw]) -> None:
        self.elements = set(map(bytes, elements))

    def __len__(self) -> int:
        return len(self.elements)

    def sorted(self) -> list[Raw]:
        """Canonical order: that of the bytes."""
        return [Raw(element) for element in sorted(self.elements)]


def _hook(value: Any) -> Any:
    if isinstance(value, OpenSet):
        return value.sorted()
    raise TypeError(type(value).__name__)


encode_node = msgspec.msgpack.Encoder(enc_hook=_hook).encode
"""The canonical bytes of an open node, or of what holds some."""


def encoded(node: Any) -> Raw:
    """A node's bytes, or a value's."""
    return node if type(node) is Raw else Raw(encode_node(node))


def opened(node: Any) -> dict[Any, Any] | list[Any]:
    """The nodes and values directly below, by key or by position; of a value, nothing."""
    if isinstance(node, OpenMap | OpenList):
        return node
    if isinstance(node, OpenSet):
        return node.sorted()
    if node is None or not codec.is_map(node):
        return codec.open_list(node) if node is not None and codec.is_array(node) else {}
    return codec.open_map(node)
