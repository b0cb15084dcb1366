"""The live views of a dict's draft: keys, values and items.

They have what the builtin views have: set algebra for keys and items (from the ABCs; the results
are plain sets), `reversed`, `mapping`. What they show is looked up in the draft each time.
Iterators are those of the draft from the start (generators would begin at their first step), so
that a change of size is noticed from there on.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any


class DictKeys(KeysView[Any]):
    """The live keys of a draft of a dict, with the set algebra of `dict.keys()`."""

    __slots__ = ()

    _mapping: Any

    @property
    def mapping(self) -> Any:
        """The draft itself."""
        return self._mapping

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping)

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._mapping))

    def __repr__(self) -> str:
        return f"dict_keys({list(self)!r})"


class DictValues(ValuesView[Any]):
    """The live values of a draft of a dict; nodes among them are drafts."""

    __slots__ = ()

    _mapping: Any

    @property
    def mapping(self) -> Any:
        """The draft itself."""
        return self._mapping

    def __iter__(self) -> Iterator[Any]:
        return (self._mapping[key] for key in self._mapping)

    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping[key] for key in reversed(self._mapping))

    def __repr__(self) -> str:
        return f"dict_values({list(self)!r})"


class DictItems(ItemsView[Any, Any]):
    """The live items of a draft of a dict; nodes among the values are drafts."""

    __slots__ = ()

    _mapping: Any

    @property
    def mapping(self) -> Any:
        """The draft itself."""
        return self._mapping

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return ((key, self._mapping[key]) for key in self._mapping)

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return ((key, self._mapping[key]) for key in reversed(self._mapping))

    def __repr__(self) -> str:
        return f"dict_items({list(self)!r})"
