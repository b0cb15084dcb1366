"""The draft of a list: which element stands where, told by identities.

Every element has an identity, an int: an element of the base its position there, a new one a number
that no other had. The draft is the order of identities: `_end` elements of the base that still
stand in front, then the `_tail`. So appending, popping and replacing touch the tail alone, and only
what is changed in the middle spells out the order from there on. `_values` holds new values by
identity: of new elements, and of elements of the base that were replaced where they stand.

The net effect (Operations address the state before the patch, splices run from the back):

- Elements of the base that keep their relative order stay: those in front, and a longest increasing
  subsequence of base positions in the tail. What was replaced or changed in one that stays is an
  operation on its old position.
- Between two that stay, what is gone and what is new is a splice. Elements that moved are new:
  their values are logged. Where old and new values at either end of a splice have the same bytes,
  they are left out of it; where a splice replaces one to one, equal ones in the middle are left out
  too.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from msgspec import Raw

from cairndb import draft_base
from cairndb.draft_base import CLEAN, WRITTEN
from cairndb.draft_container import ContainerDraft
from cairndb.draft_ended import Ended
from cairndb.draft_operators import ListOperators
from cairndb.draft_splice import longest_rising, splices, trimmed
from cairndb.patch import SET, SPLICE, operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cairndb.draft_base import Draft
    from cairndb.kinds import ListKind
    from cairndb.patch import Operation


class ListDraft(ContainerDraft, ListOperators):
    """A list of the tree as an update's block sees it: the whole public interface of list."""

    __slots__ = ("_base", "_end", "_holds_nodes", "_next", "_tail", "_values")

    def __init__(self, kind: ListKind, base: list[Any], parent: Draft | None, key: Any) -> None:
        super().__init__(kind, base, parent, key)
        self._base = base
        self._values: dict[int, Any] = {}
        self._end = len(base)
        self._tail: list[int] = []
        self._next = len(base)
        self._holds_nodes = kind.item.is_node

    # Reading.

    def _identities(self) -> list[int]:
        return [*range(self._end), *self._tail]

    def _identity(self, index: SupportsIndex, message: str) -> tuple[int, int]:
        """The position, counted from the front, and the identity of what an index names."""
        length = self._end + len(self._tail)
        position = operator.index(index)
        if position < 0:
            position += length
        if not 0 <= position < length:
            raise IndexError(message)
        return position, position if position < self._end else self._tail[position - self._end]

    def _value(self, identity: int) -> Any:
        return self._values[identity] if identity in self._values else self._base[identity]

    def _element(self, identity: int) -> Any:
        """The draft of an element, or its value."""
        if not self._holds_nodes:
            return self._value(identity)
        child = self._alive(identity)
        if child is not None:
            return child
        return self._child(self._kind.item, identity, self._value(identity))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            positions = range(len(self))[index]
            end, tail = self._end, self._tail
            return [self._element(p if p < end else tail[p - end]) for p in positions]
        _refuse_index(index)
        return self._element(self._identity(index, "list index out of range")[1])

    def __len__(self) -> int:
        return self._end + len(self._tail)

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while position < self._end + len(self._tail):
            end = self._end
            yield self._element(position if position < end else self._tail[position - end])
            position += 1

    def __reversed__(self) -> Iterator[Any]:
        return self._backwards(len(self) - 1)

    def _backwards(self, position: int) -> Iterator[Any]:
        while 0 <= position < len(self):
            yield self[position]
            position -= 1

    # Writing.

    def _new(self, value: Any) -> int:
        """An identity for a value that was copied."""
        identity = self._next
        self._next = identity + 1
        self._values[identity] = value
        return identity

    def _splice(self, start: int, stop: int, identities: list[int]) -> None:
        """Put identities in the place of the positions from start to stop; drop what stood there.

        An identity that stood there and is among the new ones stays alive.
        """
        end, tail = self._end, self._tail
        front = range(start, min(stop, end))
        behind = max(stop - end, 0)
        gone = [*front, *tail[max(start - end, 0) : behind]]
        if start < end:
            tail[:behind] = [*identities, *range(max(stop, start), end)]
            self._end = start
        else:
            tail[start - end : max(behind, start - end)] = identities
        self._forget(set(gone).difference(identities) if identities else gone)

    def _forget(self, identities: Iterable[int]) -> None:
        for identity in identities:
            self._values.pop(identity, None)
            if self._holds_nodes:
                self._drop(identity)

    def _reorder(self, identities: list[int]) -> None:
        """Give the whole order anew; nothing is dropped."""
        self._end = 0
        self._tail = identities

    def append(self, value: Any, /) -> None:
        """Append a copy of the value."""
        if self.__cairn_state__ != WRITTEN:
            draft_base.touch(self)
        step = self._end + len(self._tail)
        self._tail.append(self._new(draft_base.copied(self, self._kind.item, value, step)))

    def _copies(self, values: Iterable[Any], position: int) -> list[int]:
        """Identities of copies of values that are going to stand from a position on."""
        kind = self._kind.item
        copies = [
            draft_base.copied(self, kind, value, step)
            for step, value in enumerate(values, position)
        ]
        first = self._next
        self._next = first + len(copies)
        self._values.update(enumerate(copies, first))
        return list(range(first, self._next))

    def extend(self, values: Iterable[Any], /) -> None:
        """Append copies of the values."""
        draft_base.touch(self)
        self._tail.extend(self._copies(list(values), len(self)))

    def insert(self, index: SupportsIndex, value: Any, /) -> None:
        """Insert a copy of the value before a position."""
        draft_base.touch(self)
        position = slice(operator.index(index), None).indices(len(self))[0]
        self._splice(position, position, self._copies([value], position))

    def pop(self, index: SupportsIndex = -1, /) -> Any:
        """Remove an element and return a plain copy of it."""
        draft_base.touch(self)
        if not len(self):
            raise IndexError("pop from empty list")
        position, identity = self._identity(index, "pop index out of range")
        child = self._written.get(identity)
        if child is not None:
            value = child.__cairn_plain__()
        else:
            value = self._kind.item.plain(self._value(identity))
        self._splice(position, position + 1, [])
        return value

    def remove(self, value: Any, /) -> None:
        """Remove the first equal element. Raises ValueError if there is none."""
        draft_base.touch(self)
        try:
            position = self.index(value)
        except ValueError:
            raise ValueError("list.remove(x): x not in list") from None
        self._splice(position, position + 1, [])

    def clear(self) -> None:
        """Remove every element."""
        draft_base.touch(self)
        self._drop_all()
        self._values = {}
        self._reorder([])

    def reverse(self) -> None:
        """Reverse the order in place."""
        draft_base.touch(self)
        self._reorder(self._identities()[::-1])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort in place, stable; the key function is shown drafts of nodes."""
        draft_base.touch(self)
        identities = self._identities()
        keys = list(self)  # all of them first: a key function that appends must not be fed for ever
        if key is not None:
            keys = [key(element) for element in keys]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
        if identities != self._identities():
            raise ValueError("list modified during sort")
        self._reorder([identities[position] for position in order])

    def __setitem__(self, index: Any, value: Any) -> None:
        draft_base.touch(self)
        if isinstance(index, slice):
            self._set_slice(index, value)
            return
        _refuse_index(index)
        position, identity = self._identity(index, "list assignment index out of range")
        if self._holds_nodes and draft_base.is_draft(value) and self._alive(identity) is value:
            return  # a draft assigned to where it stands, as `l[0] += …` does
        self._values[identity] = draft_base.copied(self, self._kind.item, value, position)
        if self._holds_nodes:
            self._drop(identity)

    def _set_slice(self, index: slice, values: Any) -> None:
        try:
            values = list(values)
        except TypeError:
            raise TypeError("can only assign an iterable") from None
        start, stop, step = index.indices(len(self))
        positions = range(start, stop, step)
        order = self._identities() if step != 1 else []
        if step == 1:
            stop = max(start, stop)
            self._splice(start, stop, self._standing(values, range(start, stop), start))
            return
        if len(values) != len(positions):
            raise ValueError(
                f"attempt to assign sequence of size {len(values)} "
                f"to extended slice of size {len(positions)}"
            )
        replaced = [order[position] for position in positions]
        identities = self._standing(values, positions, start)
        order[index] = identities
        self._reorder(order)
        self._forget(set(replaced).difference(identities))

    def _standing(self, values: list[Any], positions: range, start: int) -> list[int]:
        """Identities for values that are assigned to positions: of copies, mostly.

        A draft that stands at one of these positions stays the element that it is (once), so
        `l[:] = reversed(l)` moves it.
        """
        if not self._holds_nodes or not any(map(draft_base.is_draft, values)):
            return self._copies(values, start)
        end, tail = self._end, self._tail
        free = {p if p < end else tail[p - end] for p in positions}
        identities: list[int] = []
        for value in values:
            standing = draft_base.is_draft(value) and value.__cairn_parent__ is self
            if standing and (key := value.__cairn_key__) in free and self._alive(key) is value:
                free.discard(key)
                identities.append(key)
            else:
                identities += self._copies([value], start + len(identities))
        return identities

    def __delitem__(self, index: Any) -> None:
        draft_base.touch(self)
        if not isinstance(index, slice):
            _refuse_index(index)
            position, _ = self._identity(index, "list assignment index out of range")
            self._splice(position, position + 1, [])
            return
        start, stop, step = index.indices(len(self))
        if step == 1:
            self._splice(start, max(start, stop), [])
            return
        order = self._identities()
        gone = order[index]
        del order[index]
        self._reorder(order)
        self._forget(gone)

    def __iadd__(self, values: Iterable[Any]) -> Self:  # type: ignore[override, misc]  # as list: wider
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> Self:  # type: ignore[override]  # as list
        draft_base.touch(self)
        count = operator.index(times)
        if count <= 0:
            self.clear()
        else:
            self.extend(list(self) * (count - 1))
        return self

    # The protocol of drafts.

    def __cairn_step__(self, key: int) -> int:
        """The position of an element now; of one that is gone, where it stood."""
        if key < self._end or key not in self._tail:
            return key
        return self._end + self._tail.index(key)

    def __cairn_peek__(self, step: int) -> Any:
        identity = self._identity(step, "list index out of range")[1]
        child = self._written.get(identity)
        return self._value(identity) if child is None else child

    def _merged_value(self, identity: int) -> Any:
        child = self._written.get(identity)
        return self._value(identity) if child is None else child.__cairn_merged__()

    def __cairn_merged__(self) -> list[Any]:
        if self.__cairn_state__ == CLEAN:
            return self.__cairn_base__  # type: ignore[no-any-return]  # this draft's base is a list
        if not self._values and not self._written:
            shown = self._base[: self._end]
            shown += [self._base[identity] for identity in self._tail]
            return shown
        return [self._merged_value(identity) for identity in self._identities()]

    def __cairn_collect__(self, path: list[Any], operations: list[Operation]) -> None:
        base = self.__cairn_base__
        encode = self._kind.item.encode
        self._check_length(len(self))
        tail = range(self._end, len(base)) if self._tail_is_back() else self._tail
        staying: set[int] = set()
        if tail is self._tail:
            staying.update(longest_rising([each for each in tail if each < len(base)]))
        for identity in self._values:
            if identity < self._end or identity in staying:
                encoded = encode(self._merged_value(identity))
                if encoded != encode(base[identity]):
                    operations.append(operation(SET, [*path, identity], encoded))
        for identity, child in self._written.items():
            stays = identity < self._end or identity in staying
            if stays and identity not in self._values:
                child.__cairn_collect__([*path, identity], operations)
        if tail is self._tail:
            changes = splices(self._end, tail, len(base), staying, self._merged_value)
            for change in reversed(changes):
                for start, gone, values in reversed(trimmed(change, base, encode)):
                    argument = [start, gone, Raw(self._kind.encode(values))]
                    operations.append(operation(SPLICE, path, argument))

    def _tail_is_back(self) -> bool:
        """Whether the tail, however it came about, has the bytes of the end of the base."""
        rest = len(self.__cairn_base__) - self._end
        if not rest or rest != len(self._tail):
            return not rest and not self._tail
        encode = self._kind.encode
        shown = [self._merged_value(identity) for identity in self._tail]
        return bool(encode(shown) == encode(self.__cairn_base__[self._end :]))

    def _finish(self) -> None:
        self._base = []
        self._values = {}
        self._reorder([])
        super()._finish()


def _refuse_index(index: Any) -> None:
    if not hasattr(type(index), "__index__"):
        raise TypeError(f"list indices must be integers or slices, not {type(index).__name__}")


class EndedList(Ended, ListDraft):
    """A draft of a list whose update has ended."""

    __slots__ = ()


ListDraft._ended = EndedList  # noqa: SLF001  a class that can't be named before it exists
