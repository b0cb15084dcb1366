"""The draft of a set: what was added and what was removed, beside a base that isn't touched.

Elements are values, so there are no child drafts. An element of the base that was removed and added
again stands on both sides, and cancels at the end if its bytes are the same (1 for 1.0 isn't). What
a set operation returns is a plain set.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from cairndb import codec, draft_base
from cairndb.draft_base import CLEAN, WRITTEN
from cairndb.draft_container import ContainerDraft
from cairndb.draft_ended import Ended
from cairndb.patch import ADD, DISCARD, SET, operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.draft_base import Draft
    from cairndb.kinds import SetKind
    from cairndb.patch import Operation

_SETS = (set, frozenset)


def _in_place(change: Callable[[SetDraft, Any], None]) -> Callable[[SetDraft, Any], SetDraft]:
    """The operator of an in-place method: only sets stand on its right side."""

    def changed(self: SetDraft, other: Any) -> SetDraft:
        if not isinstance(other, AbstractSet):
            return NotImplemented  # type: ignore[no-any-return]  # the protocol of operators
        change(self, other)
        return self

    return changed


def _algebra(compute: Callable[[Any, Any], Any], *, reflected: bool = False) -> Any:
    """An operator that gives a plain set, or compares: of this draft and any set."""

    def result(self: SetDraft, other: Any) -> Any:
        if not isinstance(other, AbstractSet):
            return NotImplemented
        mine = self.copy()
        theirs = other if isinstance(other, _SETS) else set(other)
        return compute(set(theirs), mine) if reflected else compute(mine, theirs)

    return result


class SetDraft(ContainerDraft, MutableSet[Any]):
    """A set of the tree as an update's block sees it: the whole public interface of set."""

    __slots__ = ("_added", "_base", "_length", "_removed", "_rest")

    def __init__(self, kind: SetKind, base: set[Any], parent: Draft | None, key: Any) -> None:
        super().__init__(kind, base, parent, key)
        self._base = base
        self._added: dict[Any, None] = {}
        self._removed: set[Any] = set()
        self._length = len(base)
        self._rest: Iterator[Any] | None = None  # pop's place in the base

    # Reading.

    def __contains__(self, element: object) -> bool:
        return element in self._added or (element in self._base and element not in self._removed)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return self._iterate(self._length)

    def _iterate(self, length: int) -> Iterator[Any]:
        base = self._base
        for part in (base, self._added):
            for element in part:
                if self._length != length:
                    break
                if part is not base or element not in self._removed:
                    yield element
        if self._length != length or self._base is not base:
            raise RuntimeError("Set changed size during iteration")

    def copy(self) -> set[Any]:
        """A plain set of what is shown now."""
        result = set(self._base)
        result -= self._removed
        result.update(self._added)
        return result

    @classmethod
    def _from_iterable(cls, iterable: Iterable[Any]) -> set[Any]:
        return set(iterable)

    def difference(self, *others: Iterable[Any]) -> set[Any]:
        """A plain set: what is in this one and in none of the others."""
        return self.copy().difference(*others)

    def intersection(self, *others: Iterable[Any]) -> set[Any]:
        """A plain set: what is in this one and in all others."""
        return self.copy().intersection(*others)

    def symmetric_difference(self, other: Iterable[Any], /) -> set[Any]:
        """A plain set: what is in one of the two only."""
        return self.copy().symmetric_difference(other)

    def union(self, *others: Iterable[Any]) -> set[Any]:
        """A plain set: what is in any of them."""
        return self.copy().union(*others)

    def isdisjoint(self, other: Iterable[Any], /) -> bool:
        """Whether no element is in both."""
        return not any(element in self for element in other)

    def issubset(self, other: Iterable[Any], /) -> bool:
        """Whether every element of this set is in the other."""
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[Any], /) -> bool:
        """Whether every element of the other is in this set."""
        return all(element in self for element in other)

    __and__ = _algebra(operator.and_)
    __or__ = _algebra(operator.or_)
    __sub__ = _algebra(operator.sub)
    __xor__ = _algebra(operator.xor)
    __rand__ = _algebra(operator.and_, reflected=True)
    __ror__ = _algebra(operator.or_, reflected=True)
    __rsub__ = _algebra(operator.sub, reflected=True)
    __rxor__ = _algebra(operator.xor, reflected=True)
    __eq__ = _algebra(operator.eq)
    __lt__ = _algebra(operator.lt)
    __le__ = _algebra(operator.le)
    __gt__ = _algebra(operator.gt)
    __ge__ = _algebra(operator.ge)
    __hash__ = None  # type: ignore[assignment]  # as set

    def __repr__(self) -> str:
        return repr(self.copy())

    # Writing.

    def add(self, element: Any, /) -> None:
        """Add an element, unless an equal one is there."""
        if self.__cairn_state__ != WRITTEN:
            draft_base.touch(self)
        if element not in self:
            self._added[draft_base.copied_key(self, self._kind.item, element)] = None
            self._length += 1

    def _remove(self, element: Any) -> None:
        """Take out an element that is there."""
        if element in self._added:
            del self._added[element]
        else:
            self._removed.add(element)
        self._length -= 1

    def discard(self, element: Any, /) -> None:
        """Remove an element, if it is there."""
        if self.__cairn_state__ != WRITTEN:
            draft_base.touch(self)
        if element in self:
            self._remove(element)

    def remove(self, element: Any, /) -> None:
        """Remove an element. Raises KeyError if it isn't there."""
        draft_base.touch(self)
        if element not in self:
            raise KeyError(element)
        self._remove(element)

    def pop(self) -> Any:
        """Remove and return some element. Raises KeyError if there is none."""
        draft_base.touch(self)
        if not self._length:
            raise KeyError("pop from an empty set")
        if self._added:
            element = next(iter(self._added))
        else:
            # What this iterator has passed is gone from the base for good (draft_dict.py, popitem).
            if self._rest is None:
                self._rest = iter(self._base)
            element = next(element for element in self._rest if element not in self._removed)
        self._remove(element)
        return element

    def clear(self) -> None:
        """Remove every element."""
        draft_base.touch(self)
        self._base = set()
        self._added = {}
        self._removed = set()
        self._rest = None
        self._length = 0

    def update(self, *others: Iterable[Any]) -> None:
        """Add every element of the others."""
        draft_base.touch(self)
        for other in others:
            for element in self._elements(other):
                self.add(element)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove every element of the others."""
        draft_base.touch(self)
        for other in others:
            for element in self._elements(other):
                self.discard(element)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Remove what isn't in all of the others."""
        draft_base.touch(self)
        for element in self.copy() - self.intersection(*others):
            self.discard(element)

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Remove what is in the other, and add what was only there."""
        draft_base.touch(self)
        for element in set(other):
            if element in self:
                self.discard(element)
            else:
                self.add(element)

    def _elements(self, other: Iterable[Any]) -> Iterable[Any]:
        return self.copy() if other is self else other

    __ior__ = _in_place(update)
    __isub__ = _in_place(difference_update)
    __iand__ = _in_place(intersection_update)
    __ixor__ = _in_place(symmetric_difference_update)

    # The protocol of drafts.

    def __cairn_merged__(self) -> set[Any]:
        if self.__cairn_state__ == CLEAN:
            return self.__cairn_base__  # type: ignore[no-any-return]  # this draft's base is a set
        return self.copy()

    def __cairn_collect__(self, path: list[Any], operations: list[Operation]) -> None:
        kind = self._kind
        self._check_length(self._length)
        base = self.__cairn_base__
        removed = self._removed if self._base is base else base
        added = {element for element in self._added if not self._is_back(element, removed)}
        deleted = len(removed) - (len(self._added) - len(added))
        # An equal element of other bytes (1 for 1.0) isn't what an ADD or DISCARD could name.
        changed = any(element in removed for element in added)
        if changed or deleted > self._length:
            # An element that is discarded takes a byte at least.
            whole = kind.encode(self.__cairn_merged__())
            if changed or len(whole) <= deleted + len(codec.encode(path)):
                operations.append(operation(SET, path, whole))
                return
        if deleted:
            gone = {codec.stored_key(base, e) for e in removed if e not in self._added}
            operations.append(operation(DISCARD, path, kind.encode(gone)))
        if added:
            operations.append(operation(ADD, path, kind.encode(added)))

    def _is_back(self, element: Any, removed: Any) -> bool:
        """Whether an element was added that has the bytes of a removed one."""
        if element not in removed:
            return False
        item = self._kind.item
        old = codec.stored_key(self.__cairn_base__, element)
        return not item.ambiguous or bool(item.encode(element) == item.encode(old))

    def _finish(self) -> None:
        self._base = set()
        self._added = {}
        self._removed = set()
        self._rest = None
        super()._finish()


class EndedSet(Ended, SetDraft):
    """A draft of a set whose update has ended."""

    __slots__ = ()


SetDraft._ended = EndedSet  # noqa: SLF001  a class that can't be named before it exists
