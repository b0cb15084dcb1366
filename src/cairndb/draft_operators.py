"""What a list or a dict does by its elements alone: search, arithmetic, comparison.

Mixed into their drafts. The results are plain lists and dicts, whose nodes are drafts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, MutableMapping, MutableSequence
from typing import Any, SupportsIndex


class ListOperators(MutableSequence[Any]):
    """The methods and operators of list that only read, in terms of its iteration."""

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        return any(element is value or element == value for element in self)

    def index(self, value: Any, start: int = 0, stop: int = 2**63, /) -> int:
        """The first position of an equal element. Raises ValueError if there is none."""
        length = len(self)
        start = max(start + length, 0) if start < 0 else start
        stop = stop + length if stop < 0 else min(stop, length)
        for position in range(start, stop):
            element = self[position]
            if element is value or element == value:
                return position
        raise ValueError(f"{value!r} is not in list")

    def count(self, value: Any, /) -> int:
        """How many elements are equal."""
        return sum(1 for element in self if element is value or element == value)

    def copy(self) -> list[Any]:
        """A plain list of what is shown now; nodes among the elements are drafts."""
        return list(self)

    def __add__(self, other: Any) -> list[Any]:
        if not isinstance(other, list | ListOperators):
            return NotImplemented
        return [*self, *other]

    def __radd__(self, other: Any) -> list[Any]:
        return [*other, *self] if isinstance(other, list) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> list[Any]:
        return list(self) * times

    __rmul__ = __mul__

    def _compare(self, compare: Callable[[Any, Any], Any], other: object) -> Any:
        if not isinstance(other, list | ListOperators):
            return NotImplemented
        return compare(list(self), list(other))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, list | ListOperators) and len(self) != len(other):
            return False
        return self._compare(operator.eq, other)  # type: ignore[no-any-return]  # as lists compare

    def __lt__(self, other: Any) -> bool:
        return self._compare(operator.lt, other)  # type: ignore[no-any-return]  # as lists compare

    def __le__(self, other: Any) -> bool:
        return self._compare(operator.le, other)  # type: ignore[no-any-return]  # as lists compare

    def __gt__(self, other: Any) -> bool:
        return self._compare(operator.gt, other)  # type: ignore[no-any-return]  # as lists compare

    def __ge__(self, other: Any) -> bool:
        return self._compare(operator.ge, other)  # type: ignore[no-any-return]  # as lists compare

    __hash__ = None  # type: ignore[assignment]  # as list

    def __repr__(self) -> str:
        return repr(list(self))


class DictOperators(MutableMapping[Any, Any]):
    """The operators of dict that only read, in terms of its iteration."""

    __slots__ = ()

    def __or__(self, other: Any) -> dict[Any, Any]:
        if not isinstance(other, dict | DictOperators):
            return NotImplemented
        return dict(self) | dict(other)

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return dict(other) | dict(self) if isinstance(other, dict) else NotImplemented
