"""What an index holds: keys, and the places that have them; and what one update makes of that.

A *place* says which entry is meant by what the wildcards of the index's pattern stand for: for
`accounts/*` a key of `accounts`. So an entry that is replaced, and keeps its keys, changes nothing
here; and what is found is looked up in the tree, live or draft, by the one who asks.

`Delta` is a `Table` with one update laid over it. A place is evaluated as often as it is written
to; what it counted for before is taken back first.
"""

from __future__ import annotations

from heapq import merge
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator

Place = Any
Keys = tuple["Hashable", ...]

# Most keys have one place, of which a tuple takes a quarter of a dict's room; from here on a dict
# finds the one to remove without a search.
_TUPLE_MAX: Final = 8


class Table:
    """Keys in the order that was asked for, each with its places.

    Args:
        ordered: whether keys are kept in their own order; else they come in that of arrival.
    """

    __slots__ = ("_order", "_places", "size")

    def __init__(self, *, ordered: bool) -> None:
        self._places: dict[Hashable, tuple[Place, ...] | dict[Place, None]] = {}
        self._order: Any = SortedList() if ordered else None
        self.size = 0
        """How many pairs of key and place there are."""

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def at(self, key: Hashable) -> Collection[Place]:
        """The places of a key."""
        return self._places.get(key, ())

    def in_order(self) -> Iterator[Any]:
        """All keys: in their own order, or that of arrival."""
        return iter(self._places if self._order is None else self._order)

    def between(
        self, low: Any, high: Any, inclusive: tuple[bool, bool], *, reverse: bool
    ) -> Iterator[Any]:
        """The keys of a range, in order; None is no bound."""
        found: Iterator[Any] = self._order.irange(low, high, inclusive, reverse=reverse)
        return found

    def check_order(self, keys: Iterable[Any]) -> None:
        """Raise TypeError unless keys can be compared with those that are there."""
        for key in keys:
            self._order.bisect_left(key)

    def fill(self, pairs: dict[Any, list[Place]]) -> None:
        """Take over everything at once, into an empty table.

        Raises:
            TypeError: two keys can't be compared.
        """
        if self._order is not None:
            self._order.update(pairs)
        for key, places in pairs.items():
            self._places[key] = dict.fromkeys(places) if len(places) > _TUPLE_MAX else tuple(places)
            self.size += len(places)

    def add(self, key: Hashable, place: Place) -> None:
        """Enter a place, which isn't there, under a key."""
        places = self._places.get(key)
        if places is None:
            if self._order is not None:
                self._order.add(key)
            self._places[key] = (place,)
        elif type(places) is dict:
            places[place] = None
        elif len(places) < _TUPLE_MAX:
            self._places[key] = (*places, place)
        else:
            self._places[key] = dict.fromkeys((*places, place))
        self.size += 1

    def discard(self, key: Hashable, place: Place) -> None:
        """Remove a place, which is there, from a key."""
        places = self._places[key]
        if type(places) is dict:
            del places[place]
        else:
            places = self._places[key] = tuple(each for each in places if each != place)
        if not places:
            del self._places[key]
            if self._order is not None:
                self._order.remove(key)
        self.size -= 1


class Delta:
    """A table as one update sees it.

    Args:
        table: as it is committed.
        ordered: as of the table.
    """

    __slots__ = ("_added", "_evaluated", "_ordered", "_removed", "table")

    def __init__(self, table: Table, *, ordered: bool) -> None:
        self.table = table
        self._ordered = ordered
        self._added: dict[Hashable, dict[Place, None]] = {}
        self._removed: dict[Hashable, dict[Place, None]] = {}
        self._evaluated: dict[Place, tuple[Keys, Keys]] = {}

    def put(self, place: Place, before: Keys, after: Keys) -> None:
        """Say which keys a place has before the update, and which now.

        Raises:
            TypeError: a key can't be compared with those that are there.
        """
        if self._ordered and after:
            self.table.check_order(after)
        known = self._evaluated.get(place)
        if known is not None:
            self._take_back(place, *known)
        elif before == after:
            return
        self._evaluated[place] = (before, after)
        for key in before:
            if key not in after:
                self._removed.setdefault(key, {})[place] = None
        for key in after:
            if key not in before:
                self._added.setdefault(key, {})[place] = None

    def _take_back(self, place: Place, before: Keys, after: Keys) -> None:
        for counted, keys in ((self._removed, before), (self._added, after)):
            for key in keys:
                places = counted.get(key)
                if places is not None and place in places:
                    del places[place]
                    if not places:
                        del counted[key]

    @property
    def size(self) -> int:
        """How many pairs of key and place there are."""
        less = sum(map(len, self._removed.values()))
        return self.table.size - less + sum(map(len, self._added.values()))

    def __contains__(self, key: object) -> bool:
        return bool(self.at(key))

    def at(self, key: Hashable) -> Collection[Place]:
        """The places of a key."""
        places = self.table.at(key)
        removed = self._removed.get(key)
        if removed is not None:
            places = [place for place in places if place not in removed]
        added = self._added.get(key)
        return places if added is None else [*places, *added]

    def in_order(self) -> Iterator[Any]:
        """All keys: in their own order, or that of arrival."""
        if self._ordered:
            return self.between(None, None, (True, True), reverse=False)
        new = (key for key in self._added if key not in self.table)
        return (key for key in chain(self.table.in_order(), new) if self.at(key))

    def between(
        self, low: Any, high: Any, inclusive: tuple[bool, bool], *, reverse: bool
    ) -> Iterator[Any]:
        """As `Table.between`."""
        new: Any = SortedList(key for key in self._added if key not in self.table)
        found = merge(
            self.table.between(low, high, inclusive, reverse=reverse),
            new.irange(low, high, inclusive, reverse=reverse),
            reverse=reverse,
        )
        return (key for key in found if self.at(key))

    def added(self) -> Iterator[tuple[Any, Collection[Place]]]:
        """The keys that some place gets, and those places."""
        return iter(self._added.items())

    def check_order(self) -> None:
        """Raise TypeError unless the new keys can be compared with each other."""
        if self._ordered:
            sorted(self._added)  # type: ignore[type-var]  # that is the question

    def apply(self) -> None:
        """Make it so in the table."""
        table = self.table
        for key, gone in self._removed.items():
            for place in gone:
                table.discard(key, place)
        for key, places in self._added.items():
            for place in places:
                table.add(key, place)
