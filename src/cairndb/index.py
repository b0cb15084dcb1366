"""Indexes: entries of the tree found by a key that a function makes of each.

    class Bank(cairndb.Record):
        accounts: dict[str, Account] = {}
        by_owner = cairndb.Index(Account, "accounts/*", key=lambda account: account.owner)

    with db.view() as bank:
        bank.by_owner["Alice"]

An index is derived from the state: it is in memory only, made at open and changed in the same
instant as the state (see `rules`). It belongs to the record that it is read from: the root, or any
record whose class declares one. In an update it shows the update's own changes, and what it finds
are drafts.

To type checkers an `Index` is a descriptor that gives `Entries` of the declared class.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, overload

from cairndb.errors import UsageError
from cairndb.pattern import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cairndb.errors import Path
    from cairndb.index_table import Delta, Place, Table

T = TypeVar("T")
K = TypeVar("K")
D = TypeVar("D")

_LAST_CHARACTER: Final = "\U0010ffff"


# By the identity of a live record that has indexes: the record, which holds that identity, and what
# its indexes find, by their identities. Written by `rules`, when the state changes.
LIVE: Final[dict[int, tuple[object, dict[int, Entries[Any, Any]]]]] = {}

# What an index of a record's draft finds; set by `rules`.
of_draft: Callable[[Index[Any, Any], Any], Entries[Any, Any] | None] | None = None


class Index(Generic[T, K]):
    """Finds the entries under a path pattern by a key.

    Args:
        entry: the record class of what is found.
        pattern: where they are, from the record that declares the index: `"accounts/*"`,
            `"accounts/*/cards/*"`, `"**"`; steps are named as they are stored.
        key: makes the key of an entry: hashable, and a function of that entry alone.
        keys: the same for several keys per entry: `keys=lambda account: account.tags`.
        where: which entries are in the index; None: all.
        unique: whether an update that gives two entries one key is rejected.
        ordered: whether keys are kept in order, for `range`, `prefix`, `first` and `last`.
    """

    @overload
    def __init__(
        self,
        entry: type[T],
        pattern: str,
        *,
        key: Callable[[T], K],
        where: Callable[[T], bool] | None = ...,
        unique: bool = ...,
        ordered: bool = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        entry: type[T],
        pattern: str,
        *,
        keys: Callable[[T], Iterable[K]],
        where: Callable[[T], bool] | None = ...,
        unique: bool = ...,
        ordered: bool = ...,
    ) -> None: ...

    def __init__(
        self,
        entry: type[T],
        pattern: str,
        *,
        key: Callable[[T], K] | None = None,
        keys: Callable[[T], Iterable[K]] | None = None,
        where: Callable[[T], bool] | None = None,
        unique: bool = False,
        ordered: bool = False,
    ) -> None:
        if (key is None) is (keys is None):
            raise UsageError("an Index takes one of key= (one key per entry) and keys= (several)")
        self.entry = entry
        self.pattern = Pattern.parse(pattern)
        self.key = key
        self.keys = keys
        self.where = where
        self.unique = unique
        self.ordered = ordered
        self.name = f"an index of {pattern}"

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = f"{owner.__name__}.{name}"

    @overload
    def __get__(self, record: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(self, record: object, owner: type[Any]) -> Entries[T, K]: ...

    def __get__(self, record: object | None, owner: type[Any]) -> Self | Entries[T, K]:
        if record is None:
            return self
        live = LIVE.get(id(record))
        if live is not None and live[0] is record:
            return live[1][id(self)]
        found = of_draft(self, record) if of_draft is not None else None
        if found is None:
            raise UsageError(
                f"{self.name} is an index of what is in an open database: read it from what a view "
                "or an update shows, not from a record of your own or a copy"
            )
        return found

    def __repr__(self) -> str:
        return f"<cairndb.Index {self.name} over {self.pattern}>"


class Entries(Generic[T, K]):
    """What an index of a record finds; as good as the block that it was read in.

    Entries of one key come in no promised order.
    """

    __slots__ = ("_index",)

    def __init__(self, index: Index[T, K]) -> None:
        self._index = index

    @property
    def _postings(self) -> Table | Delta:
        raise NotImplementedError

    def _reach(self, place: Place) -> T:
        """The entry at a place, live or its draft."""
        raise NotImplementedError

    def _path(self, place: Place) -> Path:
        """Its path from the root."""
        raise NotImplementedError

    def __getitem__(self, key: K) -> list[T]:
        """The entries that have a key; none if it is nobody's."""
        return [self._reach(place) for place in self._postings.at(key)]

    def one(self, key: K) -> T:
        """The entry that has a key.

        Raises:
            KeyError: no entry has it.
            LookupError: several have it.
        """
        found = self[key]
        if not found:
            raise KeyError(key)
        if len(found) > 1:
            raise LookupError(
                f"{len(found)} entries have the key {key!r:.100} in {self._index.name}"
            )
        return found[0]

    @overload
    def get(self, key: K) -> T | None: ...

    @overload
    def get(self, key: K, default: D) -> T | D: ...

    def get(self, key: K, default: Any = None) -> Any:
        """The entry that has a key, or the default.

        Raises:
            LookupError: several have it.
        """
        return self.one(key) if key in self else default

    def paths(self, key: K) -> list[tuple[Any, ...]]:
        """The paths, from the root, of the entries that have a key."""
        return [self._path(place) for place in self._postings.at(key)]

    def count(self, key: K) -> int:
        """How many entries have a key."""
        return len(self._postings.at(key))

    def __contains__(self, key: object) -> bool:
        return key in self._postings

    def __len__(self) -> int:
        """How many pairs of key and entry there are: entries, if each has one key."""
        return self._postings.size

    def __iter__(self) -> Iterator[T]:
        """Every entry, by key; as often as it has keys."""
        return iter(self._entries(self._postings.in_order()))

    def keys(self) -> list[K]:
        """Every key, in order if the index is ordered."""
        return list(self._postings.in_order())

    def range(
        self,
        low: K | None = None,
        high: K | None = None,
        *,
        inclusive: tuple[bool, bool] = (True, False),
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[T]:
        """The entries whose keys are in a range, in the order of the keys.

        Args:
            low: where it begins; None: with the least key.
            high: where it ends; None: with the greatest key.
            inclusive: whether `low` and `high` themselves are in it.
            reverse: whether the greatest comes first.
            limit: how many entries at most; None: all.

        Raises:
            UsageError: the index isn't ordered.
        """
        self._check_ordered("range")
        inclusive = (inclusive[0] or low is None, inclusive[1] or high is None)
        keys = self._postings.between(low, high, inclusive, reverse=reverse)
        return self._entries(keys, limit)

    def prefix(self, prefix: K, *, reverse: bool = False, limit: int | None = None) -> list[T]:
        """The entries whose keys begin with some text, bytes, or first items of a tuple.

        Args:
            prefix: what they begin with.
            reverse: whether the greatest comes first.
            limit: how many entries at most; None: all.

        Raises:
            UsageError: the index isn't ordered, or such a key has no beginning.
        """
        self._check_ordered("prefix")
        keys = self._postings.between(prefix, _behind(prefix), (True, False), reverse=reverse)
        return self._entries(keys, limit)

    def first(self, count: int = 1) -> list[T]:
        """The entries of the least keys, least first: `count` of them, if there are so many.

        Raises:
            UsageError: the index isn't ordered.
        """
        return self.range(limit=count)

    def last(self, count: int = 1) -> list[T]:
        """The entries of the greatest keys, greatest first.

        Raises:
            UsageError: the index isn't ordered.
        """
        return self.range(limit=count, reverse=True)

    def _entries(self, keys: Iterable[Any], limit: int | None = None) -> list[T]:
        reach, at = self._reach, self._postings.at
        found = (reach(place) for key in keys for place in at(key))
        return list(islice(found, limit))

    def _check_ordered(self, what: str) -> None:
        if not self._index.ordered:
            raise UsageError(f"{self._index.name} isn't ordered: declare ordered=True for {what}()")

    def __repr__(self) -> str:
        return f"<{len(self)} entries of {self._index.name}>"


class _Top:
    """Greater than whatever it is compared with."""

    def __lt__(self, _other: object) -> bool:
        return False

    def __gt__(self, _other: object) -> bool:
        return True


def _behind(prefix: Any) -> Any:
    """The least key that is greater than all that begin with a prefix; None if there is none."""
    if isinstance(prefix, str):
        text = prefix.rstrip(_LAST_CHARACTER)
        return text[:-1] + chr(ord(text[-1]) + 1) if text else None
    if isinstance(prefix, bytes):
        data = prefix.rstrip(b"\xff")
        return data[:-1] + bytes([data[-1] + 1]) if data else None
    if isinstance(prefix, tuple):
        return (*prefix, _Top())
    raise UsageError(
        f"a {type(prefix).__name__} has no beginning: prefix() takes str, bytes, tuple"
    )
